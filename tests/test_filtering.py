"""Every image stays, or is excluded for one reason, the first that applies."""

import hashlib
import io
import os
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from classifold.data.csv_file import read_rows
from classifold.data.image_table import write_table
from classifold.errors import UserError
from classifold.filtering import duplicates as duplicates_module
from classifold.filtering.duplicates import bits_apart, equal_groups, linked, near_groups
from classifold.filtering.files import read_candidates, write_selection
from classifold.filtering.metrics import selection_metrics
from classifold.filtering.selection import Candidate, select
from classifold.filtering.size import describe_outlier, modal_size
from classifold.runtime import parallel

REAL = Path(__file__).parents[1].parent / "shared" / "data"

MODAL = {"rule": "modal", "tolerance": 0}
ANY_SIZE = {"rule": "none", "tolerance": 0}
DROP = {"exact": "drop", "near": "off", "distance": 4, "conflicting": "drop"}


def image(name, label="cat", *, size=(8, 8), pixels=None, split=None, group=None, looks=None):
    """A candidate; `pixels` stands for its hash, `looks` (an int) for its perceptual hash."""
    labels = (label,) if label else ()
    split = split if label else "unlabelled"
    pixels = pixels or name
    if looks is None:  # unlike all others
        looks = int.from_bytes(hashlib.sha256(pixels.encode()).digest()[:8], "big")
    return Candidate(name, labels, split, group, size, pixels, f"{looks:016x}")


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(8, 8), (8, 8), (9, 9)], (8, 8)),
        ([(8, 8), (9, 9), (8, 10)], (9, 9)),  # of equally frequent ones that of most pixels
        ([(4, 9), (9, 4), (6, 6)], (9, 4)),  # of equally many pixels the widest
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
    settings = {"rule": "modal", "tolerance": tolerance}
    assert (describe_outlier(size, modal=(8, 8), settings=settings) is not None) is outlier


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        ({"width": [10, 30]}, None),
        ({"width": [21, 30]}, "20x40, width 20"),
        ({"height": [10, 39]}, "20x40, height 40"),
        ({"height": [40, 40]}, None),
        ({"area": [801, 900]}, "20x40, area 800"),
        ({"aspect": [0.5, 2]}, None),
        ({"aspect": [0.6, 2]}, "20x40, aspect 0.5"),
        ({"width": [10, 30], "height": [41, 50]}, "20x40, height 40"),
    ],
)
def test_values_outside_ranges_are_described(ranges, expected):
    settings = {"rule": "ranges", "tolerance": 0, **ranges}
    assert describe_outlier((20, 40), modal=(8, 8), settings=settings) == expected


def test_exact_duplicates_are_grouped_by_equal_hashes():
    assert equal_groups(list("abcbaa")) == [[0, 4, 5], [1, 3]]
    assert equal_groups([]) == []


def test_groups_that_share_a_member_are_one():
    assert linked([[0, 3], [5, 6], [3, 4]], 8) == [[0, 3, 4], [5, 6]]
    assert linked([], 3) == []


def flipped(word, bits):
    return word ^ sum(1 << bit for bit in bits)


@given(
    st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 11), st.sets(st.integers(0, 63), max_size=12)), max_size=20),
    st.integers(0, 12),
)
def test_no_pair_of_near_hashes_is_missed_and_none_is_invented(words, near, distance):
    words = words + [flipped(words[i % len(words)], bits) for i, bits in near]
    hashes = [f"{word:016x}" for word in words]
    pairs = [
        [i, j]
        for i, one in enumerate(hashes)
        for j, other in enumerate(hashes[:i])
        if bits_apart(one, other) <= distance
    ]
    assert near_groups(hashes, distance=distance) == linked(pairs, len(hashes))


def test_near_hashes_are_found_among_many_without_comparing_all_pairs():
    random = np.random.default_rng(0)
    words = random.integers(0, 2**63, 50_000, dtype=np.uint64).tolist()
    words[40_000] = flipped(words[7], [0, 17, 34, 51])  # one bit in each band
    hashes = [f"{word:016x}" for word in words]
    assert near_groups(hashes, distance=3) == []
    assert near_groups(hashes, distance=4) == [[7, 40_000]]


@pytest.mark.parametrize("n_hashes", [3, 700])
def test_a_search_in_several_processes_finds_the_same_groups(monkeypatch, n_hashes):
    random = np.random.default_rng(1)
    words = random.integers(0, 2**63, n_hashes, dtype=np.uint64)
    words[n_hashes // 2 :] = words[: n_hashes - n_hashes // 2] ^ np.uint64(0b1001)
    hashes = [f"{word:016x}" for word in words.tolist()]
    expected = near_groups(hashes, distance=4)
    assert len(expected) == n_hashes // 2
    monkeypatch.setattr(parallel, "MIN_ITEMS_FOR_PROCESSES", 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setattr(duplicates_module, "HASHES_PER_SEARCH", 100)
    assert near_groups(hashes, distance=4) == expected


def choose(*images, size=MODAL, **duplicates):
    return select(list(images), size=size, duplicates=DROP | duplicates)


def reasons_of(selection):
    return {item.image.id: (item.reason, item.measured) for item in selection.excluded}


def kept_ids(selection):
    return [found.id for found in selection.kept]


def test_images_of_unusual_size_are_excluded_with_their_size():
    images = [image("a"), image("b"), image("c", size=(8, 9)), image("d", "dog")]
    selection = choose(*images)
    assert kept_ids(selection) == ["a", "b", "d"]
    assert reasons_of(selection) == {"c": ("size", "8x9")}
    for size in (MODAL | {"tolerance": 1}, ANY_SIZE):
        assert kept_ids(choose(*images, size=size)) == list("abcd")


def test_of_equal_images_the_first_stays():
    selection = choose(*(image(name, pixels="x") for name in "abc"))
    assert kept_ids(selection) == ["a"]
    assert reasons_of(selection) == {"b": ("duplicate", "a"), "c": ("duplicate", "a")}
    found = [(item.image.id, item.group, item.kept) for item in selection.duplicates]
    assert found == [("a", "a", True), ("b", "a", False), ("c", "a", False)]


def test_unlabeled_images_are_never_excluded():
    of_another_size = image("a", None, pixels="x", size=(9, 9))
    selection = choose(of_another_size, image("b", None, pixels="x"), image("c", pixels="x"))
    assert kept_ids(selection) == ["a", "b", "c"]
    assert [item.image.id for item in selection.duplicates] == ["a", "b", "c"]


@pytest.mark.promise("official-test")
def test_an_official_test_split_loses_no_image_and_its_duplicates_are_counted():
    selection = choose(
        image("a", split="train", pixels="x"),
        image("b", split="train", pixels="x"),
        image("c", split="test", pixels="x"),
        image("d", split="test", pixels="x"),
        image("e", split="test", size=(9, 9)),
        image("f", "dog", split="train", pixels="y"),
        image("g", "cat", split="test", pixels="y"),
        image("h", "dog", split="train"),
    )
    assert kept_ids(selection) == ["a", "c", "d", "e", "g", "h"]
    conflict = ("conflicting_labels", "cat / dog")
    assert reasons_of(selection) == {"b": ("duplicate", "a"), "f": conflict}
    assert selection_metrics(selection)["n_test_images_with_duplicates"] == 2  # of g none is left


@pytest.mark.parametrize("exact", ["drop", "group"])
def test_of_duplicates_in_official_train_and_validation_the_validation_image_stays(exact):
    same = [image("a", split="train", pixels="x"), image("b", split="validation", pixels="x")]
    selection = choose(*same, image("c", split="train"), image("d", split="test"), exact=exact)
    assert reasons_of(selection) == {"a": ("duplicate", "b")}


@pytest.mark.promise("never-in-two-splits")
def test_near_duplicates_are_grouped_with_near_group():
    images = [image("a", looks=0), image("b", "dog", looks=0b1111), image("c", looks=0b11111)]
    assert choose(*images).groups == {}
    selection = choose(*images, near="group")
    assert kept_ids(selection) == ["a", "b", "c"]
    assert selection.groups == {"a": "a", "b": "a", "c": "a"}  # c by way of b
    assert [item.kind for item in selection.duplicates] == ["near"] * 3
    assert choose(*images, near="group", distance=3).groups == {"b": "b", "c": "b"}


def test_the_largest_near_duplicate_of_a_label_stays_with_near_drop():
    images = [
        image("a", looks=0),
        image("b", looks=1, size=(9, 9)),
        image("c", "dog", looks=2),
        image("d", looks=0b1111111, size=(7, 7)),  # near to none that stays
        image("e", looks=0b0011111),  # exactly 4 bits from b
    ]
    selection = choose(*images, size=ANY_SIZE, near="drop")
    assert reasons_of(selection) == {"a": ("duplicate", "b"), "e": ("duplicate", "b")}
    assert selection.groups == dict.fromkeys("bcd", "a")


def test_a_declared_group_acts_as_a_group_of_duplicates_and_merges_with_it():
    first = [image("a", group="patient 1"), image("b", group="patient 1", pixels="x")]
    second = [image("c", group="patient 2", pixels="x"), image("d", "dog", group="patient 2")]
    selection = choose(*first, *second, image("e"), exact="group")
    assert selection.groups == dict.fromkeys("abcd", "a")
    assert [item.image.id for item in selection.duplicates] == ["b", "c"]


def test_equal_images_with_different_labels_are_all_excluded():
    equal = [image("a", pixels="x"), image("b", "dog", pixels="x"), image("c", pixels="x")]
    selection = choose(*equal, image("d"), image("e", "dog"))
    assert kept_ids(selection) == ["d", "e"]
    assert reasons_of(selection) == dict.fromkeys("abc", ("conflicting_labels", "cat / dog"))


@pytest.mark.promise("reasons")
def test_an_image_is_excluded_for_one_reason_the_first():
    selection = choose(image("a", pixels="x"), image("b", pixels="x", size=(9, 9)), image("c"))
    assert reasons_of(selection) == {"b": ("size", "9x9")}
    assert selection.duplicates == []  # the duplicate of another size is excluded before the search


@pytest.mark.parametrize(
    ("label", "settings"), [("cat", {"exact": "group"}), ("dog", {"conflicting": "off"})]
)
def test_duplicates_that_stay_are_in_one_group(label, settings):
    images = [image("a", pixels="x"), image("b", label, pixels="x"), image("c")]
    selection = choose(*images, **settings)
    assert kept_ids(selection) == ["a", "b", "c"]
    assert selection.groups == {"a": "a", "b": "a"}


def test_with_all_rules_off_every_image_stays():
    images = [image("a", pixels="x"), image("b", "dog", pixels="x", size=(1, 1))]
    selection = choose(*images, size=ANY_SIZE, exact="off", conflicting="off")
    assert selection[:4] == (images, [], [], {})


def test_a_class_without_a_remaining_image_is_an_error_with_a_remedy():
    message = r"filter: .*'dog' remains, got 1 excluded \(1 size\)\. filter\.size\.rule: none"
    with pytest.raises(UserError, match=message):
        choose(image("a"), image("b"), image("c", "dog", size=(9, 9)))


def test_classes_of_equal_images_alone_are_an_error_that_names_the_conflict():
    with pytest.raises(UserError) as error:
        choose(image("a", pixels="x"), image("b", "dog", pixels="x"), image("c", pixels="x"))
    assert "'cat', 'dog' remains, got 3 excluded (3 conflicting labels)" in str(error.value)
    assert "Correct the labels of equal images" in str(error.value)
    assert "filter." not in str(error.value)


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
        "near": st.sampled_from(["drop", "group", "off"]),
        "distance": st.integers(0, 12),
        "conflicting": st.sampled_from(["drop", "off"]),
    }
)


@given(CANDIDATES, WAYS)
@pytest.mark.promise("reasons")
def test_every_image_is_kept_or_excluded_exactly_once_in_order(images, duplicates):
    selection = select(images, size=ANY_SIZE, duplicates=duplicates)
    assert sorted(kept_ids(selection) + list(reasons_of(selection))) == [
        found.id for found in images
    ]
    assert len(reasons_of(selection)) == len(selection.excluded)
    assert kept_ids(selection) == sorted(kept_ids(selection))


@given(CANDIDATES)
def test_filtering_the_kept_images_again_excludes_none(images):
    first = select(images, size=ANY_SIZE, duplicates=DROP)
    again = select(first.kept, size=ANY_SIZE, duplicates=DROP)
    assert again.kept == first.kept
    pixels = [found.sha256 for found in first.kept if found.labels]
    assert len(set(pixels)) == len(pixels)


@given(CANDIDATES, WAYS)
@pytest.mark.promise("never-in-two-splits")
def test_equal_images_that_stay_share_one_group(images, duplicates):
    selection = select(images, size=ANY_SIZE, duplicates=duplicates)
    if duplicates["exact"] == duplicates["near"] == "off":
        return
    groups = {}
    for found in selection.kept:
        group = selection.groups.get(found.id, found.id)
        assert groups.setdefault(found.sha256, group) == group


def test_the_metrics_of_a_selection_by_hand():
    selection = choose(
        image("a", "cat", pixels="x"),
        image("b", "cat", pixels="x"),
        image("c", "dog"),
        image("d", "dog", size=(9, 9)),
        image("e", "cat", pixels="y"),
        image("f", "dog", pixels="y"),
        image("g", None),
    )
    assert selection_metrics(selection) == {
        "n_images": 7,
        "n_kept": 3,
        "n_excluded": 4,
        "excluded": {"size": 1, "duplicate": 1, "conflicting_labels": 2, "limit": 0},
        "modal_size": [8, 8],
        "kept_per_class": {"cat": 1, "dog": 1},
        "excluded_per_class": {"cat": 2, "dog": 2},
        "excluded_per_reason_and_class": {
            "size": {"cat": 0, "dog": 1},
            "duplicate": {"cat": 1, "dog": 0},
            "conflicting_labels": {"cat": 1, "dog": 1},
            "limit": {"cat": 0, "dog": 0},
        },
        "n_duplicate_groups": 2,
        "n_duplicates": {"exact": 4},
        "n_test_images_with_duplicates": 0,
    }


def test_the_files_list_kept_images_excluded_images_and_duplicates(tmp_path):
    equal = [image("a", pixels="x"), image("b", pixels="x")]
    selection = choose(*equal, image("c", None), image("d", size=(9, 8)), exact="group")
    write_selection(tmp_path, selection)
    assert read_rows(tmp_path / "kept.csv") == [
        {"id": "a", "label": "cat", "split": "", "group": "a"},
        {"id": "b", "label": "cat", "split": "", "group": "a"},
        {"id": "c", "label": "", "split": "unlabelled", "group": ""},
    ]
    assert read_rows(tmp_path / "excluded.csv") == [
        {"id": "d", "label": "cat", "reason": "size", "measured": "9x8"}
    ]
    assert read_rows(tmp_path / "duplicates.csv") == [
        {"group": "a", "id": i, "label": "cat", "split": "", "kind": "exact", "kept": "true"}
        for i in "ab"
    ]
    assert read_rows(tmp_path / "sizes.csv") == [
        {"size": "8x8", "outcome": "kept", "n_images": "3"},
        {"size": "9x8", "outcome": "size", "n_images": "1"},
    ]
    assert read_rows(tmp_path / "classes.csv") == [
        {"class": "cat", "outcome": "kept", "n_images": "2"},
        {"class": "cat", "outcome": "size", "n_images": "1"},
    ]


def test_candidates_are_read_from_the_table_in_the_order_of_their_ids(tmp_path):
    candidates = [image("b", "dog"), image("a", None)]
    rows = (
        {
            "id": found.id,
            "image": {"bytes": b"x", "path": found.id},
            "labels": list(found.labels),
            "split": found.split,
            "width": found.size[0],
            "height": found.size[1],
            "sha256": found.sha256,
            "perceptual_hash": found.perceptual_hash,
            "group": found.group,
        }
        for found in candidates
    )
    write_table(tmp_path, rows)
    assert read_candidates(tmp_path) == candidates[::-1]


@pytest.mark.real
def test_real_fruit_images_of_unusual_size_are_counted_as_by_zipfile_and_pillow():
    path = REAL / "fruit.zip"
    if not path.is_file():
        pytest.skip("the real images of fruit.zip are not beside the project")
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        sizes = {name: Image.open(io.BytesIO(archive.read(name))).size for name in names}
    candidates = [image(name, name.split("/")[-2], size=sizes[name]) for name in names]
    for tolerance in (0, 5):
        metrics = selection_metrics(choose(*candidates, size=MODAL | {"tolerance": tolerance}))
        outcomes = Counter(
            (name.split("/")[-2], max(abs(width - 300), abs(height - 300)) <= tolerance)
            for name, (width, height) in sizes.items()
        )
        for label, n_kept in metrics["kept_per_class"].items():
            assert n_kept == outcomes[label, True]
            assert metrics["excluded_per_class"][label] == outcomes[label, False]
        assert metrics["modal_size"] == [300, 300]
        assert metrics["excluded"]["size"] == 3580 - metrics["n_kept"] > 0
