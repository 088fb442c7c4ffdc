"""Prediction sets contain the labels of new images as often as their level promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, softmax

from classifold.models.prediction_sets import (
    fit_set_threshold,
    label_weights,
    prediction_sets,
)

N_SPLITS = 100


@pytest.mark.parametrize(
    ("level", "threshold"),
    [
        (0.5, 0.6),  # 0.5 * 6 = 3 of the five labels
        (0.55, 0.4),  # 3.3, so 4
        (0.8, 0.2),  # 4.8, so 5
        (0.83, 0.2),  # 4.98
        (0.84, 0.0),  # 5.04: more than there are, so that a set has all classes
    ],
)
def test_a_threshold_of_one_label_by_hand(level, threshold):
    of_label = np.array([0.9, 0.2, 0.6, 0.4, 0.8])
    probabilities = np.column_stack([of_label, 1 - of_label])
    assert fit_set_threshold(probabilities, np.zeros(5, int), level=level) == threshold


def test_a_threshold_of_several_labels_by_hand():
    # Images with a label: 3, so a level of 0.7 needs 2.8 of them. Labels by probability: 0.9 and
    # 0.7 (of two, so a half each), 0.6 (the only one), 0.5 and 0.3 (of two).
    probabilities = np.array([[0.9, 0.7, 0.8], [0.1, 0.6, 0.2], [0.5, 0.3, 0.3], [0.9, 0.9, 0.9]])
    labels = np.array([[1, 1, 0], [0, 1, 0], [1, 0, 1], [0, 0, 0]])
    thresholds = {
        level: fit_set_threshold(probabilities, labels, level=level)
        for level in (0.2, 0.5, 0.6, 0.7, 0.8)
    }
    assert thresholds == {0.2: 0.7, 0.5: 0.6, 0.6: 0.5, 0.7: 0.3, 0.8: 0.0}


def test_the_labels_of_an_image_share_a_weight_of_one():
    single = label_weights(np.array([2, 0]), n_classes=3)
    assert single.tolist() == [[0, 0, 1], [1, 0, 0]]
    several = label_weights(np.array([[1, 0, 1, 0], [0, 0, 0, 0]], np.uint8), n_classes=4)
    assert several.tolist() == [[0.5, 0, 0.5, 0], [0, 0, 0, 0]]


def test_sets_of_one_label_are_never_empty_and_those_of_several_may_be():
    probabilities = np.array([[0.5, 0.3, 0.2], [0.8, 0.1, 0.1]])
    single = prediction_sets(probabilities, 0.6, task="single")
    assert single.tolist() == [[True, False, False], [True, False, False]]
    several = prediction_sets(probabilities, 0.6, task="multi")
    assert several.tolist() == [[False, False, False], [True, False, False]]
    assert prediction_sets(probabilities, 0.3, task="multi")[0].tolist() == [True, True, False]


@pytest.mark.parametrize("n_images", [0, 1, 8])
@pytest.mark.parametrize("task", ["single", "multi"])
def test_with_too_few_images_for_the_level_a_set_has_all_classes(task, n_images):
    # A level of 0.9 needs 9 images with a label: 0.9 * 10 = 9.
    random = np.random.default_rng(n_images)
    probabilities = random.dirichlet(np.ones(3), n_images)
    labels = random.integers(0, 3, n_images)
    if task == "multi":
        labels = np.eye(3, dtype=np.uint8)[labels]
        # Images without a label do not count.
        probabilities = np.concatenate([probabilities, np.full((20, 3), 0.5)])
        labels = np.concatenate([labels, np.zeros((20, 3), np.uint8)])
    threshold = fit_set_threshold(probabilities, labels, level=0.9)
    assert threshold == 0
    assert prediction_sets(probabilities, threshold, task=task).all()
    enough = np.zeros(9, int)
    assert fit_set_threshold(np.full((9, 3), 1 / 3), enough, level=0.9) == 0.333333


@pytest.mark.parametrize("top", [1.0, 1 - 1e-9, 0.25])
def test_stored_thresholds_keep_the_images_that_they_were_fitted_on(top):
    # A threshold that is rounded up would exclude all labels.
    probabilities = np.tile([top, 1 - top], (20, 1))
    threshold = fit_set_threshold(probabilities, np.zeros(20, int), level=0.9)
    assert threshold == round(threshold, 6)
    assert (probabilities[:, 0] >= threshold).all()
    assert threshold == pytest.approx(top, abs=1.1e-6)


@given(st.integers(0, 10_000), st.sampled_from([0.3, 0.75, 0.9]))
def test_on_calibration_images_sets_contain_enough_labels_and_higher_thresholds_do_not(seed, level):
    random = np.random.default_rng(seed)
    probabilities = random.random((30, 4)).round(2)
    labels = (random.random((30, 4)) < 0.4).astype(np.uint8)
    weights, n_images = label_weights(labels, n_classes=4), labels.any(axis=1).sum()

    def covered(threshold):
        return (weights * (probabilities >= threshold)).sum()

    threshold = fit_set_threshold(probabilities, labels, level=level)
    assert covered(threshold) >= level * (n_images + 1) - 1e-6 or threshold == 0
    assert covered(threshold + 0.005) < level * (n_images + 1)


def reference_images():
    """Images of which MAPIE 1.6.0 computed the numbers below, 80 for calibration and 80 others."""
    random = np.random.default_rng(7)
    labels = random.integers(0, 4, 160)
    values = random.random((160, 4))
    values[np.arange(160), labels] += 0.7
    several = (random.random((160, 4)) < 0.4).astype(int)
    several[np.arange(160), random.integers(0, 4, 160)] = 1
    odds = np.clip(random.random((160, 4)) * 0.6 + 0.4 * several, 0, 1)
    return values / values.sum(axis=1, keepdims=True), labels, odds, several


@pytest.mark.parametrize(
    ("level", "threshold", "size", "n_empty"),
    [
        (0.7, 0.38828501, 57, 24),
        (0.8, 0.34487541, 71, 14),
        (0.9, 0.29964897, 98, 3),
        (0.95, 0.28839642, 104, 3),
    ],
)
def test_sets_of_one_label_are_those_of_mapie_without_its_empty_ones(
    level, threshold, size, n_empty
):
    # SplitConformalClassifier with conformity_score="lac"; 1 - quantiles_, sizes of predict_set.
    probabilities, labels, _, _ = reference_images()
    fitted = fit_set_threshold(probabilities[:80], labels[:80], level=level)
    assert threshold - 1e-6 <= fitted <= threshold
    above = probabilities[80:] >= fitted
    assert (above.sum(), (~above.any(axis=1)).sum()) == (size, n_empty)
    sets = prediction_sets(probabilities[80:], fitted, task="single")
    assert sets.sum() == size + n_empty


@pytest.mark.parametrize(
    ("level", "threshold", "size"),
    [(0.7, 0.5485, 148), (0.8, 0.4985, 176), (0.9, 0.4475, 205), (0.95, 0.4195, 216)],
)
def test_sets_of_several_labels_are_those_of_mapie(level, threshold, size):
    # MultiLabelClassificationController with risk="recall", method="crc", and thresholds in steps
    # of 0.0005, so that its sets may be a little larger.
    _, _, probabilities, labels = reference_images()
    fitted = fit_set_threshold(probabilities[:80], labels[:80], level=level)
    assert threshold <= fitted < threshold + 0.0005
    sets = prediction_sets(probabilities[80:], fitted, task="multi")
    assert size - 1 <= sets.sum() <= size


def draw_images(task, n_images, *, n_classes=6, seed=0):
    """Exchangeable images: labels that are drawn by the probabilities of an overconfident model."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (n_images, n_classes))
    if task == "multi":
        logits -= 2
        labels = (random.random(logits.shape) < expit(logits)).astype(np.uint8)
        return expit(2 * logits), labels
    chances = softmax(logits, axis=1)
    labels = (chances.cumsum(axis=1) > random.random((n_images, 1))).argmax(axis=1)
    return softmax(2 * logits, axis=1), labels


@pytest.mark.parametrize("n_calibration", [25, 200])
@pytest.mark.parametrize("level", [0.8, 0.9])
@pytest.mark.parametrize("task", ["single", "multi"])
def test_over_random_splits_the_coverage_is_the_promised_one(task, level, n_calibration):
    probabilities, labels = draw_images(task, 1200)
    weights = label_weights(labels, n_classes=6)
    random, reached = np.random.default_rng(1), []
    for _ in range(N_SPLITS):
        order = random.permutation(len(labels))
        calibration, others = order[:n_calibration], order[n_calibration:]
        threshold = fit_set_threshold(probabilities[calibration], labels[calibration], level=level)
        sets = prediction_sets(probabilities[others], threshold, task=task)
        with_label = weights[others].any(axis=1)
        reached.append((weights[others] * sets).sum(axis=1)[with_label].mean())
    # The mean is known to three standard errors. Without the "+ 1" of the number of images it
    # would be too low for 25 images. Above the level it is by 1 / (N + 1) at most, with several
    # labels by 2 / (N + 1), where N counts the images with a label.
    error = 3 * np.std(reached) / np.sqrt(N_SPLITS)
    n_labeled = n_calibration * weights.any(axis=1).mean()
    assert np.mean(reached) >= level - error
    assert np.mean(reached) <= level + 2 / (n_labeled + 1) + error
    assert np.std(reached) > 0


def test_a_class_without_calibration_images_may_be_in_sets_but_is_promised_nothing():
    probabilities, labels = draw_images("single", 600)
    kept = labels != 5
    threshold = fit_set_threshold(probabilities[kept], labels[kept], level=0.9)
    sets = prediction_sets(probabilities, threshold, task="single")
    assert sets[kept, labels[kept]].mean() >= 0.9
    assert 0 < sets[~kept, 5].mean() < 1
