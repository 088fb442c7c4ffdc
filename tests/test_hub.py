"""A folder for the Hugging Face Hub: its predictions are ours, its card is valid."""

import io
import json
import re
from contextlib import redirect_stdout

import numpy as np
import pytest
import timm
import timm.models._hub
from huggingface_hub import ModelCard
from PIL import Image

from classifold.data.json_file import write_json
from classifold.data.seeding import seed_torch
from classifold.models.model_file import build_network, save_model
from classifold.serving import hub, timm_folder
from classifold.serving.hub import check_license, export_hub
from classifold.serving.predict import Classifier
from command_line import classifold, error_of, output_of

RANDOM = np.random.default_rng(0)
CLASSES = ("cat", "dog", "owl")
IMAGES = RANDOM.integers(0, 256, (20, 16, 16, 3), np.uint8)
REPOSITORY = "alice/fruit"


@pytest.fixture
def timm_project(project):
    """A project whose model `flat` is a network of timm, with the pack's or another image size."""

    def make(
        name="test_efficientnet", *, image_size=16, task="single", classes=CLASSES, **arguments
    ):
        root = project(task, classes=classes)
        seed_torch(1, name)
        arguments = {"name": name} | arguments
        sizes = {"n_classes": len(classes), "image_size": image_size}
        built = build_network("probe", **sizes, arguments=arguments)
        preprocessing = {"pack_size": 16, "resize": "lanczos", "image_size": image_size}
        save_model(
            root / "models/flat",
            built,
            network="probe",
            arguments=arguments,
            classes=list(classes),
            preprocessing=preprocessing | {"normalize": "imagenet"},
            training={"threads": 1, "task": task, "versions": {"torch": "2"}},
        )
        return root

    return make


def exported(root, folder, *, model="flat", **options):
    classifier = Classifier.load(root, model=model)
    options |= {"root": root, "repository": REPOSITORY}
    return classifier, export_hub(folder, classifier, IMAGES, **options)


def card_of(root, folder, **options):
    exported(root, folder, **options)
    return ModelCard.load(folder / "README.md")


def describe(root, **changes):
    path = root / "models/flat/model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


SCORES = {"n_images": 1200, "accuracy": 0.9, "accuracy_ci95": [0.88, 0.92], "macro_f1": 0.8}
SCORES |= {"calibration_error": 0.03}


def run_card(folder, monkeypatch):
    """Run the code of the card, with the folder in place of a download.

    Returns its variables and what it printed.
    """
    photo = folder.parent / "photo.jpg"
    Image.fromarray(RANDOM.integers(0, 256, (30, 20, 3), np.uint8)).save(photo)
    monkeypatch.setattr(
        timm.models._hub, "hf_hub_download", lambda repo_id, filename, **_: folder / filename
    )
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda _: folder)
    monkeypatch.chdir(photo.parent)
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert REPOSITORY in code
    variables = {}
    with redirect_stdout(io.StringIO()) as printed:
        exec(code, variables)
    return variables, printed.getvalue()


@pytest.mark.parametrize(
    "case",
    [
        ("test_efficientnet", 16, "single", "none", 1e-5),
        ("test_efficientnet", 16, "single", "horizontal", 1e-5),
        ("test_efficientnet", 16, "single", "both", 1e-5),
        ("test_vit", 16, "multi", "none", 1e-5),  # whose position embeddings depend on the size
        ("test_efficientnet", 24, "single", "none", 0.02),  # resized twice, then by timm
    ],
)
def test_timm_alone_predicts_by_the_code_of_the_card(timm_project, tmp_path, monkeypatch, case):
    name, image_size, task, flips, tolerance = case
    root = timm_project(name, image_size=image_size, task=task)
    params = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(params.replace("{flips: none,", f"{{flips: {flips},"))
    classifier, result = exported(root, tmp_path / "out")
    assert (result.library, result.n_images, result.n_changed) == ("timm", 20, 0)
    assert result.max_difference <= tolerance
    names = {"README.md", "config.json", "model.safetensors", "decision.json"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    variables, shown = run_card(tmp_path / "out", monkeypatch)
    (prediction,) = classifier.predict(["photo.jpg"])
    expected = [prediction.probabilities[label] for label in classifier.classes]
    np.testing.assert_allclose(variables["probabilities"], expected, atol=tolerance)
    assert shown.strip() == (prediction.labels[0] if task == "single" else str(prediction.labels))


@pytest.mark.parametrize(
    "case",
    [
        ("single", "deep", "small_resnet is not a network of timm"),
        ("multi", "stack", "the stack has several networks"),
    ],
)
def test_other_classifiers_are_loaded_by_classifold_with_the_same_bits(
    project, tmp_path, monkeypatch, case
):
    task, model, reason = case
    classifier, result = exported(project(task), tmp_path / "out", model=model)
    assert result == ("classifold", reason, 20, 0, 0)
    _, shown = run_card(tmp_path / "out", monkeypatch)
    (prediction,) = classifier.predict(["photo.jpg"])
    assert shown == f"{prediction.labels} {prediction.probabilities}\n"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"neighbors": 2, "examples": 5}, "its head is not a linear layer"),
        ({"name": "levit_128s", "image_size": 224}, "the classifier of this network is not one"),
    ],
)
def test_what_timm_cannot_load_is_named(timm_project, tmp_path, change, reason):
    _, result = exported(timm_project(**change), tmp_path / "out")
    assert result.library == "classifold"
    assert result.not_timm.startswith(reason)
    assert not (tmp_path / "out/config.json").exists()


def test_a_network_with_other_logits_in_timm_is_not_written_for_timm(
    timm_project, tmp_path, monkeypatch
):
    with_head = timm_folder._with_head
    monkeypatch.setattr(
        timm_folder,
        "_with_head",
        lambda backbone, head, *, temperature: with_head(backbone, head, temperature=2),
    )
    _, result = exported(timm_project(), tmp_path / "out")
    assert result.not_timm == "timm computes other logits with these weights"


def test_the_metadata_of_the_card_are_read_by_the_library_of_the_hub(timm_project, tmp_path):
    root = timm_project()
    write_json(root / "metrics/test.json", {"flat": SCORES})
    card = card_of(root, tmp_path / "out", license_id="apache-2.0")
    data = card.data
    assert (data.library_name, data.pipeline_tag) == ("timm", "image-classification")
    assert (data.license, data.model_name) == ("apache-2.0", "fruit")
    found = [(r.metric_type, r.metric_value, r.dataset_name) for r in data.eval_results]
    assert found == [("accuracy", 0.9, "digits"), ("f1", 0.8, "digits")]
    assert "on 1,200 test images" in card.text and "No pretrained weights were used" in card.text


def test_the_card_states_what_is_not_known(timm_project, tmp_path):
    card = card_of(timm_project(), tmp_path / "out")
    assert (card.data.license, card.data.eval_results) == ("unknown", None)
    assert "was not stated" in card.text and "not evaluated on test images" in card.text


def test_the_base_model_and_its_license_are_those_of_the_published_weights(timm_project, tmp_path):
    root = timm_project()
    url = "https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors"
    weights = {"source": "timm", "tag": "a1_in1k", "url": url, "license": "cc-by-nc-4.0"}
    describe(root, weights=weights | {"sha256": "0" * 64})
    card = card_of(root, tmp_path / "out")
    assert card.data.base_model == ["timm/resnet18.a1_in1k"]
    assert "cc-by-nc-4.0" in card.text and card.data.license == "unknown"


def test_names_of_classes_are_only_text(timm_project, tmp_path):
    classes = ("a\n---\nlicense: mit", "<script>", "`x`|[y](z)")
    card = card_of(timm_project(classes=classes), tmp_path / "out")
    assert card.data.license == "unknown"
    assert "<script>" not in card.text and "\n---\nlicense" not in card.text
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["label_names"] == list(classes)


def test_of_refitted_networks_no_score_is_claimed(timm_project, tmp_path):
    root = timm_project()
    write_json(root / "metrics/test.json", {"flat": SCORES})
    describe(root, trained_on=["train", "validation"])
    card = card_of(root, tmp_path / "out")
    assert card.data.eval_results is None and "have no score of their own" in card.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "models"], "--out: must be a new folder, got models"),
        (["--out", "new/a"], "--out: new is not a folder"),
        (["--out", "a", "--repo", "fruit"], "--repo: must be the name of a repository"),
        (["--out", "a b"], "--repo: must be the name of a repository"),
        (["--out", "a", "--license", "My license"], "--license: must be an identifier"),
        (["--out", "a"], "data/ingested, data/augmented/validation: no validation images"),
    ],
)
def test_mistakes_of_the_command_are_one_message(project, monkeypatch, arguments, message):
    monkeypatch.chdir(project())
    assert error_of(classifold("export", "--format", "hub", *arguments)).startswith(message)


def test_identifiers_of_licenses_are_accepted():
    for identifier in ("mit", "cc-by-nc-sa-4.0", "openrail++", "unknown"):
        check_license(identifier)


def test_the_command_writes_the_folder(timm_project, monkeypatch):
    monkeypatch.chdir(timm_project())
    monkeypatch.setattr("classifold.serving.export.read_validation_images", lambda *_, **__: IMAGES)
    arguments = ["export", "--format", "hub", "--out", "fruit", "--model", "flat"]
    output = output_of(classifold(*arguments, "--repo", REPOSITORY))
    assert "timm loads it" in output and "hf upload alice/fruit fruit" in output
    assert hub.timm.create_model("local-dir:fruit", pretrained=True).num_classes == 3
