"""Every image stays, or is left out for one reason, the first that applies."""

import io
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from classifold.csv_file import read_rows
from classifold.errors import UserError
from classifold.filtering.copies import exact_copies
from classifold.filtering.files import read_candidates, write_selection
from classifold.filtering.selection import Candidate, select, selection_metrics
from classifold.filtering.size import is_outlier, modal_size
from classifold.sources.folder import find_images
from classifold.table import write_table

REAL = Path(__file__).parents[1].parent / "shared" / "data"

MODAL = {"rule": "modal", "tolerance": 0}
ANY_SIZE = {"rule": "none", "tolerance": 0}
DROP = {"exact": "drop", "near": "off", "conflicting": "drop"}
OFF = {"exact": "off", "near": "off", "conflicting": "off"}


def image(name, label="cat", *, size=(8, 8), pixels=None):
    labels = (label,) if label else ()
    part = None if label else "unlabelled"
    return Candidate(name, labels, part, size, pixels or name)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(8, 8), (8, 8), (9, 9)], (8, 8)),
        pytest.param([(8, 8), (9, 9), (8, 10)], (9, 9), id="of equally frequent, most pixels"),
        pytest.param([(4, 9), (9, 4), (6, 6)], (9, 4), id="of equally many pixels, the widest"),
    ],
)
def test_the_modal_size_by_hand(sizes, expected):
    assert modal_size(sizes) == modal_size(sizes[::-1]) == expected


@pytest.mark.parametrize(
    ("size", "tolerance", "outlier"),
    [
        ((8, 8), 0, False),
        ((8, 9), 0, True),
        ((7, 9), 1, False),
        ((6, 8), 1, True),
        ((8, 10), 1, True),
    ],
)
def test_the_tolerance_holds_for_both_sides_in_both_directions(size, tolerance, outlier):
    assert is_outlier(size, modal=(8, 8), tolerance=tolerance) is outlier


def test_copies_are_grouped_by_equal_hashes_alone():
    assert exact_copies(list("abcbaa")) == [[0, 4, 5], [1, 3]]
    assert exact_copies([]) == []


def reasons(selection):
    return {item.image.id: (item.reason, item.measured) for item in selection.excluded}


def kept(selection):
    return [found.id for found in selection.kept]


def test_images_of_unusual_size_are_left_out_with_their_size():
    images = [image("a"), image("b"), image("c", size=(8, 9)), image("d", "dog")]
    selection = select(images, size=MODAL, duplicates=DROP)
    assert kept(selection) == ["a", "b", "d"]
    assert reasons(selection) == {"c": ("size", "8x9")}
    assert kept(select(images, size=MODAL | {"tolerance": 1}, duplicates=DROP)) == list("abcd")
    assert kept(select(images, size=ANY_SIZE, duplicates=DROP)) == list("abcd")


def test_of_equal_images_the_first_stays():
    images = [image("a", pixels="x"), image("b", pixels="x"), image("c", pixels="x")]
    selection = select(images, size=MODAL, duplicates=DROP)
    assert kept(selection) == ["a"]
    assert reasons(selection) == {"b": ("duplicate", "a"), "c": ("duplicate", "a")}
    assert [(copy.image.id, copy.group, copy.kept) for copy in selection.copies] == [
        ("a", "a", True),
        ("b", "a", False),
        ("c", "a", False),
    ]


def test_a_labelled_copy_is_kept_before_one_without_a_label():
    images = [image("a", None, pixels="x"), image("b", "cat", pixels="x")]
    assert kept(select(images, size=MODAL, duplicates=DROP)) == ["b"]


def test_equal_images_with_different_labels_are_all_left_out():
    images = [
        image("a", "cat", pixels="x"),
        image("b", "dog", pixels="x"),
        image("c", None, pixels="x"),
        image("d", "cat"),
        image("e", "dog"),
    ]
    selection = select(images, size=MODAL, duplicates=DROP)
    assert kept(selection) == ["d", "e"]
    assert set(reasons(selection).values()) == {("conflicting_labels", "cat / dog")}


def test_an_image_is_left_out_for_the_first_reason_alone():
    images = [image("a", pixels="x"), image("b", pixels="x", size=(9, 9)), image("c")]
    selection = select(images, size=MODAL, duplicates=DROP)
    assert reasons(selection) == {"b": ("size", "9x9")}
    assert selection.copies == []  # the copy of another size is gone before copies are sought


def test_grouped_copies_all_stay_and_are_tied_together():
    images = [image("a", pixels="x"), image("b", pixels="x"), image("c")]
    selection = select(images, size=MODAL, duplicates=DROP | {"exact": "group"})
    assert kept(selection) == ["a", "b", "c"]
    assert selection.groups == {"a": "a", "b": "a"}


def test_conflicting_copies_that_stay_are_tied_together():
    images = [image("a", "cat", pixels="x"), image("b", "dog", pixels="x")]
    selection = select(images, size=MODAL, duplicates=DROP | {"conflicting": "off"})
    assert kept(selection) == ["a", "b"]
    assert selection.groups == {"a": "a", "b": "a"}


def test_with_everything_off_everyone_stays():
    images = [image("a", pixels="x"), image("b", "dog", pixels="x", size=(1, 1))]
    selection = select(images, size=ANY_SIZE, duplicates=OFF)
    assert kept(selection) == ["a", "b"]
    assert (selection.excluded, selection.copies, selection.groups) == ([], [], {})


def test_a_class_that_would_vanish_is_an_error_with_advice():
    images = [image("a"), image("b"), image("c", "dog", size=(9, 9))]
    message = r"the filter leaves no image of dog; see filter.size and filter.duplicates"
    with pytest.raises(UserError, match=message):
        select(images, size=MODAL, duplicates=DROP)


# The first two are there in each class, so that no class vanishes.
ANCHORS = [image("00", "cat"), image("01", "dog")]
CANDIDATES = st.lists(
    st.tuples(
        st.sampled_from(["cat", "dog", None]),
        st.sampled_from([(8, 8), (8, 8), (9, 8)]),
        st.sampled_from("xyz"),
    ),
    max_size=12,
).map(
    lambda drawn: [
        *ANCHORS,
        *(
            image(f"{number:02}", label, size=size, pixels=pixels)
            for number, (label, size, pixels) in enumerate(drawn, start=2)
        ),
    ]
)
WAYS = st.fixed_dictionaries(
    {
        "exact": st.sampled_from(["drop", "group", "off"]),
        "near": st.just("off"),
        "conflicting": st.sampled_from(["drop", "off"]),
    }
)


@given(CANDIDATES, WAYS)
def test_everyone_is_kept_or_left_out_exactly_once_in_order(images, duplicates):
    selection = select(images, size=ANY_SIZE, duplicates=duplicates)
    assert sorted(kept(selection) + list(reasons(selection))) == [found.id for found in images]
    assert len(reasons(selection)) == len(selection.excluded)
    assert kept(selection) == sorted(kept(selection))


@given(CANDIDATES)
def test_filtering_the_kept_once_more_leaves_out_nobody(images):
    first = select(images, size=ANY_SIZE, duplicates=DROP)
    again = select(first.kept, size=ANY_SIZE, duplicates=DROP)
    assert again.kept == first.kept
    pixels = [found.sha256 for found in first.kept]
    assert len(set(pixels)) == len(pixels)


@given(CANDIDATES, WAYS)
def test_equal_images_that_stay_share_one_group(images, duplicates):
    selection = select(images, size=ANY_SIZE, duplicates=duplicates)
    if duplicates["exact"] == "off":
        return
    groups = {}
    for found in selection.kept:
        group = selection.groups.get(found.id, found.id)
        assert groups.setdefault(found.sha256, group) == group


def test_the_metrics_of_a_selection_by_hand():
    images = [
        image("a", "cat", pixels="x"),
        image("b", "cat", pixels="x"),
        image("c", "dog"),
        image("d", "dog", size=(9, 9)),
        image("e", "cat", pixels="y"),
        image("f", "dog", pixels="y"),
        image("g", None),
    ]
    metrics = selection_metrics(select(images, size=MODAL, duplicates=DROP))
    assert metrics == {
        "n_images": 7,
        "n_kept": 3,
        "n_excluded": 4,
        "excluded": {"size": 1, "duplicate": 1, "conflicting_labels": 2},
        "modal_size": [8, 8],
        "kept_per_class": {"cat": 1, "dog": 1},
        "excluded_per_class": {"cat": 2, "dog": 2},
        "excluded_per_reason_and_class": {
            "size": {"cat": 0, "dog": 1},
            "duplicate": {"cat": 1, "dog": 0},
            "conflicting_labels": {"cat": 1, "dog": 1},
        },
        "n_copy_groups": 2,
    }


def test_the_files_tell_who_stays_who_goes_and_who_is_whose_copy(tmp_path):
    images = [
        image("a", pixels="x"),
        image("b", pixels="x"),
        image("c", None),
        image("d", size=(9, 8)),
    ]
    duplicates = DROP | {"exact": "group"}
    write_selection(tmp_path, select(images, size=MODAL, duplicates=duplicates))
    assert read_rows(tmp_path / "kept.csv") == [
        {"id": "a", "label": "cat", "part": "", "group": "a"},
        {"id": "b", "label": "cat", "part": "", "group": "a"},
        {"id": "c", "label": "", "part": "unlabelled", "group": ""},
    ]
    assert read_rows(tmp_path / "excluded.csv") == [
        {"id": "d", "label": "cat", "reason": "size", "measured": "9x8"}
    ]
    assert read_rows(tmp_path / "copies.csv") == [
        {"group": "a", "id": "a", "label": "cat", "kept": "true"},
        {"group": "a", "id": "b", "label": "cat", "kept": "true"},
    ]
    assert read_rows(tmp_path / "sizes.csv") == [
        {"size": "8x8", "outcome": "kept", "n_images": "3"},
        {"size": "9x8", "outcome": "size", "n_images": "1"},
    ]


def test_candidates_are_read_from_the_table_in_the_order_of_their_ids(tmp_path):
    candidates = [image("b", "dog"), image("a", None)]
    rows = (
        {
            "id": found.id,
            "image": {"bytes": b"x", "path": found.id},
            "labels": list(found.labels),
            "part": found.part,
            "width": found.size[0],
            "height": found.size[1],
            "sha256": found.sha256,
        }
        for found in candidates
    )
    write_table(tmp_path, rows)
    assert read_candidates(tmp_path) == candidates[::-1]


@pytest.mark.real
def test_real_fruit_of_unusual_size_is_counted_as_zipfile_and_pillow_count_it():
    path = REAL / "fruit.zip"
    if not path.is_file():
        pytest.skip("the real images of fruit.zip are not beside the project")
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        sizes = {name: Image.open(io.BytesIO(archive.read(name))).size for name in names}
    found = find_images(names, where="fruit.zip").images
    candidates = [image(each.id, each.labels[0], size=sizes[each.id]) for each in found]
    for tolerance in (0, 5):
        selection = select(
            candidates, size={"rule": "modal", "tolerance": tolerance}, duplicates=DROP
        )
        outcomes = Counter(
            (
                name.split("/")[-2],
                abs(width - 300) <= tolerance and abs(height - 300) <= tolerance,
            )
            for name, (width, height) in sizes.items()
        )
        metrics = selection_metrics(selection)
        for label, n_kept in metrics["kept_per_class"].items():
            assert n_kept == outcomes[label, True]
            assert metrics["excluded_per_class"][label] == outcomes[label, False]
        assert metrics["modal_size"] == [300, 300]
        assert metrics["excluded"]["size"] == 3580 - metrics["n_kept"] > 0
