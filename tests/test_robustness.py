"""Scores on corrupted and attacked test images."""

from functools import partial

import numpy as np
import pytest
import torch

from classifold.analysis.robustness import predictions as module
from classifold.analysis.robustness.conditions import CLEAN
from classifold.analysis.robustness.corruptions import corrupt
from classifold.analysis.robustness.predictions import predict_attacked, predict_corrupted
from classifold.analysis.robustness.sample import Sample, describe_empty, sample_test_images
from classifold.analysis.robustness.summary import summarize_robustness, write_tables
from classifold.data.csv_file import read_rows
from classifold.data.metrics import micro_f1
from classifold.data.predictions import STACK, write_predictions
from classifold.evaluation.inference import Predictions
from classifold.evaluation.labels import LabeledImages

RANDOM = np.random.default_rng(0)
CLASSES = ["a", "b", "c"]


def test_all_models_see_the_same_corrupted_images_in_chunks_of_any_size(monkeypatch):
    pixels = RANDOM.integers(0, 256, (7, 8, 8, 3), np.uint8)
    images = LabeledImages([f"{i}.png" for i in range(7)], np.zeros(7, int))
    seen = []

    def predict(changed):
        seen.append(len(changed))
        sums = changed.reshape(len(changed), -1).sum(1, dtype=int)
        probabilities = {"m": sums - 1e-9, "n": sums, STACK: sums}
        return {name: Predictions(of, of, sums, {}) for name, of in probabilities.items()}

    settings = {"corruptions": ["fog", "snow"], "severities": [1, 4], "seed": 3}
    found, equal = predict_corrupted(images, pixels, **settings, predict=predict)
    assert equal == {"n"}
    assert list(found["m"]) == [CLEAN, ("fog", 1), ("fog", 4), ("snow", 1), ("snow", 4)]
    expected = [
        corrupt(image, "snow", 4, seed=3, image_id=name).sum(dtype=int)
        for image, name in zip(pixels, images.ids, strict=True)
    ]
    assert found["m"]["snow", 4].tolist() == expected
    assert found["m"][CLEAN].tolist() == [image.sum(dtype=int) for image in pixels]
    monkeypatch.setattr(module, "MAX_BYTES", 3 * 5 * 8 * 8 * 3)
    again, _ = predict_corrupted(images, pixels, **settings, predict=predict)
    assert seen == [35, 15, 15, 5]
    for name, of_model in found.items():
        for condition, one in of_model.items():
            np.testing.assert_array_equal(again[name][condition], one)
    nothing = LabeledImages([], np.zeros(0, int))
    assert predict_corrupted(nothing, pixels[:0], **settings, predict=predict) == ({}, set())


def summary_of(found, labels, attacked=None, **settings):
    sample = Sample(LabeledImages([str(i) for i in range(len(labels))], labels), 10)
    return summarize_robustness(found, attacked or {}, sample, image_size=28, **settings)


def test_scores_of_a_model_by_hand(tmp_path):
    labels = np.array([0, 1, 2, 0])
    wrong = (labels + 1) % 3
    stack = {CLEAN: labels, ("fog", 1): labels, ("fog", 5): wrong, ("snow", 1): labels}
    stack["snow", 5] = np.where([1, 1, 0, 0], labels, wrong)
    model = dict.fromkeys(stack, np.where([1, 0, 1, 1], labels, wrong))
    attacked = {
        name: {("fgsm", 2): labels[:2], ("pgd", 2): np.array([0, 2])} for name in ("m", STACK)
    }
    metrics = summary_of({"m": model, STACK: stack}, labels, attacked)
    assert (metrics["n_images"], metrics["n_test_images"]) == (4, 10)
    assert (metrics["image_size"], metrics["calibrated_size"]) == (28, 32)
    assert metrics["n_attacked_images"] == 2
    entry = metrics["models"][STACK]
    assert entry["accuracy"] == 1
    assert entry["corrupted_accuracy"] == entry["relative_accuracy"] == 2.5 / 4
    assert entry["corruptions"] == {"fog": 0.5, "snow": 0.75}
    assert entry["severities"] == {"1": 1, "5": 0.25}
    assert entry["fgsm"] == {"2": 1}
    assert entry["pgd"] == {"2": 0.5}
    assert "corrupted_versus_stack" not in entry
    other = metrics["models"]["m"]
    assert other["accuracy"] == other["corrupted_accuracy"] == 0.75
    assert other["relative_accuracy"] == 1
    assert other["corrupted_versus_stack"]["difference"] == 0.125
    for name in ("accuracy", "corrupted_accuracy", "relative_accuracy"):
        for each in (entry, other):
            low, high = each[f"{name}_ci95"]
            assert low < each[name] < high or (each[name], high) == (1, 1)

    write_tables(tmp_path, {"m": model, STACK: stack}, attacked, labels)
    rows = read_rows(tmp_path / "severities.csv")
    found = [(row["severity"], row["score"]) for row in rows if row["model"] == STACK]
    assert found == [("0", "1.0"), ("1", "1.0"), ("5", "0.25")]
    rows = read_rows(tmp_path / "attacks.csv")
    found = [(row["attack"], row["epsilon"], row["score"]) for row in rows if row["model"] == "m"]
    # Of the two attacked images the model knows the first.
    expected = [
        ("fgsm", "0", "0.5"),
        ("fgsm", "2", "1.0"),
        ("pgd", "0", "0.5"),
        ("pgd", "2", "0.5"),
    ]
    assert found == expected
    assert len(read_rows(tmp_path / "corruptions.csv")) == 10


def test_only_the_difference_of_the_stack_to_itself_is_a_point():
    labels = np.array([0, 1, 2, 0])
    predicted = {CLEAN: labels, ("fog", 1): (labels + 1) % 3}
    found = {"m": predicted, "n": dict(predicted), STACK: dict(predicted)}
    models = summary_of(found, labels, equal_to_stack={"m"})["models"]
    of_both = [models[name]["corrupted_versus_stack"] for name in ("m", "n")]
    assert [versus["difference"] for versus in of_both] == [0, 0]
    (low, high), of_other = (versus["difference_ci95"] for versus in of_both)
    assert low == high == 0 and of_other[0] < 0 < of_other[1]


def test_a_quotient_by_a_score_of_zero_has_no_interval():
    labels = np.array([0, 1, 2, 0])
    predicted = {CLEAN: (labels + 1) % 3, ("fog", 1): labels}
    entry = summary_of({STACK: predicted}, labels)["models"][STACK]
    assert (entry["accuracy"], entry["corrupted_accuracy"]) == (0, 1)
    assert entry["relative_accuracy"] is entry["relative_accuracy_ci95"] is None


def test_with_several_labels_the_score_is_micro_f1_over_all_corrupted_images():
    labels = (RANDOM.random((30, 3)) < 0.4).astype(np.uint8)
    conditions = [CLEAN, ("fog", 1), ("fog", 3)]
    stack = {condition: RANDOM.random((30, 3)) < 0.4 for condition in conditions}
    entry = summary_of({STACK: stack}, labels)["models"][STACK]
    assert entry["micro_f1"] == pytest.approx(micro_f1(stack[CLEAN], labels))
    both = np.concatenate([stack["fog", 1], stack["fog", 3]])
    expected = micro_f1(both, np.concatenate([labels, labels]))
    assert entry["corrupted_micro_f1"] == pytest.approx(expected)
    assert entry["corruptions"]["fog"] == pytest.approx(expected)


@pytest.mark.parametrize("task", ["single", "multi"])
def test_a_smaller_sample_is_the_beginning_of_a_larger_one(task, tmp_path):
    labels = RANDOM.integers(0, 3, 20)
    if task == "multi":
        labels = (RANDOM.random((20, 3)) < 0.3).astype(np.uint8)
    ids = [f"{i:02}" for i in range(20)]
    given, path = np.full((20, 3), 1 / 3), tmp_path / "predictions.parquet"
    settings = {"ids": ids, "labels": labels, "classes": CLASSES}
    write_predictions(
        path, {STACK: given}, {STACK: labels > 0 if task == "multi" else labels}, **settings
    )
    choose = partial(sample_test_images, path, decisions={"classes": CLASSES, "task": task})
    small, large = (choose(n_images=n, seed=1) for n in (5, 50))
    assert sorted(large.images.ids) == ids
    assert large.n_test == small.n_test == 20
    assert large.images.ids[:5] == small.images.ids != choose(n_images=5, seed=2).images.ids
    for image_id, label in zip(*large.images, strict=True):
        np.testing.assert_array_equal(label, labels[ids.index(image_id)])
    assert describe_empty(small) is None
    reason = describe_empty(choose(n_images=0, seed=1))
    assert reason.startswith("robustness.images is 0; set it") and "'dvc repro'" in reason
    nothing = small._replace(images=LabeledImages([], labels[:0]), n_test=0)
    assert describe_empty(nothing) == "there are no test images"


def test_without_images_nothing_is_attacked(tmp_path):
    nothing = LabeledImages([], np.zeros(0, int))
    settings = {"images": 5, "epsilons": [1], "steps": 2}
    paths = {"models": tmp_path, "ensemble": tmp_path, "decisions": {}, "test_time": {}}
    pixels = np.zeros((0, 8, 8, 3), np.uint8)
    device = torch.device("cpu")
    assert predict_attacked(nothing, pixels, settings=settings, device=device, **paths) == {}
    assert summary_of({}, np.zeros(0, int))["models"] == {}
    write_tables(tmp_path, {}, {}, np.zeros(0, int))
    assert read_rows(tmp_path / "attacks.csv") == []
