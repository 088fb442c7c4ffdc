"""Files that cannot be read: which are tolerated, and where they are listed."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from classifold.data.csv_file import write_rows
from classifold.errors import UserError
from classifold.ingest.entries import NotRead

REASONS_SHOWN = 5


class Failure(NamedTuple):
    """Why too few images can be read."""

    cause: str
    remedy: str
    is_over_limit: bool  # whether a larger `max_unreadable` would accept the files


def check_readable(
    unreadable: Sequence[NotRead],
    *,
    images_per_class: Mapping[str, int],
    n_images: int,
    max_unreadable: Mapping[str, Any],
) -> None:
    """Check that enough images could be read; the arguments are those of `find_failure`.

    Raises:
        UserError: if not. All unreadable files are then listed in `list_of_failed_run`.
    """
    listed = list_of_failed_run()
    listed.unlink(missing_ok=True)
    failure = find_failure(
        unreadable,
        images_per_class=images_per_class,
        n_images=n_images,
        max_unreadable=max_unreadable,
    )
    if failure:
        write_list(listed, unreadable)
        limit = ", or raise fraction or count" if failure.is_over_limit else ""
        raise UserError(f"{failure.cause}. {failure.remedy}{limit}: all are in {listed}.")


def find_failure(
    unreadable: Sequence[NotRead],
    *,
    images_per_class: Mapping[str, int],
    n_images: int,
    max_unreadable: Mapping[str, Any],
) -> Failure | None:
    """Find out whether there is no image, no image of a class, or too few images.

    Args:
        unreadable: the files that cannot be read.
        images_per_class: number of readable images of each class.
        n_images: number of all readable images.
        max_unreadable: `fraction` and `count` of files; the larger of the two is tolerated.
    """
    n_bad, n_files = len(unreadable), n_images + len(unreadable)
    is_over_limit = False
    fraction, count = max_unreadable["fraction"], max_unreadable["count"]
    lost = [name for name, number in images_per_class.items() if not number]
    if n_images == 0:
        cause, remedy = "dataset.path: no image can be read", "Fix the files"
    elif n_bad > max(fraction * n_files, count):
        is_over_limit = True
        cause = (
            f"ingest.max_unreadable: {n_bad:,} of {n_files:,} files cannot be read, more than "
            f"fraction {fraction:g} and count {count:,} allow"
        )
        remedy = "Fix or remove the files"
    elif lost:
        cause = f"dataset.path: no image of class {', '.join(map(repr, lost))} can be read"
        remedy = "Fix the files, or remove the class"
    else:
        return None
    return Failure(f"{cause}: {format_reasons(unreadable)}", remedy, is_over_limit)


def list_of_failed_run() -> Path:
    """Return where unreadable files are listed when `ingest` fails.

    DVC removes the outputs of a failed stage before the next run, and the whole copy of the
    project in which a queued experiment fails. This file is in no output, and in the project.
    """
    file = Path(".cache/unreadable.csv")
    root = os.environ.get("DVC_ROOT", "")  # the project, also in an experiment's copy
    return file if Path(root).resolve() == Path.cwd() else root / file


def write_list(path: Path, items: Iterable[NotRead]) -> None:
    """Write one row per file: id, reason."""
    rows = (item._asdict() for item in sorted(items))
    write_rows(path, rows, columns=NotRead._fields)


def format_reasons(unreadable: Sequence[NotRead]) -> str:
    """Format the most frequent reasons, each with its count and an example."""
    examples = {item.reason: item.id for item in reversed(unreadable)}
    reasons = Counter(item.reason for item in unreadable).most_common(REASONS_SHOWN)
    text = "; ".join(
        f"{count:,} times {reason!r}, such as {examples[reason]!r}" for reason, count in reasons
    )
    return text + ("; …" if len(examples) > REASONS_SHOWN else "")
