"""Features of images, computed once per body and kept in files.

The features of an image are the inputs of a network's head. While the body is frozen they depend
only on the body, the preprocessing and the image, so that several training runs of heads can share
them. A file is a float16 array (N, n_features), memory-mapped when read.
"""

import hashlib
import inspect
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn

from classifold.data import image_arrays
from classifold.data.image_arrays import apply_to_stored, content_hash
from classifold.models import folding, inference, preprocessing
from classifold.models.filling import is_under
from classifold.models.folding import fold_batch_norms
from classifold.models.inference import BATCH_SIZE, predict_features
from classifold.models.preprocessing import Normalize, to_input
from classifold.runtime.atomic_files import new_file
from classifold.runtime.experiment_folders import original_project
from classifold.runtime.faults import first_line
from classifold.runtime.progress import log, track

PACKAGE = "classifold."

FOLDER = Path(".cache/features")

# Of all files in the folder. Those that were not used for longest are deleted first.
MAX_BYTES = 8 * 2**30

# Of the space left on the disk, for one file.
MAX_FRACTION_OF_DISK = 0.5

# An unfinished file that was not written to for longer is of a killed process.
MAX_SECONDS_TO_WRITE = 24 * 3600

IMAGES_PER_CHUNK = 4 * BATCH_SIZE

# Of a chunk, in units of its norm: rounding to float16 changes each feature by 2 ** -11.
MAX_ROUNDING = 2**-10

# Modules of any library that change nothing in evaluation mode, beside dropout.
INERT = ("Identity", "DropPath", "StochasticDepth")


class NotCachedError(Exception):
    """Features cannot be kept; the message is the reason."""


class FeatureCache:
    """Files of features, shared by all processes that use the folder."""

    def __init__(self, folder: Path, *, max_bytes: int = MAX_BYTES) -> None:
        """Set the folder, which is created when it is needed.

        Args:
            folder: files in it may be deleted at any time.
            max_bytes: maximum size of all files.
        """
        self.folder, self.max_bytes = folder, max_bytes

    @classmethod
    def of_project(cls, root: Path) -> "FeatureCache":
        """Return the cache of a project, which the experiments of its queue share.

        Args:
            root: root folder of the project, or of its copy for an experiment.
        """
        return cls(original_project(root) / FOLDER)

    def features(
        self,
        network: nn.Module,
        images: np.ndarray,
        *,
        image_size: int,
        normalize: Normalize,
        device: torch.device,
    ) -> np.ndarray:
        """Return the features of images, and compute those that are not in the folder.

        They are computed in evaluation mode, at the precision of the autocast around the call. If
        another process computes the same features, this one waits for them.

        Args:
            network: on `device`.
            images: uint8 array (N, H, W, 3); of a selection, features of all stored images are
                computed, and of a concatenation those of each part.
            image_size: input size of the network.
            normalize: normalization that the network expects.
            device: device that computes.

        Returns:
            float16 array (N, n_features), on the disk.

        Raises:
            NotCachedError: if the file would be too large or cannot be written, or float16 cannot
                hold the features.
        """
        settings: dict[str, Any] = {
            "image_size": image_size,
            "normalize": normalize,
            "device": device,
        }
        body = _body_key(network, **settings)
        return apply_to_stored(
            lambda stored: self._of_stored(network, stored, body=body, **settings), images
        )

    def _of_stored(
        self, network: nn.Module, images: np.ndarray, *, body: str, **settings: Any
    ) -> np.ndarray:
        if not len(images):
            raise NotCachedError("there are no images")
        key = hashlib.sha256(f"{body} {content_hash(images)}".encode()).hexdigest()
        path = self.folder / f"{key[:40]}.npy"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with _locked(path.with_suffix(".lock")):
                found = _read(path, len(images))
                if found is None:
                    self._compute(path, network, images, **settings)
                    found = _read(path, len(images))
                if found is None:
                    raise NotCachedError(f"{path} is not readable")
                os.utime(path, ns=(time.time_ns(),) * 2)  # the time of the last use
                return found
        except OSError as error:  # a full disk, for example
            raise NotCachedError(f"{path} cannot be written ({first_line(error)})") from None

    def _compute(self, path: Path, network: nn.Module, images: np.ndarray, **settings: Any) -> None:
        """Write a file of features."""
        n_images = len(images)
        example = np.array(images[:1])
        body = fold_batch_norms(network, to_input(example, **settings))
        n_features = predict_features(body, example, **settings).shape[1]
        n_bytes = n_images * n_features * np.dtype(np.float16).itemsize
        partial = path.with_name(f"{path.name}.partial")
        for old in (path, partial):  # damaged, or left by a killed process: the lock is held
            old.unlink(missing_ok=True)
        self._make_room(n_bytes)
        # No memory map: writing to one kills the process when the disk is full.
        with new_file(path, partial=partial), partial.open("wb") as file:
            shape = (n_images, n_features)
            np.lib.format.write_array_header_1_0(
                file, {"descr": "<f2", "fortran_order": False, "shape": shape}
            )
            file.truncate(file.tell() + n_bytes)  # `_make_room` of other processes counts it all
            for row in track(range(n_images), task="features", total=n_images, unit="images"):
                if (row + 1) % IMAGES_PER_CHUNK and row + 1 < n_images:
                    continue
                rows = slice(row - row % IMAGES_PER_CHUNK, row + 1)
                file.write(_as_float16(predict_features(body, images[rows], **settings)).tobytes())
            file.flush()
            os.fsync(file.fileno())

    def _make_room(self, n_bytes: int) -> None:
        """Delete the files that were not used for longest, so that another one fits.

        Raises:
            NotCachedError: if it does not fit.
        """
        if n_bytes > min(
            self.max_bytes, MAX_FRACTION_OF_DISK * shutil.disk_usage(self.folder).free
        ):
            raise NotCachedError(
                f"{n_bytes / 2**30:.1f} GiB of features are more than the cache or the disk holds"
            )
        files = sorted(_files(self.folder), key=lambda file: file[0], reverse=True)
        for written, size, path in files:
            n_bytes += size
            # Another process may be writing an unfinished file.
            unfinished = path.suffix == ".partial" and time.time() - written < MAX_SECONDS_TO_WRITE
            if n_bytes > self.max_bytes and not unfinished:
                path.unlink(missing_ok=True)  # processes that read it keep their memory map


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock while the block runs, and delete its file then."""
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        log("  features: another process computes them, waiting")
        lock.acquire()
    try:
        yield
    finally:
        # A process that waits for the deleted file does not get the lock, and makes a new one. On
        # Windows an open file cannot be deleted.
        with suppress(OSError):
            path.unlink()
        lock.release()


def _as_float16(features: np.ndarray) -> np.ndarray:
    """Round float32 features, which must be finite and in the range of float16."""
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = features.astype(np.float16)
        error = np.linalg.norm(rounded.astype(np.float32) - features)
    if not error <= MAX_ROUNDING * np.linalg.norm(features):
        raise NotCachedError("float16 cannot hold the features of this network")
    return rounded


def _files(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """List time of the last use, size and path of all files of features, unfinished ones too."""
    for path in [*folder.glob("*.npy"), *folder.glob("*.partial")]:
        try:
            status = path.stat()
        except FileNotFoundError:  # deleted by another process
            continue
        yield status.st_mtime, status.st_size, path


def _read(path: Path, n_images: int) -> np.ndarray | None:
    """Open a file of features; None if it is missing or damaged."""
    try:
        features = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        return None
    sound = features.dtype == np.float16 and features.ndim == 2 and len(features) == n_images
    return features if sound else None


def _body_key(
    network: nn.Module, *, image_size: int, normalize: Normalize, device: torch.device
) -> str:
    """Hash all that features depend on except the images.

    Heads make no difference, nor layers that change nothing in evaluation mode. So networks with
    the same backbone, such as `timm` and `probe`, share features.
    """
    body = _find_body(network, torch.zeros(1, 3, image_size, image_size, device=device))
    heads = [name for name, module in body.named_modules() if module is network.head]
    description = {
        "image_size": image_size,
        "normalize": normalize,
        "device": device.type,
        "autocast": str(torch.get_autocast_dtype(device.type))
        if torch.is_autocast_enabled(device.type)
        else None,
        "threads": torch.get_num_threads(),
        "versions": [version(library) for library in ("torch", "torchvision", "timm")],
        "modules": [
            (name, type(module).__qualname__, module.extra_repr())
            for name, module in body.named_modules()
            if not is_under(name, heads) and not _is_inert(module)
        ],
    }
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    kinds = {kind for kind in type(body).__mro__ if nn.Module in kind.__mro__[1:]}
    for module in body.modules():
        kinds |= {kind for kind in type(module).__mro__ if kind.__module__.startswith(PACKAGE)}
    code = [*sorted(map(inspect.getfile, kinds)), __file__]
    code += [str(module.__file__) for module in (folding, inference, preprocessing, image_arrays)]
    for file in code:
        digest.update(Path(file).read_bytes())
    for name, tensor in body.state_dict().items():
        if not is_under(name, heads):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            content = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8)
            digest.update(content.numpy().data)
    return digest.hexdigest()


def _find_body(network: nn.Module, inputs: Tensor) -> nn.Module:
    """Return the backbone if its outputs are the inputs of the head, otherwise the network."""
    backbone: Any = getattr(network, "backbone", None)
    if backbone is None:
        return network
    seen: dict[str, Any] = {}
    head: Any = network.head
    hooks = [
        backbone.register_forward_hook(lambda _, images, found: seen.update(of=images, is_=found)),
        head.register_forward_pre_hook(lambda _, features: seen.update(features=features[0])),
    ]
    was_training = network.training
    try:
        with torch.inference_mode():
            network.eval()(inputs)
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    alone = seen["of"][0] is inputs and seen["is_"] is seen["features"]
    return backbone if alone else network


def _is_inert(module: nn.Module) -> bool:
    """Return whether a module changes nothing in evaluation mode."""
    return isinstance(module, nn.modules.dropout._DropoutNd) or type(module).__name__ in INERT
