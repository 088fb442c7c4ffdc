"""Recipes are complete and resolve in dvc.yaml; applying one loses no change."""

import re
import subprocess
from pathlib import Path

import pytest
import torch
from dvc.parsing import DataResolver
from dvc.repo import Repo
from ruamel.yaml import YAML

from classifold.data.model_settings import with_defaults
from classifold.errors import UserError
from classifold.models.model_file import build_network
from classifold.params.reader import read_params
from classifold.params.validation import check_params
from classifold.project.recipes import (
    LIMIT,
    RECIPES,
    apply_recipe,
    describe_changes,
    list_recipes,
    read_recipe,
)
from classifold.training.freezing import count_parameters, set_trainable
from command_line import classifold, output_of

ROOT = Path(__file__).parents[1]
NAMES = sorted(list_recipes(ROOT))
PIPELINE = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())
HEAD = ("Source", "Data", "Reached|Expected", "Cost|Reached", "Command")


@pytest.fixture(params=NAMES)
def recipe(request):
    return ROOT / RECIPES / f"{request.param}.yaml"


def test_a_recipe_names_its_source_expected_score_and_command(recipe):
    text = recipe.read_text()
    head = text[: text.index("\ndataset:")]
    assert all(line.startswith("#") for line in head.splitlines() if line)
    for word in HEAD:
        assert re.search(rf"^# ({word}): +\S", head, flags=re.MULTILINE), word
    assert f"make recipe NAME={recipe.stem} " in head or f"recipes/{recipe.stem}.yaml" in head


def test_a_short_form_differs_from_the_recipe_only_in_its_limit(recipe, tmp_path):
    assert len(LIMIT.findall(recipe.read_text())) == 1
    short = tmp_path / "params.yaml"
    short.write_text(read_recipe(recipe.stem, short=True, root=ROOT))
    whole, cut = check_params(recipe), check_params(short)
    assert {key for key in whole if whole[key] != cut[key]} == {"limit"}
    assert set(whole["limit"].values()) == {None}
    assert all(cut["limit"].values())


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    """A DVC repository with our pipeline."""
    root = tmp_path_factory.mktemp("repo")
    (root / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    with Repo.init(str(root), no_scm=True) as repo:
        yield repo


@pytest.mark.dvc
def test_a_recipe_resolves_in_dvc_yaml_with_every_param_and_network_it_names(repo, recipe):
    root = Path(repo.root_dir)
    (root / "params.yaml").write_text(recipe.read_text())
    resolved = DataResolver(repo, str(root), PIPELINE).resolve()["stages"]
    params = check_params(recipe)
    single = {name for name, stage in PIPELINE["stages"].items() if "foreach" not in stage}
    each = {f"{stage}@{model}" for stage in ("train", "folds") for model in params["models"]}
    assert set(resolved) == single | each
    for name, stage in resolved.items():
        read_params(*(key for key in stage.get("params", []) if isinstance(key, str)), path=recipe)
        code = [dep for dep in stage["deps"] if dep.startswith(("src/", "stages/"))]
        assert all((ROOT / file).exists() for file in code), name
    assert resolved["ingest"]["deps"][0] == params["dataset"]["path"]


@pytest.fixture(scope="module")
def built():
    """Networks that were tried: recipes have some in common."""
    return {}


def test_the_networks_of_a_recipe_take_its_images(recipe, built):
    params = check_params(recipe)
    stored, task = params["augment"]["size"], params["dataset"]["task"]
    for name, given in params["models"].items():
        model = with_defaults(given, size=stored, task=task)
        arguments = model["arguments"] | (
            {"weights": None} if "weights" in model["arguments"] else {}
        )
        size = model["image_size"]
        shaping = {name: value for name, value in arguments.items() if "dropout" not in name}
        key = repr((model["network"], shaping, size))
        if key not in built:
            with torch.device("meta"):  # shapes alone: nothing is computed
                built[key] = build_network(
                    model["network"], n_classes=7, image_size=size, arguments=arguments
                ).eval()
                logits = built[key](torch.empty(2, 3, size, size))
            assert logits.shape == (2, 7), name
        for phase in model.get("phases", {}).values():
            set_trainable(built[key], phase["trainable"])
            assert count_parameters(built[key], trainable=True) > 0


def test_changes_are_described_by_dotted_keys_by_hand():
    before = {
        "split": {"seed": 1, "fractions": {"train": 0.7, "test": 0.3}},
        "augment": {"flips": ["none"], "old": None},
        "models": {"a": {"lr": 1}, "b": {"lr": 1}},
    }
    after = {
        "split": {"seed": 2, "fractions": {"train": 0.7, "test": 0.3}},
        "augment": {"flips": ["none", "both"], "fill": "edge"},
        "models": {"b": {"lr": 0.5}, "c": {"lr": 1}, "d": {"lr": 1}},
    }
    assert list(describe_changes(before, after)) == [
        "split.seed: 1 -> 2",
        'augment.flips: ["none"] -> ["none", "both"]',
        "augment.fill: null -> edge",
        "models.b.lr: 1 -> 0.5",
        "models.c: added",
        "models.d: added",
        "models.a: removed",
    ]
    assert list(describe_changes(before, before)) == []


@pytest.fixture
def project(tmp_path):
    """A repository with our params and recipes, all committed."""

    def git(*arguments):
        identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
        subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True)

    (tmp_path / RECIPES).mkdir()
    (tmp_path / "stages").mkdir()
    (tmp_path / "dvc.yaml").touch()
    for file in ("params.yaml", *(str(RECIPES / f"{name}.yaml") for name in NAMES)):
        (tmp_path / file).write_text((ROOT / file).read_text())
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "A state")
    return tmp_path


def apply(project, name, *, short=False, force=False):
    return apply_recipe(name, short=short, force=force, root=project)


def test_a_recipe_is_applied_as_it_is_and_its_changes_are_listed(project):
    changes = apply(project, "fruit_64")
    assert (project / "params.yaml").read_text() == (ROOT / "recipes/fruit_64.yaml").read_text()
    assert "dataset.path: data/raw/digits.zip -> data/raw/fruit.zip" in changes
    assert "models.mlp: removed" in changes
    assert not [line for line in changes if line.startswith("limit")]


def test_params_that_are_a_recipe_can_be_overwritten(project):
    for short in (False, True, False):
        apply(project, "fruit_64", short=short)
    assert any(
        line.startswith("dataset.task: single -> multi")
        for line in apply(project, "photos_scratch")
    )
    assert not list(project.glob("*.partial"))


def test_the_users_own_data_set_is_kept_and_the_next_recipe_needs_no_force(project):
    params = project / "params.yaml"
    params.write_text(
        params.read_text().replace("path: data/raw/digits.zip ", "path: data/raw/cats.zip ")
    )
    changes = apply(project, "fruit_64")  # nothing else is changed: no force
    assert check_params(params)["dataset"]["path"] == "data/raw/cats.zip"
    assert [line for line in changes if line.startswith("dataset")] == [changes[0]]
    assert "kept" in changes[0]
    assert "a folder, or a zip or tar archive" in params.read_text()  # the comment stays
    apply(project, "fruit_scratch", short=True)
    assert check_params(params)["dataset"]["path"] == "data/raw/cats.zip"


@pytest.mark.parametrize("file", ["fruit.zip", "fruit.zip.dvc"])
def test_a_file_that_exists_or_dvc_tracks_is_the_users_own_though_a_recipe_names_it(project, file):
    apply(project, "fruit_64")
    (project / "data/raw").mkdir(parents=True)
    (project / "data/raw" / file).touch()
    changes = apply(project, "fruit_scratch")
    assert "dataset: kept, with path data/raw/fruit.zip and task single" in changes
    assert check_params(project / "params.yaml")["dataset"]["path"] == "data/raw/fruit.zip"
    apply(project, "photos_scratch")  # for several labels
    assert check_params(project / "params.yaml")["dataset"]["task"] == "single"


@pytest.mark.parametrize("tracked", [True, False])
def test_uncommitted_changes_are_overwritten_only_with_force(project, tracked):
    params = project / "params.yaml"
    if not tracked:
        subprocess.run(["git", "-C", project, "rm", "-q", "--cached", "params.yaml"], check=True)
    changed = params.read_text().replace("seed: 2342", "seed: 5")
    params.write_text(changed)
    with pytest.raises(UserError, match=r"params.yaml: has changes that are not committed"):
        apply(project, "fruit_64")
    assert params.read_text() == changed
    assert "split.seed: 5 -> 2342" in apply(project, "fruit_64", force=True)


def test_an_unknown_recipe_is_refused_with_the_known_ones(project):
    message = "recipes: there is no recipe 'fruit64'.*Did you mean 'fruit_64'"
    with pytest.raises(UserError, match=rf"{message}.*{', '.join(NAMES)}"):
        apply(project, "fruit64")


def test_an_invalid_recipe_does_not_change_params(project):
    (project / RECIPES / "broken.yaml").write_text("# Broken\ndataset: {}\n")
    before = (project / "params.yaml").read_text()
    with pytest.raises(UserError, match=r"\d+ validation errors"):
        apply(project, "broken")
    assert (project / "params.yaml").read_text() == before
    assert not list(project.glob("*.partial"))
    with pytest.raises(UserError, match=r"recipes/broken.yaml: there is no short form"):
        apply(project, "broken", short=True)


def test_the_command_lists_recipes_and_reports_missing_data(project, monkeypatch):
    monkeypatch.chdir(project)
    listed = classifold("recipe").output.splitlines()
    assert [line.split(":")[0] for line in listed] == NAMES
    output = output_of(classifold("recipe", "fruit_64", "--short"))
    assert "params.yaml is now recipes/fruit_64.yaml in its short form" in output
    assert "limit.epochs: null -> 2" in output
    assert "dataset.path: data/raw/fruit.zip does not exist" in output
