"""What computes: one device, or several processes with one each, by Lightning Fabric."""

import os
from typing import NamedTuple

import torch
from lightning_fabric import Fabric

FABRIC_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed"}


class Machine(NamedTuple):
    """How a training computes."""

    fabric: Fabric
    compile: bool = False

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return self.fabric.device


def set_up(*, device: torch.device, precision: str, compile: bool = False) -> Machine:
    """Join the other processes, if torchrun started several.

    Args:
        device: of the kind that is taken.
        precision: fp32 or bf16 (autocast; weights stay fp32).
        compile: whether networks are compiled.
    """
    n_processes = int(os.environ.get("WORLD_SIZE", "1"))
    n_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    fabric = Fabric(
        accelerator=device.type,
        devices=n_here,
        num_nodes=n_processes // n_here,
        strategy="ddp" if n_processes > 1 else "auto",
        precision=FABRIC_PRECISION[precision],  # type: ignore[arg-type]
    )
    fabric.launch()
    return Machine(fabric, compile)
