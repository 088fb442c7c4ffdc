"""DVC changes one line of `params.yaml` for one value, and keeps the comments."""

import difflib
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

from classifold.params.reader import read_mapping

ROOT = Path(__file__).parents[1]
FILES = [ROOT / "params.yaml", *sorted((ROOT / "recipes").glob("*.yaml"))]
MAX_COLUMNS = 100


@pytest.fixture
def copy_of(tmp_path):
    """Copy a file of params."""

    def copy(file):
        copied = tmp_path / "params.yaml"
        copied.write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
        return copied

    return copy


def changed_lines(file, override):
    """Set a value as `dvc exp run -S` does; returns the lines removed and the lines added."""
    before = file.read_text(encoding="utf-8").splitlines()
    apply_overrides(file, [override])
    after = file.read_text(encoding="utf-8").splitlines()
    lines = [line for line in difflib.ndiff(before, after) if line[0] in "-+"]
    return [[line[2:] for line in lines if line[0] == sign] for sign in "-+"]


def comments(lines):
    return [line.split("#", 1)[1].strip() for line in lines if "#" in line]


@pytest.mark.parametrize(
    "override",
    [
        "dataset.path=data/raw/flowers.zip",
        "dataset.task=text",
        "limit.epochs=3",
        "ingest.background.1=7",
        "split.fractions.train=0.123",
        "train.threads=16",
        "stack.dense.epochs=7",
        "tsne.perplexities.0=3",
        "models.{model}.batch_size=48",
        "models.{model}.phases.{phase}.epochs=77",
        "models.{model}.phases.{phase}.optimizer.lr=0.02",
    ],
)
def test_one_value_set_by_dvc_changes_one_line_and_no_comment(copy_of, override):
    params_file = copy_of(ROOT / "params.yaml")
    models = read_mapping(params_file)["models"]
    model = next(iter(models))
    phase = next(iter(models[model]["phases"]))
    removed, added = changed_lines(params_file, override.format(model=model, phase=phase))
    assert (len(removed), len(added)) == (1, 1)
    assert comments(removed) == comments(added)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_list_set_by_dvc_changes_the_lines_of_its_items(copy_of, file):
    removed, added = changed_lines(copy_of(file), "augment.scale=[0.25, 0.75]")
    assert [line.strip() for line in removed] == ["- 0.8", "- 1.0"]
    assert [line.strip() for line in added] == ["- 0.25", "- 0.75"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_columns_of_a_file_of_params_are_few(file):
    lines = file.read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if len(line) > MAX_COLUMNS or line != line.rstrip()]
