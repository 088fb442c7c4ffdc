"""Augment batches on a device: the work of `batches`, as operations of torch.

The other modules of this package do not import torch, which takes seconds.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from classifold.augmentation.online.batches import ERASED, geometry_of
from classifold.augmentation.online.plan import Mix, Plan
from classifold.augmentation.online.tone import NAMES, Tones
from classifold.augmentation.online.warp import BORDERS


def augment_tensors(images: Tensor, plan: Plan, *, fill: str) -> Tensor:
    """Apply a plan, except mixing and JPEG, to a batch on any device, as `augment_arrays` does.

    Args:
        images: float tensor (N, 3, H, W) in [0, 255].
        plan: for N images.
        fill: fill of the border, see `warp`.

    Returns:
        float tensor (N, 3, plan.size, plan.size) in [0, 255].
    """
    if plan.jpeg is not None:
        raise ValueError("JPEG compression is available only on the CPU")
    result = images
    geometry = geometry_of(plan, size=images.shape[-1])
    if geometry is not None:
        result = warp_tensors(images, geometry, size=plan.size, fill=fill)
    if plan.colors is not None:
        result = recolor_tensors(result, plan.colors)
    for tones in plan.tones:
        result = retone_tensors(result, tones)
    if plan.erased is not None:
        result = torch.where(_inside(plan.erased, result), float(ERASED), result)
    return result


def mix_tensors(images: Tensor, partners: Tensor, mix: Mix) -> Tensor:
    """Mix each image, float (N, 3, H, W), with its partner."""
    lam = torch.from_numpy(mix.lam).to(images)[:, None, None, None]
    cut = torch.from_numpy(mix.cut).to(images.device)[:, None, None, None]
    blended = torch.lerp(partners, images, lam)
    pasted = torch.where(_inside(mix.boxes, images), partners, images)
    return torch.where(cut, pasted, blended)


def warp_tensors(images: Tensor, matrices: np.ndarray, *, size: int, fill: str) -> Tensor:
    """Warp each image by its matrix in one batch on any device, as `warp_arrays` does.

    Args:
        images: float tensor (N, 3, H, W).
        matrices: (N, 3, 3), in pixels of the result.
        size: width and height of the result.
        fill: a key of `BORDERS`.

    Returns:
        float tensor (N, 3, size, size); values stay in their range.
    """
    _, padding = BORDERS[fill]
    height, width = images.shape[-2:]
    theta = matrices[:, :2].copy()
    theta *= np.array([[width / size], [height / size]])
    # Corners of the grid are at -1 and 1, in the source as in the result.
    theta[:, :, :2] *= (size - 1) / 2
    theta *= np.array([[2 / max(width - 1, 1)], [2 / max(height - 1, 1)]])
    lookup = torch.from_numpy(theta).to(images)
    grid = F.affine_grid(lookup, [len(images), 3, size, size], align_corners=True)
    return F.grid_sample(images, grid, padding_mode=padding, align_corners=True)


def recolor_tensors(images: Tensor, matrices: np.ndarray) -> Tensor:
    """Recolor each image, float (N, 3, H, W) in [0, 255], by its matrix."""
    colors = torch.from_numpy(matrices).to(images)
    mixed = torch.einsum("nij,njhw->nihw", colors[:, :, :3], images)
    return (mixed + colors[:, :, 3, None, None]).clamp_(0, 255)


def retone_tensors(images: Tensor, tones: Tones) -> Tensor:
    """Change the tones of each image, float (N, 3, H, W) in [0, 255], as `retone_arrays` does."""
    changed = np.flatnonzero(tones.kinds)
    if len(changed) == 0:
        return images
    levels = images.round().to(torch.uint8)
    result = images.clone()
    # Images with the same change and amount, such as all equalized ones, in one call.
    keys = np.stack([tones.kinds[changed], tones.amounts[changed]], axis=1)
    for kind, amount in np.unique(keys, axis=0):
        rows = torch.from_numpy(changed[(keys == [kind, amount]).all(axis=1)]).to(images.device)
        changed_images = _on_tensor(NAMES[int(kind)], levels[rows], float(amount))
        result[rows] = changed_images.to(images.dtype)
    return result


def _on_tensor(name: str, images: Tensor, amount: float) -> Tensor:
    # Not at the top: the import takes 1.5 seconds, and only changes of tensors need it.
    from torchvision.transforms.v2 import functional as v2  # noqa: PLC0415

    changes: dict[str, Callable[[], Tensor]] = {
        "posterize": lambda: v2.posterize(images, round(amount)),
        "solarize": lambda: v2.solarize(images, round(amount)),
        "sharpness": lambda: v2.adjust_sharpness(images, amount),
        "autocontrast": lambda: v2.autocontrast(images),
        "equalize": lambda: v2.equalize(images),
    }
    return changes[name]()


def _inside(boxes: np.ndarray, images: Tensor) -> Tensor:
    """Masks of boxes (N, 4) in images (N, 3, H, W): bool (N, 1, H, W)."""
    height, width = images.shape[-2:]
    x0, y0, x1, y1 = torch.from_numpy(boxes).to(images.device).T[:, :, None]
    columns = torch.arange(width, device=images.device)
    rows = torch.arange(height, device=images.device)
    across = (columns >= x0) & (columns < x1)  # (N, W)
    down = (rows >= y0) & (rows < y1)  # (N, H)
    return (down[:, :, None] & across[:, None, :])[:, None]
