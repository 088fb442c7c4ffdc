"""Who goes where: every image to one part, groups whole, every part the same mix."""

import itertools
import warnings
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold

from classifold.data.csv_file import read_rows, write_rows
from classifold.data.split_file import read_split
from classifold.errors import UserError
from classifold.splitting.files import read_kept, write_splits
from classifold.splitting.splits import PARTS, Image, assign_splits, split_metrics
from classifold.splitting.stratified import stratify, stratify_folds

FRACTIONS = {"train": 0.7, "validation": 0.15, "test": 0.15}
LABELS = ["cat"] * 23 + ["dog"] * 60 + ["owl"] * 3
IDS = [f"{i:03}" for i in range(len(LABELS))]

CLASS_SIZES = st.lists(st.integers(3, 40), min_size=2, max_size=4)
SHARE_TRIPLES = (
    st.tuples(*[st.integers(1, 20)] * 3)
    .filter(lambda counts: sum(counts) > 0)
    .map(lambda counts: {split: n / sum(counts) for split, n in zip(PARTS, counts, strict=True)})
)


def split_by_class(labels, groups, *, fractions, seed):
    return stratify([(label,) for label in labels], groups, fractions=fractions, seed=seed)


def drawn(class_sizes):
    labels = [f"class{i}" for i, size in enumerate(class_sizes) for _ in range(size)]
    return labels, [f"{i:03}" for i in range(len(labels))]


@given(CLASS_SIZES, SHARE_TRIPLES, st.integers(0, 9))
def test_every_image_is_in_one_part_and_every_class_in_each(class_sizes, fractions, seed):
    labels, ids = drawn(class_sizes)
    splits = split_by_class(labels, ids, fractions=fractions, seed=seed)
    assert len(splits) == len(labels)
    assert set(zip(labels, splits, strict=True)) == set(itertools.product(set(labels), PARTS))


@given(st.integers(3, 40), SHARE_TRIPLES)
def test_no_other_split_of_a_class_comes_nearer_to_its_shares(size, fractions):
    assume(min(fractions.values()) * size >= 1)
    counts = Counter(split_by_class(["cat"] * size, drawn([size])[1], fractions=fractions, seed=0))

    def distance(n_images):
        wanted = (share * size for share in fractions.values())
        return sum(abs(n - want) for n, want in zip(n_images, wanted, strict=True))

    triples = itertools.product(range(1, size + 1), repeat=3)
    nearest = min(distance(triple) for triple in triples if sum(triple) == size)
    assert distance([counts[split] for split in PARTS]) == pytest.approx(nearest)


@given(st.lists(st.integers(1, 5), min_size=6, max_size=20), SHARE_TRIPLES, st.integers(0, 9))
def test_groups_stay_whole_and_shares_miss_by_less_than_a_group(group_sizes, fractions, seed):
    groups = [f"{i:02}" for i, size in enumerate(group_sizes) for _ in range(size)]
    splits = split_by_class(["cat"] * len(groups), groups, fractions=fractions, seed=seed)
    sides = defaultdict(set)
    for group, split in zip(groups, splits, strict=True):
        sides[group].add(split)
    assert all(len(side) == 1 for side in sides.values())
    assert set(splits) == set(PARTS)
    counts = Counter(splits)
    for split, share in fractions.items():
        assert counts[split] - max(share * len(groups), 1) < max(group_sizes)


@given(st.randoms(use_true_random=False))
def test_the_order_of_images_does_not_matter(random):
    groups = [f"{i // 2:03}" if i < 20 else image_id for i, image_id in enumerate(IDS)]
    expected = dict(
        zip(IDS, split_by_class(LABELS, groups, fractions=FRACTIONS, seed=1), strict=True)
    )
    order = list(range(len(IDS)))
    random.shuffle(order)
    splits = split_by_class(
        [LABELS[i] for i in order], [groups[i] for i in order], fractions=FRACTIONS, seed=1
    )
    assert {IDS[i]: split for i, split in zip(order, splits, strict=True)} == expected


def test_another_seed_gives_another_split_with_the_same_counts():
    splits = [split_by_class(LABELS, IDS, fractions=FRACTIONS, seed=seed) for seed in (1, 1, 2)]
    assert splits[0] == splits[1] != splits[2]
    counts = [Counter(zip(LABELS, splits, strict=True)) for splits in splits]
    assert counts[0] == counts[2]


def test_a_split_by_hand():
    splits = split_by_class(["cat"] * 20 + ["dog"] * 3, IDS[:23], fractions=FRACTIONS, seed=0)
    assert Counter(splits[:20]) == {"train": 14, "validation": 3, "test": 3}
    assert Counter(splits[20:]) == {"train": 1, "validation": 1, "test": 1}


def test_large_groups_leave_no_part_empty():
    groups = ["a"] * 5 + ["b"] * 5 + ["c"] * 5
    fractions = {"train": 0.8, "validation": 0.1, "test": 0.1}
    splits = split_by_class(["cat"] * 15, groups, fractions=fractions, seed=0)
    assert Counter(splits) == {"train": 5, "validation": 5, "test": 5}


def test_a_part_without_a_share_stays_empty():
    fractions = {"train": 0.8, "validation": 0.2, "test": 0.0}
    splits = split_by_class(LABELS, IDS, fractions=fractions, seed=0)
    assert set(splits) == {"train", "validation"}


def test_a_group_of_mixed_labels_goes_as_one():
    labels = [*LABELS, "cat", "dog", "dog"]
    groups = [*IDS, "mixed", "mixed", "mixed"]
    for seed in range(5):
        splits = split_by_class(labels, groups, fractions=FRACTIONS, seed=seed)
        assert len(set(splits[-3:])) == 1


@pytest.mark.parametrize(
    ("groups", "counted"),
    [
        (["a"], "1 image"),
        (["a", "b"], "2 images"),
        (["a", "a", "a", "b"], "2 images"),
    ],
)
def test_a_class_too_small_for_all_parts_is_refused_with_its_count(groups, counted):
    labels = ["cat"] * 20 + ["owl"] * len(groups)
    message = (
        rf"class 'owl' has {counted} to share out \(copies and images of one group count once\), "
        "but split.fractions needs at least 3, one each for train, validation, test; add images"
    )
    with pytest.raises(UserError, match=message):
        split_by_class(labels, [*IDS[:20], *groups], fractions=FRACTIONS, seed=0)


# Of the report on photos: fractions of images that bear each of 14 labels.
FREQUENCIES = (
    *(0.00469, 0.018, 0.01594, 0.05475, 0.0224, 0.16138, 0.03806),
    *(0.14894, 0.02988, 0.32013, 0.15606, 0.006, 0.00863, 0.02625),
)


def photos(n_images, *, bare, seed):
    """Label sets of photos, with images that bear none, or all with some."""
    draw = np.random.default_rng(seed).random((n_images * 3, len(FREQUENCIES)))
    labels = [tuple(f"label{i:02}" for i in np.flatnonzero(row)) for row in draw < FREQUENCIES]
    return [of_image for of_image in labels if bare or of_image][:n_images]


def largest_gap(labels, splits):
    images = [Image(str(i), of_image, str(i), None) for i, of_image in enumerate(labels)]
    return split_metrics(images, splits)["max_proportion_gap"]


@pytest.mark.parametrize("bare", [True, False], ids=["some bear no label", "all bear some"])
@pytest.mark.parametrize("fractions", [FRACTIONS, {"train": 0.8, "validation": 0.2, "test": 0.0}])
def test_20000_photos_of_14_labels_are_shared_out_as_evenly_as_in_the_report(bare, fractions):
    labels = photos(20_000, bare=bare, seed=1)
    splits = stratify(labels, [str(i) for i in range(20_000)], fractions=fractions, seed=0)
    assert largest_gap(labels, splits) <= 0.0005
    assert [Counter(splits)[split] for split in PARTS] == [
        round(20_000 * s) for s in fractions.values()
    ]


@given(
    st.lists(
        st.tuples(st.sets(st.sampled_from("abcd")), st.integers(0, 12)), min_size=1, max_size=60
    ),
    st.integers(0, 9),
)
def test_several_labels_an_image_are_shared_out_with_groups_whole(drawn, seed):
    labels = [tuple(sorted(of_image)) for of_image, _ in drawn]
    groups = [str(group) for _, group in drawn]
    bearers = defaultdict(set)
    for of_image, group in zip(labels, groups, strict=True):
        for label in of_image:
            bearers[label].add(group)
    assume(all(len(of_label) >= 3 for of_label in bearers.values()))
    splits = stratify(labels, groups, fractions=FRACTIONS, seed=seed)
    sides = defaultdict(set)
    for group, split in zip(groups, splits, strict=True):
        sides[group].add(split)
    assert len(splits) == len(labels)
    assert set(splits) <= set(PARTS)
    assert all(len(side) == 1 for side in sides.values())


@given(st.randoms(use_true_random=False))
def test_the_order_of_images_with_several_labels_does_not_matter(random):
    labels = photos(300, bare=True, seed=2)
    labels = [tuple(label for label in of_image if label in COMMON) for of_image in labels]
    ids = [f"{i:03}" for i in range(300)]
    expected = dict(zip(ids, stratify(labels, ids, fractions=FRACTIONS, seed=1), strict=True))
    order = list(range(300))
    random.shuffle(order)
    splits = stratify(
        [labels[i] for i in order], [ids[i] for i in order], fractions=FRACTIONS, seed=1
    )
    assert {ids[i]: split for i, split in zip(order, splits, strict=True)} == expected


COMMON = {"label03", "label05", "label07", "label09", "label10"}


@pytest.mark.parametrize("seed", [0, 3, 4, 13, 15, 20, 23, 24, 29, 31, 37, 38])
def test_trading_takes_no_part_its_last_image_of_a_label(seed):
    """Few images in groups: where the mixes would come closer if a part went without."""
    draw = np.random.default_rng(seed)
    labels = [tuple(str(i) for i in np.flatnonzero(row)) for row in draw.random((24, 4)) < 0.25]
    groups = [str(draw.integers(0, 18)) for _ in range(24)]
    splits = stratify(labels, groups, fractions=FRACTIONS, seed=0)
    for label in "0123":
        assert {split for split, of in zip(splits, labels, strict=True) if label in of} == set(
            PARTS
        )


def test_images_without_a_label_have_their_share_in_every_part():
    labels = [("cat",)] * 20 + [()] * 100
    splits = stratify(labels, [str(i) for i in range(120)], fractions=FRACTIONS, seed=0)
    assert Counter(splits[20:]) == {"train": 70, "validation": 15, "test": 15}


@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(2, 7), st.integers(0, 9))
def test_folds_hold_of_each_class_as_many_images_as_scikit_learns(class_sizes, n_folds, seed):
    assume(max(class_sizes) >= n_folds)
    labels, ids = drawn(class_sizes)
    folds = stratify_folds(
        [(label,) for label in labels], ids, n_folds=n_folds, seed=seed, setting="stack.folds"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes with fewer images than folds
        splits = list(StratifiedKFold(n_folds).split(labels, labels))
    for label in set(labels):
        ours = Counter(folds[np.array(labels) == label])
        theirs = [sum(labels[i] == label for i in held_out) for _, held_out in splits]
        assert sorted(ours[fold] for fold in range(n_folds)) == sorted(theirs)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 15)), min_size=16, max_size=60),
    st.integers(2, 6),
    st.integers(0, 9),
)
def test_folds_keep_groups_whole_and_none_is_empty_while_there_are_groups(drawn, n_folds, seed):
    labels = [(f"class{label}",) for label, _ in drawn]
    groups = [str(group) for _, group in drawn]
    assume(len(set(groups)) >= n_folds)
    folds = stratify_folds(labels, groups, n_folds=n_folds, seed=seed, setting="stack.folds")
    sides = defaultdict(set)
    for group, fold in zip(groups, folds, strict=True):
        sides[group].add(fold)
    assert all(len(side) == 1 for side in sides.values())
    assert set(folds.tolist()) == set(range(n_folds))


def test_small_classes_alone_fill_folds_evenly():
    labels = [(f"class{i // 2}",) for i in range(120)]  # 60 classes of two images
    folds = stratify_folds(
        labels, [str(i) for i in range(120)], n_folds=7, seed=1, setting="stack.folds"
    )
    assert sorted(Counter(folds.tolist()).values()) == [17] * 6 + [18]
    assert all(folds[i] != folds[i + 1] for i in range(0, 120, 2))


def test_more_folds_than_groups_are_refused():
    message = r"stack\.folds is 4, and 9 images .* fill no more than 3 folds"
    with pytest.raises(UserError, match=message):
        stratify_folds([("cat",)] * 9, list("aaabbbccc"), n_folds=4, seed=0, setting="stack.folds")


def test_numpys_global_random_numbers_are_left_alone():
    np.random.seed(1)
    before = np.random.get_state()[1].tolist()
    stratify(photos(200, bare=True, seed=3)[:200], list(map(str, range(200))),
             fractions={"train": 1.0}, seed=0)  # fmt: skip
    assert np.random.get_state()[1].tolist() == before


def listed(labels, *, split=None, name="image"):
    return [
        Image(f"{name}{i:03}", (label,), f"{name}{i:03}", split) for i, label in enumerate(labels)
    ]


def counted(images, **kwargs):
    splits = assign_splits(images, fractions=FRACTIONS, seed=0, **kwargs)
    return splits, Counter(splits)


def test_an_official_test_stays_and_validation_is_a_share_of_train():
    train = listed(["cat", "dog"] * 100, split="train", name="train")
    test = listed(["cat"] * 7 + ["dog"] * 3, split="test", name="test")
    splits, counts = counted([*test, *train])
    assert splits[:10] == ["test"] * 10
    assert counts == {"train": 170, "validation": 30, "test": 10}


def test_three_official_parts_are_kept_to_the_image():
    images = [
        *listed(["cat"] * 5, split="train", name="a"),
        *listed(["cat"] * 2, split="validation", name="b"),
        *listed(["cat"] * 3, split="test", name="c"),
    ]
    assert counted(images)[0] == [image.split for image in images]


def test_images_of_no_part_beside_official_ones_are_for_training():
    images = [
        *listed(["cat"] * 20, name="new"),
        *listed(["cat"] * 2, split="validation", name="b"),
        *listed(["cat"] * 3, split="test", name="c"),
    ]
    assert counted(images)[1] == {"train": 20, "validation": 2, "test": 3}


def test_copies_of_official_test_images_may_stay_in_training():
    images = [
        *listed(["cat", "dog"] * 20, split="train", name="train"),
        Image("test0", ("cat",), "train000", "test"),
    ]
    splits, counts = counted(images)
    assert (splits[-1], counts["test"]) == ("test", 1)
    assert split_metrics(images, splits)["n_groups_across_splits"] == 1


def metrics_of(labels, groups, splits):
    images = [
        Image(str(i), (label,), group, None)
        for i, (label, group) in enumerate(zip(labels, groups, strict=True))
    ]
    return split_metrics(images, splits)


def test_the_metrics_of_a_split_by_hand():
    labels = ["cat", "cat", "cat", "dog", "dog", "dog"]
    splits = ["train", "train", "validation", "train", "train", "validation"]
    groups = ["1", "1", "2", "3", "4", "4"]
    assert metrics_of(labels, groups, splits) == {
        "n_train": 4,
        "n_validation": 2,
        "n_test": 0,
        "class_proportions": {
            "train": {"cat": 0.5, "dog": 0.5},
            "validation": {"cat": 0.5, "dog": 0.5},
            "test": {},
        },
        "max_proportion_gap": 0.0,
        "n_groups": 4,
        "n_groups_across_splits": 1,
    }
    splits[1] = "validation"  # train: 1 cat of 3, validation: 2 cats of 3
    metrics = metrics_of(labels, groups, splits)
    assert metrics["max_proportion_gap"] == pytest.approx(1 / 3)
    assert metrics["n_groups_across_splits"] == 2


def test_shares_of_several_labels_are_shares_of_images():
    images = [
        Image("a", ("cat", "dog"), "a", None),
        Image("b", (), "b", None),
        Image("c", ("cat",), "c", None),
    ]
    metrics = split_metrics(images, ["train", "train", "validation"])
    assert metrics["class_proportions"] == {
        "train": {"cat": 0.5, "dog": 0.5},
        "validation": {"cat": 1.0, "dog": 0.0},
        "test": {},
    }
    assert metrics["max_proportion_gap"] == 0.5


def test_a_split_of_ours_reports_no_group_across_parts():
    groups = [f"{label}{i % 12}" for i, label in enumerate(LABELS)]
    splits = split_by_class(LABELS, groups, fractions=FRACTIONS, seed=3)
    metrics = metrics_of(LABELS, groups, splits)
    assert metrics["n_groups_across_splits"] == 0
    assert metrics["n_groups"] == len(set(groups))


def test_the_kept_are_read_without_the_unlabelled_and_each_has_a_group(tmp_path):
    rows = [
        {"id": "a", "label": "cat", "split": "", "group": ""},
        {"id": "b", "label": "cat|dog", "split": "test", "group": "c"},
        {"id": "n", "label": "", "split": "", "group": ""},
        {"id": "u", "label": "", "split": "unlabelled", "group": ""},
    ]
    write_rows(tmp_path / "kept.csv", rows, columns=list(rows[0]))
    assert read_kept(tmp_path) == [
        Image("a", ("cat",), "a", None),
        Image("b", ("cat", "dog"), "c", "test"),
        Image("n", (), "n", None),
    ]


def test_parts_come_back_as_they_were_written_the_empty_one_too(tmp_path):
    images = [
        Image("a", ("cat",), "a", None),
        Image("b, c", ("dog",), "b, c", None),
        Image("d", ("cat",), "a", None),
    ]
    write_splits(tmp_path, images, ["train", "validation", "train"])
    assert read_split(tmp_path / "train.csv") == {"a": ("cat",), "d": ("cat",)}
    assert read_split(tmp_path / "validation.csv") == {"b, c": ("dog",)}
    assert read_split(tmp_path / "test.csv") == {}
    fractions = read_rows(tmp_path / "class_proportions.csv")
    assert {"class": "cat", "split": "train", "proportion": "1.000000"} in fractions
    assert {"class": "cat", "split": "validation", "proportion": "0.000000"} in fractions


@pytest.mark.parametrize("labels", [("cat", "dog"), ()])
def test_several_labels_and_none_come_back(tmp_path, labels):
    write_splits(tmp_path, [Image("a", labels, "a", None), Image("b", ("cat",), "b", None)],
                ["train", "validation"])  # fmt: skip
    assert read_rows(tmp_path / "train.csv")[0]["label"] == "|".join(labels)
    assert read_split(tmp_path / "train.csv") == {"a": labels}


def test_large_classes_get_their_shares_to_the_image():
    labels = np.repeat(["cat", "dog"], [1000, 2000]).tolist()
    splits = split_by_class(labels, [str(i) for i in range(3000)], fractions=FRACTIONS, seed=0)
    assert Counter(zip(labels, splits, strict=True)) == {
        ("cat", "train"): 700,
        ("cat", "validation"): 150,
        ("cat", "test"): 150,
        ("dog", "train"): 1400,
        ("dog", "validation"): 300,
        ("dog", "test"): 300,
    }
