"""What a GAN computes on."""

from collections.abc import Mapping
from typing import Any

import torch

from classifold.errors import UserError
from classifold.models.device import choose_device, choose_precision
from classifold.training.machine import Machine, set_up


def one_machine(settings: Mapping[str, Any]) -> tuple[Machine, str]:
    """Take device, precision and threads as `train` in params says; the precision by its name.

    Raises:
        UserError: if the machine does not offer the device, or if torchrun started several
            processes.
    """
    torch.set_num_threads(settings["threads"])
    device = choose_device(settings["device"])
    precision = choose_precision(settings["precision"], device)
    machine = set_up(device=device, precision=precision, compile=settings["compile"])
    if machine.fabric.world_size > 1:
        raise UserError(
            f"a GAN is trained by one process, and torchrun started {machine.fabric.world_size}; "
            "start the script with python"
        )
    return machine, precision
