"""The predictions of an exported file equal PyTorch's; preprocessing and stack are inside."""

import json
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from classifold.data.image_table import SCHEMA, iter_columns, iter_images, write_table
from classifold.data.orientation import ORIENTATION_TAG
from classifold.data.pack import new_pack
from classifold.errors import UserError
from classifold.serving import export, module
from classifold.serving.export import export_onnx, read_validation_images
from classifold.serving.module import interpolation_weights
from classifold.serving.predict import Classifier
from classifold.stacking.ensemble import Ensemble, ensemble_logits, fit_ensemble
from classifold.stacking.module import EnsembleModule
from command_line import classifold, error_of
from tiny_model import STACK

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (70, 16, 16, 3), np.uint8)
CLASSES = ["cat", "dog", "owl"]


def run(path, images):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (put,), (get,) = session.get_inputs(), session.get_outputs()
    assert (put.name, put.type, put.shape[1:]) == ("images", "tensor(uint8)", [16, 16, 3])
    assert (get.name, get.type, get.shape[1:]) == ("probabilities", "tensor(float)", [3])
    return session.run(None, {"images": images})[0]


@pytest.mark.parametrize(
    ("task", "method", "model"),
    [
        ("single", "dense", "stack"),
        pytest.param("multi", "weighted", "stack", marks=pytest.mark.slow),
        ("multi", "mean", "flat"),  # which interpolates from 16 to 10 pixels
    ],
)
def test_predictions_of_the_file_equal_pytorchs_for_any_number_of_images(
    project, tmp_path, task, method, model
):
    classifier = Classifier.load(project(task, method=method), model=model)
    path = tmp_path / "new" / "model.onnx"
    exported = export_onnx(path, classifier, IMAGES)
    expected = classifier.probabilities(IMAGES)
    assert exported.n_images == len(IMAGES)
    for images in (IMAGES[:1], IMAGES[:5], IMAGES):
        found = run(path, images)
        np.testing.assert_allclose(found, expected[: len(images)], atol=1e-5)
    # Batches of other sizes differ in the last bits.
    largest = np.abs(run(path, IMAGES) - expected).max()
    assert exported.max_difference == pytest.approx(largest, abs=1e-6)

    metadata = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert (metadata["task"], metadata["model"], metadata["resize"]) == (task, model, "lanczos")
    expected = {
        "classes": CLASSES,
        "prediction_sets": {},
        "abstention": {},
        "size": 16,
        "background": [255, 255, 255],
        "temperature": 1.3 if model == "stack" else 1.7,
        "threshold": 0.45 if task == "multi" else None,
        "thresholds": [0.4] * 3 if task == "multi" else None,
    }
    assert {name: json.loads(metadata[name]) for name in expected} == expected
    assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]
    # The exporter writes down the file of each line of code.
    content = path.read_bytes()
    for folder in (export.__file__, torch.__file__):
        assert folder.rpartition("/")[0].encode() not in content


@pytest.mark.parametrize("method", ["mean", "weighted", "greedy", "logistic", "dense"])
@pytest.mark.parametrize("task", ["single", "multi"])
def test_the_module_of_an_ensemble_agrees_with_the_ensemble(task, method):
    labels = {
        "single": RANDOM.permutation(np.arange(80) % 4),
        "multi": (RANDOM.random((80, 4)) < 0.3).astype(np.int64),
    }[task]
    truth = np.eye(4)[labels] if task == "single" else labels
    logits = {
        name: (RANDOM.normal(0, spread, (80, 4)) + 4 * truth).astype(np.float32)
        for name, spread in (("good", 2), ("bad", 9), ("worse", 30))
    }
    ensemble = fit_ensemble(logits, labels, method=method, settings=STACK, seed=1).ensemble
    combine = EnsembleModule(ensemble).eval()
    with torch.inference_mode():
        found = combine([torch.from_numpy(values) for values in logits.values()])
    expected = ensemble_logits(ensemble, logits)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("task", ["single", "multi"])
def test_a_member_with_weight_zero_adds_nothing(task):
    ensemble = Ensemble("greedy", task, ["a", "b"], 3, {}, {"member_weights": np.array([0.0, 1.0])})
    sure = torch.tensor([[80.0, -80.0, 0.0]])
    other = torch.tensor([[0.3, -1.2, 2.0]])
    found = EnsembleModule(ensemble)([sure, other])
    expected = other.log_softmax(1) if task == "single" else other
    torch.testing.assert_close(found, expected)


@given(st.integers(4, 40), st.integers(4, 40), st.sampled_from(["bilinear", "bicubic"]))
def test_interpolation_by_weights_is_that_of_torch(size, image_size, mode):
    batch = torch.from_numpy(RANDOM.integers(0, 256, (2, 3, size, size))).float()
    weights = interpolation_weights(size, image_size, interpolation=mode)
    expected = F.interpolate(batch, (image_size, image_size), mode=mode, antialias=True)
    torch.testing.assert_close(weights @ batch @ weights.T, expected, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(weights.sum(1), torch.ones(image_size))


def test_the_example_of_the_docs_agrees_with_predict(project, tmp_path, monkeypatch, capsys):
    classifier = Classifier.load(project(), model="flat")
    export_onnx(tmp_path / "model.onnx", classifier, IMAGES[:2])
    photo = Image.fromarray(RANDOM.integers(0, 256, (30, 20, 3), np.uint8))
    photo.getexif()[ORIENTATION_TAG] = 6
    photo.save(tmp_path / "photo.jpg", exif=photo.getexif())
    text = (Path(__file__).parents[1] / "docs/PREDICTION.md").read_text(encoding="utf-8")
    example = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[-1]
    monkeypatch.chdir(tmp_path)
    variables = {}
    exec(example, variables)
    (prediction,) = classifier.predict(["photo.jpg"])
    assert capsys.readouterr().out.splitlines()[-1:] == prediction.labels
    expected = [prediction.probabilities[name] for name in CLASSES]
    np.testing.assert_allclose(variables["probabilities"][0], expected, atol=1e-5)


@pytest.mark.slow
def test_views_that_evaluate_averages_are_in_the_graph(project, tmp_path):
    classifier = Classifier.load(project(), model="deep")
    one = classifier.probabilities(IMAGES)
    classifier = classifier._replace(test_time={"flips": "both", "shift": 2})
    assert np.abs(classifier.probabilities(IMAGES) - one).max() > 1e-3
    export_onnx(tmp_path / "model.onnx", classifier, IMAGES)
    found = run(tmp_path / "model.onnx", IMAGES)
    np.testing.assert_allclose(found, classifier.probabilities(IMAGES), atol=1e-5)


@pytest.mark.promise("onnx")
def test_a_file_with_other_predictions_is_refused_and_deleted(project, tmp_path, monkeypatch):
    classifier = Classifier.load(project(), model="flat")
    monkeypatch.setattr(
        module, "interpolation_weights", lambda old, new, **_: torch.ones(new, old) / 9
    )
    with pytest.raises(UserError, match=r"of flat must differ .* got 0\.\d+ on 70 images"):
        export_onnx(tmp_path / "new/model.onnx", classifier, IMAGES)
    assert not list((tmp_path / "new").iterdir())


class Undecided(torch.nn.Module):
    """A network whose control flow depends on its input, which no graph can express."""

    def forward(self, batch):
        return batch.mean((2, 3)) if batch.mean().item() > 0 else -batch.mean((2, 3))


def test_a_network_that_is_no_graph_is_refused(project, tmp_path):
    classifier = Classifier.load(project(), model="deep")
    model = classifier.members["deep"]._replace(network=Undecided())
    classifier = classifier._replace(members={"deep": model})
    with pytest.raises(UserError, match="deep: a network cannot be exported to ONNX"):
        export_onnx(tmp_path / "model.onnx", classifier, IMAGES)
    assert not list(tmp_path.glob("*model*"))


def test_networks_too_large_for_one_file_are_refused(project, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "MAX_BYTES", 1000)
    classifier = Classifier.load(project())
    with pytest.raises(UserError, match=r"must fit into 1,000 bytes.*, got [\d,]+.*--model"):
        export_onnx(tmp_path / "model.onnx", classifier, IMAGES)


def table_rows(folder):
    """All rows of an image table, with their images."""
    rows = list(iter_columns(folder, [name for name in SCHEMA.names if name != "image"]))
    encoded = dict(iter_images(folder, [row["id"] for row in rows]))
    return [row | {"image": {"bytes": encoded[row["id"]], "path": row["id"]}} for row in rows]


def test_the_file_is_checked_on_official_validation_images_or_else_on_the_packs(
    project, tmp_path, monkeypatch
):
    root = project()
    classifier = Classifier.load(root, model="flat")
    packs = tmp_path / "augmented"
    with pytest.raises(UserError, match=r"no validation images of 16 pixels.*'dvc repro'"):
        read_validation_images(classifier, packs=packs)

    settings = {"n_images": 3, "size": 16, "resize": "lanczos", "classes": CLASSES}
    with new_pack(packs / "validation", **settings) as pack:
        pack.put(0, list(IMAGES[:3]))
        for i in range(3):
            pack.describe(image_id=str(i), variant=0, transformation="none", labels=["cat"])
    np.testing.assert_array_equal(read_validation_images(classifier, packs=packs), IMAGES[:3])
    with pytest.raises(UserError, match="no validation images of 24 pixels"):
        read_validation_images(classifier._replace(pack_size=24), packs=packs)

    rows = table_rows(classifier.ingested)
    official = {"dog/gray.png", "owl/deep.png"}
    splits = {row["id"]: "validation" if row["id"] in official else "train" for row in rows}
    write_table(classifier.ingested, [row | {"split": splits[row["id"]]} for row in rows])
    predictions = classifier.probabilities(read_validation_images(classifier, packs=packs))
    expected = classifier.predict(root / "source" / name for name in sorted(official))
    expected = [[one.probabilities[name] for name in CLASSES] for one in expected]
    np.testing.assert_array_equal(predictions, expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "new/m"], "--out: new is not a folder"),
        (["--out", "."], "--out: . is a folder. Name a file, such as model.onnx"),
        (["--format", "tflite", "--out", "m"], "--format: must be onnx or hub, got tflite"),
        (["--model", "vgg", "--out", "m"], "--model: there is no trained model vgg"),
        (["--out", "m"], "data/ingested, data/augmented/validation: no validation images"),
        (["--out", "m", "--repo", "a/b"], "--repo: is only for --format hub"),
        (["--out", "m", "--license", "mit"], "--license: is only for --format hub"),
    ],
)
def test_mistakes_of_the_command_are_one_message(project, monkeypatch, arguments, message):
    monkeypatch.chdir(project())
    assert error_of(classifold("export", *arguments)).startswith(message)


def test_without_the_packages_the_command_names_what_to_install(project, monkeypatch):
    monkeypatch.chdir(project())
    monkeypatch.setattr(export, "PACKAGES", ("onnx", "onnx_that_is_not_there"))
    error = error_of(classifold("export", "--out", "m.onnx"))
    assert "'pip install classifold[onnx]'" in error
