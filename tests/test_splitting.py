"""Every image is in one split, groups stay whole, and splits have the same class proportions."""

import itertools
import subprocess
import sys
import warnings
from collections import Counter
from contextlib import nullcontext
from functools import partial
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import assume, given, reject
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold
from skmultilearn.model_selection import IterativeStratification

from classifold.data.csv_file import read_rows, write_rows
from classifold.data.exclusions import split_warnings
from classifold.data.split_file import read_split
from classifold.errors import UserError
from classifold.splitting.files import read_kept, write_splits
from classifold.splitting.rare_classes import in_rare_classes
from classifold.splitting.scikit_multilearn import stratify_with_scikit_multilearn
from classifold.splitting.splits import METHODS, SPLITS, Image, assign_splits, split_metrics
from classifold.splitting.stratified import stratify, stratify_folds

FRACTIONS = {"train": 0.7, "validation": 0.15, "test": 0.15}
LABELS = ["cat"] * 23 + ["dog"] * 60 + ["owl"] * 3
IDS = [f"{i:03}" for i in range(len(LABELS))]

CLASS_SIZES = st.lists(st.integers(3, 40), min_size=2, max_size=4)
FRACTION_TRIPLES = st.tuples(*[st.integers(1, 20)] * 3).map(
    lambda counts: {split: n / sum(counts) for split, n in zip(SPLITS, counts, strict=True)}
)


def split_by_class(labels, groups, *, fractions, seed):
    return stratify([(label,) for label in labels], groups, fractions=fractions, seed=seed)


def labels_and_groups(class_sizes):
    labels = [f"class{i}" for i, size in enumerate(class_sizes) for _ in range(size)]
    return labels, [f"{i:03}" for i in range(len(labels))]


def are_whole(groups, splits):
    """Whether each group is in one split."""
    return len(set(zip(groups, splits, strict=True))) == len(set(groups))


@given(CLASS_SIZES, FRACTION_TRIPLES, st.integers(0, 9))
def test_every_image_is_in_one_split_and_every_class_in_every_split(class_sizes, fractions, seed):
    labels, ids = labels_and_groups(class_sizes)
    splits = split_by_class(labels, ids, fractions=fractions, seed=seed)
    assert len(splits) == len(labels)
    assert set(zip(labels, splits, strict=True)) == set(itertools.product(set(labels), SPLITS))


@given(st.integers(3, 40), FRACTION_TRIPLES)
def test_no_other_split_of_a_class_comes_closer_to_the_fractions(size, fractions):
    assume(min(fractions.values()) * size >= 1)
    counts = Counter(
        split_by_class(["cat"] * size, labels_and_groups([size])[1], fractions=fractions, seed=0)
    )

    def distance(n_images):
        wanted = (fraction * size for fraction in fractions.values())
        return sum(abs(n - want) for n, want in zip(n_images, wanted, strict=True))

    triples = itertools.product(range(1, size + 1), repeat=3)
    nearest = min(distance(triple) for triple in triples if sum(triple) == size)
    assert distance([counts[split] for split in SPLITS]) == pytest.approx(nearest)


@given(st.lists(st.integers(1, 5), min_size=3, max_size=20), FRACTION_TRIPLES, st.integers(0, 9))
@pytest.mark.promise("one-split", "never-in-two-splits")
def test_groups_stay_whole_and_sizes_of_splits_are_off_by_less_than_a_group(
    group_sizes, fractions, seed
):
    groups = [f"{i:02}" for i, size in enumerate(group_sizes) for _ in range(size)]
    splits = split_by_class(["cat"] * len(groups), groups, fractions=fractions, seed=seed)
    assert are_whole(groups, splits)
    assert set(splits) == set(SPLITS)
    counts = Counter(splits)
    for split, fraction in fractions.items():
        assert counts[split] - max(fraction * len(groups), 1) < max(group_sizes)


COMMON = {"label03", "label05", "label07", "label09", "label10"}


def common_labels(n_images, seed):
    """Labels of photos that occur often enough for every split."""
    several = label_sets_of_photos(n_images, unlabeled=True, seed=seed)
    return [tuple(label for label in of_image if label in COMMON) for of_image in several]


@given(st.randoms(use_true_random=False))
def test_the_order_of_images_does_not_matter(random):
    labels = [*((label,) for label in LABELS), *common_labels(300, seed=2)]
    order = list(range(len(labels)))
    groups = [str(i // 2 if i < 80 else i) for i in order]
    expected = stratify(labels, groups, fractions=FRACTIONS, seed=1)
    random.shuffle(order)
    splits = stratify(
        [labels[i] for i in order], [groups[i] for i in order], fractions=FRACTIONS, seed=1
    )
    assert splits == [expected[i] for i in order]


def test_another_seed_gives_another_split_with_the_same_counts():
    splits = [split_by_class(LABELS, IDS, fractions=FRACTIONS, seed=seed) for seed in (1, 1, 2)]
    assert splits[0] == splits[1] != splits[2]
    counts = [Counter(zip(LABELS, splits, strict=True)) for splits in splits]
    assert counts[0] == counts[2]


def test_a_split_of_fraction_0_stays_empty():
    fractions = {"train": 0.8, "validation": 0.2, "test": 0.0}
    splits = split_by_class(LABELS, IDS, fractions=fractions, seed=0)
    assert set(splits) == {"train", "validation"}


@pytest.mark.parametrize(
    ("groups", "n_groups"), [(["a"], 1), (["a", "b"], 2), (["a", "a", "a", "b"], 2)]
)
def test_a_class_with_fewer_groups_than_splits_is_an_error_that_reports_the_count(groups, n_groups):
    labels = ["cat"] * 20 + ["owl"] * len(groups)
    message = rf"split\.fractions: .*'owl', got {n_groups} .*Add images"
    with pytest.raises(UserError, match=message):
        split_by_class(labels, [*IDS[:20], *groups], fractions=FRACTIONS, seed=0)


@pytest.mark.parametrize(
    ("n_images", "validation", "helps"),
    [
        (1, 0, False),  # one image cannot be in train and validation
        (2, 0, True),  # two images can
        (1, 2, True),  # one image can be in train, with an official validation split
    ],
)
def test_the_advice_for_too_few_images_helps(n_images, validation, helps):
    images = [
        Image(f"{label}{i}", (label,), f"{label}{i}", "validation" if i < validation else None)
        for label in ("cat", "dog")
        for i in range(n_images + validation)
    ]
    settings = {"method": "grouped", "seed": 0}
    message = rf"split\.fractions: .*'cat', got {n_images} .*Add images"
    with pytest.raises(UserError, match=message) as error:
        assign_splits(images, fractions=FRACTIONS, **settings)
    assert ("or set split.fractions.test to 0" in str(error.value)) == helps
    no_test = {"train": 0.8, "validation": 0.2, "test": 0}
    if helps:
        splits = assign_splits(images, fractions=no_test, **settings)
        assert set(splits) == {"train", "validation"}
    else:
        with pytest.raises(UserError, match=r"Add images of each class\."):
            assign_splits(images, fractions=no_test, **settings)


# Class proportions of the 14 labels of the photos of report 001.
PROPORTIONS = (
    *(0.00469, 0.018, 0.01594, 0.05475, 0.0224, 0.16138, 0.03806),
    *(0.14894, 0.02988, 0.32013, 0.15606, 0.006, 0.00863, 0.02625),
)


def label_sets_of_photos(n_images, *, unlabeled, seed):
    """Sample label sets of photos; with `unlabeled`, some of them are empty."""
    draw = np.random.default_rng(seed).random((n_images * 3, len(PROPORTIONS)))
    labels = [tuple(f"label{i:02}" for i in np.flatnonzero(row)) for row in draw < PROPORTIONS]
    return [of_image for of_image in labels if unlabeled or of_image][:n_images]


def largest_gap(labels, splits):
    images = [Image(str(i), of_image, str(i), None) for i, of_image in enumerate(labels)]
    return split_metrics(images, splits)["max_proportion_gap"]


@pytest.mark.parametrize(
    "unlabeled", [True, False], ids=["some without a label", "all with a label"]
)
@pytest.mark.parametrize("fractions", [FRACTIONS, {"train": 0.8, "validation": 0.2, "test": 0.0}])
@pytest.mark.slow
def test_class_proportions_of_20000_photos_of_14_labels_are_as_close_as_in_the_report(
    unlabeled, fractions
):
    labels = label_sets_of_photos(20_000, unlabeled=unlabeled, seed=1)
    splits = stratify(labels, [str(i) for i in range(20_000)], fractions=fractions, seed=0)
    assert largest_gap(labels, splits) <= 0.0005
    assert [Counter(splits)[split] for split in SPLITS] == [
        round(20_000 * fraction) for fraction in fractions.values()
    ]


@given(
    st.lists(
        st.tuples(st.sets(st.sampled_from("abcd")), st.integers(0, 12)), min_size=1, max_size=60
    ),
    st.integers(0, 9),
)
@pytest.mark.promise("one-split", "never-in-two-splits")
def test_groups_of_images_with_several_labels_stay_whole(images, seed):
    labels = [tuple(sorted(of_image)) for of_image, _ in images]
    groups = [str(group) for _, group in images]
    pairs = {(label, group) for of, group in zip(labels, groups, strict=True) for label in of}
    assume(all(n >= 3 for n in Counter(label for label, _ in pairs).values()))
    splits = stratify(labels, groups, fractions=FRACTIONS, seed=seed)
    assert set(splits) <= set(SPLITS)
    assert are_whole(groups, splits)


@pytest.mark.parametrize("seed", [0, 3, 4, 13, 15, 20, 23, 24, 29, 31, 37, 38])
def test_exchanges_leave_every_split_an_image_of_every_label(seed):
    """Few images in groups: class proportions would be closer if a split had none of a label."""
    draw = np.random.default_rng(seed)
    labels = [tuple(str(i) for i in np.flatnonzero(row)) for row in draw.random((24, 4)) < 0.25]
    groups = [str(draw.integers(0, 18)) for _ in range(24)]
    splits = stratify(labels, groups, fractions=FRACTIONS, seed=0)
    pairs = {(split, label) for split, of in zip(splits, labels, strict=True) for label in of}
    assert pairs == set(itertools.product(SPLITS, "0123"))


def test_images_without_a_label_are_split_by_the_fractions():
    labels = [("cat",)] * 20 + [()] * 100
    splits = stratify(labels, [str(i) for i in range(120)], fractions=FRACTIONS, seed=0)
    assert Counter(splits[20:]) == {"train": 70, "validation": 15, "test": 15}


folds_of = partial(stratify_folds, setting="stack.folds")


@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(2, 7), st.integers(0, 9))
def test_folds_have_as_many_images_of_each_class_as_in_scikit_learn(class_sizes, n_folds, seed):
    assume(max(class_sizes) >= n_folds)
    labels, ids = labels_and_groups(class_sizes)
    folds = folds_of([(label,) for label in labels], ids, n_folds=n_folds, seed=seed)
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
def test_folds_keep_groups_whole_and_none_is_empty_while_there_are_groups(images, n_folds, seed):
    labels = [(f"class{label}",) for label, _ in images]
    groups = [str(group) for _, group in images]
    assume(len(set(groups)) >= n_folds)
    folds = folds_of(labels, groups, n_folds=n_folds, seed=seed)
    assert are_whole(groups, folds.tolist())
    assert set(folds.tolist()) == set(range(n_folds))


def test_small_classes_fill_folds_evenly():
    labels = [(f"class{i // 2}",) for i in range(120)]  # 60 classes of two images
    folds = folds_of(labels, [str(i) for i in range(120)], n_folds=7, seed=1)
    assert sorted(Counter(folds.tolist()).values()) == [17] * 6 + [18]
    assert all(folds[i] != folds[i + 1] for i in range(0, 120, 2))


def test_more_folds_than_groups_are_an_error():
    message = r"stack\.folds: 9 images fill only 3 folds .*got 4\. Lower"
    with pytest.raises(UserError, match=message):
        folds_of([("cat",)] * 9, list("aaabbbccc"), n_folds=4, seed=0)


def images_of(labels, *, split=None, name="image"):
    return [
        Image(f"{name}{i:03}", (label,), f"{name}{i:03}", split) for i, label in enumerate(labels)
    ]


def splits_and_counts(images, *, method="grouped"):
    splits = assign_splits(images, fractions=FRACTIONS, method=method, seed=0)
    return splits, Counter(splits)


@pytest.mark.parametrize(
    ("n_images", "fractions", "expected"),
    [
        (
            {"train": 200, "test": 10},
            FRACTIONS,
            {"train": 170, "validation": 30, "test": 10},  # a fraction of those of train
        ),
        (
            {"train": 100, "validation": 10, "test": 10},
            {"train": 0.6, "validation": 0.1, "test": 0.1, "calibration": 0.2},
            {"train": 80, "calibration": 20, "validation": 10, "test": 10},
        ),
        ({"train": 5, "validation": 2, "test": 3}, FRACTIONS, None),  # all are official
        (
            {None: 20, "validation": 2, "test": 3},
            FRACTIONS,
            {"train": 20, "validation": 2, "test": 3},
        ),
        ({None: 20, "validation": 2}, FRACTIONS, {"train": 17, "validation": 2, "test": 3}),
    ],
)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.promise("official-test")
def test_official_splits_stay_and_the_others_are_filled(n_images, fractions, expected, method):
    images = [
        image
        for split, n in n_images.items()
        for image in images_of(
            ["cat", "dog"] * (n // 2) + ["cat"] * (n % 2), split=split, name=split
        )
    ]
    splits = assign_splits(images, fractions=fractions, method=method, seed=0)
    for image, split in zip(images, splits, strict=True):
        assert split == image.split or image.split in {None, "train"}
    assert Counter(splits) == (expected or n_images)


@pytest.mark.parametrize("method", METHODS)
def test_a_calibration_split_is_a_fourth_split_with_the_same_proportions(method):
    images = images_of(["cat"] * 120 + ["dog"] * 80, name="new")
    fractions = {"train": 0.4, "validation": 0.2, "test": 0.2, "calibration": 0.2}
    splits = assign_splits(images, fractions=fractions, method=method, seed=0)
    if method == "grouped":
        pairs = Counter(zip(splits, (image.labels for image in images), strict=True))
        assert pairs["calibration", ("cat",)] == 24 and pairs["calibration", ("dog",)] == 16
    metrics = split_metrics(images, splits)
    assert metrics["n_calibration"] == pytest.approx(40, abs=4)
    assert sum(metrics[f"n_{split}"] for split in fractions) == 200
    none = assign_splits(images, fractions=FRACTIONS | {"calibration": 0}, method=method, seed=0)
    assert none == splits_and_counts(images, method=method)[0]


def test_duplicates_of_official_test_images_may_stay_in_train():
    images = [
        *images_of(["cat", "dog"] * 20, split="train", name="train"),
        Image("test0", ("cat",), "train000", "test"),
    ]
    splits, counts = splits_and_counts(images)
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


def test_proportions_of_several_labels_are_proportions_of_images():
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


def test_no_group_is_reported_across_splits():
    groups = [f"{label}{i % 12}" for i, label in enumerate(LABELS)]
    splits = split_by_class(LABELS, groups, fractions=FRACTIONS, seed=3)
    metrics = metrics_of(LABELS, groups, splits)
    assert metrics["n_groups_across_splits"] == 0
    assert metrics["n_groups"] == len(set(groups))


def test_kept_images_are_read_without_the_unlabeled_and_each_has_a_group(tmp_path):
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


def test_splits_are_read_as_they_were_written_and_so_is_an_empty_one(tmp_path):
    images = [
        Image("a", ("cat",), "a", None),
        Image("b, c", ("cat", "dog"), "b, c", None),
        Image("d", (), "a", None),
    ]
    write_splits(tmp_path, images, ["train", "validation", "train"])
    assert read_split(tmp_path / "train.csv") == {"a": ("cat",), "d": ()}
    assert read_split(tmp_path / "validation.csv") == {"b, c": ("cat", "dog")}
    assert read_split(tmp_path / "test.csv") == {}
    assert read_rows(tmp_path / "validation.csv")[0]["label"] == "cat|dog"
    proportions = read_rows(tmp_path / "class_proportions.csv")
    assert {"class": "cat", "split": "train", "proportion": "0.500000"} in proportions
    assert {"class": "dog", "split": "train", "proportion": "0.000000"} in proportions


def test_large_and_small_classes_are_split_exactly():
    labels = np.repeat(["cat", "dog", "owl"], [1000, 2000, 3]).tolist()
    splits = split_by_class(labels, [str(i) for i in range(3003)], fractions=FRACTIONS, seed=0)
    counts = {"cat": (700, 150, 150), "dog": (1400, 300, 300), "owl": (1, 1, 1)}
    assert Counter(zip(labels, splits, strict=True)) == {
        (label, split): n
        for label, of in counts.items()
        for split, n in zip(SPLITS, of, strict=True)
    }


def stratify_iteratively(labels, groups, *, fractions=FRACTIONS, seed=0):
    return stratify_with_scikit_multilearn(labels, groups, fractions=fractions, seed=seed)


def test_without_groups_scikit_multilearn_gives_the_result_of_its_own_call():
    labels = label_sets_of_photos(2000, unlabeled=True, seed=4)
    ids = [f"{i:04}" for i in range(2000)]
    matrix = np.array([[f"label{i:02}" in of_image for i in range(14)] for of_image in labels], int)
    np.random.seed(7)
    order = np.random.permutation(2000)
    library = IterativeStratification(
        3, order=1, sample_distribution_per_fold=list(FRACTIONS.values())
    )
    expected = [""] * 2000
    folds = library.split(np.zeros((2000, 1)), matrix[order])
    for split, (_, rows) in zip(SPLITS, folds, strict=True):
        for row in order[rows]:
            expected[row] = split
    assert stratify_iteratively(labels, ids, seed=7) == expected


@given(
    st.lists(
        st.tuples(st.sets(st.sampled_from("abcd"), min_size=1), st.integers(0, 40)), min_size=30
    ),
    st.integers(0, 2**32 - 1),
)
@pytest.mark.promise("one-split")
def test_scikit_multilearn_keeps_groups_whole(images, seed):
    labels = [tuple(sorted(of_image)) for of_image, _ in images]
    groups = [str(group) for _, group in images]
    try:
        splits = stratify_iteratively(labels, groups, seed=seed)
    except UserError:
        reject()  # too few groups
    assert set(splits) == set(SPLITS)
    assert are_whole(groups, splits)


@pytest.mark.parametrize("unlabeled", [True, False])
@pytest.mark.parametrize("images_per_group", [1, 3])
def test_scikit_multilearn_is_within_tolerance_of_the_fractions(unlabeled, images_per_group):
    labels = label_sets_of_photos(3000, unlabeled=unlabeled, seed=5)
    groups = [str(i // images_per_group) for i in range(3000)]
    splits = stratify_iteratively(labels, groups)
    counts = Counter(splits)
    for split, fraction in FRACTIONS.items():
        assert counts[split] / 3000 == pytest.approx(fraction, abs=0.02)
    if unlabeled:  # else no image remains that could correct the sizes
        assert largest_gap(labels, splits) < 0.03


def test_scikit_multilearn_counts_the_images_of_a_label_and_not_the_groups():
    """Groups of 1 to 9 images: half of the groups would not be half of the images."""
    groups = [str(i) for i in range(300) for _ in range(1 + i % 9)]
    halves = {"train": 0.5, "validation": 0.5}
    for seed in range(5):
        splits = stratify_iteratively([("cat",)] * len(groups), groups, fractions=halves, seed=seed)
        assert splits.count("train") == pytest.approx(len(groups) / 2, abs=12)


def test_scikit_multilearn_gives_one_result_per_seed_in_any_order_of_images():
    labels = common_labels(200, seed=6)
    groups = [f"{i // 2:03}" for i in range(200)]
    splits = [stratify_iteratively(labels, groups, seed=seed) for seed in (1, 1, 2)]
    assert splits[0] == splits[1] != splits[2]
    backwards = stratify_iteratively(labels[::-1], groups[::-1], seed=1)
    assert backwards[::-1] == splits[0]


@pytest.mark.parametrize(
    ("split", "error"),
    [(stratify, None), (stratify_iteratively, None), (stratify_iteratively, ZeroDivisionError)],
)
def test_the_global_state_of_numpy_does_not_change(monkeypatch, split, error):
    if error:
        monkeypatch.setattr(IterativeStratification, "split", Mock(side_effect=error))
    np.random.seed(1)
    before = np.random.get_state()[1].tolist()
    with pytest.raises(error) if error else nullcontext():
        split([("cat",)] * 60, [str(i) for i in range(60)], fractions=FRACTIONS, seed=0)
    assert np.random.get_state()[1].tolist() == before


def test_a_split_that_scikit_multilearn_would_leave_empty_is_an_error():
    message = r"split\.method: .*validation.* empty, got 2 groups.*grouped"
    with pytest.raises(UserError, match=message):
        stratify_iteratively([(), ()], ["a", "b"])


def test_scikit_multilearn_is_imported_only_where_it_is_used():
    code = "import sys, classifold.splitting.splits; print('skmultilearn' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert loaded.stdout.strip() == b"False"


@pytest.mark.parametrize(
    ("labels", "groups", "rare"),
    [
        ("aaab", "0123", "0001"),  # a class of one image
        ("aaabbb", "012344", "000111"),  # a group counts once
        ("aaabbb", "012333", "000111"),  # and takes its images along
        ("abc", "012", "000"),  # all are rare
        (["a", "a", "ab", "c", "c", "c"], "012345", "111000"),  # one makes another rare
        (["", "", "a"], "012", "001"),  # images without a label
    ],
)
def test_images_of_classes_with_fewer_groups_than_splits_are_found(labels, groups, rare):
    found = in_rare_classes(labels, list(groups), n_splits=3)
    assert found == [character == "1" for character in rare]


@pytest.mark.parametrize("method", METHODS)
def test_rare_classes_are_in_train_alone_and_the_others_are_split(method):
    names = ["cat"] * 40 + ["dog"] * 40 + ["owl", "elk", "elk"]
    images = [Image(str(i), (name,), str(i), None) for i, name in enumerate(names)]
    splits = assign_splits(images, fractions=FRACTIONS, method=method, seed=0)
    assert splits[80:] == ["train"] * 3
    assert set(splits[:40]) == set(splits[40:80]) == set(SPLITS)
    lines = "\n".join(split_warnings(split_metrics(images, splits)))
    for split in ("validation", "test"):
        assert f"no {split} image has 2 of 4 classes: 'elk', 'owl'" in lines
    assert split_warnings(split_metrics(images[:80], splits[:80])) == []
