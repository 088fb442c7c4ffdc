"""The commands of README and docs run as they are written, page by page, in a small project.

A block of commands that cannot run here has a comment before it: `<!-- not run: reason -->`.
"""

import re
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest
from ruamel.yaml import YAML

from synthetic_clone import CLASSES, ROOT, Clone, draw, make_clone

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(
    r"(<!-- not run: (?P<reason>.+?) -->\n)?```(console|bash|sh)\n(?P<text>.*?)```", re.S
)

# What the commands of a reader have, and a test does not: text -> replacement.
PLACES = {
    "/mnt/store/classifold": "~/store",
    # A reader looks again until both have ended. A task that a worker takes is briefly not listed.
    "dvc queue status": "until (( $(dvc queue status | grep -cE 'Success|Failed') >= 2 )); do "
    "sleep 4; done",
    "<name>": "$(dvc queue status | awk '/Success/ {print $2; exit}')",
}


class Block(NamedTuple):
    """Commands, and the reason why they are not run, or None."""

    commands: str
    reason: str | None


def blocks_of(page):
    """The blocks of a page; output lines of a block that has prompts are left out."""
    found = []
    for match in BLOCK.finditer(page.read_text(encoding="utf-8")):
        lines, continued = [], False
        for line in match["text"].splitlines():
            if line.startswith("$ ") or continued:
                lines.append(line.removeprefix("$ "))
                continued = line.endswith("\\")
        found.append(Block("\n".join(lines), match["reason"]))
    return found


RUN = [page for page in PAGES if any(block.reason is None for block in blocks_of(page))]


def test_every_block_has_commands_or_a_reason():
    assert {"INSTALL", "EXPERIMENTS", "PREDICTION", "SHARING"} <= {page.stem for page in RUN}
    for page in PAGES:
        reasons = [block.reason for block in blocks_of(page) if block.reason is not None]
        assert page.read_text().count("<!-- not run:") == len(reasons), page
        assert all(block.commands for block in blocks_of(page)), page


@pytest.mark.dvc
def test_a_block_that_fails_is_noticed(tmp_path):
    with pytest.raises(AssertionError, match="no such command here"):
        run_block("echo one\necho no such command here >&2 && false\necho two", tmp_path, tmp_path)


def run_block(commands, folder, home, **environment):
    """Run commands in a shell that stops at the first one that fails; `y` confirms questions."""
    for text, replacement in PLACES.items():
        commands = commands.replace(text, replacement)
    environment |= {"HOME": str(home), "GIT_CONFIG_GLOBAL": f"{home}/.gitconfig"}
    place = {"cwd": folder, "env": Clone(folder).environment(forked=True) | environment}
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    command = ["bash", "-e", "-o", "pipefail", "-c", commands]
    done = subprocess.run(command, **place, **output, input="y\n" * 5, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


class Reader(NamedTuple):
    """A person's project and home folder."""

    project: Path
    home: Path

    def follow(self, page):
        for block in blocks_of(page):
            if block.reason is None:
                print(f"$ {block.commands}")
                print(run_block(block.commands, self.project, self.home, EDITOR="bash edit.sh"))


INSTALL = ROOT / "docs/INSTALL.md"

EDIT = """
import sys
from pathlib import Path
from ruamel.yaml import YAML
yaml = YAML()
params = yaml.load(Path("params.yaml"))
for section, values in yaml.load(Path("own_images.yaml")).items():
    params[section] |= values
yaml.dump(params, Path("params.yaml"))
"""


def prepare(root):
    """A small clone with an origin, and a home folder with images, as the pages suppose."""
    clone = make_clone(root / "project")
    home = root / "home"
    (home / "new").mkdir(parents=True)
    for i, shape in enumerate(CLASSES):
        draw(home / f"new/{shape}.png", shape, 50 + i)
    for name in ("photo.jpg", "a.jpg", "b.png", "picture.jpg", "other.png"):
        draw(clone.root / name, "circle", 60)
    with zipfile.ZipFile(clone.root / "more.zip", "w") as archive:
        archive.write(home / "new/cross.png", "cross.png")
    (home / "pictures").mkdir()
    shutil.copytree(clone.root / "data/raw/synthetic", root / "fruit")
    (root / "fruit/unlabelled").mkdir()
    shutil.copy(home / "new/circle.png", root / "fruit/unlabelled")
    shutil.make_archive(str(home / "pictures/fruit"), "zip", root / "fruit")
    (home / ".gitconfig").write_text("[user]\nname = Test\nemail = test@example.org\n")

    yaml = YAML()
    params = yaml.load(clone.root / "params.yaml")
    params |= {key: yaml.load(ROOT / "params.yaml")[key] for key in ("models", "policies")}
    del params["models"]["initial_cnn"]  # in no command
    for model in ("alphanet_a", "small_resnet"):
        params["models"][model]["arguments"]["widths"] = [8, 16]
    params["robustness"]["images"] = 0  # in no command, and runs after each change of a model
    params["limit"] |= {"images_per_class": 20, "epochs": 1}
    params["explain"]["model"] = "small_resnet"
    yaml.dump(params, clone.root / "params.yaml")
    search = clone.root / "studies/search/searches/digits.yaml"
    search.write_text(search.read_text().replace("n_trials: 12", "n_trials: 4"))
    (text,) = re.findall(r"```yaml\n(.*?)```", INSTALL.read_text(), re.S)
    (clone.root / "own_images.yaml").write_text(text)
    (clone.root / "edit.py").write_text(EDIT)
    (clone.root / "edit.sh").write_text("python edit.py\n")
    (clone.root / ".venv/bin").mkdir(parents=True)
    (clone.root / ".venv/bin/activate").touch()  # the tools of these tests are used
    (clone.root / ".venv/.ready").touch()
    clone.commit()
    clone.run("git", "branch", "-M", "main")
    clone.run("git", "init", "-q", "--bare", "-b", "main", str(root / "origin.git"))
    clone.run("git", "remote", "add", "origin", str(root / "origin.git"))
    clone.run("git", "push", "-q", "-u", "origin", "main")
    return Reader(clone.root, home)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A reader who has trained on their own images in a clone."""
    reader = prepare(tmp_path_factory.mktemp("reader"))
    reader.follow(INSTALL)
    return reader


@pytest.mark.dvc
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_the_commands_of_a_page_run_as_written(reader, page):
    if page == INSTALL:
        return  # by the fixture
    run_block("git checkout -q . && dvc checkout -q", reader.project, reader.home)
    reader.follow(page)
