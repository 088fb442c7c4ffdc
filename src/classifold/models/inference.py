"""Inference: logits and features of a trained network, with the same bits for every caller."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from classifold.models.preprocessing import Normalize, to_input

# The same for all callers, with the last batch padded: the last bits of sums depend on it.
BATCH_SIZE = 64

# Of a batch on the CPU: four images of 224 pixels. Larger layers take longer than the computation
# to get memory from the system, and gigabytes of it.
PIXELS_PER_BATCH = 4 * 224**2

# The size of vector registers, in bytes.
ALIGNMENT = 64


def batch_size_of(image_size: int, device: torch.device) -> int:
    """Return the number of images that are computed at once, the same for all callers."""
    if device.type != "cpu":
        return BATCH_SIZE
    return max(1, min(BATCH_SIZE, PIXELS_PER_BATCH // image_size**2))


def predict_logits(
    network: nn.Module,
    images: np.ndarray,
    *,
    image_size: int,
    normalize: Normalize,
    device: torch.device,
    flips: str = "none",
    shift: int = 0,
) -> np.ndarray:
    """Compute logits in fp32 and evaluation mode, averaged over views of each image.

    Args:
        network: on `device`; all its layers are in one mode, or it is in training mode.
        images: uint8 array (N, H, W, 3), possibly memory-mapped.
        image_size: input size of the network.
        normalize: normalization that the network expects.
        device: where to compute.
        flips: `none`, `horizontal` (the image and its mirror image), or `both` (four views:
            mirrored in either direction, in both, in none).
        shift: pixels of `images`; each view is added again shifted by this many pixels in each of
            the four directions, with reflected borders. 0 adds none.

    Returns:
        float32 array (N, n_classes).

    Source: Krizhevsky et al. 2012, section 4.1 (ten views: shifted and mirrored).
    """
    logits = [
        _compute(
            network,
            network,
            _batches(images, view, image_size=image_size, normalize=normalize, device=device),
        )
        for view in make_views(flips, shift)
    ]
    return np.mean(logits, axis=0)


def predict_features(
    network: nn.Module,
    images: np.ndarray,
    *,
    image_size: int,
    normalize: Normalize,
    device: torch.device,
) -> np.ndarray:
    """Compute the inputs of the network's head, as `predict_logits` computes logits.

    Returns:
        float32 array (N, n_features); feature maps are averaged over the image.
    """
    head_inputs: list[torch.Tensor] = []
    hook = network.head.register_forward_pre_hook(  # type: ignore[union-attr]
        lambda _, inputs: head_inputs.append(inputs[0])
    )

    def features(batch: torch.Tensor) -> torch.Tensor:
        head_inputs.clear()
        network(batch)
        return (
            head_inputs[0].mean((2, 3)) if head_inputs[0].ndim == 4 else head_inputs[0].flatten(1)
        )

    try:
        whole = View(mirrored=(False, False), offset=(0, 0))
        inputs = _batches(images, whole, image_size=image_size, normalize=normalize, device=device)
        return _compute(network, features, inputs)
    finally:
        hook.remove()


class View(NamedTuple):
    """A transformation of images (N, H, W, 3): each pair is (height, width)."""

    mirrored: tuple[bool, bool]
    offset: tuple[int, int]  # pixels down and to the right

    def of(self, images: np.ndarray) -> np.ndarray:
        """Mirror images, then shift them, with reflected borders."""
        steps = [-1 if mirrored else 1 for mirrored in self.mirrored]
        images = images[:, :: steps[0], :: steps[1]]
        if self.offset == (0, 0):
            return images
        border = max(map(abs, self.offset))
        padded = np.pad(images, ((0, 0), (border, border), (border, border), (0, 0)), "reflect")
        top, left = (border - pixels for pixels in self.offset)
        return padded[:, top : top + images.shape[1], left : left + images.shape[2]]


def make_views(flips: str, shift: int) -> list[View]:
    """List the views that `predict_logits` averages; the first one is the unchanged image."""
    mirrored = {
        "none": [(False, False)],
        "horizontal": [(False, False), (False, True)],
        "both": [(False, False), (False, True), (True, False), (True, True)],
    }[flips]
    sides = [(-shift, 0), (shift, 0), (0, -shift), (0, shift)] if shift else []
    return [View(flip, offset) for offset in [(0, 0), *sides] for flip in mirrored]


@contextmanager
def aligned_rows() -> Iterator[None]:
    """Align the rows of linear layers' inputs to vector registers.

    MKL sums unaligned rows in another order, so the last bits of a logit would depend on the
    image's position in its batch (with 255 inputs most rows are unaligned).
    """
    hook = torch.nn.modules.module.register_module_forward_pre_hook(_align)  # type: ignore[arg-type]
    try:
        yield
    finally:
        hook.remove()


def _align(layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
    if not isinstance(layer, nn.Linear):
        return None
    rows, *others = inputs
    per_register = ALIGNMENT // rows.element_size()
    if rows.shape[-1] % per_register == 0 and rows.data_ptr() % ALIGNMENT == 0:
        return None
    width = -(-rows.shape[-1] // per_register) * per_register
    padded = rows.new_empty(*rows.shape[:-1], width)
    return padded[..., : rows.shape[-1]].copy_(rows), *others


class _Inputs(NamedTuple):
    """A batch of fixed size, of which the first `n_images` are not padding."""

    batch: torch.Tensor
    n_images: int


def _batches(
    images: np.ndarray,
    view: View,
    *,
    image_size: int,
    normalize: Normalize,
    device: torch.device,
) -> Iterator[_Inputs]:
    batch_size = batch_size_of(image_size, device)
    for start in range(0, len(images), batch_size):
        batch = view.of(images[start : start + batch_size])
        n_images = len(batch)
        if n_images < batch_size:
            padding = ((0, batch_size - n_images), (0, 0), (0, 0), (0, 0))
            batch = np.pad(batch, padding, mode="edge")
        inputs = to_input(batch, image_size=image_size, normalize=normalize, device=device)
        yield _Inputs(inputs, n_images)


def _compute(
    network: nn.Module,
    function: Callable[[torch.Tensor], torch.Tensor],
    inputs: Iterable[_Inputs],
) -> np.ndarray:
    was_training = network.training
    if was_training:  # each of eval() and train() visits every layer, for each request
        network.eval()
    with torch.inference_mode(), aligned_rows():
        outputs = [function(batch)[:n_images].float().cpu().numpy() for batch, n_images in inputs]
    if was_training:
        network.train()
    return np.concatenate(outputs) if outputs else np.empty((0, 0), np.float32)
