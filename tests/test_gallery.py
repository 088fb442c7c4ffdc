"""Galleries show the excluded images and duplicates; names are drawn as plain text."""

from collections import Counter
from operator import itemgetter

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from classifold.data.csv_file import write_rows
from classifold.data.image_table import write_table
from classifold.filtering.gallery import (
    CHARACTERS,
    MAX_EXCLUDED,
    MAX_PER_GROUP,
    SIDE,
    draw_galleries,
)
from classifold.pictures.examples import (
    choose_duplicates,
    choose_excluded,
    choose_groups,
    describe_duplicate,
    duplicate_groups,
    shorten,
    spread,
)
from classifold.pictures.glyphs import printable
from classifold.pictures.thumbnails import fit_into
from image_scene import pillow
from synthetic_run import EMPTY_ROW

EXCLUDED = ("id", "label", "reason", "measured")
DUPLICATES = ("group", "id", "label", "split", "kind", "kept")
RED, GREEN = (250, 0, 0), (0, 250, 0)
HOSTILE = (
    r"$\frac{1}{0}$ $.png",
    "two\nlines\r.png",
    "犬 \u202e🍎.png",
    "Ж" * 255,
    "<b>&amp;</b> שלום ب Ωmega.png",
)


class Galleries:
    """Tables and images, and the galleries drawn from them."""

    def __init__(self, root, images, *, excluded=(), duplicates=()):
        ingested, self.filtered = root / "ingested", root / "filtered"
        ingested.mkdir()
        write_table(ingested, (_row(name, image) for name, image in images.items()))
        for name, columns, rows in (
            ("excluded", EXCLUDED, excluded),
            ("duplicates", DUPLICATES, duplicates),
        ):
            records = (dict(zip(columns, row, strict=True)) for row in rows)
            write_rows(self.filtered / f"{name}.csv", records, columns=columns)
        draw_galleries(self.filtered, ingested)

    def pixels(self, name):
        with Image.open(self.filtered / f"{name}.png") as image:
            return np.asarray(image.convert("RGB"))

    def sides(self, name, color):
        """Width and height of the one area of a color."""
        y, x = np.nonzero((self.pixels(name) == color).all(axis=2))
        return int(np.ptp(x)) + 1, int(np.ptp(y)) + 1


@pytest.fixture
def drawn_texts(monkeypatch):
    """Every text that is drawn in galleries."""
    written = []
    write = Figure.text

    def record(figure, x, y, text, **settings):
        assert settings["parse_math"] is False
        written.append(text)
        return write(figure, x, y, text, **settings)

    monkeypatch.setattr(Figure, "text", record)
    return written


def _row(image_id, image):
    return EMPTY_ROW | {"id": image_id, "image": {"bytes": pillow(image), "path": image_id}}


def plain(width, height, color=RED):
    return Image.new("RGB", (width, height), color)


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((SIDE * 4, SIDE), (SIDE, SIDE // 4)),
        ((SIDE, SIDE * 2), (SIDE // 2, SIDE)),
        ((5, 10), (60, 120)),  # tiny images are enlarged by an integer factor
        ((SIDE - 1, 20), (SIDE - 1, 20)),
        ((1, 5000), (1, SIDE)),
    ],
)
def test_an_excluded_image_keeps_its_aspect_ratio(tmp_path, size, shown):
    galleries = Galleries(
        tmp_path, {"a.png": plain(*size)}, excluded=[("a.png", "a", "size", "as drawn")]
    )
    assert galleries.sides("excluded", RED) == shown
    assert fit_into(plain(*size), side=SIDE).size == shown


def test_an_excluded_image_has_its_file_name_reason_and_measured_value(tmp_path, drawn_texts):
    reasons = [
        ("dogs/a.png", "dog", "size", "64x500, height 500"),
        ("dogs/b.png", "dog", "duplicate", "dogs/c.png"),
        ("dogs/d.png", "dog", "conflicting_labels", "cat / dog"),
    ]
    Galleries(tmp_path, {row[0]: plain(8, 8) for row in reasons}, excluded=reasons)
    assert {
        *("a.png", "size", "is 64x500, height 500"),
        *("b.png", "duplicate", "duplicate of dogs/c.png"),
        *("d.png", "conflicting labels", "labeled cat / dog"),
        "3 images excluded: 1 for size, 1 for duplicate, 1 for conflicting labels",
    } <= set(drawn_texts)


def test_duplicates_are_side_by_side_with_labels_and_outcomes(tmp_path, drawn_texts):
    duplicates = [
        ("a.png", "a.png", "cat|dog", "", "exact", "true"),
        ("a.png", "b.png", "", "unlabelled", "exact", "true"),
        ("a.png", "c.png", "dog", "", "near", "false"),
    ]
    images = {"a.png": plain(8, 8), "b.png": plain(8, 8), "c.png": plain(8, 8, GREEN)}
    galleries = Galleries(tmp_path, images, duplicates=duplicates)
    near, exact = (
        np.argwhere((galleries.pixels("duplicates") == color).all(axis=2)) for color in (GREEN, RED)
    )
    assert near[:, 0].min() == exact[:, 0].min()
    assert near[:, 1].min() > exact[:, 1].max()
    assert "1 group of duplicates (2 exact, 1 near)" in drawn_texts
    below = drawn_texts[drawn_texts.index("a.png") :]
    assert below == [
        *("a.png", "cat, dog", "kept", "exact duplicate"),
        *("b.png", "no label", "kept, unlabeled", "exact duplicate"),
        *("c.png", "dog", "excluded", "near duplicate"),
    ]


def test_a_gallery_without_images_has_a_title_that_reports_it(tmp_path, drawn_texts):
    galleries = Galleries(tmp_path, {"a.png": plain(8, 8)})
    assert drawn_texts == [
        "No image was excluded.",
        "No duplicates were found with these settings of filter.duplicates.",
    ]
    for name in ("excluded", "duplicates"):
        assert galleries.pixels(name).min() < 128


@pytest.mark.promise("escaped-pictures")
def test_names_are_drawn_as_text_and_shortened(tmp_path, drawn_texts):
    excluded = [(name, name, "duplicate", name) for name in HOSTILE]
    duplicates = [(HOSTILE[0], name, name, "", "exact", "true") for name in HOSTILE]
    # Warnings are errors here: a letter that no font has would be one.
    Galleries(
        tmp_path, {name: plain(8, 8) for name in HOSTILE}, excluded=excluded, duplicates=duplicates
    )
    assert r"$\frac{1}{0}$ $.png" in drawn_texts
    assert r"two\nlines\r.png" in drawn_texts
    assert "\N{CYRILLIC CAPITAL LETTER ZHE}" * 13 + "…" + "Ж" * 13 in drawn_texts
    below = [text for text in drawn_texts if "image" not in text and "duplicates" not in text]
    assert max(map(len, below)) <= CHARACTERS


@pytest.mark.promise("escaped-pictures")
def test_characters_that_the_fonts_lack_are_escaped():
    assert printable("犬.png") == r"\u72ac.png"
    assert printable("é Ж Ω א ب") == "é Ж Ω א ب"


def test_shortened_texts_by_hand():
    assert shorten("abcdef", 6) == "abcdef"
    assert shorten("abcdefgh", 6) == "ab…fgh"  # both ends stay


def test_the_same_tables_and_images_give_the_same_bytes(tmp_path):
    made = []
    for name in ("one", "two"):
        root = tmp_path / name
        root.mkdir()
        galleries = Galleries(
            root,
            {"a.png": plain(30, 20), "b.png": plain(30, 20)},
            excluded=[("b.png", "b", "duplicate", "a.png")],
            duplicates=[("a.png", name, "b", "", "exact", "true") for name in ("a.png", "b.png")],
        )
        made.append([path.read_bytes() for path in sorted(galleries.filtered.glob("*.png"))])
    assert len(made[0]) == 2
    assert made[0] == made[1]


def test_examples_of_100_000_excluded_images_have_every_reason_and_class():
    reasons = ["size"] * 99_990 + ["duplicate"] * 8 + ["conflicting_labels"] * 2
    excluded = [
        {"id": f"{i:06}", "label": f"class {i // 10_000}", "reason": reason}
        for i, reason in enumerate(reasons)
    ]
    chosen = choose_excluded(excluded, max_items=MAX_EXCLUDED)
    counts = Counter(row["reason"] for row in chosen)
    assert counts == {"size": 38, "duplicate": 8, "conflicting_labels": 2}
    of_size = Counter(row["label"] for row in chosen if row["reason"] == "size")
    assert len(of_size) == 10 and set(of_size.values()) <= {3, 4}


def test_spread_chooses_no_item_twice_and_no_more_than_there_are():
    items = [{"kind": kind} for kind in "aaaabbc"]
    chosen = spread(items, over=[itemgetter("kind")], max_items=100)
    assert sorted(map(id, chosen)) == sorted(map(id, items))
    assert [item["kind"] for item in chosen] == list("abcabaa")


def test_examples_of_a_large_group_have_every_label_and_outcome():
    rows = [
        dict(zip(DUPLICATES, ("0", str(i), "dog", "", "exact", "false"), strict=True))
        for i in range(500)
    ]
    rows[200]["label"], rows[300]["kept"], rows[400]["split"] = "cat", "true", "test"
    (group,) = duplicate_groups(rows)
    shown = choose_duplicates(group, max_items=MAX_PER_GROUP)
    assert len(shown) == MAX_PER_GROUP
    assert {"200", "300", "400"} < {row["id"] for row in shown}
    assert [int(row["id"]) for row in shown] == sorted(int(row["id"]) for row in shown)
    assert group.title(n_shown=len(shown)) == "500 duplicates, labels differ, 6 shown"
    assert describe_duplicate(rows[400]) == ["excluded, official test", "exact duplicate"]
    assert describe_duplicate(rows[0], "limit") == ["excluded (limit)", "exact duplicate"]


def test_groups_with_different_labels_or_near_duplicates_are_shown_among_many_others():
    def group(name, kinds, labels):
        return [
            dict(zip(DUPLICATES, (name, f"{name}{i}", label, "", kind, "true"), strict=True))
            for i, (kind, label) in enumerate(zip(kinds, labels, strict=True))
        ]

    rows = [row for i in range(50) for row in group(f"p{i}", ["exact"] * 2, "aa")]
    rows += group("near", ["near"] * 2, "aa") + group("labels", ["exact"] * 2, "ab")
    shown = choose_groups(duplicate_groups(rows), max_items=4)
    names = [chosen.rows[0]["group"] for chosen in shown]
    assert {"near", "labels"} < set(names) and len(names) == 4


def test_an_unlabeled_image_contradicts_no_label():
    rows = [
        dict(zip(DUPLICATES, ("a", name, label, split, "exact", "true"), strict=True))
        for name, label, split in (("a", "cat", ""), ("b", "", "unlabelled"))
    ]
    (group,) = duplicate_groups(rows)
    assert not group.labels_differ
