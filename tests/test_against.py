"""What another revision came to, and whether chance could have made the difference."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from classifold.cli import app
from classifold.data.json_file import read_json
from classifold.errors import UserError
from classifold.evaluation.intervals import gain_interval, micro_f1_gain_interval
from classifold.reporting import revision
from classifold.reporting.against import changed_keys, compare, paired
from classifold.reporting.page import write_page
from classifold.reporting.revision import METRICS, Revision, read_revision
from drawn_run import HOSTILE, PROVENANCE, TASKS, Run

DRAWS = {"resamples": 500, "seed": 3}


def answers(labels, predicted, start=0):
    return [
        {"id": f"{i}.png", "label": label, "predicted": answer}
        for i, (label, answer) in enumerate(zip(labels, predicted, strict=True), start)
    ]


def other_of(run, **changes):
    """The run itself, as another revision of it would be read."""
    metrics = {name: read_json(run.folders.metrics / f"{name}.json") for name in METRICS}
    facts = run.facts()
    return Revision("main", "abc1234", facts.params, metrics, facts.answers)._replace(**changes)


def text_of(table):
    return [[cell.text for cell in row] for row in table.rows]


def test_what_two_mappings_do_not_share():
    there = {"a": {"b": 1, "c": [1, 2]}, "models": {"mlp": {"lr": 1}}, "same": 0}
    here = {"a": {"b": 2, "c": [1, 2]}, "models": {"cnn": {"lr": 1}}, "same": 0}
    assert list(changed_keys(here, there)) == [
        ("a.b", 2, 1),
        ("models.mlp", None, {"lr": 1}),
        ("models.cnn", {"lr": 1}, None),
    ]


def test_a_difference_of_one_label_an_image_is_that_of_the_images_both_answered():
    here = answers("aabb", "aabb")
    there = answers("abba", "abab", start=1)  # images 1 to 4, of which 1, 2 and 3 are in both
    found = paired(here, there, task="single", **DRAWS)
    # Labels must agree too: image 1 is an a here and there, 2 is b in both, 3 is b in both.
    assert found.n_images == 3
    assert found.difference == pytest.approx(1 - 2 / 3)
    ours, theirs = np.array([1, 1, 1], bool), np.array([1, 0, 1], bool)
    assert found.ci95 == gain_interval(ours, theirs, **DRAWS)
    assert found.p_value == 1.0  # one image decides nothing


def test_a_difference_of_several_labels_is_that_of_micro_f1():
    here = answers(["a|b", "", "b"], ["a|b", "", "a"])  # found 2, answered 3, borne 3
    there = answers(["a|b", "", "b"], ["a", "c", "b"])  # found 2, answered 3, borne 3
    found = paired(here, there, task="multi", **DRAWS)
    assert found.difference == pytest.approx(0)
    labels = np.array([[1, 1, 0], [0, 0, 0], [0, 1, 0]], bool)
    ours = np.array([[1, 1, 0], [0, 0, 0], [1, 0, 0]], bool)
    theirs = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0]], bool)
    assert found.ci95 == micro_f1_gain_interval(ours, theirs, labels, **DRAWS)
    assert found.p_value is None


def test_images_with_another_label_or_of_one_run_alone_are_not_compared():
    assert paired(answers("ab", "ab"), answers("bb", "bb", start=2), task="single", **DRAWS) is None
    assert paired(answers("a", "a"), answers("b", "b"), task="single", **DRAWS) is None


@pytest.mark.parametrize("task", TASKS)
def test_a_run_beside_itself_differs_in_nothing(tmp_path, task):
    run = Run(tmp_path, task=task)
    found = compare(run.facts(), other_of(run))
    assert found.sentence == (
        "On the same 4 test images the stack scores just as that of main does."
    )
    assert not found.params.rows and not found.counts.rows


def test_what_was_changed_and_what_it_changed_is_told(tmp_path):
    ours, theirs = Run(tmp_path / "ours", n_right=4), Run(tmp_path / "theirs", n_right=1)
    other = other_of(theirs)
    other.metrics["ingest"]["n_images"] = 12345
    params = {**other.params, "train": {"threads": 4}}
    found = compare(ours.facts(), other._replace(params=params))
    assert "differs from that of main by +75.0 points (95 % interval" in found.sentence
    assert "exact McNemar test p = 0.25). Chance alone could do that." in found.sentence
    assert ["train.threads", "2", "4"] in text_of(found.params)
    assert ["images read", "10", "12,345"] in text_of(found.counts)
    stack = next(row for row in found.scores.rows if row[0].text == "stack")
    assert stack[3].text == "+75.0" and stack[3].note


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param({"answers": None}, "are not in DVC's cache", id="answers not cached"),
        pytest.param({"answers": {"stack": []}}, "have no test image in common", id="none shared"),
        pytest.param({"params": {"dataset": {"task": "multi"}}}, "the other several", id="task"),
    ],
)
def test_what_cannot_be_compared_is_not(tmp_path, changes, told):
    run = Run(tmp_path)
    other = other_of(run)
    if "params" in changes:
        changes = {"params": {**other.params, **changes["params"]}}
    assert told in compare(run.facts(), other._replace(**changes)).sentence


def test_without_test_images_scores_are_not_compared(tmp_path):
    run, none = Run(tmp_path / "some"), Run(tmp_path / "none", n_test=0)
    assert "no test images" in compare(none.facts(), other_of(run)).sentence
    assert "no test images" in compare(run.facts(), other_of(none)).sentence


def test_the_page_shows_another_revision_and_its_hostile_names_as_text(tmp_path):
    run = Run(tmp_path)
    other = other_of(run, name=HOSTILE[0])
    page = tmp_path / "page.html"
    write_page(page, run.facts(), PROVENANCE, compare(run.facts(), other))
    told = page.read_text(encoding="utf-8")
    assert '<section id="against">' in told and "&lt;script&gt;alert(1)" in told
    assert HOSTILE[0] not in told


@pytest.fixture
def repository(tmp_path):
    """A run in a repository of Git: its numbers committed on main."""
    root = tmp_path / "clone"
    run = Run(root)
    (root / "params.yaml").write_text("dataset: {task: single}\n")
    git = shutil.which("git")

    def ask(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(
            [git, "-C", str(root), *identity, *arguments],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    ask("init", "-q", "-b", "main")
    ask("add", "params.yaml", "metrics")
    ask("commit", "-q", "-m", "numbers")
    return run, ask


def test_a_revision_is_read_by_branch_by_hash_and_by_the_name_of_an_experiment(repository):
    run, ask = repository
    commit = ask("rev-parse", "HEAD")
    ask("update-ref", f"refs/exps/ab/{commit}/mild-tang", commit)
    for name in ("main", commit[:9], "HEAD", "mild-tang"):
        found = read_revision(run.root, name)
        assert (found.name, found.commit) == (name, commit[:7])
        assert found.params == {"dataset": {"task": "single"}}
        assert found.metrics["stack"] == read_json(run.folders.metrics / "stack.json")
        assert found.answers is None  # no repository of DVC's


@pytest.mark.parametrize("name", ["nonsense", "--help", "", "main;ls", "HEAD~9"])
def test_no_revision_is_told_with_the_commands_that_list_them(repository, name):
    run, _ = repository
    with pytest.raises(UserError, match="must be a branch, tag, commit or experiment"):
        read_revision(run.root, name)


def test_a_revision_without_results_is_told(repository):
    run, ask = repository
    ask("rm", "-q", "metrics/test.json")
    ask("commit", "-q", "-m", "without")
    with pytest.raises(UserError, match=r"has no metrics/test\.json, so it holds no results"):
        read_revision(run.root, "main")


def test_a_folder_without_results_is_told_what_to_do(tmp_path, monkeypatch):
    shutil.copy(Path(__file__).parents[1] / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    told = CliRunner().invoke(app, ["report", "--against", "main"])
    assert told.exit_code == 1
    assert re.search(
        r"there is no \S+ here, so there is nothing to compare; run 'dvc repro'", told.stderr
    )


def test_without_git_it_is_said(repository, monkeypatch):
    run, _ = repository
    monkeypatch.setattr(revision, "ask_git", lambda *_: None)
    with pytest.raises(UserError, match="branch, tag, commit or experiment"):
        read_revision(Path(run.root), "main")
