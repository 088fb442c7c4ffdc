"""The schema of params.yaml: what it refuses, and its messages."""

import copy
import math
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from classifold.data import model_settings
from classifold.errors import UserError
from classifold.params.reader import parse_yaml, read_params
from classifold.params.schema import models
from classifold.params.schema.params import Params
from classifold.params.validation import check_content, check_params, validation_errors

ROOT = Path(__file__).parents[1]
ABSENT = object()


@pytest.fixture(scope="module")
def params():
    return YAML(typ="safe", pure=True).load((ROOT / "params.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def valid(params):
    return copy.deepcopy(params)


@pytest.fixture
def write(tmp_path):
    """Write a params file."""

    def to_file(text):
        path = tmp_path / "params.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return to_file


def check(content):
    """Validate the content of a params file."""
    check_content(Params, content, path=Path("params.yaml"))


def changed(content, key, value):
    """The content with another value at a dotted path, or without the key."""
    content = copy.deepcopy(content)
    *sections, name = key.split(".")
    place = content
    for section in sections:
        place = place[section]
    if value is ABSENT:
        del place[name]
    else:
        place[name] = value
    return content


def test_params_of_the_project_are_valid_and_returned_unchanged(valid):
    assert check_params(ROOT / "params.yaml") == valid


PHASE = "models.mlp.phases.p1"
ONE_CYCLE = {"name": "one_cycle", "pct_start": 0.3, "div_factor": 25, "final_div_factor": 1000}


@pytest.mark.parametrize("folders", ["auto", "class", "any/class", "x/split/class", "group/class"])
def test_folders_may_be_described_by_level(valid, folders):
    check(changed(valid, "dataset.folders", folders))
    check(changed(valid, "dataset.folders", ABSENT))


def test_folders_are_described_only_in_the_layout_folder(valid):
    content = changed(changed(valid, "dataset.folders", "any/class"), "dataset.layout", "table")
    with pytest.raises(UserError, match=r"dataset\.folders: must be auto unless .* 'any/class'"):
        check(content)


@pytest.mark.parametrize("key", ["evaluate.prediction_sets", "evaluate.abstention"])
def test_levels_and_accuracies_may_be_omitted_or_empty(valid, key):
    check(changed(valid, key, ABSENT))
    (name,) = valid["evaluate"][key.split(".")[1]]
    check(changed(valid, f"{key}.{name}", []))


def below(prefix, *cases):
    """The cases with their keys below another one."""
    return [(f"{prefix}.{key}", value, message) for key, value, message in cases]


# Key, value, and the message: all of it, or what follows the key.
OF_PHASE = below(
    PHASE,
    ("optimizer.lr", "0", ': must be a number > 0, got "0"'),
    ("optimizer.lr", 0, ": must be > 0, got 0"),
    (
        "optimizer",
        {"name": "adamm", "lr": 0.1},
        ".name: must be one of 'adam', 'adamw', 'rmsprop', 'adadelta', 'sgd', got \"adamm\"",
    ),
    ("optimizer", {"lr": 0.1}, ".name: missing"),
    ("optimizer", {"name": "adam", "lr": 0.1, "momentum": 0.9}, ".momentum: unknown key"),
    (
        "optimizer",
        {"name": "sgd", "lr": 0.1, "nesterov": True},
        ": nesterov: true needs momentum > 0",
    ),
    ("optimizer", {"name": "rmsprop", "lr": 0.1, "betas": [0.9, 0.99]}, ".betas: unknown key"),
    ("optimizer", {"name": "adadelta", "lr": 0.1, "momentum": 0.9}, ".momentum: unknown key"),
    (
        "optimizer",
        {"name": "sgd", "lr": 0.1, "lr_factors": {"head": 0}},
        ".lr_factors.head: must be > 0, got 0",
    ),
    ("schedule", {"name": "plateau", "factor": 1.0, "patience": 2}, ".factor: must be < 1"),
    (
        "schedule",
        {"name": "cyclical", "min_lr": 0.1, "step_size": 5},
        ".min_lr: must be < optimizer.lr (0.001), the maximum of the",
    ),
    (
        "schedule",
        {"name": "cyclical", "min_lr": 0.001, "step_size": 5},
        ".min_lr: must be < optimizer.lr",
    ),
    (
        "schedule",
        {"name": "cyclical", "min_lr": 0.0001, "step_size": 0},
        ".step_size: must be >= 1, got 0",
    ),
    (
        "schedule",
        {"name": "cosine", "warmup_epochs": 1, "min_lr": 0.1},
        ".min_lr: unknown key. Known keys: name, warmup_epochs",
    ),
    ("schedule", {"name": "cosine", "warmup_epochs": 1000}, ".warmup_epochs: must be < epochs"),
    (
        "schedule",
        ONE_CYCLE | {"max_momentum": 0.8},
        ": base_momentum (default 0.85) must be <= max_momentum",
    ),
    ("trainable", "heads", ": must be 'all' or 'head' or a list, got \"heads\""),
    ("stop", {"patience": 0}, ".patience: must be >= 1"),
    (
        "stop",
        {"metric": "f1", "patience": 2},
        ".metric: must be 'accuracy', 'micro_f1' or 'loss', got \"f1\"",
    ),
    (
        "stop",
        {"metric": "micro_f1", "patience": 2},
        ".metric: must be accuracy or loss for one label per image",
    ),
    ("stop", {"patence": 2}, ".patence: unknown key. Did you mean patience?"),
)
OF_MODEL = below(
    "models.mlp",
    ("batch_size", "32", ': must be an integer >= 2, got "32"'),
    ("batch_size", 1, ": must be >= 2"),
    ("network", "mpl", ": must be one of alphanet, fisher_vectors"),
    ("arguments.dropuot", 0.1, ": unknown key. Did you mean dropout? Known keys"),
    ("phases", {}, ": "),
    ("loss", {"name": "cross_entropy", "gamma": 2}, ".gamma: unknown key. Known keys: name, label"),
    (
        "loss",
        {"name": "cross_entropy", "label_smoothing": 1.0},
        ".label_smoothing: must be < 1, got 1.0",
    ),
    ("loss", {"name": "focal"}, ".gamma: missing. Add it"),
    (
        "loss",
        {"name": "hinge"},
        ".name: must be one of 'cross_entropy', 'binary_cross_entropy', 'mean_squared_error', "
        "'focal', got \"hinge\"",
    ),
    ("class_weights", "balance", ": must be 'none' or 'balanced', got \"balance\""),
    ("sampler", "random", ": must be 'shuffle' or 'balanced', got \"random\""),
    ("ema_decay", 1.0, ": must be < 1, got 1.0"),
    ("gradient_clip_norm", 0, ": must be > 0, got 0"),
    ("gradient_accumulation_steps", 0, ": must be >= 1"),
    ("gradient_acumulation_steps", 2, ": unknown key. Did you mean gradient_acc"),
)
OF_OTHERS = [
    ("split.fractions.train", 0.6, "split.fractions: must sum to 1, got 0.9"),
    ("split.fractions.calibration", 0.2, "split.fractions: must sum to 1, got 1.2"),
    ("split.fractions.train", 0, ": must be > 0, got 0"),
    *(
        ("dataset.folders", folders, ": must be auto, or a word per level of")
        for folders in ("2023", "class/class", "any//class", "class/", "")
    ),
    ("dataset.folders", "any/class/", "got 'any/class/'. Remove each '/' at the start, at the"),
    ("dataset.folders", "Any/Class", "got 'Any/Class'. Write class, split, group and any in "),
    ("augment.rotat", 3, ": unknown key. Did you mean rotate?"),
    *((key, ABSENT, ": missing. Add it") for key in ("limit", "limit.epochs", "augment.size")),
    *((key, ABSENT, ": missing. Add it") for key in ("tsne", "train.launcher")),
    ("models.alphanet_a.arguments", {}, ".dropout: missing. Add it"),
    ("limit.epochs", 0, ": must be >= 1, got 0"),
    ("limit.images_per_class", 2, ": must be >= 3, got 2"),
    ("tsne", 5, ": must be a mapping"),
    (
        "evaluate.test_time.flips",
        "vertical",
        ": must be 'none', 'horizontal' or 'both', got \"vertical\"",
    ),
    ("evaluate.test_time.shift", 32, ": must be < augment.size (32 pixels), got 32"),
    ("evaluate.bootstrap.resamples", 10, ": must be >= 100, got 10"),
    ("evaluate.prediction_sets.levels", [0.9, 1.0], "must be <= 0.99999, got 1.0"),
    ("evaluate.prediction_sets.levels", [0.9, 0.9], "must have each value once, got [0.9, 0.9]"),
    ("evaluate.prediction_sets.levels", [90], ".0: must be <= 0.99999, got 90"),
    ("evaluate.abstention.accuracies", [0], ".0: must be >= 0.001, got 0"),
    ("evaluate.abstention.accuracies", 0.9, ": must be a list"),
    ("augment.flips", ["horizontal"], ": must begin with 'none'"),
    ("augment.flips", ["none", "both", "both"], "name each flip once"),
    ("augment.scale", [1.1, 0.9], ": must be [min, max], got [1.1, 0.9]"),
    ("augment.warped", math.nan, ": must be an integer >= 0 and <= 100, got .nan"),
    ("train.threads", "2", ': must be an integer >= 1 and <= 1024, got "2"'),
    (
        "train.launcher",
        "torchrun",
        ": must be auto, none or {torchrun: N} with N processes, got 'torchrun'",
    ),
    ("train.launcher", {"torchrun": 0}, "{torchrun: N} with N processes, got {'torchrun': 0}"),
    ("train.launcher", {"torchrun": 2, "nodes": 2}, ": must be auto, none or"),
    ("train.launcher", {"torchrun": True}, "N processes, got {'torchrun': True}"),
    ("train.device", "gpu", ": must be 'auto', 'cpu', 'cuda' or 'mps', got \"gpu\""),
    ("train.compile", "yes", ': must be a boolean, got "yes"'),
    ("explain.model", "resnet", ": must be best or one of the models mlp, "),
    ("stack.folds", 1, ": must be 0 (none) or 2 to 20, got 1"),
    ("stack.folds", 21, ": must be <= 20, got 21"),
    ("stack.folds", -1, ": must be >= 0, got -1"),
    ("stack.folds", True, ": must be an integer >= 0 and <= 20, got true"),
    ("stack.members", ["mlp", "resnet"], ": must be all or a list of mlp"),
]


@pytest.mark.parametrize(("key", "value", "message"), OF_PHASE + OF_MODEL + OF_OTHERS)
def test_an_invalid_value_is_an_error_with_its_key_and_value(valid, key, value, message):
    expected = key + message if message.startswith((":", ".")) else message
    with pytest.raises(UserError, match=re.escape(expected)):
        check(changed(valid, key, value))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("stack.members", [], ": must have at least 1 item, got []"),
        ("stack.members", "x", ": must be 'all' or a list, got \"x\""),
        ("stack.members", [3], ".0: must be a string, got 3"),
        (
            "ingest.range",
            [4095, 0],
            ": must be auto or [black, white] with black < white, got [4095.0, 0.0]",
        ),
        (
            "ingest.range",
            [-1e308, 1e308],
            ": must be auto or [black, white] with a finite difference, got [-1e+308, 1e+308]",
        ),
        ("ingest.range", "Auto", ": must be 'auto' or a list, got \"Auto\""),
    ],
)
def test_a_value_or_a_list_is_one_error_with_the_rule_that_was_meant(valid, key, value, message):
    with pytest.raises(UserError) as error:
        check(changed(valid, key, value))
    assert str(error.value).splitlines()[1:] == [f"  {key}{message}."]


def of_several_labels(content, **loss):
    """The content for several labels per image, each model with this loss."""
    content = changed(content, "dataset.task", "multi")
    for name in content["models"]:
        content = changed(content, f"models.{name}.loss", loss)
    return content


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "mean_squared_error", "focal"])
@pytest.mark.parametrize("metric", ["micro_f1", "accuracy", "loss"])
def test_each_sigmoid_loss_is_valid_for_several_labels(valid, loss, metric):
    content = of_several_labels(valid, name=loss, **({"gamma": 2} if loss == "focal" else {}))
    check(changed(content, f"{PHASE}.stop", {"metric": metric, "patience": 2}))


@pytest.mark.parametrize("task", ["single", "multi"])
def test_loss_and_image_size_are_optional(valid, task):
    content = changed(valid, "dataset.task", task)
    for model in content["models"].values():
        assert not {"loss", "image_size"} & set(model)
        model |= {"loss": None, "image_size": None}
    check(content)


def test_cross_entropy_is_refused_for_several_labels(valid):
    content = of_several_labels(valid, name="binary_cross_entropy")
    content = changed(content, "models.mlp.loss", {"name": "cross_entropy"})
    message = r"models\.mlp\.loss: must be binary_cross_entropy.*multi.*got cross_entropy"
    with pytest.raises(UserError, match=message):
        check(content)


@pytest.mark.parametrize("key", ["base_momentum", "max_momentum"])
@pytest.mark.parametrize(
    ("optimizer", "cycles"),
    [
        ({"name": "sgd"}, False),
        ({"name": "sgd", "momentum": 0.0}, False),
        ({"name": "rmsprop"}, False),
        ({"name": "adadelta"}, False),
        ({"name": "sgd", "momentum": 0.9}, True),
        ({"name": "rmsprop", "momentum": 0.9}, True),
        ({"name": "adam"}, True),
        ({"name": "adamw"}, True),
    ],
)
def test_one_cycle_accepts_limits_of_momentum_only_with_momentum(valid, optimizer, cycles, key):
    content = changed(valid, f"{PHASE}.optimizer", optimizer | {"lr": 0.1})
    content = changed(content, f"{PHASE}.schedule", ONE_CYCLE | {key: 0.9})
    if cycles:
        check(content)
        return
    message = rf"{re.escape(PHASE)}\.schedule\.{key}: .*momentum.*{optimizer['name']} has none"
    with pytest.raises(UserError, match=message):
        check(content)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (f"{PHASE}.trainable", ["head", "hidden.1"]),
        (
            f"{PHASE}.optimizer",
            {"name": "adamw", "lr": 0.1, "amsgrad": True, "weight_decay_on_norm": False,
             "weight_decay": 0.1, "lr_factors": {"head": 10, "hidden": 0.1}},
        ),
        (f"{PHASE}.schedule", {"name": "cyclical", "min_lr": 0.0005, "step_size": 3}),
        (f"{PHASE}.stop", {"metric": "loss"}),
        (f"{PHASE}.stop", None),
        ("models.mlp.loss", {"name": "cross_entropy", "label_smoothing": 0.1}),
        ("models.mlp.class_weights", "balanced"),
        ("models.mlp.sampler", "balanced"),
        ("limit.images_per_class", 3),
        ("limit.epochs", 1),
        ("models.mlp.ema_decay", 0.999),
        ("models.mlp.gradient_clip_norm", 1),
        ("models.mlp.gradient_accumulation_steps", 4),
        ("models.mlp.gradient_accumulation_steps", None),
        ("stack.folds", 2),
        ("stack.folds", 20),
    ],
)  # fmt: skip
def test_all_settings_of_a_training_are_valid(valid, key, value):
    check(changed(valid, key, value))


@pytest.mark.parametrize("name", ["two words", "1st", "a.b", "$(reboot)", "x;reboot", "../x", ""])
@pytest.mark.parametrize("section", ["models", "policies", "models.mlp.phases"])
@pytest.mark.promise("checked-before")
def test_names_are_valid_as_file_name_as_key_and_in_a_command(valid, section, name):
    place = valid
    for key in section.split("."):
        place = place[key]
    place[name] = next(iter(place.values()))
    message = re.escape(f"{section}.{name}: a name must be a letter followed by letters, digits")
    with pytest.raises(UserError, match=message):
        check(valid)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("a" * 300, "at most 100 characters, .* got 300", id="300 characters"),
        pytest.param("a" * 101, "at most 100 characters, .* got 101", id="101 characters"),
        *((name, "Windows reserves") for name in ("con", "NUL", "Com1", "lpt9")),
        ("MLP", "must differ from mlp in more than"),
        *(
            (name, "a model's name must not be best or")
            for name in ("stack", "majority_baseline", "Stack", "best")
        ),
    ],
)
@pytest.mark.promise("limit-name")
def test_names_that_models_cannot_have_are_refused(valid, name, message):
    valid["models"][name] = valid["models"]["mlp"]
    with pytest.raises(UserError, match=f"models.{name[:3]}.*: .*{message}"):
        check(valid)


def test_a_name_of_100_characters_is_valid(valid):
    valid["models"]["a" * 100] = valid["models"]["mlp"]
    check(valid)


def test_unknown_keys_do_not_hide_other_errors(valid):
    content = changed(changed(valid, "models.mlp.seeed", 1), "models.mlp.epoch", 1)
    content = changed(changed(content, "trian", {}), "models.mlp.batch_size", "32")
    content = changed(changed(content, "stack.seed", -1), f"{PHASE}.stop.patence", 2)
    with pytest.raises(UserError, match="6 validation errors") as caught:
        check(content)
    for key in ("trian", "models.mlp.seeed", "models.mlp.epoch", f"{PHASE}.stop.patence"):
        assert f"{key}: unknown key" in str(caught.value)
    assert 'models.mlp.batch_size: must be an integer >= 2, got "32".' in str(caught.value)
    assert "stack.seed: must be >= 0, got -1." in str(caught.value)


def test_a_misspelled_key_is_one_error(valid):
    model = valid["models"]["mlp"]
    model["batch_sise"] = model.pop("batch_size")
    del model["seed"]
    lines = validation_errors(Params, valid)
    assert [line.split(".")[2].split(":")[0] for line in lines] == ["batch_sise", "seed"]
    assert "Did you mean batch_size?" in lines[0]


def test_a_decimal_comma_is_named(valid):
    valid["models"]["mlp"]["phases"]["p1"]["optimizer"] |= parse_yaml("{lr: 0,001}", where="here")
    lines = validation_errors(Params, valid)
    (line,) = (line for line in lines if ".optimizer.1: unknown key" in line)
    assert "write decimals with a point" in line


def test_all_errors_between_sections_are_listed(valid):
    content = changed(changed(valid, "explain.model", "x"), "stack.members", ["y", "z"])
    with pytest.raises(UserError, match="3 validation errors"):
        check(content)


def test_yaml_is_parsed_as_by_dvc(write):
    path = write("train: {lr: 5e-4, near: off, deep: {x: [1, 2]}}")
    assert read_params("train", path=path) == {"lr": 0.0005, "near": "off", "deep": {"x": [1, 2]}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "not valid YAML"),
        ("a: 1\na: 2", "not valid YAML"),
        ("- a", "must have sections such as 'dataset:'"),
        ("", "must have sections such as 'dataset:'"),
    ],
)
def test_a_file_without_sections_is_an_error(write, text, message):
    with pytest.raises(UserError, match=message):
        check_params(write(text))


def test_a_missing_file_is_an_error_with_a_remedy(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.yaml: no such file.*Run in the folder"):
        check_params(tmp_path / "nowhere.yaml")


def test_one_or_several_values_are_read_by_dotted_path(write):
    path = write("a: {b: {c: 1}}\nd: [2]")
    assert read_params("a.b.c", path=path) == 1
    assert read_params("d", "a.b", path=path) == ([2], {"c": 1})


def test_a_missing_value_is_an_error_with_its_path(write):
    path = write("a: {b: 1}")
    for key in ("a.c", "a.b.c", "x"):
        with pytest.raises(UserError, match=f"no key {re.escape(key)}.*Add it"):
            read_params(key, path=path)


PROBE = {
    "network": "probe",
    "arguments": {"name": "resnet18"},
    "head": {"name": "logistic", "c": [0.01, 1]},
    "normalize": "half",
    "online": "none",
    "seed": 1,
}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"image_size": 64},
        {"head": {"name": "logistic", "c": 0.1}},
        {"head": {"name": "neighbors", "k": [5, 10]}},
    ],
)
def test_a_probe_has_a_head_and_no_phases(valid, change):
    valid["models"]["mlp"] = PROBE | change
    check(valid)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"phases": {}}, "phases: unknown key. Known keys: network, arguments"),
        ({"batch_size": 8}, "batch_size: unknown key"),
        pytest.param({"head": ABSENT}, "head: missing. Add it", id="no head"),
        ({"seeds": 3}, "seeds: must be 1 for network probe"),
        ({"head": {"name": "forest"}}, "head.name: must be one of 'logistic'"),
        ({"head": {"name": "logistic", "c": 0}}, "head.c: must be > 0, got 0"),
        ({"head": {"name": "neighbors", "k": []}}, "head.k: "),
        ({"head": {"name": "neighbors", "c": 1.0}}, "head.c: unknown key"),
        ({"arguments": {"name": "resnet18", "neighbors": 3}}, "arguments.neighbors: unknown key"),
        ({"online": "crop"}, "online: must be a policy without steps"),
        ({"online": "no"}, "online: must be one of the policies"),
        ({"network": "mlp"}, "head: unknown key"),
        ({"network": "probes"}, "network: must be one of"),
    ],
)
def test_settings_that_a_probe_does_not_have_are_refused(valid, change, message):
    probe = {key: value for key, value in (PROBE | change).items() if value is not ABSENT}
    valid["models"]["mlp"] = probe
    with pytest.raises(UserError, match=re.escape(f"models.mlp.{message}")):
        check(valid)


def test_the_schema_knows_the_networks_without_epochs():
    assert models.WITHOUT_EPOCHS == model_settings.WITHOUT_EPOCHS
