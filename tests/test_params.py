"""The schema of params.yaml: what it refuses, and its messages."""

import copy
import math
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from classifold.errors import UserError
from classifold.params.reader import parse_yaml, read_params
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


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "split.fractions.train",
            0.6,
            "split.fractions: must sum to 1, got 0.9",
        ),
        (
            "split.fractions.calibration",
            0.2,
            "split.fractions: must sum to 1, got 1.2",
        ),
        ("split.fractions.train", 0, "split.fractions.train: must be > 0, got 0"),
        *(
            ("dataset.folders", folders, "dataset.folders: must be auto, or a word per level of")
            for folders in ("2023", "class/class", "any//class", "class/", "")
        ),
        ("dataset.folders", "any/class/", "got 'any/class/'. Remove each '/' at the start, at the"),
        ("dataset.folders", "Any/Class", "got 'Any/Class'. Write class, split, group and any in "),
        ("augment.rotat", 3, "augment.rotat: unknown key. Did you mean rotate?"),
        ("limit", ABSENT, "limit: missing. Add it"),
        ("limit.epochs", ABSENT, "limit.epochs: missing. Add it"),
        ("limit.epochs", 0, "limit.epochs: must be >= 1, got 0"),
        (
            "limit.images_per_class",
            2,
            "limit.images_per_class: must be >= 3, got 2",
        ),
        ("augment.size", ABSENT, "augment.size: missing. Add it"),
        ("tsne", ABSENT, "tsne: missing. Add it"),
        ("tsne", 5, "tsne: must be a mapping"),
        (
            "evaluate.test_time.flips",
            "vertical",
            "evaluate.test_time.flips: must be 'none', 'horizontal' or 'both', got \"vertical\"",
        ),
        (
            "evaluate.test_time.shift",
            32,
            "evaluate.test_time.shift: must be < augment.size (32 pixels), got 32",
        ),
        ("evaluate.bootstrap.resamples", 10, ">= 100, got 10"),
        ("evaluate.prediction_sets.levels", [0.9, 1.0], "must be <= 0.99999, got 1.0"),
        (
            "evaluate.prediction_sets.levels",
            [0.9, 0.9],
            "must be different numbers, got [0.9, 0.9]",
        ),
        ("evaluate.prediction_sets.levels", [90], "levels.0: must be <= 0.99999, got 90"),
        ("evaluate.abstention.accuracies", [0], "accuracies.0: must be >= 0.001, got 0"),
        ("evaluate.abstention.accuracies", 0.9, "accuracies: must be a list"),
        ("augment.flips", ["horizontal"], "augment.flips: must begin with 'none'"),
        ("augment.flips", ["none", "both", "both"], "name each flip once"),
        ("augment.scale", [1.1, 0.9], "augment.scale: must be [min, max], got [1.1, 0.9]"),
        ("train.threads", "2", 'train.threads: must be an integer >= 1 and <= 1024, got "2"'),
        ("models.mlp.batch_size", "32", 'models.mlp.batch_size: must be an integer >= 2, got "32"'),
        (
            "augment.warped",
            math.nan,
            "augment.warped: must be an integer >= 0 and <= 100, got .nan",
        ),
        (f"{PHASE}.optimizer.lr", "0", f'{PHASE}.optimizer.lr: must be a number > 0, got "0"'),
        (
            "train.launcher",
            "torchrun",
            "train.launcher: must be auto, none or {torchrun: N} with N processes, got 'torchrun'",
        ),
        (
            "train.launcher",
            {"torchrun": 0},
            "{torchrun: N} with N processes, got {'torchrun': 0}",
        ),
        ("train.launcher", {"torchrun": 2, "nodes": 2}, "train.launcher: must be auto, none or"),
        ("train.launcher", {"torchrun": True}, "N processes, got {'torchrun': True}"),
        ("train.launcher", ABSENT, "train.launcher: missing. Add it"),
        (
            "train.device",
            "gpu",
            "train.device: must be 'auto', 'cpu', 'cuda' or 'mps', got \"gpu\"",
        ),
        ("models.mlp.network", "mpl", "models.mlp.network: must be one of alphanet, initial_cnn"),
        (
            "models.mlp.arguments.dropuot",
            0.1,
            "models.mlp.arguments.dropuot: unknown key. Did you mean dropout? Known keys",
        ),
        (
            "models.alphanet_a.arguments",
            {},
            "models.alphanet_a.arguments.dropout: missing. Add it",
        ),
        ("models.mlp.batch_size", 1, "models.mlp.batch_size: must be >= 2"),
        ("models.mlp.phases", {}, "models.mlp.phases: "),
        (
            f"{PHASE}.optimizer",
            {"name": "adamm", "lr": 0.1},
            f"{PHASE}.optimizer.name: must be one of 'adam', 'adamw', 'rmsprop', 'adadelta', "
            "'sgd', got \"adamm\"",
        ),
        (f"{PHASE}.optimizer", {"lr": 0.1}, f"{PHASE}.optimizer.name: missing"),
        (
            f"{PHASE}.optimizer",
            {"name": "adam", "lr": 0.1, "momentum": 0.9},
            f"{PHASE}.optimizer.momentum: unknown key",
        ),
        (
            f"{PHASE}.optimizer",
            {"name": "sgd", "lr": 0.1, "nesterov": True},
            "optimizer: nesterov: true needs momentum > 0",
        ),
        (f"{PHASE}.optimizer.lr", 0, f"{PHASE}.optimizer.lr: must be > 0, got 0"),
        (
            f"{PHASE}.optimizer",
            {"name": "rmsprop", "lr": 0.1, "betas": [0.9, 0.99]},
            f"{PHASE}.optimizer.betas: unknown key",
        ),
        (
            f"{PHASE}.optimizer",
            {"name": "adadelta", "lr": 0.1, "momentum": 0.9},
            f"{PHASE}.optimizer.momentum: unknown key",
        ),
        (
            f"{PHASE}.optimizer",
            {"name": "sgd", "lr": 0.1, "lr_factors": {"head": 0}},
            f"{PHASE}.optimizer.lr_factors.head: must be > 0, got 0",
        ),
        (f"{PHASE}.schedule", {"name": "plateau", "factor": 1.0, "patience": 2}, "< 1"),
        (
            f"{PHASE}.schedule",
            {"name": "cyclical", "min_lr": 0.1, "step_size": 5},
            f"{PHASE}.schedule.min_lr: must be < optimizer.lr (0.001), the maximum of the",
        ),
        (
            f"{PHASE}.schedule",
            {"name": "cyclical", "min_lr": 0.001, "step_size": 5},
            f"{PHASE}.schedule.min_lr: must be < optimizer.lr",
        ),
        (
            f"{PHASE}.schedule",
            {"name": "cyclical", "min_lr": 0.0001, "step_size": 0},
            f"{PHASE}.schedule.step_size: must be >= 1, got 0",
        ),
        (
            f"{PHASE}.schedule",
            {"name": "cosine", "warmup_epochs": 1, "min_lr": 0.1},
            f"{PHASE}.schedule.min_lr: unknown key. Known keys: name, warmup_epochs",
        ),
        (
            f"{PHASE}.schedule",
            {"name": "cosine", "warmup_epochs": 1000},
            f"{PHASE}.schedule.warmup_epochs: must be < epochs",
        ),
        (
            f"{PHASE}.schedule",
            ONE_CYCLE | {"max_momentum": 0.8},
            f"{PHASE}.schedule: base_momentum (default 0.85) must be <= max_momentum",
        ),
        (
            f"{PHASE}.trainable",
            "heads",
            f"{PHASE}.trainable: must be 'all' or 'head' or a list, got \"heads\"",
        ),
        (f"{PHASE}.stop", {"patience": 0}, f"{PHASE}.stop.patience: must be >= 1"),
        (
            f"{PHASE}.stop",
            {"metric": "f1", "patience": 2},
            f"{PHASE}.stop.metric: must be 'accuracy', 'micro_f1' or 'loss', got \"f1\"",
        ),
        (
            f"{PHASE}.stop",
            {"metric": "micro_f1", "patience": 2},
            f"{PHASE}.stop.metric: must be accuracy or loss for one label per image",
        ),
        (
            f"{PHASE}.stop",
            {"patence": 2},
            f"{PHASE}.stop.patence: unknown key. Did you mean patience?",
        ),
        (
            "models.mlp.loss",
            {"name": "cross_entropy", "gamma": 2},
            "models.mlp.loss.gamma: unknown key. Known keys: name, label_smoothing",
        ),
        (
            "models.mlp.loss",
            {"name": "cross_entropy", "label_smoothing": 1.0},
            "models.mlp.loss.label_smoothing: must be < 1, got 1.0",
        ),
        ("models.mlp.loss", {"name": "focal"}, "models.mlp.loss.gamma: missing. Add it"),
        (
            "models.mlp.loss",
            {"name": "hinge"},
            "models.mlp.loss.name: must be one of 'cross_entropy', 'binary_cross_entropy', "
            "'mean_squared_error', 'focal', got \"hinge\"",
        ),
        (
            "models.mlp.class_weights",
            "balance",
            "models.mlp.class_weights: must be 'none' or 'balanced', got \"balance\"",
        ),
        (
            "models.mlp.sampler",
            "random",
            "models.mlp.sampler: must be 'shuffle' or 'balanced', got \"random\"",
        ),
        ("models.mlp.ema_decay", 1.0, "models.mlp.ema_decay: must be < 1, got 1.0"),
        (
            "models.mlp.gradient_clip_norm",
            0,
            "models.mlp.gradient_clip_norm: must be > 0, got 0",
        ),
        (
            "models.mlp.gradient_accumulation_steps",
            0,
            "models.mlp.gradient_accumulation_steps: must be >= 1",
        ),
        (
            "models.mlp.gradient_acumulation_steps",
            2,
            "models.mlp.gradient_acumulation_steps: unknown key. Did you mean gradient_acc",
        ),
        ("train.compile", "yes", 'train.compile: must be a boolean, got "yes"'),
        ("explain.model", "resnet", "explain.model: must be best or one of the models mlp, "),
        ("stack.folds", 1, "stack.folds: must be 0 (none) or 2 to 20, got 1"),
        ("stack.folds", 21, "stack.folds: must be <= 20, got 21"),
        ("stack.folds", -1, "stack.folds: must be >= 0, got -1"),
        ("stack.folds", True, "stack.folds: must be an integer >= 0 and <= 20, got true"),
        ("stack.members", ["mlp", "resnet"], "stack.members: must be all or a list of mlp"),
    ],
)
def test_an_invalid_value_is_an_error_with_its_key_and_value(valid, key, value, message):
    content = changed(valid, key, value)
    with pytest.raises(UserError, match=re.escape(message)):
        check(content)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("stack.members", [], "stack.members: must have at least 1 item, got []"),
        ("stack.members", "x", "stack.members: must be 'all' or a list, got \"x\""),
        ("stack.members", [3], "stack.members.0: must be a string, got 3"),
        (
            "ingest.range",
            [4095, 0],
            "ingest.range: must be auto or [black, white] with black < white, got [4095.0, 0.0]",
        ),
        (
            "ingest.range",
            [-1e308, 1e308],
            "ingest.range: must be auto or [black, white] with a finite difference, "
            "got [-1e+308, 1e+308]",
        ),
        ("ingest.range", "Auto", "ingest.range: must be 'auto' or a list, got \"Auto\""),
    ],
)
def test_a_value_or_a_list_is_one_error_with_the_rule_that_was_meant(valid, key, value, message):
    with pytest.raises(UserError) as error:
        check(changed(valid, key, value))
    assert str(error.value).splitlines()[1:] == [f"  {message}."]


def of_several_labels(content, **loss):
    """The content for several labels per image, each model with this loss."""
    content = changed(content, "dataset.task", "multi")
    for name in content["models"]:
        content = changed(content, f"models.{name}.loss", loss)
    return content


@pytest.mark.parametrize(
    "loss",
    [
        {"name": "binary_cross_entropy"},
        {"name": "mean_squared_error"},
        {"name": "focal", "gamma": 2},
    ],
    ids=lambda loss: loss["name"],
)
@pytest.mark.parametrize("metric", ["micro_f1", "accuracy", "loss"])
def test_each_sigmoid_loss_is_valid_for_several_labels(valid, loss, metric):
    content = of_several_labels(valid, **loss)
    content = changed(content, f"{PHASE}.stop", {"metric": metric, "patience": 2})
    check(content)


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
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
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
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_all_settings_of_a_training_are_valid(valid, key, value):
    content = changed(valid, key, value)
    check(content)


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
        ("a" * 300, "at most 100 characters, .* got 300"),
        ("a" * 101, "at most 100 characters, .* got 101"),
        *((name, "Windows reserves") for name in ("con", "NUL", "Com1", "lpt9")),
    ],
)
@pytest.mark.promise("limit-name")
def test_names_that_no_file_can_have_are_refused(valid, name, message):
    valid["models"][name] = valid["models"]["mlp"]
    with pytest.raises(UserError, match=f"models.{name[:3]}.*{message}"):
        check(valid)


def test_a_name_of_100_characters_is_valid(valid):
    valid["models"]["a" * 100] = valid["models"]["mlp"]
    check(valid)


@pytest.mark.promise("limit-name")
def test_names_of_models_differ_in_more_than_case(valid):
    valid["models"]["MLP"] = valid["models"]["mlp"]
    with pytest.raises(UserError, match=r"models\.MLP: must differ from mlp in more than"):
        check(valid)


@pytest.mark.parametrize("name", ["stack", "majority_baseline", "Stack", "best"])
def test_names_with_another_meaning_are_no_names_of_models(valid, name):
    valid["models"][name] = valid["models"]["mlp"]
    with pytest.raises(UserError, match=f"models.{name}: a model's name must not be best or"):
        check(valid)


def test_all_errors_are_listed_at_once(valid):
    content = changed(changed(valid, "augment.size", -1), "stack.seed", "x")
    with pytest.raises(UserError, match="2 validation errors") as caught:
        check(content)
    assert "augment.size: " in str(caught.value)
    assert "stack.seed: " in str(caught.value)


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
    assert any(
        ".optimizer.1: unknown key" in line and "write decimals with a point" in line
        for line in lines
    )


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
        pytest.param("a: [1", "not valid YAML", id="cut short"),
        pytest.param("a: 1\na: 2", "not valid YAML", id="duplicate key"),
        pytest.param("- a", "must have sections such as 'dataset:'", id="a list"),
        pytest.param("", "must have sections such as 'dataset:'", id="nothing"),
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
        (
            {"phases": {}},
            "models.mlp.phases: unknown key. Known keys: network, arguments",
        ),
        ({"batch_size": 8}, "models.mlp.batch_size: unknown key"),
        ({"head": ABSENT}, "models.mlp.head: missing. Add it"),
        ({"seeds": 3}, "models.mlp.seeds: must be 1 for network probe"),
        (
            {"head": {"name": "forest"}},
            "models.mlp.head.name: must be one of 'logistic'",
        ),
        ({"head": {"name": "logistic", "c": 0}}, "models.mlp.head.c: must be > 0, got 0"),
        ({"head": {"name": "neighbors", "k": []}}, "models.mlp.head.k: "),
        ({"head": {"name": "neighbors", "c": 1.0}}, "models.mlp.head.c: unknown key"),
        (
            {"arguments": {"name": "resnet18", "neighbors": 3}},
            "arguments.neighbors: unknown key",
        ),
        ({"online": "crop"}, "models.mlp.online: must be a policy without steps"),
        ({"online": "no"}, "models.mlp.online: must be one of the policies"),
        ({"network": "mlp"}, "models.mlp.head: unknown key"),
        ({"network": "probes"}, "models.mlp.network: must be one of"),
    ],
)
def test_settings_that_a_probe_does_not_have_are_refused(valid, change, message):
    probe = {key: value for key, value in (PROBE | change).items() if value is not ABSENT}
    with pytest.raises(UserError) as raised:
        check(valid | {"models": valid["models"] | {"mlp": probe}})
    assert message in str(raised.value)
