"""What a training run computes on: one device, or several processes with one device each."""

import inspect
import logging
import os
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch.nn.parallel import DistributedDataParallel

FABRIC_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed"}


class Machine(NamedTuple):
    """A Lightning Fabric, and whether networks are compiled."""

    fabric: Fabric
    compile: bool = False

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return self.fabric.device

    @property
    def n_processes(self) -> int:
        """The number of processes that train together, on all computers."""
        return self.fabric.world_size

    @property
    def writes_files(self) -> bool:
        """Whether this process writes the files that every computer must have."""
        return self.fabric.local_rank == 0

    def sum(self, array: np.ndarray) -> np.ndarray:
        """Add up an array over all processes, which all call this with arrays of one shape."""
        if self.n_processes == 1:
            return array
        total = self.fabric.all_reduce(torch.from_numpy(array).to(self.device), reduce_op="sum")
        return np.asarray(total.cpu().numpy())  # type: ignore[union-attr]

    def gather(self, numbers: np.ndarray) -> np.ndarray:
        """Stack the numbers (K,) of all processes: (n_processes, K)."""
        rows = np.zeros((self.n_processes, len(numbers)), numbers.dtype)
        rows[self.fabric.global_rank] = numbers
        return self.sum(rows)


def set_up(*, device: torch.device, precision: str, compile: bool = False) -> Machine:
    """Make the machine; if torchrun started several processes, join them.

    Args:
        device: its type is used; each process has a device of its own.
        precision: fp32 or bf16 (autocast; weights stay fp32).
        compile: whether networks are compiled.
    """
    n_processes = int(os.environ.get("WORLD_SIZE", "1"))
    n_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    fabric = Fabric(
        accelerator=device.type,
        devices=n_here,
        num_nodes=n_processes // n_here,
        # Running statistics are averaged once per epoch, see `Phase.average_statistics`.
        strategy=DDPStrategy(**_buffers_stay()) if n_processes > 1 else "auto",
        precision=FABRIC_PRECISION[precision],  # type: ignore[arg-type]
    )
    # Without a line for each process that joins.
    logging.getLogger("lightning_fabric.utilities").setLevel(logging.WARNING)
    fabric.launch()
    return Machine(fabric, compile)


def _buffers_stay() -> dict[str, Any]:
    """DDP's setting for not copying the first process's buffers before each step."""
    known = inspect.signature(DistributedDataParallel.__init__).parameters
    renamed = "forward_sync_buffers" in known
    return {"forward_sync_buffers" if renamed else "broadcast_buffers": False}
