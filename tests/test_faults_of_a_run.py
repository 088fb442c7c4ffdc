"""Faults in a real run: one message each, the old results intact, the next run right."""

import os
import resource
import runpy
import shutil
import subprocess
import sys
import time

import pytest

from chaos.killing import START, Moment, Repro, differences, run_killed, state
from classifold.data.json_file import read_json
from classifold.runtime.processes import stage_lock
from synthetic_clone import MODELS, Clone, finished_clone, stages_run

pytestmark = pytest.mark.dvc

STAGES = [
    *["digits", "ingest", "filter", "split", "augment", *(f"train {name}" for name in MODELS)],
    *[*(f"folds {name}" for name in MODELS), "compare", "stack", "evaluate", "pca", "tsne"],
    *["explain", "report"],
]
TABLE = "data/ingested/images-00000.parquet"


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Clone:
    return finished_clone(tmp_path_factory)


@pytest.fixture(autouse=True)
def nothing_lost(clone):
    """After every fault all is as it was."""
    before = state(clone)
    yield
    assert differences(clone, before) == []


@pytest.fixture
def run_stage(clone, monkeypatch, capsys):
    """Run a stage's script in this process, which has everything imported; what it says."""

    def run(stage):
        script, *arguments = stage.split()
        monkeypatch.chdir(clone.root)
        monkeypatch.setattr(sys, "argv", [f"stages/{script}.py", *arguments])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(f"stages/{script}.py", run_name="__main__")
        assert end.value.code == 1
        return capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    "moment",
    [Moment("train@resnet", 6.0, whole_group=False), Moment("pca", 2.0, whole_group=True)],
    ids=lambda moment: moment.stage,
)
def test_a_stage_killed_with_dvc_or_left_by_it_ends_with_the_same_bytes(clone, moment):
    kill_and_go_on(clone, moment)
    clone.repro()  # killed while it writes dvc.lock, DVC may forget what other stages made


def test_a_training_in_two_processes_that_lost_its_dvc_ends_with_the_same_bytes(clone):
    clone.change("launcher: auto", "launcher: {torchrun: 2}")
    clone.repro("-s", "train@mlp")
    assert read_json(clone.root / "models/mlp/model.json")["processes"] == [2]
    together = state(clone)
    kill_and_go_on(clone, Moment("train@mlp", 10.0, whole_group=False))
    assert differences(clone, together) == []
    clone.change("launcher: {torchrun: 2}", "launcher: auto")
    assert not [stage for stage in stages_run(clone.repro()) if stage.startswith("train")]


def kill_and_go_on(clone, moment):
    only = ("-f", "-s", moment.stage)
    kills, missed = [], [moment]
    while missed:
        kills, missed = run_killed(clone, missed, order=[START, moment.stage], arguments=only)
        # On a machine so quick that the stage had ended before, earlier.
        missed = [late._replace(seconds=late.seconds / 2) for late in missed]
    assert [kill.outcome for kill in kills] == ["the same bytes"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_full_disk_is_told_by_every_stage(run_stage, stage):
    # As if no file could grow beyond so many bytes: no rights of root's are needed for that.
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60, most))
    try:
        told = run_stage(stage)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert told.startswith(f"{stage.replace(' ', '/')}: the disk is full (")
    assert told.endswith("run again: what was finished is kept\n")


def test_dvc_with_a_full_disk_goes_on_when_there_is_room(clone):
    def little_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))

    told = subprocess.run(
        ["dvc", "repro", "-f", "-s", "split"],
        cwd=clone.root,
        env=clone.environment(),
        preexec_fn=little_room,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode
    assert "Traceback" not in told.stderr
    clone.run("classifold", "check")
    clone.repro()


def test_what_may_not_be_written_is_named(clone):
    if os.getuid() == 0 and not shutil.which("setpriv"):
        pytest.skip("root may write everywhere, and there is no setpriv to take that away")
    without_rights = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    (clone.root / "data").chmod(0o555)
    try:
        command = [*(without_rights if os.getuid() == 0 else []), "python", "stages/split.py"]
        told = clone.run(*command, expect=1)
    finally:
        (clone.root / "data").chmod(0o755)
    assert "Permission denied: 'data/split.partial'; see to it that you may write there" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("damage", ["one bit", "cut short"])
def test_a_damaged_copy_in_dvcs_cache_is_found_and_made_again(clone, run_stage, damage):
    table = clone.root / TABLE
    good = table.read_bytes()
    copies = (clone.root / ".dvc/cache/files/md5").glob("??/*")
    (copy,) = [path for path in copies if path.read_bytes() == good]
    copy.chmod(0o644)
    flipped = good[:3000] + bytes([good[3000] ^ 1]) + good[3001:]
    copy.write_bytes(flipped if damage == "one bit" else good[:3000])
    copy.chmod(0o444)  # DVC looks again at what may be written
    table.unlink()
    clone.repro("ingest")  # which hands it out as good
    assert table.read_bytes() != good
    told = run_stage("filter")
    assert f"filter: {TABLE} must be a shard of the image table, but is damaged" in told

    table.unlink()  # as the message says
    assert f"{copy.name}: damaged, deleted" in clone.run("classifold", "check", "--cache")
    assert "ingest" in stages_run(clone.repro())
    assert table.read_bytes() == good
    assert "no damaged file" in clone.run("classifold", "check", "--cache")


@pytest.mark.parametrize(
    ("file", "stage"),
    [
        ("data/augmented/train/images.npy", "pca"),
        ("models/resnet/weights.safetensors", "tsne"),
        ("data/evaluated/predictions.parquet", "explain"),
    ],
)
def test_a_file_cut_short_is_named_and_brought_back(clone, run_stage, file, stage):
    path = clone.root / file
    path.write_bytes(path.read_bytes()[:-100])
    told = run_stage(stage)
    assert f"{stage}: {file} must be " in told
    assert "but is damaged" in told
    path.unlink()
    assert stages_run(clone.repro()) == []  # it comes from DVC's cache


def test_weights_of_another_network_are_told(clone, run_stage):
    weights = clone.root / "models/resnet/weights.safetensors"
    weights.write_bytes((clone.root / "models/mlp/weights.safetensors").read_bytes())
    told = run_stage("tsne")
    assert "weights.safetensors: must hold the weights of network small_resnet" in told
    assert stages_run(clone.repro()) == []


@pytest.mark.parametrize("share", [0, 0.31, 0.77])
def test_a_lock_cut_short_is_restored_before_the_next_run(clone, share):
    lock = clone.root / "dvc.lock"
    text = lock.read_text()
    end = text.index("md5: ", int(len(text) * share)) + 6 if share else 0
    lock.write_text(text[:end])
    assert "dvc.lock' " in clone.repro(expect=255)
    assert "dvc.lock was cut short, restored from the last commit" in clone.run(
        "classifold", "check"
    )
    assert stages_run(clone.repro()) == []


def test_two_runs_at_once_do_not_mix(clone, tmp_path, monkeypatch):
    monkeypatch.chdir(clone.root)
    with stage_lock("split"):  # so that the first is at work for as long as we like
        first = Repro(clone, ("-f", "-s", "split"), tmp_path / "log")
        while f"split: waiting for process {os.getpid()}" not in first.output():
            assert not first.ended(), first.output()
            time.sleep(0.02)
        told = clone.repro("-f", "-s", "split", expect=255)
    assert first.process.wait() == 0
    assert "is busy, it is being blocked by" in told
    assert f"(PID {first.process.pid})" in told


@pytest.mark.parametrize("seconds", [-(10**9), 10**9], ids=["backwards", "forwards"])
def test_a_clock_that_jumps_makes_nothing_run(clone, seconds):
    clone.repro()  # the report tells clock times of whatever ran last
    for folder in ("data", "models", "ensemble", "metrics", "src", "stages"):
        for path in (clone.root / folder).rglob("*"):
            when = path.stat().st_mtime + seconds
            os.utime(path, (when, when))
    assert stages_run(clone.repro()) == []


@pytest.mark.parametrize("stage", ["train@resnet", "explain"])
def test_memory_of_a_gigabyte_and_a_half_is_enough_for_small_images(clone, stage):
    def little_memory():
        resource.setrlimit(resource.RLIMIT_DATA, (1500 * 2**20, 1500 * 2**20))

    subprocess.run(
        ["dvc", "repro", "-q", "-f", "-s", stage],
        cwd=clone.root,
        env=clone.environment(),
        preexec_fn=little_memory,
        check=True,
    )
