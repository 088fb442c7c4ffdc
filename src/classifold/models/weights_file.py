"""Pretrained weights, by their published name or from a file, copied into a network.

In params `weights` is null or missing (random weights), torchvision's name of published weights
(`IMAGENET1K_V1`, `DEFAULT`), or `{file: weights/resnet18.safetensors, sha256: 0123…}`: a path
relative to the folder of params.yaml, with the file's sha256, by which DVC detects a change. The
file can be of a model that Classifold trained. Only tensors are read: no code in a file is run.
"""

import hashlib
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from classifold.errors import UserError

PICKLED = (".pth", ".pt", ".bin")

# Keys under which training scripts store the weights, and prefixes that wrappers add to names.
WRAPPERS = ("state_dict", "model_state_dict", "model")
PREFIXES = ("module.", "_orig_mod.", "model.")

# Trained on pixels in [0, 255] minus a mean, which no `normalize` computes.
UNUSABLE = ("IMAGENET1K_FEATURES",)

# Batch norm's counter of batches: missing in old files, and no result depends on it.
COUNTER = "num_batches_tracked"

Weights = str | Mapping[str, str]  # as in params


def find_weights(weights: Weights, *, classifier: str | None) -> dict[str, Tensor]:
    """Load the tensors that `weights` specifies.

    Args:
        weights: torchvision's name of published weights, which are downloaded to TORCH_HOME, or
            `{file: …, sha256: …}`.
        classifier: torchvision's classifier to which a name of weights belongs; None if there
            are no published weights for this network.

    Raises:
        UserError: if there are no such weights, they cannot be downloaded, or the file is invalid.
    """
    if isinstance(weights, str):
        return _published(weights, classifier)
    keys = set(weights) if isinstance(weights, Mapping) else None
    if keys != {"file", "sha256"} or not all(isinstance(weights[key], str) for key in keys):
        raise UserError(
            "arguments.weights: must be null, a name of torchvision's weights, or a file as "
            f"{{file: weights/resnet18.safetensors, sha256: 0123…}}, got {weights!r}."
        )
    return read_weights(Path(weights["file"]), weights["sha256"])


def read_weights(path: Path, sha256: str) -> dict[str, Tensor]:
    """Read a network's tensors from a `.safetensors`, `.pth`, `.pt` or `.bin` file.

    Wrappers of training scripts (`{"state_dict": …}`, `module.`) are removed. From a file of a
    trained model with a `backbone`, only the backbone is read.

    Args:
        path: the file.
        sha256: of the whole file, 64 hexadecimal digits.

    Returns:
        Contiguous tensors by their names; they may be views of the file.

    Raises:
        UserError: if there is no such file, its sha256 differs, it is damaged, of another type,
            or holds anything but tensors, such as code.
    """
    if not path.is_file():
        raise UserError(
            f"arguments.weights: no such file, got {path}. Put it there, or correct the path, "
            "which is relative to the folder of params.yaml."
        )
    with path.open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if got != sha256.lower():
        raise UserError(
            f"{path}: must have the sha256 in arguments.weights, {sha256}, got {got}. Download the "
            "file again, or set the new sha256 if the file was changed on purpose."
        )
    content = _load(path)
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    return _with_plain_names(_only_tensors(content, path))


def fill_network(
    network: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    weights: Weights,
    new: Iterable[str] = (),
    unused: Iterable[str] = (),
) -> None:
    """Copy tensors into all layers of a network except the new ones.

    Args:
        network: changed in place.
        tensors: by the names of `network.state_dict()`, of the same shapes.
        weights: their source, as in params, for messages.
        new: the network's modules that are not changed; their tensors in `tensors` are ignored.
        unused: prefixes of names of other tensors that are ignored.

    Raises:
        UserError: if a layer that is not new has no tensor, or a tensor has no layer: the weights
            are of another network. Nothing is copied then.
    """
    new, unused = tuple(new), tuple(unused)
    own = {name: own for name, own in network.state_dict().items() if not is_under(name, new)}
    given = {
        name: tensor for name, tensor in tensors.items() if not is_under(name, (*new, *unused))
    }
    fitting = [name for name in own if name in given and _fits(given[name], own[name])]
    wrong = [
        f"{name} {tuple(given[name].shape)} of {_kind(given[name])} for "
        f"{tuple(own[name].shape)} of {_kind(own[name])}"
        for name in own
        if name in given and name not in fitting
    ]
    missing = [name for name in own if name not in given and not name.endswith(COUNTER)]
    unknown = [name for name in given if name not in own and not name.endswith(COUNTER)]
    if wrong or missing or unknown:
        found = [
            f"{what} {len(names)} ({_listed(names)})"
            for what, names in [
                ("missing", missing),
                ("of another shape", wrong),
                ("unexpected", unknown),
            ]
            if names
        ]
        advice = (
            "Use weights of this network, or null for random weights."
            if len(fitting) < len(own) / 2
            else "Set the name, image_size and arguments of the network from which the weights are."
        )
        raise UserError(
            f"arguments.weights ({_described(weights)}): must match all layers except the head; "
            f"{len(fitting)} of the network's {len(own)} tensors match, {', '.join(found)}. "
            f"{advice}"
        )
    broken = [name for name in fitting if not bool(torch.isfinite(given[name]).all())]
    if broken:
        raise UserError(
            f"arguments.weights ({_described(weights)}): must be finite, got NaN or infinity in "
            f"{len(broken)} tensors ({_listed(broken)}). Use other weights."
        )
    for name in fitting:
        own[name].copy_(given[name])


def is_under(name: str, modules: Iterable[str]) -> bool:
    """Return whether a tensor belongs to one of the modules or their children."""
    return any(f"{name}.".startswith(f"{module}.") for module in modules)


def _published(weights: str, classifier: str | None) -> dict[str, Tensor]:
    if classifier is None:
        raise UserError(
            "arguments.weights: must be null or a file as {file: …, sha256: …} for this network, "
            f"got '{weights}'."
        )
    # Not at the top: the import takes 1.5 seconds, which weights from a file do not need.
    from torchvision.models import get_model_weights  # noqa: PLC0415

    by_name = get_model_weights(classifier)
    known = [name for name in by_name.__members__ if name not in UNUSABLE]
    if weights not in known:
        raise UserError(
            f"arguments.weights: must be null, one of {', '.join(known)} for {classifier}, or a "
            f"file as {{file: …, sha256: …}}, got '{weights}'."
        )
    published = by_name[weights]
    try:
        # weights_only: no pickled code is run; check_hash: the file is the published one.
        return published.get_state_dict(check_hash=True, weights_only=True)
    except URLError as error:
        raise UserError(
            f"arguments.weights: {weights} of {classifier} could not be downloaded "
            f"({error.reason}). Download {published.url} on another machine and copy it to "
            "$TORCH_HOME/hub/checkpoints, or set weights to null."
        ) from None


def _load(path: Path) -> Any:
    """Read a file without running code in it."""
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise UserError(_damaged(path, error)) from None
    if path.suffix not in PICKLED:
        raise UserError(
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
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return (
        f"{path}: must be a {path.suffix} file of weights, but is damaged ({reason[:100]}). "
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


def _fits(given: Tensor, own: Tensor) -> bool:
    return given.shape == own.shape and _kind(given) == _kind(own)


def _kind(tensor: Tensor) -> str:
    """The kind of a tensor's numbers; all floating-point types are one kind."""
    return "floats" if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _described(weights: Weights) -> str:
    return weights if isinstance(weights, str) else weights["file"]
