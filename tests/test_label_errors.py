"""Label errors: by hand, and where some labels were flipped on purpose."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, softmax

from classifold.data.csv_file import read_rows
from classifold.evaluation.label_errors import (
    NO_CLASS,
    confident_classes,
    confident_thresholds,
    label_errors,
    write_label_errors,
)

CLASSES = ["cat", "dog", "owl"]

# Thresholds: cat (0.9 + 0.6 + 0.2 + 0.4) / 4 = 0.525, dog (0.7 + 0.5 + 0.0) / 3 = 0.4, owl 0.6.
PROBABILITIES = np.array(
    [
        [0.90, 0.05, 0.05],
        [0.60, 0.40, 0.00],  # cat and dog are confident, cat is more probable
        [0.20, 0.70, 0.10],  # dog: margin -0.5
        [0.40, 0.30, 0.30],  # no class is confident
        [0.10, 0.70, 0.20],
        [0.50, 0.50, 0.00],  # cat does not reach 0.525
        [0.10, 0.00, 0.90],  # owl: margin -0.9
        [0.00, 0.45, 0.55],  # dog is confident, and owl is not, though more probable
        [0.30, 0.05, 0.65],
    ]
)
LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2])
IDS = list("abcdefghi")


def errors(probabilities=PROBABILITIES, labels=LABELS, *, classes=CLASSES):
    ids = IDS if len(labels) == len(IDS) else [f"{i:05}" for i in range(len(labels))]
    return label_errors(probabilities, labels, ids=ids, classes=classes)


def confident_joint(probabilities, labels):
    """Count images by label (row) and most probable confident class (column)."""
    confident = confident_classes(probabilities, labels)
    joint = np.zeros((probabilities.shape[1],) * 2, int)
    counted = confident != NO_CLASS
    np.add.at(joint, (labels[counted], confident[counted]), 1)
    return joint


def test_thresholds_by_hand():
    np.testing.assert_allclose(confident_thresholds(PROBABILITIES, LABELS), [0.525, 0.4, 0.6])


def test_the_confident_joint_by_hand():
    assert confident_joint(PROBABILITIES, LABELS).tolist() == [[2, 1, 0], [0, 2, 1], [0, 1, 1]]


def test_errors_by_hand():
    # h lies off the diagonal of the joint, but its label is its most probable class.
    assert errors() == [
        {"rank": 1, "id": "g", "label": "dog", "suggested": "owl",
         "label_probability": 0.0, "suggested_probability": 0.9},
        {"rank": 2, "id": "c", "label": "cat", "suggested": "dog",
         "label_probability": 0.2, "suggested_probability": 0.7},
    ]  # fmt: skip


def test_the_suggestion_is_the_confident_class_and_the_margin_is_to_the_largest_of_all():
    # Thresholds 0.3, 0.35 and 0.7. Of x only dog is confident, though owl is more probable.
    probabilities = np.array(
        [[0.2, 0.38, 0.42], [0.4, 0.3, 0.3], [0.3, 0.35, 0.35], [0.1, 0.2, 0.7]]
    )
    labels = np.array([0, 0, 1, 2])
    (row,) = label_errors(probabilities, labels, ids=list("xyzw"), classes=CLASSES)
    assert (row["id"], row["suggested"], row["suggested_probability"]) == ("x", "dog", 0.38)


def test_a_class_without_images_is_never_suggested():
    probabilities = np.array([[0.1, 0.1, 0.8], [0.6, 0.2, 0.2], [0.2, 0.6, 0.2]])
    labels = np.array([0, 0, 1])
    assert confident_thresholds(probabilities, labels)[2] == np.inf
    assert errors(probabilities, labels) == []


def test_equal_probabilities_reach_their_own_mean():
    probabilities = np.full((3, 3), 0.1) + [[0, 0, 0.7]] * 3
    labels = np.zeros(3, np.int64)
    assert probabilities[:, 0].mean() > 0.1  # by rounding alone
    assert confident_joint(probabilities, labels).tolist() == [[3, 0, 0], [0] * 3, [0] * 3]


# Class cat: present in a and b, mean probability 0.5; absent from c and d, mean probability of
# its absence 0.45. Class dog: all labels are right.
SEVERAL = np.array([[0.9, 0.9], [0.1, 0.9], [0.8, 0.2], [0.3, 0.1]])
LABELS_OF_SEVERAL = np.array([[1, 1], [1, 1], [0, 0], [0, 0]], np.uint8)


def test_with_several_labels_each_class_is_a_task_of_its_own():
    found = label_errors(SEVERAL, LABELS_OF_SEVERAL, ids=list("abcd"), classes=["cat", "dog"])
    assert [(row["rank"], row["id"], row["label"], row["suggested"]) for row in found] == [
        (1, "b", "cat", ""),  # present, and probably should be absent: margin 0.1 - 0.9
        (2, "c", "", "cat"),  # absent, and probably should be present: 0.2 - 0.8
    ]
    assert found[0]["label_probability"] == pytest.approx(0.1)
    assert found[0]["suggested_probability"] == pytest.approx(0.9)


def flip_labels(n_images, *, n_classes, fraction, seed):
    """Probabilities of a good model, labels a fraction of which is flipped, and which ones."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, n_classes, n_images)
    logits = random.normal(0, 1, (n_images, n_classes)) + 7 * np.eye(n_classes)[truth]
    wrong = random.random(n_images) < fraction
    labels = np.where(wrong, (truth + random.integers(1, n_classes, n_images)) % n_classes, truth)
    return softmax(logits, axis=1), labels, wrong


@pytest.mark.parametrize("n_classes", [2, 5, 20])
def test_most_of_5_percent_flipped_labels_are_listed_and_few_others(n_classes):
    probabilities, labels, wrong = flip_labels(
        4000, n_classes=n_classes, fraction=0.05, seed=n_classes
    )
    found = [int(row["id"]) for row in errors(probabilities, labels, classes=range(n_classes))]
    assert wrong[found].sum() >= 0.9 * wrong.sum()
    assert wrong[found].mean() >= 0.9
    assert wrong[found[:100]].mean() >= 0.99  # the most probable errors come first


def test_flipped_labels_among_several_per_image_are_listed():
    random = np.random.default_rng(4)
    truth = random.random((4000, 3)) < [0.5, 0.2, 0.05]
    wrong = random.random(truth.shape) < 0.05
    probabilities = expit(random.normal(0, 1, truth.shape) + 12 * truth - 6)
    labels = (truth ^ wrong).astype(np.uint8)
    found = [
        (int(row["id"]), CLASSES.index(row["label"] or row["suggested"]))
        for row in errors(probabilities, labels)
    ]
    correct = wrong[tuple(np.array(found).T)]
    assert correct.sum() >= 0.9 * wrong.sum()
    assert correct.mean() >= 0.9


@given(st.integers(0, 10_000), st.integers(2, 6))
def test_rows_are_unique_per_image_and_ranked_by_margin(seed, n_classes):
    probabilities, labels, _ = flip_labels(60, n_classes=n_classes, fraction=0.2, seed=seed)
    rows = errors(probabilities, labels, classes=range(n_classes))
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    assert len({row["id"] for row in rows}) == len(rows)
    margins = []
    for row in rows:
        of_image = probabilities[int(row["id"])]
        assert row["label"] == labels[int(row["id"])] != row["suggested"]
        margins.append(2 * row["label_probability"] - of_image.max() - row["label_probability"])
    assert margins == sorted(margins)
    joint = confident_joint(probabilities, labels)
    assert len(rows) <= joint.sum() - joint.trace()


def test_the_file_lists_errors_and_has_a_header_without_errors(tmp_path):
    write_label_errors(tmp_path / "label_errors.csv", errors())
    expected = [{key: str(value) for key, value in row.items()} for row in errors()]
    assert read_rows(tmp_path / "label_errors.csv") == expected
    write_label_errors(tmp_path / "none.csv", [])
    expected = "rank,id,label,suggested,label_probability,suggested_probability\n"
    assert (tmp_path / "none.csv").read_text() == expected
