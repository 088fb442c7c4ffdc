"""Where a training stands, kept outside of the stage's outputs so that it can be stopped and go on.

One safetensors file: tensors by their path in the state, everything else as JSON in its header.
Random numbers need not be kept: they are drawn from the seed, the epoch and the image.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from classifold.folders import new_file
from classifold.progress import say


class Checkpoint:
    """A file that holds the state of one training, and of no other."""

    def __init__(self, path: Path, key: str) -> None:
        """Name the file and the training.

        Args:
            path: of the file; its folder is made when it is first saved.
            key: of everything that the training depends on, see `training_key`.
        """
        self.path, self.key = path, key

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace what is kept, all at once: who is killed here leaves the old or the new file.

        Args:
            state: mappings and lists of tensors, numbers, texts and None, of any depth.
        """
        tensors: dict[str, Tensor] = {}
        header = {"key": self.key, "state": json.dumps(_without_tensors(state, "", tensors))}
        with new_file(self.path) as partial:
            save_file(tensors, partial, header)
            with partial.open("rb") as file:
                os.fsync(file.fileno())  # the machine may stop, too

    def load(self) -> dict[str, Any] | None:
        """Read the state, if the file is there and of this training; tensors are on the CPU."""
        if not self.path.is_file():
            return None
        try:
            with safe_open(self.path, "pt") as file:
                header = file.metadata() or {}
                if header.get("key") != self.key:
                    say(
                        f"  the checkpoint {self.path} is of other params, data or code: "
                        "training begins anew"
                    )
                    return None
                state: dict[str, Any] = _with_tensors(json.loads(header["state"]), file.get_tensor)
                return state
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            say(f"  the checkpoint {self.path} cannot be read ({error}): training begins anew")
            return None

    def remove(self) -> None:
        """Forget the training, which is done."""
        self.path.unlink(missing_ok=True)


def training_key(params: Mapping[str, Any], files: Iterable[Path]) -> str:
    """Tell trainings apart: by their params, by the content of their data, by code and versions.

    Args:
        params: all that the training reads.
        files: of the data.
    """
    digest = hashlib.sha256(json.dumps(params, sort_keys=True).encode())
    digest.update(torch.__version__.encode())
    modules = (module for name, module in sys.modules.items() if name.startswith("classifold."))
    code = (Path(module.__file__) for module in modules if module.__file__)
    for path in [*sorted(code), *files]:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()


def like_parameters(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Give an optimizer's state, as it was read, the memory order of its parameters.

    Files hold tensors in plain order. A fused step goes through parameter and moments by their
    place in memory, and would pair them wrongly, and silently, where a parameter is channels_last.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    laid_out = {
        int(number): {
            name: torch.empty_like(parameters[int(number)]).copy_(value)
            if isinstance(value, Tensor) and value.shape == parameters[int(number)].shape
            else value
            for name, value in of_parameter.items()
        }
        for number, of_parameter in state["state"].items()
    }
    return {"state": laid_out, "param_groups": state["param_groups"]}


def _without_tensors(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """The value as JSON takes it; its tensors go into `tensors`, and say where they are."""
    match value:
        case Tensor():
            # Copied: two names of one memory are more than a safetensors file takes.
            tensors[path] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
            return {"tensor at": path}
        case Mapping():
            return {
                str(key): _without_tensors(item, f"{path}/{key}", tensors)
                for key, item in value.items()
            }
        case list() | tuple():
            return [
                _without_tensors(item, f"{path}/{number}", tensors)
                for number, item in enumerate(value)
            ]
    return value


def _with_tensors(value: Any, get_tensor: Any) -> Any:
    match value:
        case {"tensor at": str(path)}:
            return get_tensor(path)
        case dict():
            return {key: _with_tensors(item, get_tensor) for key, item in value.items()}
        case list():
            return [_with_tensors(item, get_tensor) for item in value]
    return value
