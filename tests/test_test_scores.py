"""Scores on test images: by hand, and as scikit-learn has them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    hamming_loss,
    log_loss,
    precision_recall_curve,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

from classifold.evaluation.inference import Predictions, decide
from classifold.evaluation.intervals import accuracy_interval
from classifold.evaluation.mistakes import worst_mistakes
from classifold.evaluation.per_class import MOST_POINTS, per_class_table, precision_recall_rows
from classifold.evaluation.scores import format_test_scores, score, untrained_score, versus

SETTINGS = {"calibration_bins": 15, "bootstrap": {"resamples": 100, "seed": 0}}
MANY_LABELS = {"temperature": 1.5, "threshold": 0.4, "thresholds": [0.2, 0.5, 0.7, 0.4]}


def single(seed, *, n_images=40, n_classes=6):
    """A drawn answer, and drawn labels; some classes may have no image."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (n_images, n_classes))
    return decide(logits, {"temperature": 2.0}, task="single"), random.integers(
        0, n_classes, n_images
    )


def multi(seed, *, n_images=40, share=0.3):
    """A drawn answer of four classes, and drawn labels; some classes may have no image."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (n_images, 4))
    labels = (random.random(logits.shape) < share).astype(np.uint8)
    return decide(logits, MANY_LABELS, task="multi"), labels


def of_shares(shares, **decision):
    """An answer with given probabilities."""
    shares = np.array(shares)
    predicted = shares > decision["threshold"] if decision else shares.argmax(axis=1)
    return Predictions(shares, shares, predicted, decision)


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(2, 7))
def test_scores_agree_with_scikit_learn(seed, n_images, n_classes):
    answer, labels = single(seed, n_images=n_images, n_classes=n_classes)
    found = score(answer, labels, **SETTINGS)
    shares, classes = answer.probabilities, range(n_classes)
    predicted = shares.argmax(axis=1)
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    assert found["macro_f1"] == pytest.approx(
        f1_score(labels, predicted, labels=classes, average="macro", zero_division=0)
    )
    assert found["log_loss"] == pytest.approx(log_loss(labels, shares, labels=classes))
    for k in (3, 5):
        if k < n_classes:
            expected = top_k_accuracy_score(labels, shares, k=k, labels=classes)
            assert found[f"top{k}_accuracy"] == pytest.approx(expected)
        else:
            assert found[f"top{k}_accuracy"] == 1
    n_hits = int((predicted == labels).sum())
    assert found["accuracy_ci95"] == accuracy_interval(n_hits, n_images)
    assert found["n_images"] == n_images


@pytest.mark.slow
@given(st.integers(0, 10_000), st.integers(1, 40), st.sampled_from([0, 0.02, 0.3, 1]))
def test_scores_of_several_labels_agree_with_scikit_learn(seed, n_images, share):
    answer, labels = multi(seed, n_images=n_images, share=share)
    found = score(answer, labels, **SETTINGS)
    shares = answer.probabilities
    answers = shares > 0.4

    def f1(answers, average):
        return pytest.approx(f1_score(labels, answers, average=average, zero_division=0))

    assert found["micro_f1"] == f1(answers, "micro")
    assert found["macro_f1"] == f1(answers, "macro")
    assert found["micro_f1_at_half"] == f1(shares > 0.5, "micro")
    assert found["micro_f1_at_class_thresholds"] == f1(shares > MANY_LABELS["thresholds"], "micro")
    assert found["subset_accuracy"] == accuracy_score(labels, answers)
    assert found["hamming_loss"] == hamming_loss(labels, answers)
    losses = [log_loss(labels[:, i], shares[:, i], labels=[0, 1]) for i in range(4)]
    assert found["log_loss"] == pytest.approx(np.mean(losses))
    borne = [i for i in range(4) if labels[:, i].any()]
    precisions = [average_precision_score(labels[:, i], shares[:, i]) for i in borne]
    expected = pytest.approx(np.mean(precisions)) if borne else None
    assert found["mean_average_precision"] == expected
    low, high = found["micro_f1_ci95"]
    assert 0 <= low <= high <= 1
    assert found["n_images"] == n_images


def test_scores_by_hand():
    shares = [[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]]
    found = score(of_shares(shares), np.array([0, 1, 1, 2]), **SETTINGS | {"calibration_bins": 1})
    assert found["accuracy"] == 0.75
    assert found["top3_accuracy"] == found["top5_accuracy"] == 1
    # F1: 2/3 of class 0 (one hit, two answers), 2/3 of class 1, 1 of class 2.
    assert found["macro_f1"] == pytest.approx(7 / 9)
    assert found["log_loss"] == pytest.approx(-np.log([0.7, 0.3, 0.8, 0.4]).mean())
    assert found["calibration_error"] == pytest.approx(0.75 - (0.7 + 0.6 + 0.8 + 0.4) / 4)


SEVERAL = of_shares(
    [[0.9, 0.6, 0.1], [0.3, 0.8, 0.45], [0.2, 0.1, 0.1]], threshold=0.4, thresholds=[0.5, 0.7, 0.05]
)
BORNE = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0]], np.uint8)


def test_scores_of_several_labels_by_hand():
    found = score(SEVERAL, BORNE, **SETTINGS)
    # At 0.4 four are answered, two of them of the three borne: 2 * 2 / (4 + 3).
    assert found["micro_f1"] == pytest.approx(4 / 7)
    assert found["micro_f1_at_half"] == pytest.approx(4 / 6)
    assert found["micro_f1_at_class_thresholds"] == pytest.approx(4 / (5 + 3))
    # F1 of the classes: 2/3, 2/3 and 0, which nothing bears.
    assert found["macro_f1"] == pytest.approx(4 / 9)
    assert found["subset_accuracy"] == pytest.approx(1 / 3)
    assert found["hamming_loss"] == pytest.approx(3 / 9)
    # Both borne classes are ranked without a mistake; the third is not defined.
    assert found["mean_average_precision"] == pytest.approx(1)


def test_a_temperature_is_judged_beside_none():
    logits = np.log([[9.0, 1.0]] * 4)
    answer = decide(logits, {"temperature": 2.0}, task="single")
    found = score(answer, np.array([0, 0, 0, 1]), **SETTINGS | {"calibration_bins": 10})
    assert found["calibration_error"] == pytest.approx(0)  # 3 : 1, and three of four are right
    assert found["calibration_error_uncalibrated"] == pytest.approx(0.9 - 0.75)


@pytest.mark.parametrize("labels", [np.array([1, 1, 1]), np.ones((3, 2), np.uint8)])
def test_images_that_are_all_equal_give_clear_numbers(labels):
    decision = {"threshold": 0.4, "thresholds": [0.4, 0.4]} if labels.ndim > 1 else {}
    found = score(of_shares([[0.0, 1.0]] * 3, **decision), labels, **SETTINGS)
    numbers = np.hstack([value for value in found.values() if value is not None])
    assert np.isfinite(numbers.astype(float)).all()
    assert found.get("accuracy", 1) == found["macro_f1"] * 2 == 1


def test_a_model_beside_another_by_hand():
    right, labels = np.array([0, 1, 0, 1, 0, 1]), np.array([0, 1, 0, 1, 0, 1])
    wrong = np.array([1, 0, 1, 0, 1, 1])
    shares = np.eye(2)
    one, other = (Predictions(shares[p], shares[p], p, {}) for p in (right, wrong))
    found = versus(other, one, labels, bootstrap=SETTINGS["bootstrap"])
    assert found["difference"] == pytest.approx(-5 / 6)
    assert found["p_value"] == pytest.approx(2 / 32)
    low, high = found["difference_ci95"]
    assert -1 <= low < -5 / 6 < high <= 0
    assert versus(one, one, labels, bootstrap=SETTINGS["bootstrap"]) == {
        "difference": 0,
        "difference_ci95": [0, 0],
        "p_value": 1,
    }


def test_a_model_beside_another_with_several_labels():
    everything = SEVERAL._replace(predicted=np.ones((3, 3), bool))
    found = versus(everything, SEVERAL, BORNE, bootstrap=SETTINGS["bootstrap"])
    assert found["difference"] == pytest.approx(6 / 12 - 4 / 7)
    low, high = found["difference_ci95"]
    assert low <= found["difference"] <= high


def test_untrained_networks_answer_at_a_half():
    assert untrained_score(np.array([[2.0, 1], [0, 3], [1, 0]]), np.array([0, 1, 1])) == 2 / 3
    logits = np.array([[1.0, -1], [1, 1]])
    assert untrained_score(logits, np.array([[1, 0], [0, 0]], np.uint8)) == 2 / 4


def test_a_score_in_words():
    words = format_test_scores({"accuracy": 0.5, "accuracy_ci95": [0.25, 0.75], "n_images": 4})
    assert words == "test accuracy 0.5000 (0.2500-0.7500)"
    words = format_test_scores({"micro_f1": 0.5, "micro_f1_ci95": [0.25, 0.75], "n_images": 4})
    assert words == "test micro f1 0.5000 (0.2500-0.7500)"
    assert "split.fractions.test is 0" in format_test_scores({"n_images": 0})


@pytest.mark.parametrize("draw", [single, multi])
def test_the_per_class_table_agrees_with_scikit_learn_and_names_unseen_classes(draw):
    answer, labels = draw(3)
    n_classes = answer.probabilities.shape[1]
    shares = np.pad(answer.probabilities, ((0, 0), (0, 1)))
    expected = precision_recall_fscore_support(labels, answer.predicted, zero_division=0)
    predicted = answer.predicted
    decision = answer.decision
    if labels.ndim > 1:
        predicted, labels = (np.pad(a, ((0, 0), (0, 1))) for a in (predicted, labels))
        decision = decision | {"thresholds": [*decision["thresholds"], 0.5]}
    table = per_class_table(
        Predictions(shares, shares, predicted, decision), labels, [*"abcdef"[:n_classes], "unseen"]
    )
    keys = ("precision", "recall", "f1", "support")
    found = [[row[key] for key in keys] for row in table[:n_classes]]
    np.testing.assert_allclose(found, np.array(expected).T, atol=1e-6)
    assert table[-1]["class"] == "unseen"
    assert [table[-1][key] for key in keys] == [0, 0, 0, 0]


def test_the_per_class_table_of_several_labels_by_hand():
    first, _, third = per_class_table(SEVERAL, BORNE, ["cat", "dog", "owl"])
    assert first == {
        "class": "cat",
        "precision": 1,
        "recall": 0.5,
        "f1": 0.666667,
        "support": 2,
        "average_precision": 1,
        "threshold": 0.4,
        "class_threshold": 0.5,
        "true_positives": 1,
        "false_positives": 0,
        "false_negatives": 1,
        "true_negatives": 1,
    }
    assert third["average_precision"] is None
    assert (third["false_positives"], third["true_negatives"]) == (1, 2)
    constant = Predictions(*SEVERAL[:3], {})
    assert per_class_table(constant, BORNE, ["cat", "dog", "owl"])[0]["class_threshold"] is None


def test_curves_are_points_of_scikit_learns_and_thin():
    answer, labels = multi(1, n_images=400)
    labels[:, 3] = 0
    rows = list(precision_recall_rows(answer, labels, [*"abcd"]))
    assert {(row["curve"], row["class"]) for row in rows} == {
        ("micro", ""),
        *(("class", name) for name in "abc"),  # nobody bears d
    }
    for name, borne, shares in [
        ("", labels.ravel(), answer.probabilities.ravel()),
        ("b", labels[:, 1], answer.probabilities[:, 1]),
    ]:
        curve = [row for row in rows if row["class"] == name]
        assert len(curve) == MOST_POINTS
        precision, recall, thresholds = precision_recall_curve(borne, shares)
        points = np.round(np.stack([thresholds, precision[:-1], recall[:-1]], 1), 6)
        expected = {tuple(point) for point in points.tolist()}
        assert {(row["threshold"], row["precision"], row["recall"]) for row in curve} <= expected
        assert (curve[0]["threshold"], curve[0]["recall"]) == (round(thresholds[0], 6), 1)
        assert curve[-1]["threshold"] == round(thresholds[-1], 6)


def test_the_surest_mistakes_come_first():
    answer = of_shares([[0.6, 0.4], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7]])
    rows = worst_mistakes(answer, np.array([1, 0, 1, 0]), ids=[*"wxyz"], classes=["cat", "dog"])
    assert [(row["id"], row["label"], row["predicted"], row["probability"]) for row in rows] == [
        ("x", "cat", "dog", 0.9),
        ("z", "cat", "dog", 0.7),
        ("w", "dog", "cat", 0.6),
    ]


def test_the_surest_mistakes_of_several_labels_are_pairs_of_image_and_class():
    rows = worst_mistakes(SEVERAL, BORNE, ids=[*"xyz"], classes=["cat", "dog", "owl"])
    assert [tuple(row.values()) for row in rows] == [
        ("y", "cat", "true", 0.3),  # missed, and 0.7 off
        ("x", "dog", "false", 0.6),
        ("y", "owl", "false", 0.45),
    ]


@given(st.integers(0, 1000))
def test_mistakes_are_ranked_and_at_most_a_hundred(seed):
    for answer, labels in (single(seed, n_images=150), multi(seed, n_images=90)):
        rows = worst_mistakes(answer, labels, ids=[str(i) for i in range(150)], classes=[*"abcdef"])
        assert len(rows) == 100
        off = [abs((row.get("positive") == "true") - row["probability"]) for row in rows]
        assert off == sorted(off, reverse=True)
