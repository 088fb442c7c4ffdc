"""Predictions for test images, and the files of the evaluation."""

import json
import os
import shutil
import sys

import numpy as np
import pytest
import torch
from scipy.special import softmax

from classifold.data import row_blocks
from classifold.data.csv_file import read_rows, write_rows
from classifold.data.image_table import iter_images
from classifold.data.json_file import write_json
from classifold.data.model_settings import seed_folder
from classifold.data.pixels import mean_luma, rgb_pixels
from classifold.data.predictions import MAJORITY, STACK, read_predictions
from classifold.errors import UserError
from classifold.evaluation import block_inference, inference
from classifold.evaluation.block_inference import predict_test_images
from classifold.evaluation.files import write_evaluation
from classifold.evaluation.inference import Predictions, decide, model_logits
from classifold.evaluation.intervals import accuracy_interval
from classifold.evaluation.labels import LabeledImages, read_labeled_images
from classifold.evaluation.set_scores import score_sets
from classifold.evaluation.summary import summarize
from classifold.models.decisions import fit_decision, probabilities
from classifold.models.model_file import load_model, new_network
from classifold.stacking.ensemble import ensemble_logits, load_ensemble
from shared_fixtures import MEMBERS

CPU = torch.device("cpu")
RANDOM = np.random.default_rng(0)
PROBABILITIES = softmax(RANDOM.normal(0, 2, (80, 6)), axis=1)
LABELS = RANDOM.integers(0, 6, 80)
BOOTSTRAP = {"resamples": 100, "seed": 0}
CLASSES = list("fedcba")  # not sorted: columns are what counts
IMAGES = LabeledImages([f"{i:02}.png" for i in range(80)], LABELS)
HALVES = {"brightness": {"dark": np.arange(80) < 40, "bright": np.arange(80) >= 40}}
MULTI_LABELS = (RANDOM.random((80, 6)) < 0.3).astype(np.uint8)


def single_label(probabilities):
    return decide(np.log(probabilities), {"temperature": 1.0}, task="single")


def multi_label(seed):
    logits = np.random.default_rng(seed).normal(0, 2, MULTI_LABELS.shape) + 2 * MULTI_LABELS
    return decide(logits, fit_decision(logits, MULTI_LABELS), task="multi")


SINGLE = {
    "mlp": single_label(PROBABILITIES[::-1]),
    STACK: single_label(PROBABILITIES),
    MAJORITY: single_label(PROBABILITIES),
}
SEVERAL = {"mlp": multi_label(1), STACK: multi_label(2), MAJORITY: multi_label(3)}


def write(folder, predictions, images, slices=HALVES):
    settings = {"classes": CLASSES, "slices": slices, "calibration_bins": 5}
    write_evaluation(folder, predictions, images, **settings)
    return {path.name: read_rows(path) for path in folder.glob("*.csv")}


def summary(predictions, labels, **changes):
    measured = {"train_accuracy": 0.9, "validation_accuracy": 0.5}
    measured |= {"train_micro_f1": 0.9, "validation_micro_f1": 0.5}
    settings = {
        "classes": CLASSES,
        "before": {"mlp": measured, STACK: {"validation_accuracy": 0.75}, MAJORITY: measured},
        "untrained": {"mlp": np.zeros(labels.shape, bool if labels.ndim > 1 else int)},
        "seeds": {},
        "slices": HALVES,
        "calibration_bins": 5,
        "bootstrap": BOOTSTRAP,
    }
    return summarize(predictions, labels, **settings | changes)


def test_the_tables_of_an_evaluation_agree_with_its_predictions(tmp_path):
    tables = write(tmp_path, SINGLE, IMAGES)
    expected = [CLASSES[i] for i in PROBABILITIES.argmax(axis=1)]
    actual = [CLASSES[i] for i in LABELS]
    confusion = [(row["actual"], row["predicted"]) for row in tables["confusion.csv"]]
    assert confusion == list(zip(actual, expected, strict=True))
    stack = read_predictions(tmp_path / "predictions.parquet", model=STACK)
    found = {row["id"]: row["predicted"] for row in stack}
    assert found == dict(zip(IMAGES.ids, expected, strict=True))
    rows = [(row["model"], row["class"]) for row in tables["per_class.csv"]]
    assert rows == [(model, name) for model in SINGLE for name in CLASSES]
    for model in SINGLE:
        rows = [row for row in tables["calibration.csv"] if row["model"] == model]
        assert sum(int(row["n_images"]) for row in rows) == 80
    correct = PROBABILITIES.argmax(axis=1) == LABELS
    slices = [row for row in tables["slices.csv"] if row["model"] == STACK]
    assert [(row["value"], float(row["accuracy"])) for row in slices] == [
        ("dark", correct[:40].mean()),
        ("bright", correct[40:].mean()),
    ]
    assert len(tables["mistakes.csv"]) == (~correct).sum()
    assert "precision_recall.csv" not in tables


def test_the_tables_of_several_labels_agree_with_their_predictions(tmp_path):
    tables = write(tmp_path, SEVERAL, LabeledImages(IMAGES.ids, MULTI_LABELS))
    assert tables["confusion.csv"] == []
    first = tables["per_class.csv"][0]
    predicted = SEVERAL["mlp"].predicted[:, 0]
    assert int(first["true_positives"]) == (predicted & (MULTI_LABELS[:, 0] > 0)).sum()
    counts = ("true_positives", "false_positives", "false_negatives", "true_negatives")
    for row in tables["per_class.csv"]:
        assert sum(int(row[name]) for name in counts) == 80
    pairs = [row for row in tables["calibration.csv"] if row["model"] == STACK]
    assert sum(int(row["n_images"]) for row in pairs) == MULTI_LABELS.size
    assert {row["curve"] for row in tables["precision_recall.csv"]} == {"micro", "class"}
    columns = "model slice value n_images micro_f1 low high"
    assert set(tables["slices.csv"][0]) == set(columns.split())
    stack = read_predictions(tmp_path / "predictions.parquet", model=STACK)
    predicted = [set(filter(None, row["predicted"].split("|"))) for row in stack]
    for names, row in zip(predicted, SEVERAL[STACK].predicted, strict=True):
        assert names == {name for name, positive in zip(CLASSES, row, strict=True) if positive}


@pytest.mark.parametrize("labels", [LABELS[:0], MULTI_LABELS[:0]])
def test_without_test_images_tables_are_empty_and_metrics_are_the_number_of_images(
    tmp_path, labels
):
    predictions = SINGLE if labels.ndim == 1 else SEVERAL
    nothing = {
        name: Predictions(*(values[:0] for values in given[:3]), given.decision)
        for name, given in predictions.items()
    }
    nothing[STACK] = with_thresholds(nothing[STACK], level="0.9", accuracy="0.5", threshold=0.2)
    tables = write(tmp_path, nothing, LabeledImages([], labels), slices={})
    assert {"prediction_sets.csv", "risk_coverage.csv", "mistakes.csv"} < set(tables)
    assert not any(tables.values())
    assert read_predictions(tmp_path / "predictions.parquet", model=STACK) == []
    assert summary(nothing, labels, slices={}) == {name: {"n_images": 0} for name in predictions}


def test_a_summary_has_gaps_untrained_scores_and_slices_of_the_stack():
    found = summary(SINGLE, LABELS)
    mlp, stack = found["mlp"], found[STACK]
    assert mlp["train_test_gap"] == pytest.approx(0.9 - mlp["accuracy"], abs=1e-6)
    assert mlp["validation_test_gap"] == pytest.approx(0.5 - mlp["accuracy"], abs=1e-6)
    assert (mlp["train_accuracy"], mlp["validation_accuracy"]) == (0.9, 0.5)
    # The stack has no score on training images.
    assert (stack["train_accuracy"], stack["train_test_gap"]) == (None, None)
    assert mlp["untrained_accuracy"] == (LABELS == 0).mean()
    assert "untrained_accuracy" not in stack
    assert "versus_stack" not in stack
    assert mlp["versus_stack"]["difference"] == pytest.approx(mlp["accuracy"] - stack["accuracy"])
    assert found[MAJORITY]["versus_stack"]["p_value"] == 1
    dark = (PROBABILITIES.argmax(axis=1) == LABELS)[:40].mean()
    assert stack["slices"]["brightness"]["dark"] == {"accuracy": dark, "n_images": 40}


def test_gaps_of_several_labels_compare_scores_at_the_same_threshold():
    found = summary(SEVERAL, MULTI_LABELS)
    mlp, baseline = found["mlp"], found[MAJORITY]
    assert mlp["micro_f1"] != mlp["micro_f1_at_half"]
    assert mlp["train_test_gap"] == pytest.approx(0.9 - mlp["micro_f1_at_half"], abs=1e-6)
    assert baseline["train_test_gap"] == pytest.approx(0.9 - baseline["micro_f1"], abs=1e-6)
    assert mlp["untrained_micro_f1"] == 0
    assert set(mlp["versus_stack"]) == {"difference", "difference_ci95"}


@pytest.mark.promise("official-test")
def test_duplicates_of_training_images_are_counted_and_excluded_from_a_score():
    correct = PROBABILITIES.argmax(axis=1) == LABELS
    duplicates = {"duplicate of a training image": correct, "no duplicate": ~correct}
    entry = summary(SINGLE, LABELS, slices={"duplicates": duplicates})[STACK]
    assert entry["n_duplicates_of_train"] == correct.sum()
    assert entry["accuracy_without_duplicates"] == 0
    assert entry["slices"]["duplicates"]["duplicate of a training image"]["accuracy"] == 1
    entry = summary(SINGLE, LABELS, slices={})[STACK]
    assert entry["n_duplicates_of_train"] == 0
    assert entry["accuracy_without_duplicates"] == entry["accuracy"]
    everything = {"duplicates": {"duplicate of a training image": np.ones(80, bool)}}
    entry = summary(SINGLE, LABELS, slices=everything)[STACK]
    assert (entry["accuracy_without_duplicates"], entry["slices"]) == (None, {})


def test_labels_are_positions_in_the_classes(tmp_path):
    def read(labels, *, classes, task):
        rows = [{"id": name, "label": labels[name], "group": name} for name in labels]
        write_rows(tmp_path / "test.csv", rows, columns=["id", "label", "group"])
        decisions = {"classes": classes, "task": task}
        return read_labeled_images(tmp_path / "test.csv", decisions=decisions)

    one_each = {"x": "dog", "y": "ape"}
    ids, labels = read(one_each, classes=["dog", "ape"], task="single")
    assert (ids, labels.tolist(), labels.dtype) == (["x", "y"], [0, 1], np.int64)
    with pytest.raises(UserError, match=r"test.csv: image 'y'.*'ape'"):
        read(one_each, classes=["dog", "owl"], task="single")
    _, labels = read({"x": "ape|dog", "y": ""}, classes=["dog", "owl", "ape"], task="multi")
    assert (labels.tolist(), labels.dtype) == ([[1, 0, 1], [0, 0, 0]], np.uint8)


IDS = ["cat/photo.jpg", "dog/gray.png", "owl/palette.gif"]
DECISIONS = {
    "task": "single",
    "classes": ["cat", "dog", "owl"],
    "class_proportions": {"cat": 0.25, "dog": 0.75, "owl": 0.0},
    "models": {"flat": {"temperature": 2.0}, "deep": {"temperature": 0.5}},
}
SEVERAL_LABELS = {"temperature": 2.0, "threshold": 0.45, "thresholds": [0.3, 0.6, 0.5]}
VIEW = {"flips": "none", "shift": 0}
PLAIN = {"device": CPU, **VIEW}


@pytest.fixture
def trained(project):
    """The folders of an image table, two models and the mean of their logits."""
    root = project(method="mean", resize="box")
    folders = {name: root / name for name in ("models", "ensemble")}
    return folders | {"ingested": root / "data/ingested"}


def predict(trained, ids=IDS, decisions=DECISIONS, **test_time):
    ingested, folders = trained["ingested"], {k: trained[k] for k in ("models", "ensemble")}
    pixels = inference.read_pixels(ids, ingested=ingested, model=trained["models"] / "flat")
    settings = {"decisions": decisions, "device": CPU, "test_time": VIEW | test_time}
    return inference.predict_all(pixels, **folders, **settings)


def pixels_of(trained):
    stored = dict(iter_images(trained["ingested"], IDS))
    return np.stack([rgb_pixels(stored[name], size=16, resize="box") for name in IDS])


def test_decisions_are_applied_to_every_listed_model_and_the_stack(trained):
    without_images = predict(trained, [])
    assert {given.probabilities.shape for given in without_images.values()} == {(0, 3)}
    predictions = predict(trained, IDS[::-1])
    assert list(predictions) == ["flat", "deep", STACK]
    pixels = pixels_of(trained)[::-1]
    logits = {
        name: model_logits(load_model(trained["models"] / name), pixels, **PLAIN)
        for name in DECISIONS["models"]
    }
    for name, decision in DECISIONS["models"].items():
        expected = probabilities(logits[name], **decision)
        np.testing.assert_allclose(predictions[name].probabilities, expected)
        uncalibrated = softmax(logits[name].astype(float), axis=1)
        np.testing.assert_allclose(predictions[name].uncalibrated, uncalibrated)
        np.testing.assert_array_equal(predictions[name].predicted, expected.argmax(axis=1))
    stacked = ensemble_logits(load_ensemble(trained["ensemble"]), logits)
    expected = probabilities(stacked, temperature=1.3)
    np.testing.assert_allclose(predictions[STACK].probabilities, expected)


def test_several_labels_are_predicted_at_the_fitted_threshold(trained):
    models = dict.fromkeys(["flat", "deep"], SEVERAL_LABELS)
    decisions = DECISIONS | {"task": "multi", "models": models}
    write_json(trained["ensemble"] / "decision.json", SEVERAL_LABELS)
    logits = model_logits(load_model(trained["models"] / "deep"), pixels_of(trained), **PLAIN)
    expected = probabilities(logits, temperature=2.0, task="multi")
    predictions = predict(trained, decisions=decisions)
    np.testing.assert_allclose(predictions["deep"].probabilities, expected)
    for given in predictions.values():
        np.testing.assert_array_equal(given.predicted, given.probabilities > 0.45)
        assert given.decision == SEVERAL_LABELS


def test_test_time_flips_average_logits_over_views(trained):
    mirrored = pixels_of(trained)[:, :, ::-1]
    model = load_model(trained["models"] / "deep")
    logits = [model_logits(model, pixels, **PLAIN) for pixels in (pixels_of(trained), mirrored)]
    expected = probabilities(np.mean(logits, axis=0), temperature=0.5)
    found = predict(trained, flips="horizontal")["deep"].probabilities
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_untrained_logits_depend_on_the_seed_alone(trained):
    settings = {"models": trained["models"], "seeds": {"flat": 7, "deep": 8}, "device": CPU}
    found = inference.untrained_logits(pixels_of(trained), **settings)
    network = new_network(**MEMBERS["flat"], n_classes=3, seed=7)
    began = load_model(trained["models"] / "flat")._replace(network=network.eval())
    expected = model_logits(began, pixels_of(trained), **PLAIN)
    np.testing.assert_array_equal(found["flat"], expected)
    assert not np.allclose(found["flat"], found["deep"])


@pytest.mark.parametrize("task", ["single", "multi"])
def test_blocks_of_images_and_files_of_probabilities_change_no_bit(trained, monkeypatch, task):
    seeds = {"flat": SEVERAL_LABELS | {"seeds": {"3": SEVERAL_LABELS}}, "deep": SEVERAL_LABELS}
    decisions = DECISIONS | {"task": task, "models": seeds}
    write_json(trained["ensemble"] / "decision.json", SEVERAL_LABELS)
    shutil.copytree(trained["models"] / "deep", seed_folder(trained["models"] / "flat", 3))
    monkeypatch.setattr(block_inference, "BATCH_SIZE", 1)
    monkeypatch.setattr(block_inference, "MAX_BYTES", 1)  # one image per block
    monkeypatch.setattr(row_blocks, "MAX_BYTES_IN_MEMORY", 0)
    scratch = trained["models"].parent / "scratch"
    scratch.mkdir()
    found = predict_test_images(
        IDS[::-1],
        **trained,
        scratch=scratch,
        baseline={"predicted_class": "dog", "predicted_classes": ["dog"]},
        seeds={"flat": 7, "deep": 8},
        decisions=decisions,
        device=CPU,
        test_time=VIEW,
    )
    assert not list(scratch.iterdir())
    expected = predict(trained, IDS[::-1], decisions=decisions)
    assert list(found.predictions) == [*expected, MAJORITY]
    for name, whole in expected.items():
        given = found.predictions[name]
        assert isinstance(given.probabilities, np.memmap)
        for one, other in zip(given[:3], whole[:3], strict=True):
            np.testing.assert_array_equal(one, other)
        assert given.decision == whole.decision
    np.testing.assert_array_equal(found.seeds["flat"][3], expected["deep"].predicted)
    pixels = pixels_of(trained)[::-1]
    settings = {"models": trained["models"], "seeds": {"flat": 7}, "device": CPU}
    logits = inference.untrained_logits(pixels, **settings)
    predicted = logits["flat"].argmax(axis=1) if task == "single" else logits["flat"] > 0
    np.testing.assert_array_equal(found.untrained["flat"], predicted)
    np.testing.assert_array_equal(found.luma, mean_luma(pixels))


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no posix_fallocate")
def test_disk_space_of_a_large_array_is_reserved_before_it_is_filled(tmp_path, monkeypatch):
    # Otherwise the first write to a page that a full disk has no room for kills the process.
    monkeypatch.setattr(row_blocks, "MAX_BYTES_IN_MEMORY", 0)
    reserved = []
    monkeypatch.setattr(os, "posix_fallocate", lambda *arguments: reserved.append(arguments[1:]))
    filled = row_blocks.FilledArray(3, folder=tmp_path)
    filled.put(slice(0, 2), np.ones((2, 5)))
    filled.put(slice(2, 3), np.zeros((1, 5)))
    assert reserved == [(0, 3 * 5 * 8)]
    assert filled.array.sum(axis=1).tolist() == [5, 5, 0]


def test_scores_and_tables_are_the_same_in_blocks_of_one_image(tmp_path, monkeypatch):
    def measure(folder, given, labels):
        folder.mkdir()
        stack = with_thresholds(given[STACK], level="0.9", accuracy="0.8", threshold=0.2)
        predictions = given | {STACK: stack}
        write(folder, predictions, IMAGES._replace(labels=labels))
        tables = {path.name: path.read_bytes() for path in folder.iterdir()}
        return tables, json.dumps(summary(predictions, labels), allow_nan=False)

    for name, given, labels in (("single", SINGLE, LABELS), ("multi", SEVERAL, MULTI_LABELS)):
        whole = measure(tmp_path / name, given, labels)
        with monkeypatch.context() as patch:
            patch.setattr(row_blocks, "MAX_VALUES", 1)
            assert measure(tmp_path / f"{name} in blocks", given, labels) == whole


def test_the_baseline_predicts_the_classes_chosen_on_training_images():
    baseline = {"predicted_class": "dog"}
    found = inference.constant_predictions(3, decisions=DECISIONS, baseline=baseline)
    np.testing.assert_array_equal(found.probabilities, [[0.25, 0.75, 0]] * 3)
    assert found.predicted.tolist() == [1, 1, 1]
    proportions = {"cat": 0.4, "dog": 0.45, "owl": 0.1}
    several = DECISIONS | {"task": "multi", "class_proportions": proportions}
    baseline = {"predicted_classes": ["dog", "cat"]}
    found = inference.constant_predictions(2, decisions=several, baseline=baseline)
    np.testing.assert_array_equal(found.probabilities, [[0.4, 0.45, 0.1]] * 2)
    assert found.predicted.tolist() == [[True, True, False]] * 2


def test_a_model_with_other_classes_is_named_with_the_command_to_run(trained):
    with pytest.raises(UserError, match=r"'flat'.*classes.*dvc repro -f train@flat"):
        predict(trained, decisions=DECISIONS | {"classes": ["cat", "dog", "ape"]})


def with_thresholds(predictions, *, level, accuracy, threshold):
    """The predictions of a model with thresholds, the same of sets and of abstention."""
    calibrated = {"calibrated_on": "validation", "n_calibration_images": 30}
    thresholds = {
        "prediction_sets": {level: threshold},
        "abstention": {accuracy: threshold, "0.99": None},
    }
    return predictions._replace(decision=predictions.decision | calibrated | thresholds)


def test_prediction_sets_are_measured_at_each_level(tmp_path):
    stack = with_thresholds(SINGLE[STACK], level="0.9", accuracy="0.5", threshold=0.2)
    predictions = SINGLE | {STACK: stack}
    measured = summary(predictions, LABELS)
    assert "conformal" not in measured["mlp"] and "conformal" not in measured[MAJORITY]
    found = measured[STACK]["conformal"]
    assert (found["calibrated_on"], found["n_calibration_images"]) == ("validation", 30)
    sets = PROBABILITIES >= 0.2
    sets[np.arange(80), PROBABILITIES.argmax(axis=1)] = True
    covered = sets[np.arange(80), LABELS]
    assert found["levels"]["0.9"] == {
        "threshold": 0.2,
        "coverage": covered.mean(),
        "coverage_ci95": accuracy_interval(covered.sum(), 80),
        "mean_size": sets.sum(axis=1).mean(),
        "one_class_fraction": (sets.sum(axis=1) == 1).mean(),
        "n_images": 80,
        "coverage_per_class": {c: covered[i == LABELS].mean() for i, c in enumerate(CLASSES)},
    }
    rows = write(tmp_path, predictions, IMAGES)["prediction_sets.csv"]
    assert {row["model"] for row in rows} == {STACK}
    assert [row["class"] for row in rows] == ["", *CLASSES]
    right, sizes = covered[LABELS == 2], sets[LABELS == 2].sum(axis=1)
    expected = [right.mean(), *accuracy_interval(right.sum(), len(right)), len(right), sizes.mean()]
    columns = ("coverage", "low", "high", "n_images", "mean_size")
    assert [float(rows[3][name]) for name in columns] == pytest.approx(expected, abs=1e-6)


def test_the_coverage_of_several_labels_is_a_fraction_of_those_of_each_image():
    probabilities = np.array([[0.9, 0.8, 0.1], [0.1, 0.1, 0.7], [0.1, 0.1, 0.1]])
    labels = np.array([[1, 1, 1], [1, 0, 0], [0, 0, 0]], np.uint8)
    predictions = Predictions(probabilities, probabilities, probabilities > 0.5, {})
    predictions = with_thresholds(predictions, level="0.7", accuracy="0.5", threshold=0.5)
    found = score_sets(predictions, labels, classes=list("abc"))["conformal"]["levels"]["0.7"]
    # Two of three labels of the first image, none of the second; the third has no label.
    assert found["coverage"] == pytest.approx(1 / 3)
    assert (found["n_images"], found["mean_size"]) == (2, 1)
    assert found["coverage_per_class"] == {"a": 0.5, "b": 1, "c": 0}
    low, high = found["coverage_ci95"]
    assert 0 <= low < 1 / 3 < high <= 1
    none = score_sets(predictions, np.zeros((3, 3), np.uint8), classes=list("abc"))
    assert none["conformal"]["levels"]["0.7"] == {
        "threshold": 0.5,
        "coverage": None,
        "coverage_ci95": None,
        "mean_size": 1,
        "one_class_fraction": 1 / 3,
        "n_images": 0,
        "coverage_per_class": {"a": None, "b": None, "c": None},
    }


def test_abstention_is_measured_at_each_threshold(tmp_path):
    threshold = float(np.sort(PROBABILITIES.max(axis=1))[60])  # 20 images are left
    stack = with_thresholds(SINGLE[STACK], level="0.9", accuracy="0.5", threshold=threshold)
    predictions = SINGLE | {STACK: stack}
    found = summary(predictions, LABELS)[STACK]["risk_coverage"]
    order = np.argsort(-PROBABILITIES.max(axis=1))
    correct = (PROBABILITIES.argmax(axis=1) == LABELS)[order]
    rates = [1 - correct[:k].mean() for k in range(1, 81)]
    assert found["area"] == pytest.approx(np.mean(rates))
    assert 0 < found["excess_area"] < found["area"]
    assert found["accuracies"]["0.5"] == {
        "threshold": threshold,
        "n_predicted": 20,
        "predicted_fraction": 0.25,
        "accuracy": correct[:20].mean(),
        "accuracy_ci95": accuracy_interval(int(correct[:20].sum()), 20),
    }
    assert found["accuracies"]["0.99"] == {
        "threshold": None,
        "n_predicted": 0,
        "predicted_fraction": 0,
        "accuracy": None,
        "accuracy_ci95": None,
    }
    rows = write(tmp_path, predictions, IMAGES)["risk_coverage.csv"]
    curve = [(float(row["predicted_fraction"]), float(row["accuracy"])) for row in rows]
    expected = np.stack([np.arange(1, 81) / 80, 1 - np.array(rates)], axis=1)
    np.testing.assert_allclose(curve, expected, atol=1e-6)
