"""The device that computes, and its precision."""

import ctypes
import sys
from collections.abc import Mapping
from typing import Literal

import torch

from classifold.errors import UserError

Precision = Literal["fp32", "bf16"]

# Of glibc's malloc.h.
TRIM_THRESHOLD, MAX_MAPPED_BLOCKS, MAX_POOLS = -1, -4, -8


def choose_device(name: str) -> torch.device:
    """Choose the device `name`; `auto` prefers CUDA, then Apple's MPS, then the CPU.

    If it is the CPU, the memory of tensors is managed for speed, see `keep_freed_memory`.

    Raises:
        UserError: if the machine has no such device.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device, there in available.items() if there)
    if not available[name]:
        raise UserError(
            f"train.device: not available on this machine, got '{name}'. Set it to auto."
        )
    if name == "cpu":
        keep_freed_memory()
    return torch.device(name)


def keep_freed_memory() -> None:
    """Let the C library keep the memory that tensors free, for the next ones.

    By default glibc requests each block of more than 32 MiB from the system and returns it, and the
    system clears the pages each time. With EfficientNet-Lite0 on two cores that took a third of the
    time of training (32 images of 160 pixels) and two thirds of inference (64 images of 224
    pixels). No result changes; memory grows by up to a third.
    """
    _set_allocator({MAX_MAPPED_BLOCKS: 0, TRIM_THRESHOLD: 2**31 - 1})


def share_freed_memory() -> None:
    """Let threads that are started from now on take memory from one pool.

    By default glibc gives each thread a pool of its own, from which it returns blocks of 64 MiB to
    the system whatever `keep_freed_memory` has set. With EfficientNet-Lite0 in another thread than
    the main one that took a sixth of the time of inference.
    """
    _set_allocator({MAX_POOLS: 1})


def _set_allocator(options: Mapping[int, int]) -> None:
    """Set options of glibc's malloc; elsewhere, do nothing."""
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        for option, value in options.items():
            mallopt(option, value)


def choose_precision(name: str, device: torch.device) -> Precision:
    """Choose `fp32` or `bf16`; `auto` is bf16 where the device has instructions for it.

    The choice depends on the device's capabilities and on no measurement, so that runs on one
    machine are reproducible.
    """
    if name == "auto":
        name = "bf16" if _has_bf16(device) else "fp32"
    return "bf16" if name == "bf16" else "fp32"


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "mps":
        return False
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
