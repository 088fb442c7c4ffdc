"""Features of images by the model that `tsne` and `explain` use."""

import numpy as np
import torch

from classifold.data.model_settings import WITHOUT_EPOCHS
from classifold.models.feature_cache import FeatureCache, NotCachedError
from classifold.models.inference import predict_features
from classifold.models.model_file import Model


def compute_features(
    model: Model,
    images: np.ndarray,
    *,
    device: torch.device,
    cache: FeatureCache | None = None,
) -> np.ndarray:
    """Compute the inputs of the network's head, float32 array (N, n_features).

    The training of a model without epochs leaves the features of its images in files, so that they
    are read and not computed; they have the precision of the training.

    Args:
        model: its network is moved to `device`.
        images: uint8 array (N, size, size, 3), as stored for the model.
        device: device that computes.
        cache: files of features, for training images; None for other images.
    """
    network = model.network.to(device)
    is_fitted = model.description.get("network") in WITHOUT_EPOCHS
    bf16 = is_fitted and model.description["precision"] == "bf16"
    settings = {key: model.preprocessing[key] for key in ("image_size", "normalize")}
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        if cache is not None and is_fitted:
            try:
                features = cache.features(network, images, **settings, device=device)
                return np.asarray(features, np.float32)  # a selection is no NumPy array
            except NotCachedError:  # training kept them in memory for the same reason
                pass
        return predict_features(network, images, **settings, device=device)
