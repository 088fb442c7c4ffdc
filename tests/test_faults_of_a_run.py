"""Errors in a real run: one message, previous results intact, and the next run succeeds."""

import os
import runpy
import shutil
import sys
import time

import pytest

from chaos.killing import REPAIRED, SAME, START, Moment, Repro, differences, run_killed, state
from classifold.data.json_file import read_json
from classifold.project import dvc_cache
from classifold.runtime.processes import stage_lock
from full_disk import full_disk
from synthetic_clone import MODELS, Clone, finished_clone, stages_run

pytestmark = pytest.mark.dvc

STAGES = [
    *["ingest", "filter", "split", "augment", *(f"train {name}" for name in MODELS)],
    *[*(f"folds {name}" for name in MODELS), "compare", "stack", "evaluate", "pca", "tsne"],
    *["novelty", "robustness", "explain", "report"],
]
TABLE = "data/ingested/images-00000.parquet"


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Clone:
    return finished_clone(tmp_path_factory)


@pytest.fixture(autouse=True)
def nothing_lost(clone, monkeypatch):
    """After every error the outputs are as before."""
    monkeypatch.setattr(dvc_cache, "_cache_folder", lambda root: root / ".dvc/cache")  # is slow
    before = state(clone)
    yield
    assert differences(clone, before) == []


@pytest.fixture
def run_stage(clone, monkeypatch, capsys):
    """Run the script of a stage in this process, which must fail; returns its messages."""

    def run(stage):
        script, *arguments = stage.split()
        monkeypatch.chdir(clone.root)
        monkeypatch.setattr(sys, "argv", [f"stages/{script}.py", *arguments])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(f"stages/{script}.py", run_name="__main__")
        assert end.value.code == 1
        return capsys.readouterr().err

    return run


def test_a_stage_whose_dvc_was_killed_gives_the_same_bytes_afterwards(clone):
    kill_and_resume(clone, Moment("pca", 1.0, whole_group=False))
    clone.repro()  # if DVC is killed while it writes dvc.lock, other stages may run again


def test_a_training_in_two_processes_gives_the_same_bytes_after_dvc_was_killed(clone):
    clone.change("launcher: auto", "launcher: {torchrun: 2}")
    clone.repro("-s", "train@mlp")
    assert read_json(clone.root / "models/mlp/model.json")["processes"] == [2]
    together = state(clone)
    kill_and_resume(clone, Moment("train@mlp", 6.0, whole_group=False))
    assert differences(clone, together) == []
    clone.change("launcher: {torchrun: 2}", "launcher: auto")
    assert not [stage for stage in stages_run(clone.repro()) if stage.startswith("train")]


def kill_and_resume(clone, moment):
    only = ("-f", "-s", moment.stage)
    kills, missed = [], [moment]
    while missed:
        kills, missed = run_killed(clone, missed, order=[START, moment.stage], arguments=only)
        # The stage ended before on a fast machine: try an earlier moment.
        missed = [late._replace(seconds=late.seconds / 2) for late in missed]
    # In the moment in which DVC writes dvc.lock, 'classifold check' has to repair it.
    assert len(kills) == 1 and kills[0].outcome in (SAME, REPAIRED)


@pytest.mark.parametrize("stage", STAGES)
def test_a_full_disk_is_reported_by_every_stage(run_stage, stage):
    with full_disk(60):
        output = run_stage(stage)
    assert output.startswith(f"{stage.replace(' ', '/')}: the disk is full (")
    assert "dvc gc" in output and "again" in output


def test_dvc_resumes_after_a_full_disk(clone, monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")  # see `full_disk`
    with full_disk(2000):
        output = clone.run("dvc", "repro", "-f", "-s", "split", expect=255, forked=False)
    assert "Traceback" not in output
    clone.run("classifold", "check")
    clone.repro()


def test_a_folder_without_write_permission_is_named(clone):
    if os.getuid() == 0 and not shutil.which("setpriv"):
        pytest.skip("root can write everywhere, and setpriv, which would prevent it, is missing")
    without_rights = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    (clone.root / "data").chmod(0o555)
    try:
        command = [*(without_rights if os.getuid() == 0 else []), "python", "stages/split.py"]
        output = clone.run(*command, expect=1, forked=False)
    finally:
        (clone.root / "data").chmod(0o755)
    assert "data/split.partial: Permission denied. Change the permissions" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("damage", ["one bit", "cut short"])
def test_a_damaged_file_in_dvcs_cache_is_detected_and_computed_again(clone, run_stage, damage):
    table = clone.root / TABLE
    good = table.read_bytes()
    cached = (clone.root / ".dvc/cache/files/md5").glob("??/*")
    (stored,) = [path for path in cached if path.read_bytes() == good]
    stored.chmod(0o644)
    flipped = good[:3000] + bytes([good[3000] ^ 1]) + good[3001:]
    stored.write_bytes(flipped if damage == "one bit" else good[:3000])
    stored.chmod(0o444)  # DVC checks writable files again
    table.unlink()
    clone.repro("ingest")  # checks out the damaged file
    assert table.read_bytes() != good
    output = run_stage("filter")
    assert f"filter: {TABLE}: must be a shard of the image table, but is damaged" in output

    table.unlink()  # the remedy in the message
    assert f"{stored.name}: damaged, deleted" in clone.run("classifold", "check", "--cache")
    assert "ingest" in stages_run(clone.repro())
    assert table.read_bytes() == good
    assert "no damaged file" in clone.run("classifold", "check", "--cache")


@pytest.mark.parametrize(
    ("file", "stage"),
    [
        ("data/augmented/train/images.npy", "pca"),
        ("data/explained_model/weights.safetensors", "tsne"),
        ("data/evaluated/predictions.parquet", "explain"),
    ],
)
def test_a_truncated_file_is_named_and_restored(clone, run_stage, file, stage):
    path = clone.root / file
    path.write_bytes(path.read_bytes()[:-100])
    output = run_stage(stage)
    assert f"{stage}: {file}: must be " in output
    assert "but is damaged" in output
    path.unlink()
    assert stages_run(clone.repro()) == []  # restored from DVC's cache


@pytest.mark.parametrize("fraction", [0, 0.31, 0.77])
def test_a_truncated_dvc_lock_is_restored_before_the_next_run(clone, fraction):
    lock = clone.root / "dvc.lock"
    text = lock.read_text()
    end = text.index("md5: ", int(len(text) * fraction)) + 6 if fraction else 0
    lock.write_text(text[:end])
    assert "dvc.lock' " in clone.repro(expect=255)
    repaired = clone.run("classifold", "check")
    assert "dvc.lock was cut short, restored from the last commit" in repaired
    assert stages_run(clone.repro()) == []


def test_two_runs_at_once_do_not_interfere(clone, tmp_path, monkeypatch):
    monkeypatch.chdir(clone.root)
    with stage_lock("split"):  # so that the first run waits until the block ends
        first = Repro(clone, ("-f", "-s", "split"), tmp_path / "log")
        while f"split: waiting for process {os.getpid()}" not in first.output():
            assert not first.ended(), first.output()
            time.sleep(0.02)
        output = clone.repro("-f", "-s", "split", expect=255)
    assert first.process.wait() == 0
    assert "is busy, it is being blocked by" in output
    assert f"(PID {first.process.pid})" in output


def test_no_stage_runs_again_after_jumps_of_the_clock(clone):
    clone.repro()  # the report has the times of the last run
    for seconds in (-(10**9), 2 * 10**9):
        for folder in ("data", "models", "ensemble", "metrics", "src", "stages"):
            for path in (clone.root / folder).rglob("*"):
                when = path.stat().st_mtime + seconds
                os.utime(path, (when, when))
        assert stages_run(clone.repro()) == []


LITTLE_MEMORY = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_DATA, (1500 * 2**20, 1500 * 2**20))
for stage, *arguments in (["train", "resnet"], ["explain"]):
    sys.argv = [f"stages/{stage}.py", *arguments]
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_small_images_need_less_than_one_and_a_half_gigabytes(clone):
    clone.run("python", "-c", LITTLE_MEMORY, forked=False)
