"""`classifold fit`: from images to a report in one command, interrupted and continued."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from archives import write_files
from classifold.errors import UserError
from classifold.project.existing_project import continues, require_preset
from classifold.project.new_project import default_folder
from command_line import classifold, error_of
from synthetic_clone import ROOT, Clone, draw, draw_data, stages_run


@pytest.mark.parametrize(
    ("data", "folder"),
    [
        ("pictures/fruit.zip", "fruit"),
        ("pictures/my photos.tar.gz", "my_photos"),
        ("fruit.v2.tgz", "fruit.v2"),
        ("pictures/fruit", "fruit"),
        ("fruit", "fruit-classifier"),  # the folder of the images itself
    ],
)
def test_the_project_is_named_for_the_images(tmp_path, data, folder):
    path = tmp_path / data
    path.parent.mkdir(exist_ok=True)
    path.mkdir() if "." not in path.name else path.touch()
    assert default_folder(path, tmp_path) == tmp_path / folder


@pytest.fixture
def written(tmp_path):
    """A folder with what `continues` reads of a project for fruit.zip of five bytes."""
    folder = tmp_path / "fruit"
    params = b'# Chosen by "classifold init", preset good:\n\ndataset: {path: data/raw/fruit.zip}\n'
    listed = b"outs:\n- size: 5\n  path: fruit.zip\n"
    files = {"code/": b"", "dvc.yaml": b"", "data/raw/fruit.zip.dvc": listed, "params.yaml": params}
    write_files(folder, files)
    (tmp_path / "fruit.zip").write_bytes(b"12345")
    return folder


def test_a_project_for_the_same_images_is_continued(written, tmp_path):
    assert continues(written, tmp_path / "fruit.zip")
    assert not continues(tmp_path / "new", tmp_path / "fruit.zip")
    require_preset(written, "good")
    with pytest.raises(UserError, match=r"--preset: .* was made with preset good, got best"):
        require_preset(written, "best")


def test_changed_images_are_other_images(written, tmp_path):
    (tmp_path / "fruit.zip").unlink()
    images = tmp_path / "fruit.zip/cherry"  # a folder of that name
    images.mkdir(parents=True)
    (images / "1.png").write_bytes(b"123")
    (images / "link.png").symlink_to(images / "1.png")
    (written / "data/raw/fruit.zip.dvc").write_text("outs:\n- {size: 6, nfiles: 2}\n")
    assert continues(written, tmp_path / "fruit.zip")
    (images / "2.png").touch()
    with pytest.raises(UserError, match=r"cd .* && dvc add .*fruit.zip -o data/raw/fruit.zip$"):
        continues(written, tmp_path / "fruit.zip")
    assert continues(written, tmp_path / "deleted/fruit.zip")  # DVC has a copy


def test_images_that_moved_to_another_class_are_other_images(written, tmp_path):
    for folder in (written / "data/raw/fruit.zip", tmp_path / "renamed"):
        write_files(folder, {"cherry/1.png": b"123"})
    os.utime(written / "data/raw/fruit.zip.dvc", (0, 0))
    assert continues(written, tmp_path / "renamed")  # the same images
    (tmp_path / "renamed/cherry").rename(tmp_path / "renamed/tomato")
    with pytest.raises(UserError, match=r"dvc add .*renamed -o data/raw/fruit.zip$"):
        continues(written, tmp_path / "renamed")


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_images_of_the_same_name_and_size_and_other_content_are_other_images(
    written, tmp_path, kind
):
    given, copy = (place / "data/raw/fruit.zip" for place in (tmp_path / "given", written))
    for path in (given, copy):
        file = path / "cherry/1.png" if kind == "folder" else path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"12345")
    os.utime(written / "data/raw/fruit.zip.dvc", (0, 0))
    assert continues(written, given)
    file = given / "cherry/1.png" if kind == "folder" else given
    file.write_bytes(b"54321")
    with pytest.raises(UserError, match="has a project for other images"):
        continues(written, given)


@pytest.mark.parametrize(("name", "content"), [("fruit.zip", b"1"), ("other.zip", b"12345")])
def test_a_project_for_other_images_is_not_touched(written, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=r"--out: .* has a project for other images"):
        continues(written, tmp_path / name)


def test_fit_refuses_with_the_names_of_its_own_options(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "shapes/circle/1.png", "circle", 1)
    write_files(tmp_path, {"full/mine.txt": b"", "file": b""})
    for arguments, message in [
        (["missing.zip"], "PATH: no such file or folder, got missing.zip"),
        (["shapes", "--out", "full"], "--out: must be a new or an empty folder, got full"),
        (["shapes", "--out", "file/new"], f"--out: cannot be written in {tmp_path / 'file'}"),
    ]:
        assert error_of(classifold("fit", *arguments)).startswith(message)


@pytest.mark.dvc
@pytest.mark.promise("report-file", "fit")
def test_fit_from_images_to_the_result_with_an_interruption(tmp_path):
    place = Clone(tmp_path / "here")
    draw_data(place.root / "shapes.v1", 20)
    environment = place.environment() | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "classifold", "fit", "shapes.v1", "--out", "shapes"]
    with subprocess.Popen(
        command,
        cwd=place.root,
        env=environment | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # Ctrl-C reaches all processes of a terminal
    ) as first:
        lines = []
        for line in first.stdout:
            lines.append(line)
            if line.startswith("Running stage 'ingest'"):
                os.killpg(first.pid, signal.SIGINT)
    output = "".join(lines)
    assert first.returncode == 130, output
    assert "run the same command again to continue" in output and "Traceback" not in output

    place.environment = lambda *, forked=False: (
        Clone.environment(place, forked=forked) | {"PYTHONPATH": str(ROOT / "src")}
    )
    output = place.run("classifold", "fit", "shapes.v1", "--out", "shapes")
    assert "check" not in stages_run(output) and stages_run(output)[-1] == "report"
    for text in ("test images, by the stack of 2 models", "worst class: “", "duplicate"):
        assert text in output
    assert f"report: {Path('shapes/reports/index.html')}" in output
    assert (place.root / "shapes/reports/index.html").is_file()
    advice = "; git add -A && git commit -m 'First results'"
    assert advice in output
    start, place.root = place.root, place.root / "shapes"
    place.commit()
    place.root = start
    again = place.run("classifold", "fit", "shapes.v1", "--out", "shapes")
    assert stages_run(again) == []
    summaries = [text.partition("Done in")[2].partition("\n")[2] for text in (again, output)]
    assert summaries[0] == summaries[1].replace(advice, "")
