"""Set up the device and precision of a GAN."""

from collections.abc import Mapping
from typing import Any

import torch

from classifold.errors import UserError
from classifold.models.device import choose_device, choose_precision
from classifold.training.machine import Machine, set_up


def single_process_machine(settings: Mapping[str, Any]) -> tuple[Machine, str]:
    """Set up device, precision and threads of the section `train`; return the precision, too.

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
            "torchrun: a GAN must be trained by one process, got "
            f"{machine.fabric.world_size}. Start the script with python."
        )
    return machine, precision
