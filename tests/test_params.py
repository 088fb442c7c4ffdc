"""The schema of params.yaml: what it refuses, and how it says so."""

import copy
import io
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from classifold.errors import UserError
from classifold.params.reader import read_params
from classifold.params.validation import check_params

ROOT = Path(__file__).parents[1]
ABSENT = object()


@pytest.fixture
def valid():
    return YAML(typ="safe", pure=True).load((ROOT / "params.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def write(tmp_path):
    """Write a whole params file, as text or as a mapping."""

    def to_file(content):
        path = tmp_path / "params.yaml"
        if not isinstance(content, str):
            buffer = io.StringIO()
            YAML(typ="safe", pure=True).dump(content, buffer)
            content = buffer.getvalue()
        path.write_text(content, encoding="utf-8")
        return path

    return to_file


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


def test_the_projects_own_params_obey_every_rule_and_come_back_as_they_stand(valid):
    assert check_params(ROOT / "params.yaml") == valid


PHASE = "models.mlp.phases.p1"
ONE_CYCLE = {"name": "one_cycle", "pct_start": 0.3, "div_factor": 25, "final_div_factor": 1000}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "split.fractions.train",
            0.6,
            "split.fractions: the three fractions must sum to 1, got 0.9",
        ),
        ("split.fractions.train", 0, "split.fractions.train: must be greater than 0, got 0"),
        ("augment.rotat", 3, "augment: unknown key 'rotat'; did you mean 'rotate'?"),
        ("limit", ABSENT, "limit: is missing; add it"),
        ("limit.epochs", ABSENT, "limit.epochs: is missing; add it"),
        ("limit.epochs", 0, "limit.epochs: must be greater than or equal to 1, got 0"),
        (
            "limit.images_per_class",
            2,
            "limit.images_per_class: must be greater than or equal to 3, got 2",
        ),
        ("augment.size", ABSENT, "augment.size: is missing; add it"),
        ("tsne", ABSENT, "tsne: is missing; add it"),
        ("tsne", 5, "tsne: must be a mapping"),
        (
            "evaluate.test_time.flips",
            "vertical",
            "evaluate.test_time.flips: must be 'none', 'horizontal' or 'both', got 'vertical'",
        ),
        (
            "evaluate.test_time.shift",
            32,
            "evaluate.test_time.shift must be below augment.size (32 pixels), got 32",
        ),
        ("evaluate.bootstrap.resamples", 10, "greater than or equal to 100, got 10"),
        ("augment.flips", ["horizontal"], "flips must begin with 'none'"),
        ("augment.flips", ["none", "both", "both"], "name each flip once"),
        ("augment.scale", [1.1, 0.9], "augment.scale: must be [smallest, largest], got [1.1, 0.9]"),
        ("train.threads", "2", "integer, got '2'"),
        (
            "train.launcher",
            "torchrun",
            "train.launcher: must be auto, none or {torchrun: 2} for so many processes, got "
            "'torchrun'",
        ),
        ("train.launcher", {"torchrun": 0}, "for so many processes, got {'torchrun': 0}"),
        ("train.launcher", {"torchrun": 2, "nodes": 2}, "train.launcher: must be auto, none or"),
        ("train.launcher", {"torchrun": True}, "for so many processes, got {'torchrun': True}"),
        ("train.launcher", ABSENT, "train.launcher: is missing; add it"),
        ("train.device", "gpu", "train.device: must be 'auto', 'cpu', 'cuda' or 'mps', got 'gpu'"),
        ("models.mlp.network", "mpl", "models.mlp.network: must be one of alphanet, initial_cnn"),
        (
            "models.mlp.arguments.dropuot",
            0.1,
            "models.mlp.arguments: unknown key 'dropuot'; did you mean 'dropout'? known here: "
            "hidden, dropout",
        ),
        (
            "models.alphanet_a.arguments",
            {},
            "models.alphanet_a.arguments.dropout: is missing; add it",
        ),
        ("models.mlp.batch_size", 1, "models.mlp.batch_size: must be greater than or equal to 2"),
        ("models.mlp.phases", {}, "models.mlp.phases: "),
        (
            f"{PHASE}.optimizer",
            {"name": "adamm", "lr": 0.1},
            f"{PHASE}.optimizer.name: must be one of 'adam', 'adamw', 'rmsprop', 'adadelta', "
            "'sgd', got 'adamm'",
        ),
        (f"{PHASE}.optimizer", {"lr": 0.1}, f"{PHASE}.optimizer: is missing its 'name'"),
        (
            f"{PHASE}.optimizer",
            {"name": "adam", "lr": 0.1, "momentum": 0.9},
            f"{PHASE}.optimizer: unknown key 'momentum'",
        ),
        (
            f"{PHASE}.optimizer",
            {"name": "sgd", "lr": 0.1, "nesterov": True},
            "nesterov: true needs a momentum above 0",
        ),
        (f"{PHASE}.optimizer.lr", 0, f"{PHASE}.optimizer.lr: must be greater than 0, got 0"),
        (
            f"{PHASE}.optimizer",
            {"name": "rmsprop", "lr": 0.1, "betas": [0.9, 0.99]},
            f"{PHASE}.optimizer: unknown key 'betas'",
        ),
        (
            f"{PHASE}.optimizer",
            {"name": "adadelta", "lr": 0.1, "momentum": 0.9},
            f"{PHASE}.optimizer: unknown key 'momentum'",
        ),
        (
            f"{PHASE}.optimizer",
            {"name": "sgd", "lr": 0.1, "lr_factors": {"head": 0}},
            f"{PHASE}.optimizer.lr_factors.head: must be greater than 0, got 0",
        ),
        (f"{PHASE}.schedule", {"name": "plateau", "factor": 1.0, "patience": 2}, "less than 1"),
        (
            f"{PHASE}.schedule",
            {"name": "cyclical", "min_lr": 0.1, "step_size": 5},
            f"{PHASE}: schedule.min_lr must be below optimizer.lr (0.001), the highest rate of the "
            "cycle; got 0.1",
        ),
        (
            f"{PHASE}.schedule",
            {"name": "cyclical", "min_lr": 0.001, "step_size": 5},
            f"{PHASE}: schedule.min_lr must be below optimizer.lr",
        ),
        (
            f"{PHASE}.schedule",
            {"name": "cyclical", "min_lr": 0.0001, "step_size": 0},
            f"{PHASE}.schedule.step_size: must be greater than or equal to 1, got 0",
        ),
        (
            f"{PHASE}.schedule",
            {"name": "cosine", "warmup_epochs": 1, "min_lr": 0.1},
            f"{PHASE}.schedule: unknown key 'min_lr'; known here: name, warmup_epochs",
        ),
        (
            f"{PHASE}.schedule",
            {"name": "cosine", "warmup_epochs": 1000},
            f"{PHASE}: schedule.warmup_epochs must be below epochs",
        ),
        (
            f"{PHASE}.schedule",
            ONE_CYCLE | {"max_momentum": 0.8},
            f"{PHASE}.schedule: base_momentum (0.85) must not be above max_momentum (0.8)",
        ),
        (
            f"{PHASE}.trainable",
            "heads",
            f"{PHASE}.trainable: must be 'all' or 'head', got 'heads'",
        ),
        (f"{PHASE}.stop", {"patience": 0}, f"{PHASE}.stop.patience: must be greater than or equal"),
        (
            f"{PHASE}.stop",
            {"metric": "f1", "patience": 2},
            f"{PHASE}.stop.metric: must be 'accuracy', 'micro_f1' or 'loss', got 'f1'",
        ),
        (
            f"{PHASE}.stop",
            {"metric": "micro_f1", "patience": 2},
            f"{PHASE}.stop.metric must be accuracy or loss for one label an image (dataset.task: "
            "single)",
        ),
        (
            f"{PHASE}.stop",
            {"patence": 2},
            f"{PHASE}.stop: unknown key 'patence'; did you mean 'patience'?",
        ),
        ("models.mlp.loss", ABSENT, "models.mlp.loss: is missing; add it"),
        (
            "models.mlp.loss",
            {"name": "cross_entropy", "gamma": 2},
            "models.mlp.loss: unknown key 'gamma'; known here: name, label_smoothing",
        ),
        (
            "models.mlp.loss",
            {"name": "cross_entropy", "label_smoothing": 1.0},
            "models.mlp.loss.label_smoothing: must be less than 1, got 1.0",
        ),
        ("models.mlp.loss", {"name": "focal"}, "models.mlp.loss.gamma: is missing; add it"),
        (
            "models.mlp.loss",
            {"name": "hinge"},
            "models.mlp.loss.name: must be one of 'cross_entropy', 'binary_cross_entropy', "
            "'mean_squared_error', 'focal', got 'hinge'",
        ),
        (
            "models.mlp.class_weights",
            "balance",
            "models.mlp.class_weights: must be 'none' or 'balanced', got 'balance'",
        ),
        (
            "models.mlp.sampler",
            "random",
            "models.mlp.sampler: must be 'shuffle' or 'balanced', got 'random'",
        ),
        ("models.mlp.ema_decay", 1.0, "models.mlp.ema_decay: must be less than 1, got 1.0"),
        (
            "models.mlp.gradient_clip_norm",
            0,
            "models.mlp.gradient_clip_norm: must be greater than 0, got 0",
        ),
        (
            "models.mlp.gradient_accumulation_steps",
            0,
            "models.mlp.gradient_accumulation_steps: must be greater than or equal to 1",
        ),
        (
            "models.mlp.gradient_acumulation_steps",
            2,
            "models.mlp: unknown key 'gradient_acumulation_steps'; did you mean "
            "'gradient_accumulation_steps'",
        ),
        ("train.compile", "yes", "train.compile: must be a boolean, got 'yes'"),
        ("explain.model", "resnet", "explain.model must be one of the listed models ("),
        ("stack.folds", 1, "stack.folds: must be 0 (none) or from 2 to 20, got 1"),
        ("stack.folds", 21, "stack.folds: must be less than or equal to 20, got 21"),
        ("stack.folds", -1, "stack.folds: must be greater than or equal to 0, got -1"),
        ("stack.folds", True, "stack.folds: must be an integer, got True"),
        ("stack.members", ["mlp", "resnet"], "stack.members must be 'all' or listed models"),
    ],
)
def test_a_broken_rule_is_refused_with_the_path_of_its_key(valid, write, key, value, message):
    path = write(changed(valid, key, value))
    with pytest.raises(UserError, match=re.escape(message)):
        check_params(path)


def of_several_labels(content, **loss):
    """The content for several labels an image, each model with such a loss."""
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
def test_several_labels_may_be_learnt_by_each_loss_of_sigmoids(valid, write, loss, metric):
    content = of_several_labels(valid, **loss)
    content = changed(content, f"{PHASE}.stop", {"metric": metric, "patience": 2})
    assert check_params(write(content)) == content


def test_cross_entropy_is_refused_for_several_labels_with_the_models_name(valid, write):
    content = of_several_labels(valid, name="binary_cross_entropy")
    content = changed(content, "models.mlp.loss", {"name": "cross_entropy"})
    message = (
        r"models\.mlp\.loss: with several labels an image \(dataset.task: multi\) it must be "
        "binary_cross_entropy, mean_squared_error or focal"
    )
    with pytest.raises(UserError, match=message):
        check_params(write(content))


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
def test_one_cycle_takes_limits_of_momentum_where_there_is_momentum(
    valid, write, optimizer, cycles, key
):
    content = changed(valid, f"{PHASE}.optimizer", optimizer | {"lr": 0.1})
    path = write(changed(content, f"{PHASE}.schedule", ONE_CYCLE | {key: 0.9}))
    if cycles:
        check_params(path)
        return
    message = f"{PHASE}: schedule.{key} needs an optimizer with momentum; {optimizer['name']} has"
    with pytest.raises(UserError, match=re.escape(message)):
        check_params(path)


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
def test_each_way_to_train_obeys_the_rules(valid, write, key, value):
    content = changed(valid, key, value)
    assert check_params(write(content)) == content


@pytest.mark.parametrize("name", ["two words", "1st", "a.b", "$(reboot)", "x;reboot", "../x", ""])
@pytest.mark.parametrize("section", ["models", "policies", "models.mlp.phases"])
def test_a_name_must_be_usable_as_file_name_and_key_and_in_a_command(valid, write, section, name):
    place = valid
    for key in section.split("."):
        place = place[key]
    place[name] = next(iter(place.values()))
    message = re.escape(f"{section}.{name}: a name must be a letter followed by letters, digits")
    with pytest.raises(UserError, match=message):
        check_params(write(valid))


@pytest.mark.parametrize("name", ["stack", "majority_baseline"])
def test_a_model_is_not_called_as_what_stands_beside_models(valid, write, name):
    valid["models"][name] = valid["models"]["mlp"]
    with pytest.raises(UserError, match=f"models.{name}: a model's name must be neither 'stack'"):
        check_params(write(valid))


def test_all_broken_rules_are_named_at_once(valid, write):
    content = changed(changed(valid, "augment.size", -1), "stack.seed", "x")
    with pytest.raises(UserError, match="breaks 2 rules") as caught:
        check_params(write(content))
    assert "augment.size: " in str(caught.value)
    assert "stack.seed: " in str(caught.value)


def test_yaml_is_read_as_dvc_reads_it(write):
    path = write("train: {lr: 5e-4, near: off, deep: {x: [1, 2]}}")
    assert read_params("train", path=path) == {"lr": 0.0005, "near": "off", "deep": {"x": [1, 2]}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("a: [1", "is no valid YAML", id="cut short"),
        pytest.param("a: 1\na: 2", "is no valid YAML", id="a key that stands twice"),
        pytest.param("- a", "must hold sections such as 'dataset:'", id="a list"),
        pytest.param("", "must hold sections such as 'dataset:'", id="nothing"),
    ],
)
def test_a_file_that_holds_no_sections_is_refused(write, text, message):
    with pytest.raises(UserError, match=message):
        check_params(write(text))


def test_a_missing_file_is_named_with_advice(tmp_path):
    with pytest.raises(UserError, match=r"there is no .*nowhere.yaml here; run from the folder"):
        check_params(tmp_path / "nowhere.yaml")


def test_values_are_read_by_dotted_path_one_or_several(write):
    path = write("a: {b: {c: 1}}\nd: [2]")
    assert read_params("a.b.c", path=path) == 1
    assert read_params("d", "a.b", path=path) == ([2], {"c": 1})


def test_a_missing_value_is_named_with_its_path(write):
    path = write("a: {b: 1}")
    for key in ("a.c", "a.b.c", "x"):
        with pytest.raises(UserError, match=f"has no '{re.escape(key)}'; add it"):
            read_params(key, path=path)
