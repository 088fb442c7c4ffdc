"""Inference by all processes that train together, with the same bits as by one process."""

from typing import cast

import numpy as np
from torch import nn

from classifold.data.image_arrays import ChosenImages
from classifold.data.pack import Pack
from classifold.models.inference import batch_size_of, predict_logits
from classifold.models.preprocessing import Normalize
from classifold.training.frozen_body import FrozenBody
from classifold.training.machine import Machine


def predict_distributed(
    network: nn.Module,
    pack: Pack,
    *,
    machine: Machine,
    image_size: int,
    normalize: Normalize,
    body: FrozenBody | None = None,
) -> np.ndarray:
    """Compute logits in fp32 and evaluation mode; each process reads only its own images.

    Args:
        network: on the machine's device, the same in all processes.
        pack: the images.
        machine: device, precision and processes of the training run; all its processes call this.
        image_size: input size of the network.
        normalize: normalization that the network expects.
        body: frozen body of the network, if features are computed once; each process computes
            all logits then.

    Returns:
        float32 array (N, n_classes), complete in every process.
    """
    if body is not None:
        return body.logits(network, pack.images)
    n_images = len(pack.labels)
    # Whole batches: the bits of logits depend on the batch, and not on the process.
    batch_size = batch_size_of(image_size, machine.device)
    batches = np.array_split(np.arange(-(-n_images // batch_size)), machine.n_processes)
    own = batches[machine.fabric.global_rank]
    rows = np.arange(n_images)
    rows = rows[own[0] * batch_size : (own[-1] + 1) * batch_size] if len(own) else rows[:0]
    own_logits = predict_logits(
        network,
        pack.images if len(rows) == n_images else cast(np.ndarray, ChosenImages(pack.images, rows)),
        image_size=image_size,
        normalize=normalize,
        device=machine.device,
    )
    if machine.n_processes == 1:
        return own_logits
    logits = np.zeros((n_images, len(pack.classes)), np.float32)
    if len(rows):
        logits[rows] = own_logits
    return machine.sum(logits)
