"""Sets with hardly anything to show: every stage runs, and the report states what is missing."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

from classifold.data.csv_file import read_rows
from classifold.data.json_file import read_json
from classifold.data.predictions import read_predictions
from classifold.serving.predict import Classifier
from stages_in_one_process import run_stages
from synthetic_clone import MODELS, shorten_analyses

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
STAGES = [
    *["check", "ingest", "filter", "split", "augment", "train model", "folds model", "compare"],
    *["stack", "evaluate", "pca", "tsne", "novelty", "robustness", "explain", "report"],
]
MLP = {key: value for key, value in MODELS["mlp"].items() if key != "loss"}
PROBE = {
    "network": "probe",
    "arguments": {"name": "test_resnet", "weights": None},
    "head": {"name": "logistic", "c": [0.01, 0.1]},
    "normalize": "half",
    "online": "none",
    "seed": 1,
}
ANALYSES = ("pca", "tsne", "novelty", "robustness", "explain")
KEEP_DUPLICATES = {"exact": "off", "near": "off", "distance": 4, "conflicting": "off"}


def page_of(root):
    return (root / "reports/index.html").read_text(encoding="utf-8")


@pytest.fixture
def run(tmp_path):
    """Run all stages on images at `path`s with labels, and return the metrics of each stage."""

    def through(images, *, task="single", equal=False, fractions=None, model=MLP):
        (tmp_path / "stages").symlink_to(ROOT / "stages")
        yaml = YAML()
        params = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        params["dataset"] |= {"path": "data/raw/small", "task": task}
        params["filter"]["duplicates"] = KEEP_DUPLICATES
        params["augment"] |= {"size": 16, "warped": 1}
        params["train"]["threads"] = 1
        params["models"] = {"model": model}
        shorten_analyses(params)
        params["split"]["fractions"] = fractions or params["split"]["fractions"]
        yaml.dump(params, tmp_path / "params.yaml")
        source = tmp_path / "data/raw/small"
        random = np.random.default_rng(0)
        for path in images:
            pixels = np.full((16, 16, 3), 128) if equal else random.integers(0, 256, (16, 16, 3))
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(source / path)
        if task == "multi":
            lines = ["path,labels", *(f"{path},{'|'.join(of)}" for path, of in images.items())]
            (source / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
        run_stages(tmp_path, STAGES)
        assert "</html>" in page_of(tmp_path)
        return {path.stem: read_json(path) for path in (tmp_path / "metrics").glob("*.json")}

    return through


def test_every_image_has_two_of_three_labels_and_there_are_few(run, tmp_path):
    pairs = (("a", "b"), ("b", "c"), ("a", "c"))
    metrics = run({f"{i}.png": pairs[i % 3] for i in range(12)}, task="multi")
    n_train = metrics["split"]["n_train"]
    assert n_train < 10
    expected = f"needs at least 10 images, and the sample has {n_train} of the {n_train} training"
    assert expected in metrics["tsne"]["reason"]
    assert read_rows(tmp_path / "data/tsne/chosen.csv") == []
    page = page_of(tmp_path)
    assert expected in page
    assert "reason" not in metrics["pca"]
    assert "at least 19 validation images" in metrics["novelty"]["reason"]
    assert metrics["novelty"]["reason"] in page


def test_a_set_of_equal_images_with_several_labels_is_mapped_and_explained(run):
    images = {f"{i}.png": ("a", "b") if i % 2 else ("a",) for i in range(24)}
    metrics = run(images, task="multi", equal=True)
    assert not any("reason" in metrics[name] for name in ("pca", "tsne", "explain"))
    assert metrics["tsne"]["n_images"] == metrics["split"]["n_train"]


@pytest.mark.parametrize(("task", "held_out"), [("single", "calibration"), ("multi", "validation")])
def test_a_probe_is_mapped_and_explained_by_the_features_of_its_training(
    task, held_out, run, tmp_path
):
    labels = (("a",), ("b",)) if task == "single" else (("a",), ("b",), ("a", "b"))
    images = {f"{i}.png": labels[i % len(labels)] for i in range(72)}
    if task == "single":
        images = {f"{label}/{path}": of for path, of in images.items() for label in of}
    fractions = {"train": 0.4, "validation": 0.1, "test": 0.2}
    fractions[held_out] = fractions.get(held_out, 0) + 0.3
    metrics = run(images, task=task, model=PROBE, fractions=fractions)
    assert not any("reason" in metrics[name] for name in ANALYSES)
    assert metrics["tsne"]["features"].keys() == metrics["tsne"]["pixels"].keys()
    assert metrics["explain"]["neighbors"]["n_compared"] == metrics["split"]["n_train"]
    n_splits = 3 if held_out == "calibration" else 2
    assert len(list((tmp_path / ".cache/features").glob("*.npy"))) == n_splits  # not of test images
    novelty = metrics["explain"]["novelty"]
    assert novelty["threshold"] == metrics["novelty"]["threshold"]
    assert novelty["n_images"] == metrics["split"]["n_test"]
    assert "of new images from the same source are above it" in page_of(tmp_path)
    # predict computes the same for the files of the test images.
    rows = read_rows(tmp_path / "data/explained/novelty.csv")
    files = [tmp_path / "data/raw/small" / row["id"] for row in rows]
    classifier = Classifier.load(tmp_path)
    predictions = list(classifier.predict(files))
    assert [one.novelty for one in predictions] == [float(row["novelty"]) for row in rows]
    assert [one.is_novel for one in predictions] == [row["is_novel"] == "1" for row in rows]
    assert sum(one.is_novel for one in predictions) == novelty["n_novel"]
    # With fewer than 39 held-out images the threshold is the novelty of one of them, the highest.
    ids = [row["id"] for row in read_rows(tmp_path / f"data/split/{held_out}.csv")]
    of_held_out = classifier.predict([tmp_path / "data/raw/small" / one for one in ids])
    highest = max(one.novelty for one in of_held_out)
    assert metrics["novelty"]["threshold"] == pytest.approx(highest, abs=1e-5)
    fitted_on = {key: metrics["novelty"][key] for key in ("calibrated_on", "n_calibration_images")}
    assert fitted_on == {"calibrated_on": held_out, "n_calibration_images": len(ids)}


def test_one_image_of_each_class_trains_and_the_official_test_split_has_one_class(run, tmp_path):
    names = ["train/a/0", "train/b/0", "validation/a/1", "test/a/2", "test/a/3"]
    metrics = run({f"{name}.png": () for name in names})
    assert "of the 2 training images" in metrics["tsne"]["reason"]
    # One validation image: nothing can be fitted and measured, and one member is the stack.
    assert "one member" in metrics["stack"]["reason"]
    tested = metrics["test"]["stack"]
    assert (tested["n_classes_present"], tested["n_classes"]) == (1, 2)
    assert tested["macro_f1"] == pytest.approx(tested["macro_f1_present"] / 2, abs=1e-6)
    page = page_of(tmp_path)
    note = "1 of 2 classes have no test image"
    assert note in page and note in (tmp_path / "reports/MODEL_CARD.md").read_text("utf-8")
    # The stack of one member is that member, on every image.
    columns = ("predicted", "probability", "label_probability", "label_rank")
    rows = {
        model: [
            [row[name] for name in columns]
            for row in read_predictions(
                tmp_path / "data/evaluated/predictions.parquet", model=model
            )
        ]
        for model in ("model", "stack")
    }
    assert rows["model"] == rows["stack"]
    assert metrics["test"]["model"]["versus_stack"]["difference_ci95"] == [0, 0]
    of_both = ("accuracy", "log_loss", "calibration_error", "macro_f1_ci95", "validation_accuracy")
    for key in of_both:
        assert metrics["test"]["model"][key] == tested[key]


def test_one_validation_image_with_several_labels_is_scored_without_a_fitted_threshold(run):
    labels = (("a", "b"), ("b",), ("a",), ("c", "b"))
    names = [*(f"train/{i}" for i in range(4)), "validation/4", "test/5", "test/6"]
    images = {f"{name}.png": labels[i % 4] for i, name in enumerate(names)}
    metrics = run(images, task="multi")
    assert metrics["stack"]["n_images"] == metrics["split"]["n_validation"] == 1
    assert metrics["stack"]["gain_ci95"] == metrics["stack"]["gain_of_mean_ci95"] == [0, 0]
    assert metrics["test"]["model"]["versus_stack"]["difference_ci95"] == [0, 0]


def test_a_class_of_one_image_trains_and_without_test_images_nothing_is_explained(run, tmp_path):
    images = {f"{name}/{i}.png": () for name in "ab" for i in range(4)} | {"c/0.png": ()}
    metrics = run(images, fractions={"train": 0.5, "validation": 0.5, "test": 0})
    assert metrics["explain"]["reason"] == "there are no test images"
    assert metrics["split"]["class_proportions"]["validation"]["c"] == 0
    page = page_of(tmp_path)
    assert "no validation image has 1 of 3 classes" in page
