"""Look at the data set of params.yaml before any stage runs."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from dvc.utils.serialize import modify_yaml

from classifold.errors import UserError
from classifold.ingest.detection import TORCHVISION, open_source

COMPRESSED = (".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz")  # tar archives without a list


def describe_dataset(dataset: Mapping[str, str]) -> Iterator[str]:
    """Describe the images and classes of a data set, from names alone: no image is decoded.

    Compressed tar archives and data sets of torchvision are not opened: only `ingest` reads them.

    Args:
        dataset: the section of params.yaml.

    Yields:
        Lines for the log.

    Raises:
        UserError: if the data are missing and DVC cannot make them, or if there are no images or
            too few classes, as in `ingest`.
    """
    path = Path(dataset["path"])
    if dataset["layout"].startswith(TORCHVISION):
        if not path.is_dir():
            raise UserError(
                f"dataset.path: {path} is not a folder. Create it with 'mkdir -p {path}'; "
                f"{dataset['layout']} is downloaded into it if there is a network."
            )
    elif not _exists(path):
        yield _made_by_dvc(path)
    elif path.suffix.lower() not in COMPRESSED or path.is_dir():
        with open_source(**dataset, scratch=path.parent) as (_, source):
            n_classes = len({label for image in source.images for label in image.labels})
            yield (
                f"{path}: layout {source.layout}, {len(source.images):,} images, {n_classes:,} "
                "classes"
            )
            yield from source.remarks


def expand_home(params: Path) -> str:
    """Replace `~` at the start of `dataset.path` in a file of params, since DVC does not.

    Comments and order stay, as when DVC changes the file.

    Returns:
        The new path.
    """
    with modify_yaml(str(params)) as content:
        path = os.path.expanduser(content["dataset"]["path"])  # noqa: PTH111 - Path's can fail
        content["dataset"]["path"] = path
    return path


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:  # for example, a name that is too long for a file
        raise UserError(f"dataset.path: cannot be a path ({error.strerror}). Correct it.") from None


def _made_by_dvc(path: Path) -> str:
    """Describe how DVC makes data that are missing; its own message has no remedy."""
    if any(Path(f"{tracked}.dvc").is_file() for tracked in (path, *path.parents)):
        return f"{path}: missing; 'dvc pull' fetches it"
    raise UserError(
        f"dataset.path: {path} does not exist. Correct it, or add your images with 'dvc add "
        f"<folder or zip> -o {path}'."
    )
