"""Comparison with another revision: what differs, and whether it is significant."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from dvc.repo import Repo

from classifold.data.json_file import read_json
from classifold.errors import UserError
from classifold.evaluation.intervals import gain_interval
from classifold.params.differences import differing_keys
from classifold.reporting import revision
from classifold.reporting.comparison import compare, paired
from classifold.reporting.page import write_page
from classifold.reporting.revision import METRICS, Revision, read_revision
from command_line import classifold, error_of
from synthetic_run import HOSTILE, PROVENANCE, TASKS, Run


def predictions(labels, predicted, start=0):
    return [
        {"id": f"{i}.png", "label": label, "predicted": prediction, "probability": 0.7}
        for i, (label, prediction) in enumerate(zip(labels, predicted, strict=True), start)
    ]


def other_of(run, **changes):
    """The run itself, as if it were another revision."""
    metrics = {name: read_json(run.folders.metrics / f"{name}.json") for name in METRICS}
    facts = run.facts()
    return Revision("main", "abc1234", facts.params, metrics, facts.predictions)._replace(**changes)


def text_of(table):
    return [[cell.text for cell in row] for row in table.rows]


def test_differing_keys_of_two_mappings():
    there = {"a": {"b": 1, "c": [1, 2]}, "models": {"mlp": {"lr": 1}}, "same": 0}
    here = {"a": {"b": 2, "c": [1, 2]}, "models": {"cnn": {"lr": 1}}, "same": 0}
    assert list(differing_keys(here, there)) == [
        ("a.b", 2, 1),
        ("models.mlp", None, {"lr": 1}),
        ("models.cnn", {"lr": 1}, None),
    ]


def test_a_difference_with_one_label_per_image_is_on_the_images_of_both():
    here = predictions("aabb", "aabb")
    there = predictions("abba", "abab", start=1)  # images 1 to 4, of which 1, 2 and 3 are in both
    found = paired(here, there, task="single")
    # Labels must agree too: image 1 is an a here and there, 2 is b in both, 3 is b in both.
    assert found.n_images == 3
    assert found.difference == pytest.approx(1 - 2 / 3)
    ours, theirs = np.array([1, 1, 1], bool), np.array([1, 0, 1], bool)
    assert found.ci95 == gain_interval(ours, theirs, np.ones(3, bool))
    assert found.p_value == 1.0  # they differ in one image only
    assert found.n_differing == 1


def test_a_difference_with_several_labels_per_image_is_one_of_micro_f1():
    here = predictions(["a|b", "", "b"], ["a|b", "", "a"])  # 2 of 3 correct, 3 actual
    there = predictions(["a|b", "", "b"], ["a", "c", "b"])  # 2 of 3 correct, 3 actual
    found = paired(here, there, task="multi")
    assert found.difference == pytest.approx(0)
    labels = np.array([[1, 1, 0], [0, 0, 0], [0, 1, 0]], bool)
    ours = np.array([[1, 1, 0], [0, 0, 0], [1, 0, 0]], bool)
    theirs = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0]], bool)
    assert found.ci95 == gain_interval(ours, theirs, labels)
    assert found.p_value is None


@pytest.mark.parametrize("task", TASKS)
def test_equal_predictions_are_not_taken_for_one_model(task):
    rows = predictions("abab", "abba")
    found = paired(rows, rows, task=task)
    assert (found.n_differing, found.difference) == (0, 0)
    assert found.ci95[0] < 0 < found.ci95[1]


def test_images_with_another_label_or_of_one_run_only_are_not_compared():
    assert paired(predictions("ab", "ab"), predictions("bb", "bb", start=2), task="single") is None
    assert paired(predictions("a", "a"), predictions("b", "b"), task="single") is None


@pytest.mark.parametrize("task", TASKS)
def test_a_run_does_not_differ_from_itself(tmp_path, task):
    run = Run(tmp_path, task=task)
    found = compare(run.facts(), other_of(run))
    assert re.search("same 4 test images.* same predictions as that of main", found.sentence)
    assert not found.params.rows and not found.counts.rows


def test_changes_and_their_effects_are_listed(tmp_path):
    ours, theirs = Run(tmp_path / "ours", n_right=4), Run(tmp_path / "theirs", n_right=1)
    other = other_of(theirs)
    other.metrics["ingest"]["n_images"] = 12345
    params = {**other.params, "train": {"threads": 4}}
    found = compare(ours.facts(), other._replace(params=params))
    assert "differs from that of main by +75.0 points (95 % interval" in found.sentence
    assert "exact McNemar test p = 0.25). The difference is not" in found.sentence
    assert ["train.threads", "2", "4"] in text_of(found.params)
    assert ["images read", "10", "12,345"] in text_of(found.counts)
    stack = next(row for row in found.scores.rows if row[0].text == "stack")
    assert stack[3].text == "+75.0" and stack[3].note


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"predictions": None}, "not in the cache of DVC.*dvc fetch"),
        ({"predictions": {"stack": []}}, "have no test image in common"),
        ({"params": {"dataset": {"task": "multi"}}}, "the other several"),
    ],
)
def test_the_reason_why_scores_cannot_be_compared_is_given(tmp_path, changes, expected):
    run = Run(tmp_path)
    assert re.search(expected, compare(run.facts(), other_of(run, **changes)).sentence)


def test_without_test_images_scores_are_not_compared(tmp_path):
    run, none = Run(tmp_path / "some"), Run(tmp_path / "none", n_test=0)
    assert "no test images" in compare(none.facts(), other_of(run)).sentence
    assert "no test images" in compare(run.facts(), other_of(none)).sentence


def test_the_page_shows_another_revision_and_its_hostile_names_as_text(tmp_path):
    run = Run(tmp_path)
    other = other_of(run, name=HOSTILE[0])
    page = tmp_path / "page.html"
    write_page(page, run.facts(), PROVENANCE, compare(run.facts(), other))
    text = page.read_text(encoding="utf-8")
    assert '<section id="comparison">' in text and "&lt;script&gt;alert(1)" in text
    assert HOSTILE[0] not in text


@pytest.fixture
def repository(tmp_path):
    """A run in a Git repository, with its metrics committed on main."""
    root = tmp_path / "clone"
    run = Run(root)
    (root / "params.yaml").write_text("dataset: {task: single}\n")

    def ask(*arguments):
        command = ["git", "-C", root, "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        return subprocess.check_output(command, text=True).strip()

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
        assert found.predictions is None  # no DVC repository


@pytest.mark.dvc
def test_predictions_that_are_in_no_cache_are_none(repository):
    run, ask = repository
    Repo.init(str(run.root)).close()
    (run.root / "data").mkdir()
    outputs = f"outs:\n- md5: {'0' * 32}.dir\n  hash: md5\n  path: evaluated\n"
    (run.root / "data/evaluated.dvc").write_text(outputs)
    ask("add", "-A", ".dvc", "data/evaluated.dvc")
    ask("commit", "-q", "-m", "results of another machine")
    assert read_revision(run.root, "main").predictions is None


@pytest.mark.parametrize("name", ["nonsense", "--help", "", "main;ls", "HEAD~9"])
def test_an_unknown_revision_is_an_error_with_the_commands_that_list_revisions(repository, name):
    run, _ = repository
    with pytest.raises(UserError, match=r"must be a branch, tag.*dvc exp list"):
        read_revision(run.root, name)


def test_a_revision_without_results_is_an_error(repository):
    run, ask = repository
    ask("rm", "-q", "metrics/test.json")
    ask("commit", "-q", "-m", "without")
    with pytest.raises(UserError, match=r"has no metrics/test\.json.*Choose a commit"):
        read_revision(run.root, "main")


def test_a_folder_without_results_is_an_error_with_the_command_to_run(tmp_path, monkeypatch):
    shutil.copy(Path(__file__).parents[1] / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    error = error_of(classifold("report", "--against", "main"))
    assert re.search(r"\S+: no such file.*'dvc repro'", error)


def test_without_git_a_revision_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(revision, "run_git", lambda *_: None)
    with pytest.raises(UserError, match="branch, tag, commit or experiment"):
        read_revision(tmp_path, "main")
