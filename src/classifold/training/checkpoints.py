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

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from classifold.errors import UserError
from classifold.runtime.atomic_files import new_file
from classifold.runtime.progress import log
from classifold.training.machine import Machine

BYTES_A_PIECE = 2**24  # of files, as processes hash them and send them to one another


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
        header = {
            "key": self.key,
            "epochs": str(len(state.get("history", ()))),
            "state": json.dumps(_without_tensors(state, "", tensors)),
        }
        with new_file(self.path, partial=self._partial()) as partial:
            save_file(tensors, partial, header)
            with partial.open("rb") as file:
                os.fsync(file.fileno())  # the machine may stop, too

    def save_everywhere(self, state: Mapping[str, Any], machine: Machine) -> None:
        """Save the state, which is the same in all processes, on each computer that trains.

        Any of them may be the one that is left, or that comes first the next time.
        """
        if machine.fabric.is_global_zero:
            self.save(state)
        if machine.n_processes == 1:
            return
        machine.fabric.barrier()
        # On a disk that all of them see the file is there by now.
        if machine.keeps_files and self._progress() != 1 + len(state.get("history", ())):
            self.save(state)

    def bring(self, machine: Machine) -> None:
        """Give each computer that trains the file of the one that has got furthest."""
        if machine.n_processes == 1:
            return
        content = self.path.read_bytes() if self._progress() else b""
        digest = hashlib.blake2b(content, digest_size=7).digest()
        has = [self._progress(), len(content), int.from_bytes(digest, "big")]
        rows = machine.gather(np.array(has, np.int64))
        furthest = int(rows[:, 0].argmax())
        if (rows == rows[furthest]).all():
            return
        sends = machine.fabric.global_rank == furthest
        lacks = machine.keeps_files and has != rows[furthest].tolist()
        with (self._partial() if lacks else Path(os.devnull)).open("wb") as file:
            for start in range(0, int(rows[furthest, 1]), BYTES_A_PIECE):
                piece = np.zeros(min(BYTES_A_PIECE, int(rows[furthest, 1]) - start), np.uint8)
                if sends:
                    piece[:] = np.frombuffer(content, np.uint8)[start : start + BYTES_A_PIECE]
                file.write(machine.sum(piece).tobytes())
        if lacks:
            self._partial().replace(self.path)
        machine.fabric.barrier()

    def load(self) -> dict[str, Any] | None:
        """Read the state, if the file is there and of this training; tensors are on the CPU."""
        if not self.path.is_file():
            return None
        try:
            with safe_open(self.path, "pt") as file:
                header = file.metadata() or {}
                if header.get("key") != self.key:
                    log(
                        f"  the checkpoint {self.path} is of other params, data or code: "
                        "training begins anew"
                    )
                    return None
                state: dict[str, Any] = _with_tensors(json.loads(header["state"]), file.get_tensor)
                return state
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            log(f"  the checkpoint {self.path} cannot be read ({error}): training begins anew")
            return None

    def remove(self) -> None:
        """Forget the training, which is done."""
        self.path.unlink(missing_ok=True)

    def _partial(self) -> Path:
        """What becomes the file; computers that share a disk have each their own."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self.path.with_suffix(f".{os.environ.get('GROUP_RANK', '0')}.partial")

    def _progress(self) -> int:
        """One more than the epochs that the file holds; 0 if it is not there, or of another key."""
        try:
            with safe_open(self.path, "pt") as file:
                header = file.metadata() or {}
        except (SafetensorError, OSError):
            return 0
        return 1 + int(header["epochs"]) if header.get("key") == self.key else 0


def training_key(
    params: Mapping[str, Any], files: Iterable[Path], machine: Machine | None = None
) -> str:
    """Tell trainings apart: by their params, by the content of their data, by code and versions.

    Args:
        params: all that the training reads.
        files: of the data; each process reads its share of them.
        machine: what computes; this process alone, if not given.

    Raises:
        UserError: if the computers that train together hold other params, code or data.
    """
    digest = hashlib.sha256(json.dumps(params, sort_keys=True).encode())
    digest.update(torch.__version__.encode())
    modules = (module for name, module in sys.modules.items() if name.startswith("classifold."))
    code = (Path(module.__file__) for module in modules if module.__file__)
    for path in sorted(code):
        digest.update(hashlib.blake2b(path.read_bytes()).digest())
    pieces = [
        (path, start) for path in files for start in range(0, path.stat().st_size, BYTES_A_PIECE)
    ]
    digest.update(json.dumps([(path.name, start) for path, start in pieces]).encode())
    begun = np.frombuffer(digest.digest(), np.uint8)
    if machine and (machine.gather(begun) != begun).any():
        raise UserError(
            "the computers that train together have other params, code or versions, or other files "
            "in data/augmented; give all of them the same commit, 'dvc pull' and the same set-up"
        )
    digests = np.zeros((len(pieces), 64), np.uint8)
    first, n_processes = (machine.fabric.global_rank, machine.n_processes) if machine else (0, 1)
    for number in range(first, len(pieces), n_processes):
        path, start = pieces[number]
        with path.open("rb") as file:
            file.seek(start)
            piece = hashlib.blake2b(file.read(BYTES_A_PIECE))
        digests[number] = np.frombuffer(piece.digest(), np.uint8)
    digest.update((machine.sum(digests) if machine else digests).tobytes())
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
