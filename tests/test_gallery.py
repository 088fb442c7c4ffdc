"""Galleries show what was left out as it is, under names that are only ever text."""

import io
from collections import Counter
from operator import itemgetter

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from classifold.data.csv_file import write_rows
from classifold.data.image_table import write_table
from classifold.filtering.gallery import (
    LETTERS,
    MOST_LEFT_OUT,
    MOST_OF_A_GROUP,
    SIDE,
    draw_galleries,
)
from classifold.pictures.examples import (
    choose_copies,
    choose_groups,
    choose_left_out,
    copy_groups,
    copy_in_words,
    shorten,
    spread,
)
from classifold.pictures.glyphs import printable
from classifold.pictures.thumbnails import fit_into

EXCLUDED = ("id", "label", "reason", "measured")
COPIES = ("group", "id", "label", "split", "kind", "kept")
RED, GREEN = (250, 0, 0), (0, 250, 0)
HOSTILE = (
    r"$\frac{1}{0}$ $.png",
    "two\nlines\r.png",
    "犬 \u202e🍎.png",
    "Ж" * 255,
    "<b>&amp;</b> שלום ب Ωmega.png",
)


class Drawn:
    """Tables and images, the galleries drawn of them, and the words that went in."""

    def __init__(self, root, images, *, excluded=(), copies=()):
        ingested, self.filtered = root / "ingested", root / "filtered"
        ingested.mkdir()
        write_table(ingested, (_row(name, image) for name, image in images.items()))
        for name, columns, rows in (
            ("excluded", EXCLUDED, excluded),
            ("duplicates", COPIES, copies),
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
def words(monkeypatch):
    """Every text that is drawn."""
    written = []
    write = Figure.text

    def record(figure, x, y, text, **settings):
        assert settings["parse_math"] is False
        written.append(text)
        return write(figure, x, y, text, **settings)

    monkeypatch.setattr(Figure, "text", record)
    return written


def _row(image_id, image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return {
        **dict.fromkeys(("split", "group", "boxes", "mode", "sha256", "perceptual_hash")),
        "id": image_id,
        "image": {"bytes": buffer.getvalue(), "path": image_id},
        "labels": [],
        "width": image.width,
        "height": image.height,
    }


def plain(width, height, color=RED):
    return Image.new("RGB", (width, height), color)


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        pytest.param((SIDE * 4, SIDE), (SIDE, SIDE // 4), id="wide"),
        pytest.param((SIDE, SIDE * 2), (SIDE // 2, SIDE), id="high"),
        pytest.param((5, 10), (60, 120), id="tiny, enlarged by a whole factor"),
        pytest.param((SIDE - 1, 20), (SIDE - 1, 20), id="as it is"),
        pytest.param((1, 5000), (1, SIDE), id="a line"),
    ],
)
def test_an_image_left_out_keeps_its_proportions(tmp_path, size, shown):
    drawn = Drawn(tmp_path, {"a.png": plain(*size)}, excluded=[("a.png", "a", "size", "as drawn")])
    assert drawn.sides("excluded", RED) == shown
    assert fit_into(plain(*size), side=SIDE).size == shown


def test_below_an_image_left_out_stand_its_file_its_reason_and_what_was_measured(tmp_path, words):
    reasons = [
        ("dogs/a.png", "dog", "size", "64x500, height 500"),
        ("dogs/b.png", "dog", "duplicate", "dogs/c.png"),
        ("dogs/d.png", "dog", "conflicting_labels", "cat / dog"),
    ]
    Drawn(tmp_path, {row[0]: plain(8, 8) for row in reasons}, excluded=reasons)
    for text in (
        *("a.png", "size", "is 64x500, height 500", "b.png", "duplicate", "copy of dogs/c.png"),
        *("d.png", "conflicting labels", "labelled cat / dog"),
        "3 images left out: 1 for size, 1 for duplicate, 1 for conflicting labels",
    ):
        assert text in words


def test_copies_stand_side_by_side_with_labels_and_fates(tmp_path, words):
    copies = [
        ("a.png", "a.png", "cat|dog", "", "exact", "true"),
        ("a.png", "b.png", "", "unlabelled", "exact", "true"),
        ("a.png", "c.png", "dog", "", "near", "false"),
    ]
    images = {"a.png": plain(8, 8), "b.png": plain(8, 8), "c.png": plain(8, 8, GREEN)}
    drawn = Drawn(tmp_path, images, copies=copies)
    near, exact = (
        np.argwhere((drawn.pixels("duplicates") == color).all(axis=2)) for color in (GREEN, RED)
    )
    assert near[:, 0].min() == exact[:, 0].min()
    assert near[:, 1].min() > exact[:, 1].max()
    assert "1 group of copies (2 exact, 1 near)" in words
    below = words[words.index("a.png") :]
    assert below == [
        *("a.png", "cat, dog", "kept", "exact copy"),
        *("b.png", "no label", "kept, to be labelled", "exact copy"),
        *("c.png", "dog", "left out", "near copy"),
    ]


def test_what_shows_nothing_says_so(tmp_path, words):
    drawn = Drawn(tmp_path, {"a.png": plain(8, 8)})
    assert words == [
        "No image was left out.",
        "No copies were found, as filter.duplicates looks for them.",
    ]
    for name in ("excluded", "duplicates"):
        assert drawn.pixels(name).min() < 128


def test_names_are_drawn_as_text_and_shortened(tmp_path, words):
    excluded = [(name, name, "duplicate", name) for name in HOSTILE]
    copies = [(HOSTILE[0], name, name, "", "exact", "true") for name in HOSTILE]
    # Warnings are errors here: a letter that no font has would be one.
    Drawn(tmp_path, {name: plain(8, 8) for name in HOSTILE}, excluded=excluded, copies=copies)
    assert r"$\frac{1}{0}$ $.png" in words
    assert r"two\nlines\r.png" in words
    assert "\N{CYRILLIC CAPITAL LETTER ZHE}" * 13 + "…" + "Ж" * 13 in words
    below = [text for text in words if "image" not in text and "copies" not in text]
    assert max(map(len, below)) <= LETTERS


def test_letters_that_no_font_of_ours_has_are_escaped():
    assert printable("犬.png") == r"\u72ac.png"
    assert printable("é Ж Ω א ب") == "é Ж Ω א ب"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("abcdef", "abcdef", id="fits"),
        pytest.param("abcdefgh", "ab…fgh", id="both ends stay"),
    ],
)
def test_shortened_by_hand(text, expected):
    assert shorten(text, 6) == expected


def test_the_same_tables_and_images_give_the_same_bytes(tmp_path):
    made = []
    for name in ("one", "two"):
        root = tmp_path / name
        root.mkdir()
        drawn = Drawn(
            root,
            {"a.png": plain(30, 20), "b.png": plain(30, 20)},
            excluded=[("b.png", "b", "duplicate", "a.png")],
            copies=[("a.png", name, "b", "", "exact", "true") for name in ("a.png", "b.png")],
        )
        made.append(
            [(drawn.filtered / f"{sheet}.png").read_bytes() for sheet in ("excluded", "duplicates")]
        )
    assert made[0] == made[1]


def test_of_100_000_left_out_every_reason_and_class_has_its_turn():
    reasons = ["size"] * 99_990 + ["duplicate"] * 8 + ["conflicting_labels"] * 2
    excluded = [
        {"id": f"{i:06}", "label": f"class {i // 10_000}", "reason": reason}
        for i, reason in enumerate(reasons)
    ]
    chosen = choose_left_out(excluded, most=MOST_LEFT_OUT)
    counts = Counter(row["reason"] for row in chosen)
    assert counts == {"size": 38, "duplicate": 8, "conflicting_labels": 2}
    of_size = Counter(row["label"] for row in chosen if row["reason"] == "size")
    assert len(of_size) == 10 and set(of_size.values()) <= {3, 4}


def test_spreading_chooses_nothing_twice_and_no_more_than_there_are():
    items = [{"kind": kind} for kind in "aaaabbc"]
    chosen = spread(items, over=[itemgetter("kind")], most=100)
    assert sorted(map(id, chosen)) == sorted(map(id, items))
    assert [item["kind"] for item in chosen] == list("abcabaa")


def test_of_a_large_group_every_label_and_fate_is_shown():
    rows = [
        dict(zip(COPIES, ("0", str(i), "dog", "", "exact", "false"), strict=True))
        for i in range(500)
    ]
    rows[200]["label"], rows[300]["kept"], rows[400]["split"] = "cat", "true", "test"
    (group,) = copy_groups(rows)
    shown = choose_copies(group, most=MOST_OF_A_GROUP)
    assert len(shown) == MOST_OF_A_GROUP
    assert {"200", "300", "400"} < {row["id"] for row in shown}
    assert [int(row["id"]) for row in shown] == sorted(int(row["id"]) for row in shown)
    assert group.title(n_shown=len(shown)) == "500 copies, labels differ, 6 shown"
    assert copy_in_words(rows[400]) == ["left out, official test", "exact copy"]


def test_groups_that_trouble_are_shown_among_many_that_do_not():
    def group(name, kinds, labels):
        return [
            dict(zip(COPIES, (name, f"{name}{i}", label, "", kind, "true"), strict=True))
            for i, (kind, label) in enumerate(zip(kinds, labels, strict=True))
        ]

    rows = [row for i in range(50) for row in group(f"p{i}", ["exact"] * 2, "aa")]
    rows += group("near", ["near"] * 2, "aa") + group("labels", ["exact"] * 2, "ab")
    shown = choose_groups(copy_groups(rows), most=4)
    names = [chosen.rows[0]["group"] for chosen in shown]
    assert {"near", "labels"} < set(names) and len(names) == 4


def test_an_image_without_a_label_contradicts_none():
    rows = [
        dict(zip(COPIES, ("a", name, label, split, "exact", "true"), strict=True))
        for name, label, split in (("a", "cat", ""), ("b", "", "unlabelled"))
    ]
    (group,) = copy_groups(rows)
    assert not group.labels_differ
