"""Checkpoints: the state of a training run, by which it continues after an interruption.

A checkpoint is one safetensors file outside of the stage's outputs: tensors by their path in the
state, everything else as JSON in the header. Random numbers need not be stored: they are drawn
from the seed, the epoch and the image.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from classifold.data.pack import files_to_hash
from classifold.errors import UserError
from classifold.runtime.atomic_files import new_file
from classifold.runtime.progress import log
from classifold.runtime.source_code import loaded_code
from classifold.training.machine import Machine

BYTES_PER_CHUNK = 2**24  # size in which processes send files


class Checkpoint:
    """A file that holds the state of one training run, and of no other."""

    def __init__(self, path: Path, key: str) -> None:
        """Set the file and the training run.

        Args:
            path: file of the checkpoint; its folder is created when it is first saved.
            key: hash of everything that the training depends on, see `training_key`.
        """
        self.path, self.key = path, key

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the file atomically: an interruption leaves the old file or the new one.

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

        Any of the computers may be the one that continues.
        """
        if machine.fabric.is_global_zero:
            self.save(state)
        if machine.n_processes == 1:
            return
        machine.fabric.barrier()
        # On a shared disk the file is there by now.
        if machine.writes_files and self._progress() != 1 + len(state.get("history", ())):
            self.save(state)

    def synchronize(self, machine: Machine) -> None:
        """Copy the file of the computer with the most epochs to all computers that train."""
        if machine.n_processes == 1:
            return
        content = self.path.read_bytes() if self._progress() else b""
        digest = hashlib.blake2b(content, digest_size=7).digest()
        own = [self._progress(), len(content), int.from_bytes(digest, "big")]
        rows = machine.gather(np.array(own, np.int64))
        furthest = int(rows[:, 0].argmax())
        if (rows == rows[furthest]).all():
            return
        sends = machine.fabric.global_rank == furthest
        receives = machine.writes_files and own != rows[furthest].tolist()
        with (self._partial() if receives else Path(os.devnull)).open("wb") as file:
            for start in range(0, int(rows[furthest, 1]), BYTES_PER_CHUNK):
                chunk = np.zeros(min(BYTES_PER_CHUNK, int(rows[furthest, 1]) - start), np.uint8)
                if sends:
                    chunk[:] = np.frombuffer(content, np.uint8)[start : start + BYTES_PER_CHUNK]
                file.write(machine.sum(chunk).tobytes())
        if receives:
            self._partial().replace(self.path)
        machine.fabric.barrier()

    def load(self) -> dict[str, Any] | None:
        """Read the state; None if the file is missing, damaged, or of another training run.

        Tensors are on the CPU.
        """
        if not self.path.is_file():
            return None
        try:
            with safe_open(self.path, "pt") as file:
                header = file.metadata() or {}
                if header.get("key") != self.key:
                    log(
                        f"  checkpoint {self.path}: made with other params, data or code, "
                        "ignored. Training starts from the beginning."
                    )
                    return None
                state: dict[str, Any] = _with_tensors(json.loads(header["state"]), file.get_tensor)
                return state
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            log(
                f"  checkpoint {self.path}: not readable ({error}), ignored. "
                "Training starts from the beginning."
            )
            return None

    def load_or_compute(
        self, compute: Callable[[], dict[str, Any]], machine: Machine, *, title: str
    ) -> dict[str, Any]:
        """Read the state that an interrupted run saved; if there is none, compute and save it.

        Args:
            compute: called without arguments; returns the state.
            machine: device and processes of the training run, all of which call this.
            title: what is computed, for the log.
        """
        self.synchronize(machine)
        state = self.load()
        if state is not None:
            log(f"  {title}: finished before the interruption")
            return state
        state = compute()
        self.save_everywhere(state, machine)
        return state

    def remove_everywhere(self, machine: Machine) -> None:
        """Delete the file on each computer that trains, once all processes call this."""
        machine.fabric.barrier()
        if machine.writes_files:
            self.remove()

    def remove(self) -> None:
        """Delete the file, when the training run is finished."""
        self.path.unlink(missing_ok=True)

    def _partial(self) -> Path:
        """The file while it is written; computers that share a disk have one each."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self.path.with_suffix(f".{os.environ.get('GROUP_RANK', '0')}.partial")

    def _progress(self) -> int:
        """One more than the file's epochs; 0 if it is missing or of another training run."""
        try:
            with safe_open(self.path, "pt") as file:
                header = file.metadata() or {}
        except (SafetensorError, OSError):
            return 0
        return 1 + int(header["epochs"]) if header.get("key") == self.key else 0


def training_key(params: Mapping[str, Any], packs: Path, machine: Machine | None = None) -> str:
    """Hash what a training run depends on: params, data, code, and the version of torch.

    Code is that of all loaded modules which change weights: not messages, logs or commands.

    Args:
        params: all that the training reads.
        packs: folder of the packs, which record hashes of their images.
        machine: device, precision and processes of the training run; by default this process
            alone.

    Raises:
        UserError: if the computers that train together have different params, code or data.
    """
    digest = hashlib.sha256(json.dumps(params, sort_keys=True).encode())
    digest.update(torch.__version__.encode())
    for path in [*loaded_code(), *files_to_hash(packs)]:
        digest.update(hashlib.blake2b(path.read_bytes()).digest())
    own = np.frombuffer(digest.digest(), np.uint8)
    if machine and (machine.gather(own) != own).any():
        raise UserError(
            "torchrun: computers that train together must have the same params, code, versions and "
            f"files in {packs}, got different ones. Give all of them the same commit, data ('dvc "
            "pull') and environment."
        )
    return digest.hexdigest()


def _without_tensors(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Return the value as JSON can hold it; its tensors go into `tensors`, by their path."""
    match value:
        case Tensor():
            # Copied: a safetensors file does not accept two names of the same memory.
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
