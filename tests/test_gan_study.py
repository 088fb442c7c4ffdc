"""The study of generated images: its params, its dvc.yaml and its scripts."""

import ast
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import tiny_model
from classifold.data.csv_file import read_rows
from classifold.data.json_file import read_json
from classifold.data.pack import read_pack
from classifold.errors import UserError
from classifold.gan.params import check_gan_params
from classifold.models.model_file import new_network, save_model
from stage_process import assert_a_killed_stage_writes_the_same, run_python
from study_stages import read_study
from test_params import changed
from test_pipeline import PIPELINE
from tiny_model import write_params

ROOT = Path(__file__).parents[1]
HOME = ROOT / "studies/gan"
yaml = YAML(typ="safe", pure=True)
STAGES = read_study("gan")
OWN = "studies/gan/params.yaml"

# Names in f-strings of the scripts -> names in dvc.yaml, which declares all policies.
IN_DVC_YAML = {
    "policies.{settings['online']}": "policies.${train_gan.online}",
    "models.{settings['model']}": "models.${add_generated.model}",
    "policies.{name}": "policies",
}


def script(stage):
    return f"studies/gan/{stage}.py"


def params_read(stage):
    """The keys that a script reads, and whether each is one of the study's own params."""
    calls = [
        node
        for node in ast.walk(ast.parse((ROOT / script(stage)).read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "read_params"
    ]
    keys = [
        (call, ast.unparse(key).removeprefix("f").strip("\"'"))
        for call in calls
        for key in call.args
    ]
    return {(IN_DVC_YAML.get(text, text), bool(call.keywords)) for call, text in keys}


def params_declared(stage):
    *keys, own = STAGES[stage]["params"]
    return {(key, False) for key in keys} | {(key, True) for key in own[OWN]}


def test_every_stage_has_a_script_a_section_and_a_description():
    assert {path.stem for path in HOME.glob("*.py")} == set(STAGES)
    assert set(yaml.load((HOME / "params.yaml").read_text())) == set(STAGES)
    assert all(stage["desc"].endswith(".") for stage in STAGES.values())


@pytest.mark.parametrize("stage", STAGES)
def test_stage_declares_exactly_the_params_it_reads(stage):
    assert params_read(stage) == params_declared(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_stage_declares_every_data_file_it_reads_or_writes(stage):
    paths = {
        text.value
        for text in ast.walk(ast.parse((ROOT / script(stage)).read_text()))
        if isinstance(text, ast.Constant)
        and isinstance(text.value, str)
        and re.match(r"(data|models|studies)/", text.value)
    }
    entry = STAGES[stage]
    outputs = {next(iter(out)) for out in entry["outs"]}
    assert paths <= {*entry["deps"], *outputs, "models/" * (stage == "sample_gan")}


def test_no_stage_reads_validation_or_test_images():
    for stage in STAGES.values():
        read = [dep for dep in stage["deps"] if dep.startswith("data/")]
        assert set(read) <= {"data/augmented/train"}


def test_the_pipeline_does_not_depend_on_the_study():
    for stage in PIPELINE["stages"].values():
        stage = stage.get("do", stage)  # noqa: PLW2901
        assert not [dep for dep in stage["deps"] if "studies" in dep or "generating" in dep]
    own = ("studies/gan/made/", "studies/gan/metrics/", "timings/")
    for stage in STAGES.values():
        assert all(path.startswith(own) for out in stage["outs"] for path in out)


@pytest.fixture
def valid():
    return yaml.load((HOME / "params.yaml").read_text())


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        yaml.dump(content, file)
    return path


def test_the_params_of_the_study_are_valid_and_read_unchanged(valid):
    assert check_gan_params(HOME / "params.yaml") == valid


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train_gan.epoch", 3, "train_gan.epoch: unknown key. Did you mean epochs"),
        ("train_gan.loss", "wasserstein", "train_gan.loss: must be 'non_saturating' or 'hinge'"),
        ("train_gan.generator.widths", [64], "train_gan.generator.widths: must have at least 2"),
        ("train_gan.conditional", "yes", 'train_gan.conditional: must be a boolean, got "yes"'),
        ("train_gan.ema_decay", 1.0, "train_gan.ema_decay: must be < 1, got 1.0"),
        ("train_gan.optimizer.betas", [0.5], "train_gan.optimizer.betas: must have at"),
        ("add_generated.folds", 2, "add_generated.folds: must be >= 3"),
        ("add_generated.generated_per_real", 0.0, "add_generated.generated_per_real: must be"),
        ("sample", {}, "sample: unknown key. Did you mean sample_gan"),
    ],
)
def test_an_invalid_value_is_refused_with_the_path_of_its_key(valid, tmp_path, key, value, message):
    path = write(tmp_path / "params.yaml", changed(valid, key, value))
    with pytest.raises(UserError, match=re.escape(message)):
        check_gan_params(path)


MODEL = tiny_model.MODEL | {"arguments": {"hidden": [16], "dropout": 0.0}, "batch_size": 16}


@pytest.fixture
def workplace(tmp_path, write_packs, valid):
    """A project with packs and the model `m`; call it with settings of `train_gan`."""
    write_packs(tmp_path / "data/augmented", train=48, group_size=2)
    arguments = MODEL["arguments"]
    network = new_network("mlp", n_classes=3, image_size=8, arguments=arguments, seed=1)
    (tmp_path / "models/m").mkdir(parents=True)
    save_model(
        tmp_path / "models/m",
        network,
        network="mlp",
        arguments=arguments,
        classes=["class0", "class1", "class2"],
        preprocessing={"pack_size": 8, "resize": "box", "image_size": 8, "normalize": "half"},
        training={"threads": 1},
    )

    def configure(**settings):
        write_params(tmp_path, MODEL)
        valid["train_gan"] |= {
            "generator": {"noise": 8, "embedding": 4, "widths": [16, 16, 8]},
            "discriminator": {"widths": [8, 16], "dense": 16},
            "epochs": 4,
            **settings,
        }
        valid["sample_gan"] |= {"model": "m", "n_images": 60}
        valid["add_generated"] |= {"model": "m", "folds": 3, "gan_epochs": 2}
        write(tmp_path / OWN, valid)
        return tmp_path

    return configure


def run_script(folder, stage, *, expect=0):
    done = run_python(folder, str(ROOT / script(stage)), expect=expect)
    return done.stdout if expect == 0 else done.stderr


def files_made(folder):
    files = [*(folder / "studies/gan/made").rglob("*.*"), *(folder / OWN).parent.glob("metrics/*")]
    return {path: path.read_bytes() for path in files if path.is_file()}


@pytest.mark.slow
def test_the_scripts_run_without_dvc_and_write_the_same_bytes_twice(workplace):
    folder = workplace()
    for stage in STAGES:
        run_script(folder, stage)
    home = folder / "studies/gan"
    generated = read_pack(home / "made/generated")
    assert len(generated.labels) == 60
    assert [sum(generated.labels == i) for i in range(3)] == pytest.approx([20] * 3, abs=6)
    quality = read_json(home / "metrics/sample_gan.json")
    assert quality["n_images"] == 24
    assert {"real", "generated", "untrained", "noise"} <= set(quality)
    added = read_json(home / "metrics/add_generated.json")
    rows = read_rows(home / "made/added/predictions.csv")
    for kind in ("repeated", "generated"):
        accuracy = sum(row[kind] == row["label"] for row in rows) / 48
        assert added[kind]["accuracy"] == pytest.approx(accuracy, abs=1e-6)
    assert (home / "made/added/gains.png").read_bytes()[:4] == b"\x89PNG"
    assert len(list((home / "made/added/samples").iterdir())) == 3
    assert not list((folder / ".cache/gan").iterdir())

    expected = files_made(folder)
    for stage in STAGES:
        run_script(folder, stage)
    assert files_made(folder) == expected


@pytest.mark.slow
def test_a_training_that_is_killed_and_resumed_writes_the_same_bytes(workplace):
    folder = workplace(epochs=60)
    begins = (folder / ".cache/gan/train/grids/epoch_0005.png").exists
    stage = str(ROOT / script("train_gan"))
    output = assert_a_killed_stage_writes_the_same(files_made, begins, folder, stage)
    assert "resuming after epoch" in output


@pytest.mark.slow
def test_a_mistake_in_the_params_of_the_study_is_reported_in_one_message(workplace):
    folder = workplace(batch_size=1)
    output = run_script(folder, "train_gan", expect=1)
    assert re.search("train_gan.batch_size: .*got 1", output)
