"""Listed models and the majority baseline, compared on validation images."""

import numpy as np
import pytest

from classifold.data.csv_file import write_rows
from classifold.data.json_file import read_json, write_json
from classifold.data.logits_file import Logits, load_logits, save_logits
from classifold.data.metrics import micro_f1
from classifold.data.model_settings import seed_folder
from classifold.data.out_of_fold import NO_FOLDS, write_out_of_fold
from classifold.data.predictions import MAJORITY
from classifold.errors import UserError
from classifold.models.decisions import fit_decision, read_decisions
from classifold.stacking.comparison import compare_models, format_validation_scores
from classifold.stacking.unlisted_models import remove_unlisted

CLASSES = ["cat", "dog", "owl"]
SINGLE = np.array([1, 1, 0, 2])
SEVERAL = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0], [1, 1, 1]], np.uint8)
OTHERS = Logits(  # of six other images
    np.array(list("uvwxyz")),
    np.array([0, 1] * 3),
    np.log([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]] * 3).astype(np.float32),
)


@pytest.fixture
def train_model(tmp_path):
    """Leaves what training a model leaves, as far as it is compared."""

    def leave(name, labels, *, ids="abcd"):
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        sure = labels if labels.ndim > 1 else np.eye(len(CLASSES))[labels]
        logits = (4.0 * sure - 2.5).astype(np.float32)  # right at a threshold below a half
        save_logits(folder / "validation.npz", Logits(np.array(list(ids)), labels, logits))
        write_rows(folder / "history.csv", [{"epoch": 1}], columns=["epoch"])
        task = "single" if labels.ndim == 1 else "multi"
        counts = [3, 5, 2] if labels.ndim == 1 else [8, 5, 1]
        counted = dict(zip(CLASSES, counts, strict=True))
        description = {"task": task, "classes": CLASSES, "n_train_images": 10}
        write_json(folder / "model.json", description | {"train_images_per_class": counted})
        write_json(tmp_path / "metrics" / f"{name}.json", {"validation_accuracy": 1.0})
        (tmp_path / "folds" / name).mkdir(parents=True)
        write_out_of_fold(tmp_path / "folds" / name, NO_FOLDS)
        return tmp_path

    return leave


def compare(root, *names, other_seeds=None, **evaluate):
    folder = root / "compared"
    folder.mkdir()
    folders = {name: root / name for name in ("models", "folds", "metrics")}
    seeds = dict.fromkeys(names, ()) | (other_seeds or {})
    table = compare_models(names, folder, **folders, evaluate=evaluate, other_seeds=seeds)
    return table, read_json(folder / "decisions.json")


def test_the_baseline_of_one_label_is_the_most_frequent_training_class(train_model):
    root = train_model("m", SINGLE)
    table, decisions = compare(root, "m")
    assert table[MAJORITY] == {
        "train_accuracy": 0.5,
        "validation_accuracy": 0.5,
        "predicted_class": "dog",
        "n_parameters": 0,
    }
    assert decisions["class_proportions"] == {"cat": 0.3, "dog": 0.5, "owl": 0.2}
    assert table["m"].keys() == {"validation_accuracy", "temperature"}


def test_the_baseline_of_several_labels_has_the_best_micro_f1_on_training_images(train_model):
    # Of 10 training images 8 have cat, 5 dog, 1 owl. One class: 2 * 8 / (10 + 14) = 0.667; two:
    # 2 * 13 / (20 + 14) = 0.765; three: 2 * 14 / (30 + 14) = 0.636.
    root = train_model("m", SEVERAL)
    table, _ = compare(root, "m")
    baseline = table[MAJORITY]
    assert baseline["predicted_classes"] == ["cat", "dog"]
    assert baseline["train_micro_f1"] == pytest.approx(26 / 34)
    assert baseline["validation_micro_f1"] == pytest.approx(2 * 6 / (8 + 7))
    assert baseline["validation_accuracy"] == 0.25  # only the first image has exactly these classes


def test_a_fitted_threshold_is_reported_with_the_score_at_it(train_model):
    root = train_model("m", SEVERAL)
    table, decisions = compare(root, "m")
    assert table["m"]["micro_f1_at_threshold"] == 1.0
    assert table["m"]["micro_f1_at_class_thresholds"] == 1.0
    # Files keep six places.
    assert decisions["models"]["m"]["threshold"] == round(table["m"]["threshold"], 6)
    assert len(decisions["models"]["m"]["thresholds"]) == 3
    assert decisions["task"] == "multi"
    assert micro_f1(np.zeros((4, 3), bool), SEVERAL) == 0


def test_sets_are_calibrated_on_validation_images_or_on_out_of_fold_logits_if_there_are(
    train_model,
):
    root = train_model("m", SINGLE)
    train_model("folded", SINGLE)
    save_logits(root / "folds/folded/logits.npz", OTHERS)
    evaluate = {"prediction_sets": {"levels": [0.8]}, "abstention": {"accuracies": [0.3]}}
    _, decisions = compare(root, "m", "folded", **evaluate)
    of_model, of_folded = (decisions["models"][name] for name in ("m", "folded"))
    assert (of_model["calibrated_on"], of_model["n_calibration_images"]) == ("validation", 4)
    assert (of_folded["calibrated_on"], of_folded["n_calibration_images"]) == ("train", 6)
    # Level 0.8 needs all of four images, and six of six (0.8 * 7 = 5.6): the lowest probability.
    temperature = of_folded["temperature"]
    assert temperature == of_model["temperature"]  # of the same validation images
    scaled = np.array([0.5, 0.3, 0.2]) ** (1 / temperature)
    assert of_folded["prediction_sets"]["0.8"] == pytest.approx(scaled[1] / scaled.sum(), abs=2e-6)
    sure = np.exp(4 / of_model["temperature"])
    assert of_model["prediction_sets"]["0.8"] == pytest.approx(sure / (sure + 2), abs=2e-6)
    # Of the six, the three of 0.7 are correct and the others are not. The lower limit of 3 of 3
    # is 0.05 ** (1 / 3) = 0.37, and that of 3 of 6 is 0.15.
    scaled = np.array([0.7, 0.2, 0.1]) ** (1 / temperature)
    assert of_folded["abstention"]["0.3"] == pytest.approx(scaled[0] / scaled.sum(), abs=2e-6)


def test_sets_are_calibrated_on_the_calibration_split_if_there_is_one(train_model):
    root = train_model("m", SINGLE)
    save_logits(root / "models/m/calibration.npz", OTHERS)
    save_logits(root / "folds/m/logits.npz", OTHERS._replace(logits=OTHERS.logits[::-1]))
    _, decisions = compare(root, "m", prediction_sets={"levels": [0.8]})
    decision = decisions["models"]["m"]
    assert (decision["calibrated_on"], decision["n_calibration_images"]) == ("calibration", 6)
    # Six of six (0.8 * 7 = 5.6): the lowest probability of a label. The temperature, and all that
    # validation images choose, is that without a calibration split.
    scaled = np.array([0.5, 0.3, 0.2]) ** (1 / decision["temperature"])
    assert decision["prediction_sets"]["0.8"] == pytest.approx(scaled[1] / scaled.sum(), abs=2e-6)
    validation = load_logits(root / "models/m/validation.npz")
    expected = fit_decision(validation.logits, SINGLE)["temperature"]
    assert decision["temperature"] == pytest.approx(expected, abs=1e-6)
    copied = load_logits(root / "compared/calibration/m.npz")
    np.testing.assert_array_equal(copied.logits, OTHERS.logits)


def test_other_seeds_have_their_own_decisions(train_model):
    root = train_model("m", SEVERAL)
    logits = np.where(SEVERAL > 0, 0.5, -3.0).astype(np.float32)
    folder = seed_folder(root / "models/m", 2)
    folder.mkdir(parents=True)
    save_logits(folder / "validation.npz", Logits(np.array(list("abcd")), SEVERAL, logits))
    _, decisions = compare(root, "m", other_seeds={"m": [2]})
    expected = fit_decision(logits, SEVERAL)
    found = decisions["models"]["m"]["seeds"]
    assert found.keys() == {"2"}
    assert found["2"]["threshold"] == pytest.approx(expected["threshold"], abs=1e-6)
    assert found["2"]["threshold"] != decisions["models"]["m"]["threshold"]
    assert read_decisions(root / "compared/decisions.json") == decisions


def test_models_of_different_splits_are_not_compared(train_model):
    train_model("m", SINGLE)
    root = train_model("n", SINGLE, ids="abce")
    with pytest.raises(UserError, match=r"'n'.*validation images.*'m'"):
        compare(root, "m", "n")


def test_only_files_of_models_that_are_not_listed_are_removed(tmp_path):
    for name in ("m", "gone", "mine"):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "folds" / name).mkdir(parents=True)
        write_json(tmp_path / "timings" / f"{name}.json", {})
    for name in ("m", "gone"):
        (tmp_path / "models" / name / "model.json").touch()
        (tmp_path / "folds" / name / "folds.csv").touch()
    files = {"models": "model.json", "folds": "folds.csv", "not yet there": "folds.csv"}
    folders = {tmp_path / folder: file for folder, file in files.items()}
    remove_unlisted(["m", "mine"], folders=folders, json_folders=[tmp_path / "timings"])
    for folder in ("models", "folds", "timings"):
        assert sorted(path.stem for path in (tmp_path / folder).iterdir()) == ["m", "mine"]


def test_validation_scores_are_formatted_with_the_metric_of_the_task():
    assert format_validation_scores({"validation_accuracy": 0.95}) == "validation accuracy 0.9500"
    several = {"validation_accuracy": 0.2, "validation_micro_f1": 0.59}
    majority_baseline = format_validation_scores(several)
    assert majority_baseline == "validation micro f1 0.5900"
    several |= {"threshold": 0.3, "micro_f1_at_threshold": 0.65}
    expected = "validation micro f1 0.5900, 0.6500 at its threshold of 0.30"
    assert format_validation_scores(several) == expected
    several |= {"seeds": {"n": 5, "min": 0.57, "max": 0.6}}
    assert format_validation_scores(several) == f"{expected}, of 5 seeds 0.5700 to 0.6000"
