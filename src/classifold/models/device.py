"""Which device computes, with how many threads, at which precision."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from classifold.errors import UserError
from classifold.runtime.faults import is_out_of_memory

Precision = Literal["fp32", "bf16"]


def choose_device(name: str) -> torch.device:
    """Take the device `name`; `auto` takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        UserError: if the named device is not there.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return torch.device(next(device for device, there in available.items() if there))
    if not available[name]:
        raise UserError(
            f"train.device is '{name}', which this machine does not offer; set it to auto"
        )
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> Precision:
    """Take `fp32` or `bf16`; `auto` takes bf16 where the processor has instructions for it.

    It asks what is offered and never measures, so that runs on one machine repeat.
    """
    if name == "auto":
        name = "bf16" if _has_bf16(device) else "fp32"
    return "bf16" if name == "bf16" else "fp32"


def set_threads(threads: int) -> None:
    """Compute on the CPU with so many threads: sums, and so weights, depend on the number."""
    torch.set_num_threads(threads)


@contextmanager
def advise_on_memory(model: str) -> Iterator[None]:
    """Turn too little memory, on a device or not, into advice.

    Raises:
        UserError: in the place of torch's own errors.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        told = str(error).splitlines() or ["out of memory"]  # Python's own says nothing
        raise UserError(
            f"memory was too small to train '{model}'; set "
            f"models.{model}.gradient_accumulation_steps to 2 or "
            f"more (each step is then computed in so many pieces), or lower models.{model}."
            f"batch_size or image_size ({told[0]})"
        ) from None


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "mps":
        return False
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
