"""Files that a killed DVC left cut short are repaired before the next DVC runs."""

import fcntl
import hashlib
import shutil
import subprocess
from contextlib import nullcontext, suppress

import pytest
from dvc.dvcfile import Lockfile
from dvc.exceptions import DvcException
from dvc.repo import Repo

from classifold.errors import UserError
from classifold.project.dvc_cache import find_damaged_files
from classifold.project.dvc_files import is_valid_lock, repair_dvc_files

LOCK = """\
schema: '2.0'
stages:
  split:
    cmd: python stages/split.py
    deps:
    - path: data/filtered
      hash: md5
      md5: 0123456789abcdef0123456789abcdef.dir
      size: 12
      nfiles: 3
    params:
      params.yaml:
        split.seed: 2342
    outs:
    - path: data/split
      hash: md5
      md5: 0123456789abcdef0123456789abcdee.dir
      size: 12
      nfiles: 4
  pca:
    cmd: python stages/pca.py
"""
CUT = LOCK[: LOCK.index("nfiles: 4") + 4]


def git(root, *arguments):
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True)


@pytest.fixture
def project(tmp_path):
    """A project with a dvc.lock in Git."""
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    (tmp_path / "dvc.lock").write_text(LOCK)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "dvc.lock")
    git(tmp_path, "commit", "-qm", "A state")
    return tmp_path


def test_a_lock_is_valid_exactly_if_dvc_accepts_it(project):
    lock = Lockfile(Repo.init(project, force=True), str(project / "dvc.lock"))
    for end in range(len(LOCK) + 1):
        (project / "dvc.lock").write_text(LOCK[:end])
        accepted = False
        with suppress(DvcException):
            lock.load()
            accepted = True
        assert is_valid_lock(LOCK[:end]) == accepted, LOCK[:end][-60:]
    assert accepted


def test_a_lock_cut_short_is_restored_from_the_last_commit_but_not_while_dvc_runs(project):
    (project / "dvc.lock").write_text(CUT)
    with (project / ".dvc/tmp/lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert repair_dvc_files(project) == []
    assert (project / "dvc.lock").read_text() == CUT
    (repair,) = repair_dvc_files(project)
    assert "dvc.lock was cut short, restored from the last commit" in repair
    assert (project / "dvc.lock").read_text() == LOCK
    assert repair_dvc_files(project) == []


def test_a_lock_that_is_not_in_git_is_deleted(tmp_path):
    (tmp_path / "dvc.lock").write_text(CUT)
    (repair,) = repair_dvc_files(tmp_path)
    assert "dvc.lock was cut short, deleted" in repair
    assert not (tmp_path / "dvc.lock").exists()


def test_a_lock_with_a_merge_conflict_is_not_changed(project):
    merged = LOCK.replace("size: 12\n", "<<<<<<< HEAD\n      size: 12\n", 1)
    (project / "dvc.lock").write_text(merged)
    with pytest.raises(UserError, match=r"dvc.lock: contains a merge conflict.*checkout --ours"):
        repair_dvc_files(project)
    assert (project / "dvc.lock").read_text() == merged


@pytest.mark.parametrize("content", ["", '{"write": {"/a"'])
def test_a_list_of_running_processes_is_deleted_if_it_was_cut_short(project, content):
    locks = project / ".dvc/tmp/rwlock"
    locks.write_text(content)
    (repair,) = repair_dvc_files(project)
    assert "rwlock was cut short, deleted" in repair
    assert not locks.exists()


def test_a_whole_list_of_running_processes_is_kept(project):
    locks = project / ".dvc/tmp/rwlock"
    locks.write_text("{}")
    assert repair_dvc_files(project) == []
    assert locks.read_text() == "{}"


@pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")  # of DVC
@pytest.mark.parametrize("verify", ["true", "false"])
@pytest.mark.promise("remote-verified")
def test_dvc_fetches_a_changed_file_unless_the_remote_is_verified(tmp_path, verify):
    repo, remote = Repo.init(tmp_path, no_scm=True), tmp_path / "remote"
    with repo.config.edit("repo") as config:
        config["remote"] = {"store": {"url": str(remote), "verify": verify}}
        config["core"]["remote"] = "store"
    file = tmp_path / "a.txt"
    file.write_text("good")
    repo.add(str(file))
    repo.push()
    (stored,) = [path for path in remote.rglob("*") if path.is_file()]
    stored.chmod(0o644)
    stored.write_text("evil")
    stored.chmod(0o444)  # as DVC leaves it; of another mode it would look changed
    for path in (tmp_path / ".dvc/cache", tmp_path / ".dvc/tmp"):
        shutil.rmtree(path)
    file.unlink()
    with nullcontext() if verify == "false" else pytest.raises(DvcException):
        Repo(tmp_path).pull()
    assert file.exists() == (verify == "false")


@pytest.mark.promise("cache-checked")
def test_a_file_in_the_cache_is_damaged_if_its_hash_is_not_its_name(tmp_path):
    Repo.init(tmp_path, no_scm=True)
    name = hashlib.md5(b"good", usedforsecurity=False).hexdigest()
    file = tmp_path / ".dvc/cache/files/md5" / name[:2] / name[2:]
    file.parent.mkdir(parents=True)
    file.write_bytes(b"good")
    (file.parent / f"{file.name}.aBc.tmp").touch()  # a file that DVC is writing
    assert find_damaged_files(tmp_path) == []
    file.write_bytes(b"goot")
    assert find_damaged_files(tmp_path) == [file]
