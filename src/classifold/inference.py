"""Logits of a trained network, the same for every caller."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from classifold.preprocessing import to_input

# One batch size for all, the last batch padded: the last bits of a sum depend on it.
BATCH_SIZE = 64


def predict_logits(
    network: nn.Module,
    images: np.ndarray,
    *,
    image_size: int,
    normalize: str,
    device: torch.device,
) -> np.ndarray:
    """Compute logits in fp32 and evaluation mode.

    Args:
        network: on `device`.
        images: uint8 array (N, H, W, 3), possibly memory-mapped.
        image_size: of the network.
        normalize: of the network.
        device: where to compute.

    Returns:
        float32 array (N, n_classes).
    """
    inputs = _batches(images, image_size=image_size, normalize=normalize, device=device)
    return _compute(network, network, inputs)


def predict_features(
    network: nn.Module,
    images: np.ndarray,
    *,
    image_size: int,
    normalize: str,
    device: torch.device,
) -> np.ndarray:
    """Compute what enters the network's head, under the conditions of `predict_logits`.

    Returns:
        float32 array (N, n_features); feature maps are averaged over the image.
    """
    entering: list[torch.Tensor] = []
    hook = network.head.register_forward_pre_hook(  # type: ignore[union-attr]
        lambda _, inputs: entering.append(inputs[0])
    )

    def features(batch: torch.Tensor) -> torch.Tensor:
        entering.clear()
        network(batch)
        return entering[0].mean((2, 3)) if entering[0].ndim == 4 else entering[0].flatten(1)

    try:
        inputs = _batches(images, image_size=image_size, normalize=normalize, device=device)
        return _compute(network, features, inputs)
    finally:
        hook.remove()


class _Inputs(NamedTuple):
    """A batch of BATCH_SIZE, of which the first `n_images` count."""

    batch: torch.Tensor
    n_images: int


def _batches(
    images: np.ndarray, *, image_size: int, normalize: str, device: torch.device
) -> Iterator[_Inputs]:
    for start in range(0, len(images), BATCH_SIZE):
        batch = images[start : start + BATCH_SIZE]
        n_images = len(batch)
        if n_images < BATCH_SIZE:
            padding = ((0, BATCH_SIZE - n_images), (0, 0), (0, 0), (0, 0))
            batch = np.pad(batch, padding, mode="edge")
        inputs = to_input(batch, image_size=image_size, normalize=normalize, device=device)
        yield _Inputs(inputs, n_images)


def _compute(
    network: nn.Module,
    function: Callable[[torch.Tensor], torch.Tensor],
    inputs: Iterable[_Inputs],
) -> np.ndarray:
    was_training = network.training
    network.eval()
    with torch.inference_mode():
        outputs = [function(batch)[:n_images].float().cpu().numpy() for batch, n_images in inputs]
    network.train(was_training)
    return np.concatenate(outputs) if outputs else np.empty((0, 0), np.float32)
