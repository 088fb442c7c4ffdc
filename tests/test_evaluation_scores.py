"""Scores on test images: by hand, and as scikit-learn has them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from classifold.evaluation.inference import Predictions, decide
from classifold.evaluation.intervals import accuracy_interval
from classifold.evaluation.mistakes import worst_mistakes
from classifold.evaluation.outcomes import describe_absent_classes
from classifold.evaluation.per_class import MAX_POINTS, per_class_table, precision_recall_rows
from classifold.evaluation.scores import compare, format_test_scores, score

SETTINGS = {"calibration_bins": 15, "bootstrap": {"resamples": 100, "seed": 0}}
MANY_LABELS = {"temperature": 1.5, "threshold": 0.4, "thresholds": [0.2, 0.5, 0.7, 0.4]}


def random_single(seed, *, n_images=40, n_classes=6):
    """Random predictions and labels; some classes may have no image."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (n_images, n_classes))
    labels = random.integers(0, n_classes, n_images)
    return decide(logits, {"temperature": 2.0}, task="single"), labels


def random_multi(seed, *, n_images=40, fraction=0.3):
    """Random predictions of four classes, and random labels; some classes may have no image."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (n_images, 4))
    labels = (random.random(logits.shape) < fraction).astype(np.uint8)
    return decide(logits, MANY_LABELS, task="multi"), labels


def with_probabilities(probabilities, **decision):
    probabilities = np.array(probabilities)
    predicted = probabilities > decision["threshold"] if decision else probabilities.argmax(axis=1)
    return Predictions(probabilities, probabilities, predicted, decision)


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(2, 7))
def test_scores_agree_with_scikit_learn(seed, n_images, n_classes):
    predictions, labels = random_single(seed, n_images=n_images, n_classes=n_classes)
    found = score(predictions, labels, **SETTINGS)
    probabilities, classes = predictions.probabilities, range(n_classes)
    predicted = probabilities.argmax(axis=1)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted))
    f1 = metrics.f1_score(labels, predicted, labels=classes, average="macro", zero_division=0)
    assert found["macro_f1"] == pytest.approx(f1)
    log_loss = metrics.log_loss(labels, probabilities, labels=classes)
    assert found["log_loss"] == pytest.approx(log_loss)
    for k in (3, 5):
        if k < n_classes:
            expected = metrics.top_k_accuracy_score(labels, probabilities, k=k, labels=classes)
            assert found[f"top{k}_accuracy"] == pytest.approx(expected)
        else:
            assert found[f"top{k}_accuracy"] == 1
    n_correct = int((predicted == labels).sum())
    assert found["accuracy_ci95"] == accuracy_interval(n_correct, n_images)
    assert found["n_images"] == n_images


@given(st.integers(0, 10_000), st.integers(1, 40), st.sampled_from([0, 0.02, 0.3, 1]))
@settings(max_examples=20)
def test_scores_of_several_labels_agree_with_scikit_learn(seed, n_images, fraction):
    predictions, labels = random_multi(seed, n_images=n_images, fraction=fraction)
    found = score(predictions, labels, **SETTINGS)
    probabilities = predictions.probabilities
    predicted = probabilities > 0.4

    def f1(predicted, average):
        return pytest.approx(metrics.f1_score(labels, predicted, average=average, zero_division=0))

    assert found["micro_f1"] == f1(predicted, "micro")
    assert found["macro_f1"] == f1(predicted, "macro")
    assert found["micro_f1_at_half"] == f1(probabilities > 0.5, "micro")
    assert found["micro_f1_at_class_thresholds"] == f1(
        probabilities > MANY_LABELS["thresholds"], "micro"
    )
    assert found["subset_accuracy"] == metrics.accuracy_score(labels, predicted)
    assert found["hamming_loss"] == metrics.hamming_loss(labels, predicted)
    pairs = [(labels[:, i], probabilities[:, i]) for i in range(4)]
    losses = [metrics.log_loss(*pair, labels=[0, 1]) for pair in pairs]
    assert found["log_loss"] == pytest.approx(np.mean(losses))
    precisions = [metrics.average_precision_score(*pair) for pair in pairs if pair[0].any()]
    expected = pytest.approx(np.mean(precisions)) if precisions else None
    assert found["mean_average_precision"] == expected
    low, high = found["micro_f1_ci95"]
    assert 0 <= low <= high <= 1
    assert found["n_images"] == n_images


SEVERAL = with_probabilities(
    [[0.9, 0.6, 0.1], [0.3, 0.8, 0.45], [0.2, 0.1, 0.1]], threshold=0.4, thresholds=[0.5, 0.7, 0.05]
)
MULTI_LABELS = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0]], np.uint8)


def test_calibration_is_measured_with_and_without_temperature_scaling():
    logits = np.log([[9.0, 1.0]] * 4)
    predictions = decide(logits, {"temperature": 2.0}, task="single")
    found = score(predictions, np.array([0, 0, 0, 1]), **SETTINGS | {"calibration_bins": 10})
    assert found["calibration_error"] == pytest.approx(0)  # 3 : 1, and three of four are right
    assert found["calibration_error_uncalibrated"] == pytest.approx(0.9 - 0.75)


@pytest.mark.parametrize("labels", [np.array([1, 1, 1]), np.ones((3, 2), np.uint8)])
def test_scores_of_equal_images_are_finite(labels):
    decision = {"threshold": 0.4, "thresholds": [0.4, 0.4]} if labels.ndim > 1 else {}
    found = score(with_probabilities([[0.0, 1.0]] * 3, **decision), labels, **SETTINGS)
    note = describe_absent_classes(found)
    assert note.startswith("1 of 2 classes have no test image") == (labels.ndim == 1)
    numbers = np.hstack([value for value in found.values() if value is not None])
    assert np.isfinite(numbers.astype(float)).all()
    assert found.get("accuracy", 1) == found["macro_f1"] * 2 == 1
    assert found["macro_f1_present"] == 1 / labels.ndim


def test_the_comparison_of_two_models_by_hand():
    labels, wrong = np.array([0, 1, 0, 1, 0, 1]), np.array([1, 0, 1, 0, 1, 1])
    one, other = (with_probabilities(np.eye(2)[predicted]) for predicted in (labels, wrong))
    found = compare(other, one, labels)
    assert found["difference"] == pytest.approx(-5 / 6)
    assert found["p_value"] == pytest.approx(2 / 32)
    low, high = found["difference_ci95"]
    assert -1 <= low < -5 / 6 < high <= 0
    same = compare(one, one, labels)
    assert same == {"difference": 0, "difference_ci95": [0, 0], "p_value": 1}


def test_the_comparison_of_two_models_with_several_labels():
    everything = SEVERAL._replace(predicted=np.ones((3, 3), bool))
    found = compare(everything, SEVERAL, MULTI_LABELS)
    assert found["difference"] == pytest.approx(6 / 12 - 4 / 7)
    low, high = found["difference_ci95"]
    assert low <= found["difference"] <= high


def test_a_test_score_is_formatted_with_its_interval():
    numbers = {"n_images": 4, "n_classes": 2, "n_classes_present": 2}
    for metric, name in (("accuracy", "accuracy"), ("micro_f1", "micro f1")):
        scores = {metric: 0.5, f"{metric}_ci95": [0.25, 0.75], **numbers}
        assert format_test_scores(scores) == f"test {name} 0.5000 (0.2500-0.7500)"
    assert "split.fractions.test is 0" in format_test_scores({"n_images": 0})


@pytest.mark.parametrize("draw", [random_single, random_multi])
def test_the_per_class_table_agrees_with_scikit_learn_and_has_classes_without_images(draw):
    predictions, labels = draw(3)
    n_classes = predictions.probabilities.shape[1]
    probabilities = np.pad(predictions.probabilities, ((0, 0), (0, 1)))
    predicted, decision = predictions.predicted, predictions.decision
    expected = metrics.precision_recall_fscore_support(labels, predicted, zero_division=0)
    if labels.ndim > 1:
        predicted, labels = (np.pad(a, ((0, 0), (0, 1))) for a in (predicted, labels))
        decision = decision | {"thresholds": [*decision["thresholds"], 0.5]}
    padded = Predictions(probabilities, probabilities, predicted, decision)
    table = per_class_table(padded, labels, [*"abcdef"[:n_classes], "empty"])
    keys = ("precision", "recall", "f1", "support")
    found = [[row[key] for key in keys] for row in table[:n_classes]]
    np.testing.assert_allclose(found, np.array(expected).T, atol=1e-6)
    assert table[-1]["class"] == "empty"
    assert [table[-1][key] for key in keys] == [0, 0, 0, 0]


def test_the_per_class_table_of_several_labels_by_hand():
    first, _, third = per_class_table(SEVERAL, MULTI_LABELS, ["cat", "dog", "owl"])
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
    constant = per_class_table(Predictions(*SEVERAL[:3], {}), MULTI_LABELS, ["cat", "dog", "owl"])
    assert constant[0]["class_threshold"] is None


def test_curves_are_a_limited_number_of_scikit_learns_points():
    predictions, labels = random_multi(1, n_images=400)
    labels[:, 3] = 0
    rows = list(precision_recall_rows(predictions, labels, [*"abcd"]))
    curves = {(row["curve"], row["class"]) for row in rows}
    assert curves == {("micro", ""), *(("class", name) for name in "abc")}  # no image has d
    for name, actual, probabilities in [
        ("", labels.ravel(), predictions.probabilities.ravel()),
        ("b", labels[:, 1], predictions.probabilities[:, 1]),
    ]:
        curve = [row for row in rows if row["class"] == name]
        assert len(curve) == MAX_POINTS
        precision, recall, thresholds = metrics.precision_recall_curve(actual, probabilities)
        points = np.round(np.stack([thresholds, precision[:-1], recall[:-1]], 1), 6)
        expected = {tuple(point) for point in points.tolist()}
        assert {(row["threshold"], row["precision"], row["recall"]) for row in curve} <= expected
        assert (curve[0]["threshold"], curve[0]["recall"]) == (round(thresholds[0], 6), 1)
        assert curve[-1]["threshold"] == round(thresholds[-1], 6)


def test_the_most_confident_mistakes_come_first():
    predictions = with_probabilities([[0.6, 0.4], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7]])
    labels = np.array([1, 0, 1, 0])
    rows = worst_mistakes(predictions, labels, ids=[*"wxyz"], classes=["cat", "dog"])
    found = [(row["id"], row["label"], row["predicted"], row["probability"]) for row in rows]
    assert found == [("x", "cat", "dog", 0.9), ("z", "cat", "dog", 0.7), ("w", "dog", "cat", 0.6)]


def test_mistakes_of_several_labels_are_pairs_of_image_and_class():
    rows = worst_mistakes(SEVERAL, MULTI_LABELS, ids=[*"xyz"], classes=["cat", "dog", "owl"])
    assert [tuple(row.values()) for row in rows] == [
        ("y", "cat", "true", 0.3),  # a false negative with an error of 0.7
        ("x", "dog", "false", 0.6),
        ("y", "owl", "false", 0.45),
    ]


@given(st.integers(0, 1000))
def test_mistakes_are_ranked_and_at_most_100(seed):
    for predictions, labels in (random_single(seed, n_images=150), random_multi(seed, n_images=90)):
        ids = [str(i) for i in range(150)]
        rows = worst_mistakes(predictions, labels, ids=ids, classes=[*"abcdef"])
        assert len(rows) == 100
        signed = [(row.get("positive") == "true") - row["probability"] for row in rows]
        errors = [round(abs(error), 6) for error in signed]  # as written
        assert errors == sorted(errors, reverse=True)


def test_top_k_accuracy_counts_ranks_where_probabilities_are_tied():
    labels = np.arange(8)
    found = score(with_probabilities(np.full((8, 8), 1 / 8)), labels, **SETTINGS)
    ranks = ("accuracy", "top3_accuracy", "top5_accuracy")
    assert [found[name] for name in ranks] == [1 / 8, 3 / 8, 5 / 8]


def test_macro_f1_of_a_test_split_without_some_classes_has_a_mean_over_the_others_too():
    found = score(with_probabilities(np.eye(4)[[0, 0, 1, 3]]), np.array([0, 0, 1, 1]), **SETTINGS)
    # F1 of the four classes: 1, 2/3, and 0 for two without images, one of which is predicted.
    assert found["macro_f1"] == pytest.approx((1 + 2 / 3) / 4)
    assert found["macro_f1_present"] == pytest.approx((1 + 2 / 3) / 2)
    assert (found["n_classes_present"], found["n_classes"]) == (2, 4)
    low, high = found["macro_f1_present_ci95"]
    assert low < found["macro_f1_present"] < high
    assert found["macro_f1_ci95"] == pytest.approx([low / 2, high / 2])
    text = format_test_scores(found)
    assert "2 of 4 classes" in text and "0.4167" in text and "0.8333" in text
    complete = score(with_probabilities(np.eye(2)), np.array([0, 1]), **SETTINGS)
    assert describe_absent_classes(complete) == ""
    assert complete["macro_f1"] == complete["macro_f1_present"] == 1


def test_one_class_of_which_images_have_any_number_is_scored_as_one_class():
    labels = np.array([[1], [1], [0], [0]], np.uint8)
    predictions = with_probabilities(
        [[0.9], [0.2], [0.8], [0.1]], threshold=0.5, thresholds=[0.5], temperature=1.0
    )
    found = score(predictions, labels, **SETTINGS)
    assert found["macro_f1"] == found["micro_f1"] == 0.5
    (row,) = per_class_table(predictions, labels, ["cat"])
    assert (row["precision"], row["recall"], row["f1"], row["support"]) == (0.5, 0.5, 0.5, 2)
    outcomes = ("true_positives", "false_positives", "false_negatives", "true_negatives")
    assert [row[name] for name in outcomes] == [1, 1, 1, 1]
