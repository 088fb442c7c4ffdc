"""What a DVC that was killed leaves cut short is put right before the next one runs."""

import fcntl
import hashlib
import subprocess

import pytest
from dvc.dvcfile import Lockfile
from dvc.exceptions import DvcException
from dvc.repo import Repo

from classifold.errors import UserError
from classifold.project.dvc_files import damaged_copies, is_whole_lock, mend_dvc_files

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


def test_what_dvc_refuses_is_damaged_and_what_it_takes_is_not(project):
    lock = Lockfile(Repo.init(project, force=True), str(project / "dvc.lock"))
    for end in range(len(LOCK) + 1):
        (project / "dvc.lock").write_text(LOCK[:end])
        try:
            lock.load()
            taken = True
        except DvcException:
            taken = False
        assert is_whole_lock(LOCK[:end]) == taken, LOCK[:end][-60:]
    assert taken


def test_a_lock_cut_short_is_again_that_of_the_last_commit(project):
    (project / "dvc.lock").write_text(CUT)
    (told,) = mend_dvc_files(project)
    assert "dvc.lock was cut short and is now that of the last commit" in told
    assert (project / "dvc.lock").read_text() == LOCK
    assert mend_dvc_files(project) == []


def test_a_lock_that_git_does_not_have_is_removed(tmp_path):
    (tmp_path / "dvc.lock").write_text(CUT)
    (told,) = mend_dvc_files(tmp_path)
    assert "dvc.lock was cut short and is removed" in told
    assert not (tmp_path / "dvc.lock").exists()


def test_a_lock_in_a_merge_is_left_to_its_owner(project):
    merged = LOCK.replace("size: 12\n", "<<<<<<< HEAD\n      size: 12\n", 1)
    (project / "dvc.lock").write_text(merged)
    with pytest.raises(UserError, match="holds both sides of a merge; take one with"):
        mend_dvc_files(project)
    assert (project / "dvc.lock").read_text() == merged


@pytest.mark.parametrize("content", ["", '{"write": {"/a"'])
def test_what_tells_who_is_at_work_is_removed_when_it_is_cut_short(project, content):
    (project / ".dvc/tmp/rwlock").write_text(content)
    (told,) = mend_dvc_files(project)
    assert "rwlock was cut short and is removed" in told
    assert not (project / ".dvc/tmp/rwlock").exists()


def test_a_whole_one_stays(project):
    (project / ".dvc/tmp/rwlock").write_text("{}")
    assert mend_dvc_files(project) == []
    assert (project / ".dvc/tmp/rwlock").read_text() == "{}"


def test_nothing_is_touched_while_a_dvc_is_at_work(project):
    (project / "dvc.lock").write_text(CUT)
    with (project / ".dvc/tmp/lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert mend_dvc_files(project) == []
    assert (project / "dvc.lock").read_text() == CUT
    assert mend_dvc_files(project)


def test_copies_in_the_cache_are_compared_with_their_names(tmp_path):
    Repo.init(tmp_path, no_scm=True)
    name = hashlib.md5(b"good", usedforsecurity=False).hexdigest()
    copy = tmp_path / ".dvc/cache/files/md5" / name[:2] / name[2:]
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"good")
    (copy.parent / f"{copy.name}.aBc.tmp").touch()  # what a DVC at work has just begun
    assert damaged_copies(tmp_path) == []
    copy.write_bytes(b"goot")
    assert damaged_copies(tmp_path) == [copy]
