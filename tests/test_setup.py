"""From params to a training run: first weights, recipes, advice where memory is too small."""

import re
from unittest.mock import Mock

import numpy as np
import pytest
import torch

import tiny_model
from classifold.data.model_settings import with_defaults
from classifold.errors import SettingError, UserError, in_section
from classifold.models.model_file import load_model, save_model, untrained
from classifold.training.config import TrainingConfig
from classifold.training.model_errors import explain_errors_of
from classifold.training.setup import prepare
from classifold.training.try_model import describe_scaling
from tiny_model import PHASE

SETTINGS = {"device": "cpu", "precision": "fp32", "threads": 1, "compile": False}
MODEL = tiny_model.MODEL | {"arguments": {"hidden": [6], "dropout": 0.1}}


@pytest.fixture
def packs(tmp_path, write_packs):
    return write_packs(tmp_path, train=12, validation=6)


def first_weights(packs, *, before=0, **changes):
    torch.rand(before)  # what was drawn before
    training = prepare(SETTINGS, MODEL | changes, packs=packs)
    return torch.cat([p.detach().flatten() for p in training.network.parameters()])


def test_initial_weights_depend_only_on_the_network_and_its_seed(packs):
    weights = first_weights(packs)
    other_phases = {"p1": PHASE | {"trainable": "head", "epochs": 9}}
    assert torch.equal(weights, first_weights(packs, before=7))
    changes = {"batch_size": 4, "online": "mix", "phases": other_phases, "normalize": "none"}
    assert torch.equal(weights, first_weights(packs, **changes))
    prepare(SETTINGS, MODEL | {"network": "alphanet", "arguments": {"dropout": 0.2}}, packs=packs)
    assert torch.equal(weights, first_weights(packs))
    assert not torch.equal(weights, first_weights(packs, seed=2))


def test_an_untrained_model_has_the_weights_its_training_began_with(packs, tmp_path):
    training = prepare(SETTINGS, MODEL, packs=packs)
    began = {name: value.clone() for name, value in training.network.state_dict().items()}
    with torch.no_grad():
        for parameter in training.network.parameters():
            parameter.add_(1)  # what training does
    save_model(
        tmp_path,
        training.network,
        network=MODEL["network"],
        arguments=MODEL["arguments"],
        classes=training.train.classes,
        preprocessing={"pack_size": 8, "resize": "box", "image_size": 8, "normalize": "half"},
        training={"threads": 1},
    )
    model = untrained(load_model(tmp_path), seed=MODEL["seed"])
    found = model.network.state_dict()
    assert all(torch.equal(found[name], value) for name, value in began.items())
    assert not model.network.training


def test_a_training_is_made_of_the_packs_and_the_params(packs):
    training = prepare(SETTINGS, MODEL | {"gradient_clip_norm": 1.0}, packs=packs)
    assert (len(training.train.labels), len(training.validation.labels)) == (12, 6)
    assert training.network.head.out_features == 3
    assert (training.precision, training.machine.device.type) == ("fp32", "cpu")
    assert training.config == TrainingConfig(
        phases=MODEL["phases"],
        batch_size=8,
        seed=1,
        image_size=8,
        normalize="half",
        loss={"name": "cross_entropy"},
        gradient_clip_norm=1.0,
    )


def model_without(*keys):
    return {key: value for key, value in MODEL.items() if key not in keys}


@pytest.mark.parametrize(
    "model", [model_without("image_size", "loss"), MODEL | {"image_size": None}]
)
def test_image_size_and_loss_are_by_default_those_of_the_packs(packs, model):
    config = prepare(SETTINGS, model, packs=packs).config
    assert (config.image_size, config.loss) == (8, {"name": "cross_entropy"})
    other = prepare(SETTINGS, model | {"image_size": 6, "loss": {"name": "focal"}}, packs=packs)
    assert (other.config.image_size, other.config.loss) == (6, {"name": "focal"})


@pytest.mark.parametrize(
    ("task", "loss"), [("single", "cross_entropy"), ("multi", "binary_cross_entropy")]
)
def test_the_default_loss_is_that_of_the_task(task, loss):
    model = with_defaults({"network": "mlp"}, size=48, task=task)
    assert model == {"network": "mlp", "image_size": 48, "loss": {"name": loss}}


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"image_size": 32}, []),
        ({"image_size": 24}, []),  # as in recipes
        ({"image_size": 16, "normalize": "pretrained"}, []),
        ({"image_size": 16}, ["image_size: reduces .* 32 pixels, to 16"]),
        ({"image_size": 64}, ["image_size: enlarges .* 32 pixels, to 64"]),
        ({"image_size": 32, "train_size": 24}, []),
        ({"image_size": 32, "train_size": 48}, ["train_size: enlarges .* 32 .*to 48"]),
        ({"image_size": 32, "train_size": [16, 40]}, ["train_size: .*to 40"]),
        ({"image_size": 64, "normalize": "pretrained"}, []),  # as in pretraining
        ({"image_size": 64, "head": {}}, []),  # Fisher vectors
    ],
)
def test_a_model_that_enlarges_or_reduces_the_packed_images_is_described(sizes, expected):
    found = list(describe_scaling({"normalize": "none", **sizes}, size=32))
    assert len(found) == len(expected)
    assert all(re.match(pattern, line) for line, pattern in zip(found, expected, strict=True))


def test_an_unavailable_device_is_an_error(packs):
    if torch.backends.mps.is_available():
        pytest.skip("there is one here")
    with pytest.raises(UserError, match=r"train\.device: .*got 'mps'"):
        prepare(SETTINGS | {"device": "mps"}, MODEL, packs=packs)


def test_a_null_in_params_means_the_default():
    phase = PHASE | {
        "optimizer": {"name": "adam", "lr": 0.01, "betas": None, "weight_decay": None},
        "stop": {"metric": None, "patience": None},
    }
    keys = ("class_weights", "sampler", "ema_decay", "gradient_clip_norm")
    nulls = dict.fromkeys([*keys, "gradient_accumulation_steps"])
    loss = {"name": "cross_entropy", "label_smoothing": None}
    config = TrainingConfig.of(MODEL | nulls | {"loss": loss, "phases": {"p1": phase}})
    assert config == TrainingConfig.of(MODEL | {"phases": {"p1": PHASE | {"stop": {}}}})
    assert (config.sampler, config.gradient_accumulation_steps) == ("shuffle", 1)
    assert config.gradient_clip_norm is None


FULL_CUDA = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee more")
FULL_MPS = RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)")


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        (
            lambda: torch.empty(10**15),
            "can't allocate memory: you tried to allocate 4000000000000000",
        ),
        (lambda: np.empty(10**15), "Unable to allocate"),
        (Mock(side_effect=MemoryError), "out of memory"),
        (Mock(side_effect=FULL_CUDA), r"CUDA out of memory. Tried to allocate 2.00 GiB\.\)"),
        (Mock(side_effect=FULL_MPS), "MPS backend out of memory"),
    ],
    ids=["torch", "numpy", "python", "cuda", "mps"],
)
def test_an_out_of_memory_error_names_the_parameters_to_change(work, reason):
    remedy = r"models\.m\.gradient_accumulation_steps to 2 .* models\.m\.batch_size, its image_size"
    message = rf"models\.m: out of memory \(.*{reason}.*{remedy}"
    with pytest.raises(UserError, match=message) as caught, explain_errors_of("m"):
        work()
    assert caught.value.__suppress_context__


def test_errors_of_settings_name_the_model_and_other_errors_do_not():
    with (
        pytest.raises(UserError, match=r"^models\.m\.phases\.p1\.trainable: must be"),
        explain_errors_of("m"),
        in_section("phases.p1"),
    ):
        raise SettingError("trainable: must be a layer")
    with pytest.raises(UserError, match=r"^data/augmented: missing"), explain_errors_of("m"):
        raise UserError("data/augmented: missing")


def test_other_errors_are_not_changed():
    with pytest.raises(RuntimeError, match="shapes do not fit"), explain_errors_of("m"):
        raise RuntimeError("shapes do not fit")
    with explain_errors_of("m"):
        pass


def test_a_network_of_one_size_cannot_train_on_another(packs):
    message = "train_size: .* mlp .*image_size, got 6.*Remove train_size"
    with pytest.raises(UserError, match=message):
        prepare(SETTINGS, MODEL | {"train_size": 6}, packs=packs)
    resnet = {"network": "small_resnet", "arguments": {"widths": [16], "depth": 1}}
    for size in (6, [6, 9]):
        training = prepare(SETTINGS, MODEL | resnet | {"train_size": size}, packs=packs)
        assert training.config.train_size == size
