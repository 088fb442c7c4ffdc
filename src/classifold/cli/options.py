"""Options that several commands have, and paths as the user gave them."""

import math
import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

NO_PATHS = ("unlabelled",)  # arguments of `predict` that are words


def given_paths(context: typer.Context, option: typer.CallbackParam, value: Any) -> Any:
    """Translate paths that were given on the command line; a callback of options.

    `~` is expanded. A relative path starts at the folder in which the command was started, while
    the command itself runs in the folder of the project. Defaults are relative to the latter.

    Args:
        context: has the first folder as `obj`.
        option: the option whose value it is.
        value: a path, or a list of paths or of text.
    """
    source = context.get_parameter_source(option.name or "")
    if value is None or (source and source.name == "DEFAULT"):
        return value
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_from_start(item, context.find_root().obj) for item in value]
    return _from_start(value, context.find_root().obj)


def expand_home(paths: list[str]) -> list[str]:
    """Expand `~` in paths that a command names in its output as they were given; a callback."""
    return [_from_start(path, None) for path in paths]


def require_finite(value: float | None) -> float | None:
    """Refuse infinity and NaN, which no range excludes; a callback of options."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"must be a finite number, got {value}.")
    return value


def start_folder(context: typer.Context) -> Path:
    """Return the folder in which the command was started, relative to the current folder."""
    return Path(os.path.relpath(context.find_root().obj))


def _from_start(value: Any, start: Path | None) -> Any:
    if value in NO_PATHS:
        return value
    path, here = Path(os.path.expanduser(value)), Path.cwd()  # noqa: PTH111 - Path's can fail
    if start and start != here and not path.is_absolute():
        path = Path(os.path.relpath(start / path, here))
    # Text that names the same path stays as it is: "./a" is not "a" to every command.
    return value if path == Path(value) else type(value)(path)


ModelName = Annotated[str, typer.Option(help="'stack', or a name of 'models' in params.yaml.")]
ModelsFolder = Annotated[
    Path,
    typer.Option(
        callback=given_paths,
        help="The folder of trained models; that of 'classifold refit' is 'refit'.",
    ),
]
ImageFolders = Annotated[
    str,
    typer.Option(help="What the folders of each level are, such as split/class or any/class."),
]


class PresetName(StrEnum):
    """How much is trained; `classifold.project.presets` has the rules."""

    QUICK = "quick"
    GOOD = "good"
    BEST = "best"


PresetOption = Annotated[
    PresetName,
    typer.Option(
        help="quick: a first result in minutes; good: fine-tunes networks and stacks them; best: "
        "also fits the stack on out-of-fold predictions."
    ),
]
