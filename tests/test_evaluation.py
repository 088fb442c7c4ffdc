"""From test images to the files of the evaluation: who is asked, and what is told."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from scipy.special import softmax

from classifold.data.csv_file import read_rows, write_rows
from classifold.data.image_table import write_table
from classifold.data.json_file import write_json
from classifold.data.pixels import rgb_pixels
from classifold.data.predictions import read_predictions
from classifold.data.seeding import seed_torch
from classifold.errors import UserError
from classifold.evaluation.files import write_evaluation
from classifold.evaluation.inference import (
    STACK,
    Predictions,
    constant_predictions,
    decide,
    model_logits,
    predict_all,
    read_pixels,
)
from classifold.evaluation.labels import LabeledImages, read_labeled_images
from classifold.evaluation.summary import summarize
from classifold.evaluation.untrained import untrained_logits
from classifold.models.baseline import MAJORITY
from classifold.models.decisions import fit_decision, probabilities
from classifold.models.model_file import build_network, load_model, new_network, save_model
from classifold.stacking.ensemble import Ensemble, ensemble_logits, save_ensemble

CPU = torch.device("cpu")
RANDOM = np.random.default_rng(0)
SHARES = softmax(RANDOM.normal(0, 2, (80, 6)), axis=1)
LABELS = RANDOM.integers(0, 6, 80)
BOOTSTRAP = {"resamples": 100, "seed": 0}
CLASSES = list("fedcba")  # not sorted: columns are what counts
IMAGES = LabeledImages([f"{i:02}.png" for i in range(80)], LABELS)
HALVES = {"brightness": {"dark": np.arange(80) < 40, "bright": np.arange(80) >= 40}}
BORNE = (RANDOM.random((80, 6)) < 0.3).astype(np.uint8)


def of_single(shares):
    return Predictions(shares, shares, shares.argmax(axis=1), {"temperature": 1.0})


def of_several(seed):
    logits = np.random.default_rng(seed).normal(0, 2, BORNE.shape) + 2 * BORNE
    return decide(logits, fit_decision(logits, BORNE), task="multi")


SINGLE = {"mlp": of_single(SHARES[::-1]), STACK: of_single(SHARES), MAJORITY: of_single(SHARES)}
SEVERAL = {"mlp": of_several(1), STACK: of_several(2), MAJORITY: of_several(3)}


def write(folder, answers, images, slices=HALVES):
    write_evaluation(
        folder,
        answers,
        images,
        classes=CLASSES,
        slices=slices,
        calibration_bins=5,
        bootstrap=BOOTSTRAP,
    )
    return {path.name: read_rows(path) for path in folder.glob("*.csv")}


def summary(answers, labels, **changes):
    measured = {"train_accuracy": 0.9, "validation_accuracy": 0.5}
    measured |= {"train_micro_f1": 0.9, "validation_micro_f1": 0.5}
    settings = {
        "before": {"mlp": measured, STACK: {"validation_accuracy": 0.75}, MAJORITY: measured},
        "untrained": {"mlp": np.zeros((len(labels), 6))},
        "slices": HALVES,
        "calibration_bins": 5,
        "bootstrap": BOOTSTRAP,
    }
    return summarize(answers, labels, **settings | changes)


def test_the_tables_of_an_evaluation_agree_with_its_answers(tmp_path):
    tables = write(tmp_path, SINGLE, IMAGES)
    expected = [CLASSES[i] for i in SHARES.argmax(axis=1)]
    actual = [CLASSES[i] for i in LABELS]
    confusion = [(row["actual"], row["predicted"]) for row in tables["confusion.csv"]]
    assert confusion == list(zip(actual, expected, strict=True))
    stack = read_predictions(tmp_path / "predictions.parquet", model=STACK)
    assert [(row["id"], row["predicted"]) for row in stack] == list(
        zip(IMAGES.ids, expected, strict=True)
    )
    assert [(row["model"], row["class"]) for row in tables["per_class.csv"]] == [
        (model, name) for model in SINGLE for name in CLASSES
    ]
    for model in SINGLE:
        rows = [row for row in tables["calibration.csv"] if row["model"] == model]
        assert sum(int(row["n_images"]) for row in rows) == 80
    hits = SHARES.argmax(axis=1) == LABELS
    slices = [row for row in tables["slices.csv"] if row["model"] == STACK]
    assert [(row["value"], float(row["accuracy"])) for row in slices] == [
        ("dark", hits[:40].mean()),
        ("bright", hits[40:].mean()),
    ]
    assert len(tables["mistakes.csv"]) == (~hits).sum()
    assert "precision_recall.csv" not in tables


def test_the_tables_of_several_labels_agree_with_their_answers(tmp_path):
    tables = write(tmp_path, SEVERAL, LabeledImages(IMAGES.ids, BORNE))
    assert tables["confusion.csv"] == []
    first = tables["per_class.csv"][0]
    predicted = SEVERAL["mlp"].predicted[:, 0]
    assert int(first["true_positives"]) == (predicted & (BORNE[:, 0] > 0)).sum()
    counts = ("true_positives", "false_positives", "false_negatives", "true_negatives")
    for row in tables["per_class.csv"]:
        assert sum(int(row[name]) for name in counts) == 80
    pairs = [row for row in tables["calibration.csv"] if row["model"] == STACK]
    assert sum(int(row["n_images"]) for row in pairs) == BORNE.size
    assert {row["curve"] for row in tables["precision_recall.csv"]} == {"micro", "class"}
    assert set(tables["slices.csv"][0]) == {
        *("model", "slice", "value", "n_images"),
        *("micro_f1", "low", "high"),
    }
    stack = read_predictions(tmp_path / "predictions.parquet", model=STACK)
    answered = [set(filter(None, row["predicted"].split("|"))) for row in stack]
    for names, row in zip(answered, SEVERAL[STACK].predicted, strict=True):
        assert names == {name for name, borne in zip(CLASSES, row, strict=True) if borne}


@pytest.mark.parametrize("labels", [LABELS[:0], BORNE[:0]])
def test_without_test_images_there_are_files_and_only_their_number_is_told(tmp_path, labels):
    answers = SINGLE if labels.ndim == 1 else SEVERAL
    nothing = {
        name: Predictions(*(values[:0] for values in given[:3]), given.decision)
        for name, given in answers.items()
    }
    tables = write(tmp_path, nothing, LabeledImages([], labels), slices={})
    assert len(tables) >= 5
    assert not any(tables.values())
    assert read_predictions(tmp_path / "predictions.parquet", model=STACK) == []
    assert summary(nothing, labels, slices={}) == {name: {"n_images": 0} for name in answers}


def test_a_summary_tells_gaps_the_untrained_network_and_the_stacks_slices():
    found = summary(SINGLE, LABELS)
    mlp, stack = found["mlp"], found[STACK]
    assert mlp["train_test_gap"] == pytest.approx(0.9 - mlp["accuracy"], abs=1e-6)
    assert mlp["validation_test_gap"] == pytest.approx(0.5 - mlp["accuracy"], abs=1e-6)
    assert (mlp["train_accuracy"], mlp["validation_accuracy"]) == (0.9, 0.5)
    # Nobody trained the stack on training images.
    assert (stack["train_accuracy"], stack["train_test_gap"]) == (None, None)
    assert mlp["untrained_accuracy"] == (LABELS == 0).mean()
    assert "untrained_accuracy" not in stack
    assert "versus_stack" not in stack
    assert mlp["versus_stack"]["difference"] == pytest.approx(mlp["accuracy"] - stack["accuracy"])
    assert found[MAJORITY]["versus_stack"]["p_value"] == 1
    dark = (SHARES.argmax(axis=1) == LABELS)[:40].mean()
    assert stack["slices"]["brightness"]["dark"] == {"accuracy": dark, "n_images": 40}


def test_gaps_of_several_labels_compare_scores_at_the_same_threshold():
    found = summary(SEVERAL, BORNE)
    mlp, baseline = found["mlp"], found[MAJORITY]
    assert mlp["micro_f1"] != mlp["micro_f1_at_half"]
    assert mlp["train_test_gap"] == pytest.approx(0.9 - mlp["micro_f1_at_half"], abs=1e-6)
    assert baseline["train_test_gap"] == pytest.approx(0.9 - baseline["micro_f1"], abs=1e-6)
    assert mlp["untrained_micro_f1"] == 0
    assert set(mlp["versus_stack"]) == {"difference", "difference_ci95"}


def test_copies_of_training_images_are_told_and_left_out():
    hits = SHARES.argmax(axis=1) == LABELS
    copies = {"duplicate of a training image": hits, "no duplicate": ~hits}
    entry = summary(SINGLE, LABELS, slices={"duplicates": copies})[STACK]
    assert entry["n_duplicates_of_train"] == hits.sum()
    assert entry["accuracy_without_duplicates"] == 0
    assert entry["slices"]["duplicates"]["duplicate of a training image"]["accuracy"] == 1
    entry = summary(SINGLE, LABELS, slices={})[STACK]
    assert entry["n_duplicates_of_train"] == 0
    assert entry["accuracy_without_duplicates"] == entry["accuracy"]
    everything = {"duplicates": {"duplicate of a training image": np.ones(80, bool)}}
    entry = summary(SINGLE, LABELS, slices=everything)[STACK]
    assert (entry["accuracy_without_duplicates"], entry["slices"]) == (None, {})


@pytest.mark.parametrize(("answers", "labels"), [(SINGLE, LABELS), (SEVERAL, BORNE)])
def test_a_summary_repeats_and_holds_no_number_that_json_lacks(answers, labels):
    found = summary(answers, labels)
    json.dumps(found, allow_nan=False)
    assert summary(answers, labels) == found


def test_labels_come_in_the_order_of_classes(tmp_path):
    rows = [{"id": "x", "label": "dog", "group": "x"}, {"id": "y", "label": "ape", "group": "y"}]
    write_rows(tmp_path / "test.csv", rows, columns=["id", "label", "group"])
    ids, labels = read_labeled_images(tmp_path / "test.csv", classes=["dog", "ape"], task="single")
    assert (ids, labels.tolist(), labels.dtype) == (["x", "y"], [0, 1], np.int64)
    message = "'y' bears 'ape', which no training image bears"
    with pytest.raises(UserError, match=message):
        read_labeled_images(tmp_path / "test.csv", classes=["dog", "owl"], task="single")
    rows[0]["label"], rows[1]["label"] = "ape|dog", ""
    write_rows(tmp_path / "test.csv", rows, columns=["id", "label", "group"])
    _, labels = read_labeled_images(
        tmp_path / "test.csv", classes=["dog", "owl", "ape"], task="multi"
    )
    assert (labels.tolist(), labels.dtype) == ([[1, 0, 1], [0, 0, 0]], np.uint8)


IDS = ["cat/1.png", "dog/2.png", "dog/3.png"]
DECISIONS = {
    "task": "single",
    "classes": ["cat", "dog"],
    "class_proportions": {"cat": 0.25, "dog": 0.75},
    "models": {"quiet": {"temperature": 2.0}, "loud": {"temperature": 0.5}},
}


MEAN = Ensemble(
    "mean", "single", ["loud", "quiet"], 2, {}, {"member_weights": np.array([0.5, 0.5])}
)


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
    save_ensemble(folders["ensemble"], MEAN)
    write_json(folders["ensemble"] / "decision.json", {"temperature": 3.0})
    return folders


PLAIN = {"device": CPU, "flips": "none", "shift": 0}


def asked(trained, ids=IDS, decisions=DECISIONS, **test_time):
    pixels = read_pixels(ids, ingested=trained["ingested"], model=trained["models"] / "quiet")
    return predict_all(
        pixels,
        models=trained["models"],
        ensemble=trained["ensemble"],
        decisions=decisions,
        device=CPU,
        test_time={"flips": "none", "shift": 0} | test_time,
    )


def pixels_of(trained):
    stored = pq.read_table(trained["ingested"])["image"].to_pylist()
    return np.stack([rgb_pixels(row["bytes"], size=8, resize="box") for row in stored])


def test_every_listed_model_and_the_stack_answer_with_their_decisions(trained):
    answers = asked(trained, IDS[::-1])
    assert list(answers) == ["quiet", "loud", STACK]
    pixels = pixels_of(trained)[::-1]
    logits = {
        name: model_logits(load_model(trained["models"] / name), pixels, **PLAIN)
        for name in DECISIONS["models"]
    }
    for name, decision in DECISIONS["models"].items():
        expected = probabilities(logits[name], **decision)
        np.testing.assert_allclose(answers[name].probabilities, expected)
        np.testing.assert_allclose(answers[name].uncalibrated, softmax(logits[name], axis=1))
        np.testing.assert_array_equal(answers[name].predicted, expected.argmax(axis=1))
    stacked = ensemble_logits(MEAN, logits)
    expected = probabilities(stacked, temperature=3.0)
    np.testing.assert_allclose(answers[STACK].probabilities, expected)


def test_several_labels_are_answered_at_the_fitted_threshold(trained):
    decision = {"temperature": 2.0, "threshold": 0.45, "thresholds": [0.3, 0.6]}
    decisions = DECISIONS | {"task": "multi", "models": dict.fromkeys(["quiet", "loud"], decision)}
    write_json(trained["ensemble"] / "decision.json", decision)
    logits = model_logits(load_model(trained["models"] / "loud"), pixels_of(trained), **PLAIN)
    expected = probabilities(logits, temperature=2.0, task="multi")
    answers = asked(trained, decisions=decisions)
    np.testing.assert_allclose(answers["loud"].probabilities, expected)
    for given in answers.values():
        np.testing.assert_array_equal(given.predicted, given.probabilities > 0.45)
        assert given.decision == decision


def test_views_are_averaged_on_request(trained):
    mirrored = pixels_of(trained)[:, :, ::-1]
    model = load_model(trained["models"] / "loud")
    logits = [model_logits(model, pixels, **PLAIN) for pixels in (pixels_of(trained), mirrored)]
    expected = probabilities(np.mean(logits, axis=0), temperature=0.5)
    found = asked(trained, flips="horizontal")["loud"].probabilities
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_untrained_networks_answer_by_their_seed_alone(trained):
    found = untrained_logits(
        pixels_of(trained),
        models=trained["models"],
        seeds={"quiet": 7, "loud": 8},
        device=CPU,
    )
    network = new_network("mlp", n_classes=2, image_size=4, arguments={"hidden": [4]}, seed=7)
    began = load_model(trained["models"] / "quiet")._replace(network=network.eval())
    expected = model_logits(began, pixels_of(trained), **PLAIN)
    np.testing.assert_array_equal(found["quiet"], expected)
    assert not np.allclose(found["quiet"], found["loud"])


def test_the_constant_answer_is_the_most_frequent_class():
    found = constant_predictions(3, decisions=DECISIONS, baseline={"predicted_class": "dog"})
    np.testing.assert_array_equal(found.probabilities, [[0.25, 0.75]] * 3)
    assert found.predicted.tolist() == [1, 1, 1]


def test_the_constant_answer_of_several_labels_is_what_was_chosen_by_training_shares():
    decisions = DECISIONS | {"task": "multi", "class_proportions": {"cat": 0.4, "dog": 0.45}}
    found = constant_predictions(
        2, decisions=decisions, baseline={"predicted_classes": ["dog", "cat"]}
    )
    np.testing.assert_array_equal(found.probabilities, [[0.4, 0.45]] * 2)
    assert found.predicted.tolist() == [[True, True]] * 2


def test_without_test_images_everybody_answers_nothing(trained):
    answers = asked(trained, [])
    assert {given.probabilities.shape for given in answers.values()} == {(0, 2)}


def test_a_model_that_knows_other_classes_is_named_with_advice(trained):
    with pytest.raises(UserError, match=r"'quiet'.*classes.*dvc repro -f train@quiet"):
        asked(trained, decisions=DECISIONS | {"classes": ["cat", "owl"]})
