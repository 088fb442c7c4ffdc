"""Read the tensors of files of weights, without running code in a file; write them."""

import hashlib
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from classifold.errors import SettingError, UserError
from classifold.models.filling import is_under
from classifold.runtime.faults import first_line

PICKLED = (".pth", ".pt", ".bin")

# Keys under which training scripts store the weights, and prefixes that wrappers add to names.
WRAPPERS = ("state_dict", "model_state_dict", "model")
PREFIXES = ("module.", "_orig_mod.", "model.")


def read_weights(path: Path, sha256: str) -> dict[str, Tensor]:
    """Read a network's tensors from a `.safetensors`, `.pth`, `.pt` or `.bin` file.

    Wrappers of training scripts (`{"state_dict": …}`, `module.`) are removed. From a file of a
    trained model with a `backbone`, only the backbone is read.

    Args:
        path: the file.
        sha256: SHA-256 of the whole file, 64 hexadecimal digits.

    Returns:
        Contiguous tensors by their names; they may be views of the file.

    Raises:
        UserError: if there is no such file, its sha256 differs, it is damaged, of another type,
            or holds anything but tensors, such as code.
    """
    if not path.is_file():
        raise SettingError(
            f"arguments.weights: no such file, got {path}. Put it there, or correct the path, "
            "which is relative to the folder of params.yaml."
        )
    got = sha256_of(path)
    if got != sha256.lower():
        raise UserError(
            f"{path}: must have the sha256 in arguments.weights, {sha256}, got {got}. Download the "
            "file again, or set the new sha256 if the file was changed on purpose."
        )
    return read_tensors(path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a file's tensors, as `read_weights` does."""
    content = _load(path)
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    return _with_plain_names(_only_tensors(content, path))


def sha256_of(path: Path) -> str:
    """Compute the sha256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _load(path: Path) -> Any:
    """Read a file without running code in it."""
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise UserError(_damaged(path, error)) from None
    if path.suffix not in PICKLED:
        raise SettingError(
            f"arguments.weights: must be a .safetensors, {', '.join(PICKLED)} file, got {path}. "
            "Rename it, or convert it to safetensors."
        )
    try:
        with warnings.catch_warnings():
            # torch raises an error after these warnings (TorchScript, newer pickles).
            warnings.simplefilter("ignore")
            return torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
    except Exception as error:  # by Python's documentation a damaged pickle may raise anything
        code = re.search(r"GLOBAL ([\w.]+)", str(error))
        if code:
            raise UserError(
                f"{path}: must hold only tensors, got {code[1]}, which would run code, so the file "
                "was not read. Download the weights as safetensors, or, if you trust the file, "
                "save only the tensors of its state_dict."
            ) from None
        raise UserError(_damaged(path, error)) from None


def _damaged(path: Path, error: Exception) -> str:
    return (
        f"{path}: must be a {path.suffix} file of weights, but is damaged ({first_line(error)}). "
        "Download it again."
    )


def _only_tensors(content: Any, path: Path) -> dict[str, Tensor]:
    advice = "Save only the network's state_dict, preferably as safetensors."
    if not isinstance(content, Mapping) or not content:
        raise UserError(
            f"{path}: must hold tensors by their names, got "
            f"{'nothing' if isinstance(content, Mapping) else type(content).__name__}. {advice}"
        )
    for name, tensor in content.items():
        plain = (
            isinstance(name, str)
            and isinstance(tensor, Tensor)
            and tensor.layout is torch.strided
            and not tensor.is_quantized
            and not tensor.is_meta
        )
        if not plain:
            kind = "another type of tensor" if isinstance(tensor, Tensor) else type(tensor).__name__
            raise UserError(
                f"{path}: must hold dense tensors by their names, got {kind} for {name!r}. {advice}"
            )
    return dict(content)


def _with_plain_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    backbone = {name: tensor for name, tensor in tensors.items() if is_under(name, ["backbone"])}
    if backbone and all(is_under(name, ["backbone", "head"]) for name in tensors):
        return {name.removeprefix("backbone."): tensor for name, tensor in backbone.items()}
    return tensors


def save_weights(path: Path, network: nn.Module) -> None:
    """Write the weights of a network, with their names, as safetensors."""
    # Contiguous copies: safetensors stores no other memory layout.
    state = {
        name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()
    }
    save_file(state, path)
