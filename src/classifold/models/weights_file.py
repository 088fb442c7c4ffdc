"""Published weights: found by their name or in a file, and copied into a network.

In params `weights` is null or left out (random weights), torchvision's name of published weights
(`IMAGENET1K_V1`, `DEFAULT`), or `{file: weights/resnet18.safetensors, sha256: 0123…}`: a path from
the folder of params.yaml, with the file's sha256, by which DVC sees a change. It can be a file that
training left, too. Nothing but tensors is read: no code in a file is run.
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

# Where training scripts keep the weights among other things, and what wrappers put before names.
WRAPPERS = ("state_dict", "model_state_dict", "model")
PREFIXES = ("module.", "_orig_mod.", "model.")

# Made for pixels in [0, 255] less a mean, which no `normalize` gives.
UNUSABLE = ("IMAGENET1K_FEATURES",)

# Batch norm's count of batches: old files lack it, and no result depends on it.
COUNTER = "num_batches_tracked"

Weights = str | Mapping[str, str]  # as in params


def find_weights(weights: Weights, *, classifier: str | None) -> dict[str, Tensor]:
    """Find the tensors that `weights` names.

    Args:
        weights: torchvision's name of published weights, which are downloaded to TORCH_HOME, or
            `{file: …, sha256: …}`.
        classifier: torchvision's classifier whose published weights a name means; None if a
            name means nothing for this network.

    Raises:
        UserError: if there are no such weights, they cannot be downloaded, or the file is refused.
    """
    if isinstance(weights, str):
        return _published(weights, classifier)
    keys = set(weights) if isinstance(weights, Mapping) else None
    if keys != {"file", "sha256"} or not all(isinstance(weights[key], str) for key in keys):
        raise UserError(
            "arguments.weights must be null, a name of torchvision's, or a file as "
            f"{{file: weights/resnet18.safetensors, sha256: 0123…}}, got {weights!r}"
        )
    return read_weights(Path(weights["file"]), weights["sha256"])


def read_weights(path: Path, sha256: str) -> dict[str, Tensor]:
    """Read a network's tensors from a `.safetensors`, `.pth`, `.pt` or `.bin` file.

    What training scripts wrap around them (`{"state_dict": …}`, `module.`) is taken off, and of a
    file of our own that holds another's network as `backbone`, the backbone is taken.

    Args:
        path: the file.
        sha256: of the whole file, 64 hexadecimal digits.

    Returns:
        Tensors in plain memory by their names; they may be views of the file.

    Raises:
        UserError: if there is no such file, its sha256 is another, it is damaged, of another
            kind, or holds anything but tensors, such as code.
    """
    if not path.is_file():
        raise UserError(
            f"arguments.weights names {path}, which is no file; put it there, or correct the path, "
            "which starts at the folder of params.yaml"
        )
    with path.open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if got != sha256.lower():
        raise UserError(
            f"{path} must have the sha256 that arguments.weights names, {sha256}, got {got}; "
            "fetch the file again, or write the new sha256 if the file was changed on purpose"
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
    """Copy tensors into every layer of a network but the new ones.

    Args:
        network: changed in place.
        tensors: by the names of `network.state_dict()`, of the same shapes.
        weights: where they are from, as in params: for the message.
        new: the network's modules that stay as they are; the like in `tensors` is ignored.
        unused: what else in `tensors` is ignored, by the beginnings of names.

    Raises:
        UserError: if a layer would be left as it is without being new, or a tensor has no place:
            then the weights are of another network, and nothing is copied.
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
                ("without a place in it", unknown),
            ]
            if names
        ]
        advice = (
            "use weights of this network, or null for random ones"
            if len(fitting) < len(own) / 2
            else "build the network with the name, image_size and arguments of the weights"
        )
        raise UserError(
            f"arguments.weights ({_described(weights)}) must fit every layer but the head; of the "
            f"network's {len(own)} tensors {len(fitting)} fit; {', '.join(found)}; {advice}"
        )
    broken = [name for name in fitting if not bool(torch.isfinite(given[name]).all())]
    if broken:
        raise UserError(
            f"arguments.weights ({_described(weights)}) must be finite numbers, but "
            f"{len(broken)} tensors hold others ({_listed(broken)}); use other weights"
        )
    for name in fitting:
        own[name].copy_(given[name])


def is_under(name: str, modules: Iterable[str]) -> bool:
    """Whether a tensor belongs to one of the modules or their children."""
    return any(f"{name}.".startswith(f"{module}.") for module in modules)


def _published(weights: str, classifier: str | None) -> dict[str, Tensor]:
    if classifier is None:
        raise UserError(
            "arguments.weights must be null or a file as {file: …, sha256: …}, "
            f"got '{weights}': no weights are published by name for this network"
        )
    # It takes a second and a half to import, which whoever reads a file is spared.
    from torchvision.models import get_model_weights  # noqa: PLC0415

    by_name = get_model_weights(classifier)
    known = [name for name in by_name.__members__ if name not in UNUSABLE]
    if weights not in known:
        raise UserError(
            f"arguments.weights must be null or one of {', '.join(known)} for {classifier}, or a "
            f"file as {{file: …, sha256: …}}, got '{weights}'"
        )
    published = by_name[weights]
    try:
        # weights_only: no pickled code is run; check_hash: the file is the published one.
        return published.get_state_dict(check_hash=True, weights_only=True)
    except URLError as error:
        raise UserError(
            f"the weights {weights} of {classifier} could not be downloaded ({error.reason}); "
            f"fetch {published.url} on another machine and put it into "
            "$TORCH_HOME/hub/checkpoints, or set weights to null"
        ) from None


def _load(path: Path) -> Any:
    """Whatever the file holds, if it can be read without running code."""
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise UserError(_damaged(path, error)) from None
    if path.suffix not in PICKLED:
        raise UserError(
            f"arguments.weights must name a file that ends in .safetensors, {', '.join(PICKLED)}, "
            f"got {path}; rename it, or convert it to safetensors"
        )
    try:
        with warnings.catch_warnings():
            # What torch warns of (TorchScript, newer pickles) it refuses next.
            warnings.simplefilter("ignore")
            return torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
    except Exception as error:  # a damaged pickle may raise anything, says Python's documentation
        code = re.search(r"GLOBAL ([\w.]+)", str(error))
        if code:
            raise UserError(
                f"{path} must hold tensors alone, got {code[1]}, for which code would have to be "
                "run: it was not read; fetch the weights as safetensors, or, if you trust the "
                "file, save the tensors of its state_dict alone on another machine"
            ) from None
        raise UserError(_damaged(path, error)) from None


def _damaged(path: Path, error: Exception) -> str:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return (
        f"{path} must be a {path.suffix} file of weights, but cannot be read as one "
        f"({reason[:100]}); fetch it again"
    )


def _only_tensors(content: Any, path: Path) -> dict[str, Tensor]:
    advice = "save the network's state_dict alone, best as safetensors"
    if not isinstance(content, Mapping) or not content:
        raise UserError(
            f"{path} must hold tensors by their names, got "
            f"{'nothing' if isinstance(content, Mapping) else type(content).__name__}; {advice}"
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
            kind = "no plain tensor" if isinstance(tensor, Tensor) else type(tensor).__name__
            raise UserError(
                f"{path} must hold plain tensors by their names, but {name!r} is {kind}; {advice}"
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
    """Halves may stand for floats; integers or complex numbers for neither."""
    return "floats" if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _described(weights: Weights) -> str:
    return weights if isinstance(weights, str) else weights["file"]
