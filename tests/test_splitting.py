"""Who goes where: every image to one part, groups whole, every part the same mix."""

import itertools
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from classifold.csv_file import write_rows
from classifold.errors import UserError
from classifold.splitting.files import PARTS, Listed, read_kept, read_part, write_parts
from classifold.splitting.stratified import split_by_class, split_metrics

SHARES = {"train": 0.7, "validation": 0.15, "test": 0.15}
LABELS = ["cat"] * 23 + ["dog"] * 60 + ["owl"] * 3
IDS = [f"{i:03}" for i in range(len(LABELS))]

CLASS_SIZES = st.lists(st.integers(3, 40), min_size=2, max_size=4)
SHARE_TRIPLES = (
    st.tuples(*[st.integers(1, 20)] * 3)
    .filter(lambda counts: sum(counts) > 0)
    .map(lambda counts: {part: n / sum(counts) for part, n in zip(PARTS, counts, strict=True)})
)


def drawn(class_sizes):
    labels = [f"class{i}" for i, size in enumerate(class_sizes) for _ in range(size)]
    return labels, [f"{i:03}" for i in range(len(labels))]


@given(CLASS_SIZES, SHARE_TRIPLES, st.integers(0, 9))
def test_every_image_is_in_one_part_and_every_class_in_each(class_sizes, shares, seed):
    labels, ids = drawn(class_sizes)
    parts = split_by_class(labels, ids, shares=shares, seed=seed)
    assert len(parts) == len(labels)
    assert set(zip(labels, parts, strict=True)) == set(itertools.product(set(labels), PARTS))


@given(st.integers(3, 40), SHARE_TRIPLES)
def test_no_other_split_of_a_class_comes_nearer_to_its_shares(size, shares):
    assume(min(shares.values()) * size >= 1)
    counts = Counter(split_by_class(["cat"] * size, drawn([size])[1], shares=shares, seed=0))

    def distance(n_images):
        wanted = (share * size for share in shares.values())
        return sum(abs(n - want) for n, want in zip(n_images, wanted, strict=True))

    triples = itertools.product(range(1, size + 1), repeat=3)
    nearest = min(distance(triple) for triple in triples if sum(triple) == size)
    assert distance([counts[part] for part in PARTS]) == pytest.approx(nearest)


@given(st.lists(st.integers(1, 5), min_size=6, max_size=20), SHARE_TRIPLES, st.integers(0, 9))
def test_groups_stay_whole_and_shares_miss_by_less_than_a_group(group_sizes, shares, seed):
    groups = [f"{i:02}" for i, size in enumerate(group_sizes) for _ in range(size)]
    parts = split_by_class(["cat"] * len(groups), groups, shares=shares, seed=seed)
    sides = defaultdict(set)
    for group, part in zip(groups, parts, strict=True):
        sides[group].add(part)
    assert all(len(side) == 1 for side in sides.values())
    assert set(parts) == set(PARTS)
    counts = Counter(parts)
    for part, share in shares.items():
        assert counts[part] - max(share * len(groups), 1) < max(group_sizes)


@given(st.randoms(use_true_random=False))
def test_the_order_of_images_does_not_matter(random):
    groups = [f"{i // 2:03}" if i < 20 else image_id for i, image_id in enumerate(IDS)]
    expected = dict(zip(IDS, split_by_class(LABELS, groups, shares=SHARES, seed=1), strict=True))
    order = list(range(len(IDS)))
    random.shuffle(order)
    parts = split_by_class(
        [LABELS[i] for i in order], [groups[i] for i in order], shares=SHARES, seed=1
    )
    assert {IDS[i]: part for i, part in zip(order, parts, strict=True)} == expected


def test_a_class_is_split_as_if_it_were_alone():
    alone = split_by_class(LABELS[:23], IDS[:23], shares=SHARES, seed=1)
    assert split_by_class(LABELS, IDS, shares=SHARES, seed=1)[:23] == alone


def test_another_seed_gives_another_split_with_the_same_counts():
    splits = [split_by_class(LABELS, IDS, shares=SHARES, seed=seed) for seed in (1, 1, 2)]
    assert splits[0] == splits[1] != splits[2]
    counts = [Counter(zip(LABELS, parts, strict=True)) for parts in splits]
    assert counts[0] == counts[2]


def test_a_split_by_hand():
    parts = split_by_class(["cat"] * 20 + ["dog"] * 3, IDS[:23], shares=SHARES, seed=0)
    assert Counter(parts[:20]) == {"train": 14, "validation": 3, "test": 3}
    assert Counter(parts[20:]) == {"train": 1, "validation": 1, "test": 1}


def test_large_groups_leave_no_part_empty():
    groups = ["a"] * 5 + ["b"] * 5 + ["c"] * 5
    shares = {"train": 0.8, "validation": 0.1, "test": 0.1}
    parts = split_by_class(["cat"] * 15, groups, shares=shares, seed=0)
    assert Counter(parts) == {"train": 5, "validation": 5, "test": 5}


def test_a_part_without_a_share_stays_empty():
    shares = {"train": 0.8, "validation": 0.2, "test": 0.0}
    parts = split_by_class(LABELS, IDS, shares=shares, seed=0)
    assert set(parts) == {"train", "validation"}


def test_a_group_of_mixed_labels_goes_as_one():
    labels = [*LABELS, "cat", "dog", "dog"]
    groups = [*IDS, "mixed", "mixed", "mixed"]
    for seed in range(5):
        parts = split_by_class(labels, groups, shares=SHARES, seed=seed)
        assert len(set(parts[-3:])) == 1


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (["a"], "class 'owl' has 1 image to share out"),
        (["a", "b"], "class 'owl' has 2 images to share out"),
        (["a", "a", "a", "b"], r"class 'owl' has 2 images to share out \(copies count once\)"),
    ],
)
def test_a_class_too_small_for_all_parts_is_refused_with_advice(groups, message):
    labels = ["cat"] * 20 + ["owl"] * len(groups)
    advice = ", but split.shares needs at least 3, one each for train, validation, test; add images"
    with pytest.raises(UserError, match=message) as caught:
        split_by_class(labels, [*IDS[:20], *groups], shares=SHARES, seed=0)
    assert advice in str(caught.value).replace(" (copies count once)", "")


def test_the_metrics_of_a_split_by_hand():
    labels = ["cat", "cat", "cat", "dog", "dog", "dog"]
    parts = ["train", "train", "validation", "train", "train", "validation"]
    groups = ["1", "1", "2", "3", "4", "4"]
    assert split_metrics(labels, groups, parts, names=PARTS) == {
        "n_train": 4,
        "n_validation": 2,
        "n_test": 0,
        "class_shares": {
            "train": {"cat": 0.5, "dog": 0.5},
            "validation": {"cat": 0.5, "dog": 0.5},
            "test": {},
        },
        "max_share_gap": 0.0,
        "n_groups": 4,
        "n_groups_across_parts": 1,
    }
    parts[1] = "validation"  # train: 1 cat of 3, validation: 2 cats of 3
    metrics = split_metrics(labels, groups, parts, names=PARTS)
    assert metrics["max_share_gap"] == pytest.approx(1 / 3)
    assert metrics["n_groups_across_parts"] == 2


def test_a_split_of_ours_reports_no_group_across_parts():
    groups = [f"{label}{i % 12}" for i, label in enumerate(LABELS)]
    parts = split_by_class(LABELS, groups, shares=SHARES, seed=3)
    metrics = split_metrics(LABELS, groups, parts, names=PARTS)
    assert metrics["n_groups_across_parts"] == 0
    assert metrics["n_groups"] == len(set(groups))


def test_the_kept_are_read_without_the_unlabelled_and_each_has_a_group(tmp_path):
    rows = [
        {"id": "a", "label": "cat", "part": "", "group": ""},
        {"id": "b", "label": "cat", "part": "", "group": "c"},
        {"id": "u", "label": "", "part": "unlabelled", "group": ""},
    ]
    write_rows(tmp_path / "kept.csv", rows, columns=list(rows[0]))
    assert read_kept(tmp_path) == [Listed("a", "cat", "a"), Listed("b", "cat", "c")]


def test_parts_come_back_as_they_were_written_the_empty_one_too(tmp_path):
    images = [Listed("a", "cat", "a"), Listed("b, c", "dog", "b, c"), Listed("d", "cat", "a")]
    write_parts(tmp_path, images, ["train", "validation", "train"])
    assert read_part(tmp_path / "train.csv") == {"a": "cat", "d": "cat"}
    assert read_part(tmp_path / "validation.csv") == {"b, c": "dog"}
    assert read_part(tmp_path / "test.csv") == {}


def test_large_classes_get_their_shares_to_the_image():
    labels = np.repeat(["cat", "dog"], [1000, 2000]).tolist()
    parts = split_by_class(labels, [str(i) for i in range(3000)], shares=SHARES, seed=0)
    assert Counter(zip(labels, parts, strict=True)) == {
        ("cat", "train"): 700,
        ("cat", "validation"): 150,
        ("cat", "test"): 150,
        ("dog", "train"): 1400,
        ("dog", "validation"): 300,
        ("dog", "test"): 300,
    }
