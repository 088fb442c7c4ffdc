"""Scores: what an epoch is judged by, against scikit-learn's or by hand."""

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from sklearn.metrics import accuracy_score, f1_score, log_loss

from classifold.training.scores import SELECTION_METRIC, Score, count, rank, score_logits, to_score

ENTROPY = {"name": "cross_entropy"}
BINARY = {"name": "binary_cross_entropy"}


def test_scores_of_one_label_are_scikit_learns():
    random = np.random.default_rng(0)
    logits = random.normal(size=(50, 4)).astype(np.float32)
    labels = random.integers(0, 4, 50)
    score = score_logits(logits, labels, loss=ENTROPY)
    assert score.accuracy == accuracy_score(labels, logits.argmax(1))
    assert score.loss == pytest.approx(log_loss(labels, softmax(logits.astype(float), axis=1)))
    assert score.micro_f1 is None


LABELS = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 0]], np.uint8)
# True positives: 1 of 2, 1 of 1, none of none, 2 of 2; and one false positive in the last.
LOGITS = np.array([[2, -1, -3], [-2, 0.5, -1], [-1, -1, -1], [1, 1, 4]], np.float32)


@pytest.mark.parametrize("fraction", [0.05, 0.5, 0.95])
def test_scores_of_several_labels_are_scikit_learns(fraction):
    random = np.random.default_rng(0)
    labels = (random.random((80, 5)) < fraction).astype(int)
    logits = (2 * labels - 1 + random.normal(0, 1.5, (80, 5))).astype(np.float32)
    score = score_logits(logits, labels, loss=BINARY)
    predicted = expit(logits.astype(float))
    assert score.micro_f1 == pytest.approx(f1_score(labels, predicted > 0.5, average="micro"))
    assert score.accuracy == pytest.approx(accuracy_score(labels, predicted > 0.5))
    assert score.loss == pytest.approx(log_loss(labels.ravel(), predicted.ravel()))
    assert 0 < score.accuracy < 1
    assert 0 < score.micro_f1 < 1
    assert score.micro_f1 != score.accuracy


@pytest.mark.parametrize(
    ("labels", "logit", "accuracy", "micro_f1"),
    [
        (0, -1.0, 1, 0),  # no label, none predicted
        (0, 1.0, 0, 0),  # no label, all predicted
        (1, -1.0, 0, 0),  # all labels, none predicted
        (1, 1.0, 1, 1),  # all labels, all predicted
        (1, 0.0, 0, 0),  # a probability of a half is not predicted
    ],
)
def test_scores_at_their_limits(labels, logit, accuracy, micro_f1):
    logits = np.full((4, 3), logit, np.float32)
    score = score_logits(logits, np.full((4, 3), labels, np.uint8), loss=BINARY)
    assert (score.accuracy, score.micro_f1) == (accuracy, micro_f1)


@pytest.mark.parametrize("labels", [LABELS, np.array([0, 1, 2, 2])])
def test_counts_of_micro_batches_add_up_to_those_of_the_batch(labels):
    logits, labels = torch.from_numpy(LOGITS), torch.from_numpy(labels)
    added = count(logits[:1], labels[:1]) + count(logits[1:], labels[1:])
    assert added.tolist() == count(logits, labels).tolist()


def test_counts_by_hand():
    several = count(torch.from_numpy(LOGITS), torch.from_numpy(LABELS))
    assert several.tolist() == [2, 4, 5, 5]
    single = count(torch.from_numpy(LOGITS), torch.tensor([0, 0, 0, 2]))
    assert single.tolist() == [3, 0, 0, 0]  # of equal logits the first is predicted
    score = to_score(0.25, several.numpy(), n_images=4, task="multi")
    assert score == Score(0.25, 0.5, 0.8)
    assert to_score(0.25, single.numpy(), n_images=4, task="single") == Score(0.25, 0.75)


def test_the_loss_of_a_score_is_that_of_training_but_for_smoothing():
    labels = np.array([0, 1, 2, 2])
    plain = score_logits(LOGITS, labels, loss=ENTROPY)
    smoothed = score_logits(LOGITS, labels, loss=ENTROPY | {"label_smoothing": 0.3})
    assert smoothed == plain
    focal = score_logits(LOGITS, labels, loss={"name": "focal", "gamma": 2.0})
    assert focal.accuracy == plain.accuracy
    assert focal.loss < plain.loss


@pytest.mark.parametrize(
    ("metric", "order"),
    [
        # From the worst to the best; of equals the one with the lower loss is better.
        ("accuracy", ["c", "a", "b"]),
        ("micro_f1", ["b", "c", "a"]),
        ("loss", ["a", "b", "c"]),
    ],
)
def test_epochs_are_ranked_by_their_metric_and_then_by_their_loss(metric, order):
    scores = {
        "a": Score(0.9, 0.5, 0.7),
        "b": Score(0.8, 0.5, 0.1),
        "c": Score(0.2, 0.4, 0.1),
    }
    assert sorted(scores, key=lambda name: rank(scores[name], metric)) == order


def test_the_default_metric_is_accuracy_for_one_label_and_loss_for_several():
    assert SELECTION_METRIC == {"single": "accuracy", "multi": "loss"}


def test_a_score_is_formatted_as_columns_and_as_text():
    single, several = Score(0.12345678, 0.5), Score(1.5, 0.25, 0.75)
    assert single.columns("train") == {"train_loss": 0.123457, "train_accuracy": 0.5}
    assert several.columns("validation") == {
        "validation_loss": 1.5,
        "validation_accuracy": 0.25,
        "validation_micro_f1": 0.75,
    }
    assert single.describe("validation") == "validation accuracy 0.5000"
    assert (
        several.describe("validation") == "validation accuracy 0.2500, validation micro f1 0.7500"
    )
