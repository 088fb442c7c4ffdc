"""Published weights in the report and in the model card, and test images that they may know."""

import pytest

from classifold.reporting.model_card import write_model_card
from classifold.reporting.overlap import weights_warnings
from classifold.reporting.weights import describe_weights
from synthetic_run import MODELS, PROVENANCE, Run

PACKAGE = {
    "source": "package",
    "package": "lite0<b>",
    "version": "0.1.0",
    "license": "apache-2.0",
    "trained_on": "ImageNet-1k",
    "sha256": "0123456789ab" * 5 + "0123",
}
FILE = {"source": "file", "file": "weights/resnet18.safetensors", "sha256": "f" * 64}
PUBLISHED = {"source": "timm", "tag": "a1_in1k", "trained_on": "ImageNet-1k", "sha256": "e" * 64}


def test_the_page_and_the_card_name_weights_license_and_hash(tmp_path):
    run = Run(tmp_path)
    run.start_from({MODELS[0]: PACKAGE, **dict.fromkeys(MODELS[1:])})
    page = run.page()
    write_model_card(tmp_path / "card.md", run.facts(), PROVENANCE)
    card = (tmp_path / "card.md").read_text(encoding="utf-8")
    for text in (page, card):
        assert "package lite0&lt;b&gt; 0.1.0" in text
        assert "apache-2.0" in text
        assert "0123456789ab" in text
        assert "trained on test images" not in text


def test_random_weights_are_not_mentioned(tmp_path):
    run = Run(tmp_path)
    write_model_card(tmp_path / "card.md", run.facts(), PROVENANCE)
    card = (tmp_path / "card.md").read_text(encoding="utf-8")
    assert "initial weights" not in card
    assert "Published weights" not in run.page()


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (PACKAGE, "package lite0<b> 0.1.0"),
        (FILE, "file weights/resnet18.safetensors"),
        (PUBLISHED, "timm, a1_in1k"),
    ],
)
def test_weights_are_described_by_their_source(record, expected):
    assert describe_weights(record) == expected


def test_images_of_imagenet_are_counted_for_weights_of_imagenet():
    names = ["train/n02124075/images/n02124075_17.JPEG", "val/n01443537_0_1.jpg", "a/cat.jpg"]
    lines = weights_warnings({"probe": PACKAGE, "cnn": None, "own": FILE}, names)
    assert lines[1].startswith("2 files")
    assert "weights of probe were" in lines[1]


@pytest.mark.parametrize(
    ("weights", "names"),
    [
        ({"cnn": None}, ["n02124075_17.JPEG"]),
        ({"own": FILE}, ["n02124075_17.JPEG"]),
        ({"probe": PACKAGE}, ["n0212407_17.JPEG", "scan02124075_17.JPEG", "cat/1.png"]),
    ],
)
def test_other_images_and_other_weights_are_not_warned_of(weights, names):
    assert weights_warnings(weights, names) == []


def test_the_warning_stands_before_the_scores(tmp_path):
    run = Run(tmp_path, classes=["n02124075_1", "n02124075_2"])
    facts = run.facts()._replace(image_ids=["n02124075_1.JPEG"])
    assert facts.warnings == []
    facts = facts._replace(weights={MODELS[0]: PACKAGE})
    assert facts.warnings == [weights_warnings(facts.weights, facts.image_ids)]
