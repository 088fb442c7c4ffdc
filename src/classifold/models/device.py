"""The device that computes, and its precision."""

from typing import Literal

import torch

from classifold.errors import UserError

Precision = Literal["fp32", "bf16"]


def choose_device(name: str) -> torch.device:
    """Choose the device `name`; `auto` prefers CUDA, then Apple's MPS, then the CPU.

    Raises:
        UserError: if the machine has no such device.
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
            f"train.device: not available on this machine, got '{name}'. Set it to auto."
        )
    return torch.device(name)


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
