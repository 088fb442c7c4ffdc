"""Scores on test images: by hand, and as scikit-learn has them."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

from classifold.compared import MAJORITY
from classifold.csv_file import read_rows
from classifold.decisions import probabilities
from classifold.errors import UserError
from classifold.evaluation.answers import STACK, answer, model_logits
from classifold.evaluation.files import write_evaluation
from classifold.evaluation.metrics import (
    calibration_error,
    calibration_table,
    per_class_table,
    score,
)
from classifold.evaluation.predictions import read_predictions, write_predictions
from classifold.intervals import accuracy_interval
from classifold.metrics_file import write_json
from classifold.model_file import build_network, load_model, save_model
from classifold.pixels import rgb_pixels
from classifold.seeding import seed_torch
from classifold.stacking.ensemble import Ensemble, ensemble_logits, save_ensemble
from classifold.table import write_table

CPU = torch.device("cpu")
RANDOM = np.random.default_rng(0)
SHARES = softmax(RANDOM.normal(0, 2, (80, 6)), axis=1)
LABELS = RANDOM.integers(0, 6, 80)


def test_scores_agree_with_scikit_learn():
    found = score(SHARES, LABELS, calibration_bins=15)
    predicted, classes = SHARES.argmax(axis=1), range(6)
    assert found["accuracy"] == accuracy_score(LABELS, predicted)
    assert found["macro_f1"] == pytest.approx(f1_score(LABELS, predicted, average="macro"))
    assert found["log_loss"] == pytest.approx(log_loss(LABELS, SHARES, labels=classes))
    for k in (3, 5):
        expected = top_k_accuracy_score(LABELS, SHARES, k=k, labels=classes)
        assert found[f"top{k}_accuracy"] == pytest.approx(expected)
    n_hits = int((predicted == LABELS).sum())
    assert found["accuracy_ci95"] == accuracy_interval(n_hits, 80)
    assert found["n_images"] == 80


def test_scores_by_hand():
    found = score(
        np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]]),
        np.array([0, 1, 1, 2]),
        calibration_bins=1,
    )
    assert found["accuracy"] == 0.75
    assert found["top3_accuracy"] == found["top5_accuracy"] == 1
    # F1: 2/3 of class 0 (one hit, two answers), 2/3 of class 1, 1 of class 2.
    assert found["macro_f1"] == pytest.approx(7 / 9)
    assert found["log_loss"] == pytest.approx(-np.log([0.7, 0.3, 0.8, 0.4]).mean())
    assert found["calibration_error"] == pytest.approx(0.75 - (0.7 + 0.6 + 0.8 + 0.4) / 4)


def test_a_class_without_an_image_counts_in_macro_f1():
    found = score(np.eye(3)[[0, 1]], np.array([0, 1]), calibration_bins=5)
    assert found["macro_f1"] == pytest.approx(2 / 3)


def test_without_test_images_there_is_nothing_but_their_number():
    assert score(np.empty((0, 3)), np.empty(0, int), calibration_bins=5) == {"n_images": 0}


@pytest.mark.parametrize(
    ("top", "hits", "expected"),
    [
        pytest.param([0.95] * 4, [False] * 4, 0.95, id="sure and wrong"),
        pytest.param([0.75] * 4, [True, True, True, False], 0.0, id="as sure as right"),
        pytest.param([0.65, 0.65, 0.85, 0.85], [True] * 4, 0.25, id="weighted by images"),
        pytest.param([0.62, 0.68], [True, False], 0.15, id="one bin, 0.65 sure, 0.5 right"),
    ],
)
def test_the_calibration_error_by_hand(top, hits, expected):
    shares = np.array([[p, 1 - p] for p in top])
    labels = np.where(hits, 0, 1)
    assert calibration_error(shares, labels, n_bins=10) == pytest.approx(expected, abs=1e-6)


def error_of_table(table, n_images):
    return sum(row["n_images"] * abs(row["confidence"] - row["accuracy"]) for row in table) / (
        n_images
    )


@given(st.integers(1, 20), st.integers(0, 30))
def test_the_calibration_error_is_that_of_its_table(n_bins, seed):
    random = np.random.default_rng(seed)
    shares = softmax(random.normal(0, 2, (40, 3)), axis=1)
    labels = random.integers(0, 3, 40)
    table = calibration_table(shares, labels, n_bins=n_bins)
    expected = calibration_error(shares, labels, n_bins=n_bins)
    assert error_of_table(table, 40) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("top", "labels"),
    [
        pytest.param([0.5, 0.75], [0, 1], id="on the edge of two bins"),
        pytest.param([1.0, 0.9], [1, 0], id="on the upper end"),
    ],
)
def test_table_and_error_put_a_probability_on_an_edge_into_the_same_bin(top, labels):
    shares, labels = np.array([[p, 1 - p] for p in top]), np.array(labels)
    table = calibration_table(shares, labels, n_bins=2)
    error = calibration_error(shares, labels, n_bins=2)
    assert error_of_table(table, len(labels)) == pytest.approx(error, abs=1e-6)


def test_the_calibration_table_holds_every_image_in_the_bin_of_its_probability():
    table = calibration_table(SHARES, LABELS, n_bins=7)
    assert sum(row["n_images"] for row in table) == 80
    for row in table:
        assert row["low"] <= row["confidence"] <= row["high"]
        assert row["high"] - row["low"] == pytest.approx(1 / 7, abs=1e-5)


def test_the_per_class_table_agrees_with_scikit_learn_and_names_unseen_classes():
    predicted = SHARES.argmax(axis=1)
    classes = [*"abcdef", "unseen"]
    table = per_class_table(predicted, LABELS, classes)
    expected = np.array(precision_recall_fscore_support(LABELS, predicted)).T
    found = [[row[key] for key in ("precision", "recall", "f1", "support")] for row in table[:6]]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert table[6] == {"class": "unseen", "precision": 0, "recall": 0, "f1": 0, "support": 0}


def test_predictions_by_hand(tmp_path):
    answers = {
        "a": np.array([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3]]),
        "b": np.array([[0.1, 0.3, 0.6], [0.4, 0.4, 0.2]]),
    }
    path = tmp_path / "predictions.parquet"
    write_predictions(
        path, answers, ids=["x", "y"], labels=np.array([0, 2]), classes=["ape", "cat", "dog"]
    )
    first, second = read_predictions(path, model="b")
    assert first == {
        "id": "x",
        "model": "b",
        "label": "ape",
        "predicted": "dog",
        "probability": 0.6,
        "label_probability": 0.1,
        "label_rank": 3,
    }
    assert (second["id"], second["predicted"], second["label_rank"]) == ("y", "ape", 3)
    assert [row["label_rank"] for row in read_predictions(path, model="a")] == [1, 2]


def test_the_tables_of_an_evaluation_agree_with_its_answers(tmp_path):
    classes = list("fedcba")  # not sorted: columns are what counts
    labels = {f"{i:02}.png": classes[label] for i, label in enumerate(LABELS)}
    answers = {"mlp": SHARES[::-1], STACK: SHARES}
    targets = write_evaluation(tmp_path, answers, labels, classes=classes, n_bins=5)
    np.testing.assert_array_equal(targets, LABELS)
    confusion = [(row["actual"], row["predicted"]) for row in read_rows(tmp_path / "confusion.csv")]
    expected = [classes[i] for i in SHARES.argmax(axis=1)]
    assert confusion == list(zip(labels.values(), expected, strict=True))
    stack = read_predictions(tmp_path / "predictions.parquet", model=STACK)
    assert [(row["id"], row["predicted"]) for row in stack] == list(
        zip(labels, expected, strict=True)
    )
    per_class = read_rows(tmp_path / "per_class.csv")
    assert [(row["model"], row["class"]) for row in per_class] == [
        (model, name) for model in answers for name in classes
    ]
    calibration = read_rows(tmp_path / "calibration.csv")
    for model in answers:
        n_images = [int(row["n_images"]) for row in calibration if row["model"] == model]
        assert sum(n_images) == 80


IDS = ["cat/1.png", "dog/2.png", "dog/3.png"]
DECISIONS = {
    "classes": ["cat", "dog"],
    "class_shares": {"cat": 0.25, "dog": 0.75},
    "models": {"quiet": {"temperature": 2.0}, "loud": {"temperature": 0.5}},
}


@pytest.fixture
def trained(tmp_path, encode):
    """An image table, two models and an ensemble of them, as folders."""
    folders = {name: tmp_path / name for name in ("ingested", "models", "ensemble")}
    for folder in folders.values():
        folder.mkdir()
    images = RANDOM.integers(0, 256, (3, 6, 10, 3), np.uint8)
    write_table(
        folders["ingested"],
        (
            {"id": name, "image": {"bytes": encode(image), "path": name}, "labels": []}
            for name, image in zip(IDS, images, strict=True)
        ),
    )
    for seed, name in enumerate(DECISIONS["models"]):
        seed_torch(seed)
        settings = {"network": "mlp", "arguments": {"hidden": [4]}}
        network = build_network("mlp", n_classes=2, image_size=4, arguments=settings["arguments"])
        (folders["models"] / name).mkdir()
        save_model(
            folders["models"] / name,
            network,
            **settings,
            classes=["cat", "dog"],
            preprocessing={"pack_size": 8, "resize": "box", "image_size": 4, "normalize": "half"},
            training={"threads": 1},
        )
    save_ensemble(folders["ensemble"], Ensemble("mean", ["loud", "quiet"], 2, {}, {}))
    write_json(folders["ensemble"] / "decision.json", {"temperature": 3.0})
    return folders


def test_every_listed_model_the_stack_and_the_baseline_answer_with_their_decisions(trained):
    answers = answer(IDS[::-1], **trained, decisions=DECISIONS, device=CPU)
    assert list(answers) == ["quiet", "loud", STACK, MAJORITY]
    for shares in answers.values():
        np.testing.assert_allclose(shares.sum(axis=1), [1, 1, 1])
    np.testing.assert_array_equal(answers[MAJORITY], [[0.25, 0.75]] * 3)

    stored = pq.read_table(trained["ingested"])["image"].to_pylist()
    pixels = pixels_of([row["bytes"] for row in stored])[::-1]
    logits = {
        name: model_logits(load_model(trained["models"] / name), pixels, device=CPU)
        for name in DECISIONS["models"]
    }
    for name, decision in DECISIONS["models"].items():
        np.testing.assert_allclose(answers[name], probabilities(logits[name], **decision))
    stacked = ensemble_logits(Ensemble("mean", ["loud", "quiet"], 2, {}, {}), logits)
    np.testing.assert_allclose(answers[STACK], probabilities(stacked, temperature=3.0))


def pixels_of(encoded):
    return np.stack([rgb_pixels(image, size=8, resize="box") for image in encoded])


def test_without_test_images_everybody_answers_nothing(trained):
    answers = answer([], **trained, decisions=DECISIONS, device=CPU)
    assert {shares.shape for shares in answers.values()} == {(0, 2)}


def test_a_model_that_knows_other_classes_is_named_with_advice(trained):
    decisions = DECISIONS | {
        "classes": ["cat", "owl"],
        "class_shares": {"cat": 0.5, "owl": 0.5},
    }
    message = r"model 'quiet' knows other classes; run 'dvc repro -f train@quiet'"
    with pytest.raises(UserError, match=message):
        answer(IDS, **trained, decisions=decisions, device=CPU)
