"""Compute principal components of images, one color channel at a time."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import cv2
import numpy as np

from classifold.runtime.parallel import ordered_map

CHANNELS = ("red", "green", "blue")
FRACTIONS = (0.90, 0.95)
BATCH_SIZE = 1024
MIN_IMAGES = 2


class Components(NamedTuple):
    """The principal components of one channel, in order of decreasing variance."""

    mean: np.ndarray  # float64 (size, size), of values in [0, 1]
    components: np.ndarray  # float64 (n_components, size, size), each of length 1
    variances: np.ndarray  # float64 (n_components,)

    def cumulative_ratios(self) -> dict[str, np.ndarray]:
        """Compute the fraction that the first k components explain, for each k, by two measures.

        Returns:
            `variance`: the fraction of the variance; `singular_values`: the same ratio of singular
            values, which report 000 (section 8.2) calls retained variance.
        """
        return {
            "variance": _cumulative_ratio(self.variances),
            "singular_values": _cumulative_ratio(np.sqrt(self.variances)),
        }

    def reconstruct(self, channel: np.ndarray, n_components: int) -> np.ndarray:
        """Reconstruct a channel (size, size) from the mean and its first components."""
        directions = self.components[:n_components].reshape(-1, channel.size)
        weights = directions @ (channel - self.mean).ravel()
        return self.mean + (weights @ directions).reshape(channel.shape)


class ImageComponents(NamedTuple):
    """One channel of one image, as a sum of products of a column and a row."""

    columns: np.ndarray  # float64 (size, n_components), each of length 1
    singular_values: np.ndarray  # float64 (n_components,), decreasing
    rows: np.ndarray  # float64 (n_components, size), each of length 1
    mean: np.ndarray  # float64 (size,), of each column of pixels; not part of the sum

    def cumulative_ratios(self) -> dict[str, np.ndarray]:
        """Compute the same as `Components.cumulative_ratios`."""
        return {
            "variance": _cumulative_ratio(self.singular_values**2),
            "singular_values": _cumulative_ratio(self.singular_values),
        }

    def reconstruct(self, n_components: int) -> np.ndarray:
        """Reconstruct the channel from the mean and the first components: float64 (size, size)."""
        some = slice(n_components)
        return self.mean + (self.columns[:, some] * self.singular_values[some]) @ self.rows[some]


def describe_too_few(n_images: int) -> str | None:
    """Describe why a number of images has no principal components; None if it has."""
    if n_images >= MIN_IMAGES:
        return None
    return f"principal components need at least {MIN_IMAGES} training images, got {n_images}"


def principal_components(images: np.ndarray, *, size: int) -> dict[str, Components]:
    """Decompose each color channel of images, exactly and in bounded memory.

    The covariance is summed batch by batch, so memory holds size^4 numbers whatever the number of
    images. scikit-learn's incremental PCA is limited to as many components as a batch has images,
    and is approximate.

    Args:
        images: uint8 array (N, H, H, 3), N at least `MIN_IMAGES`; may be memory-mapped.
        size: in pixels; larger images are first resized to it.

    Returns:
        Channel -> its components: as many as pixels, or N - 1 if that is fewer.
    """
    side = min(size, images.shape[1])
    return {
        channel: _decompose(images, position, side) for position, channel in enumerate(CHANNELS)
    }


def image_components(image: np.ndarray) -> dict[str, ImageComponents]:
    """Decompose each color channel of one image by itself, as figure 8 of report 000 does.

    The rows of pixels of the image are the samples, so that a component is a row with one weight
    for each row of pixels.

    Args:
        image: uint8 array (size, size, 3).
    """
    components = {}
    for position, channel in enumerate(CHANNELS):
        pixels = image[..., position] / 255.0
        mean = pixels.mean(axis=0)
        components[channel] = ImageComponents(
            *np.linalg.svd(pixels - mean, full_matrices=False), mean
        )
    return components


def pca_metrics(channels: Mapping[str, Components], *, n_images: int) -> dict[str, Any]:
    """Count the components that explain 90 % and 95 %, by variance and by singular values.

    Args:
        channels: as `principal_components` returns them, or empty.
        n_images: number of training images.
    """
    metrics: dict[str, Any] = {"n_images": n_images}
    if channels:
        size = channels[CHANNELS[0]].mean.shape[0]
        metrics |= {"size": size, "n_features": size**2}
    return metrics | {
        channel: count_components(components) for channel, components in channels.items()
    }


def image_metrics(channels: Mapping[str, ImageComponents], *, image_id: str) -> dict[str, Any]:
    """Count the components of one image that explain 90 % and 95 %."""
    metrics: dict[str, Any] = {"id": image_id, "n_components": len(channels["red"].rows)}
    return metrics | {
        channel: count_components(components) for channel, components in channels.items()
    }


def count_components(components: Components | ImageComponents) -> dict[str, int]:
    """Count those of one channel that explain 90 % and 95 %, such as `components_90_variance`."""
    return {
        f"components_{fraction:.0%}_{measure}".replace("%", ""): _count_for(ratios, fraction)
        for measure, ratios in components.cumulative_ratios().items()
        for fraction in FRACTIONS
    }


class _Sums(NamedTuple):
    """Sums over images of integers in [0, 255]: exact in any order of summation."""

    total: np.ndarray  # float64 (side^2,)
    products: np.ndarray  # float64 (side^2, side^2)


def _sums(batch: np.ndarray, *, side: int) -> _Sums:
    """The sums over images (N, H, H) of one channel; runs locally or on a cluster."""
    rows = _shrunk(batch, side).reshape(len(batch), -1).astype(np.float64)
    return _Sums(rows.sum(axis=0), rows.T @ rows)


def _decompose(images: np.ndarray, channel: int, side: int) -> Components:
    n_images = len(images)
    total = np.zeros(side**2)
    products = np.zeros((side**2, side**2))
    batches = (
        np.ascontiguousarray(images[start : start + BATCH_SIZE][..., channel])
        for start in range(0, n_images, BATCH_SIZE)
    )
    for sums in ordered_map(
        partial(_sums, side=side),
        batches,
        n_items=n_images,
        n_bytes=lambda _, n_bytes=products.nbytes: n_bytes,  # type: ignore[misc]
        chunk_size=1,
        local="serial",  # BLAS uses all cores
    ):
        total += sums.total
        products += sums.products
    mean = total / n_images
    covariance = (products - np.outer(total, mean)) / ((n_images - 1) * 255**2)
    mean /= 255
    variances, vectors = np.linalg.eigh(covariance)
    n_components = min(side**2, n_images - 1)
    first = slice(None, -n_components - 1, -1)
    components = vectors.T[first]
    # Signs are arbitrary: with the largest number positive, channels can be compared by eye.
    largest = np.abs(components).argmax(axis=1)
    components = components * np.sign(components[np.arange(n_components), largest])[:, None]
    return Components(
        mean=mean.reshape(side, side),
        components=components.reshape(-1, side, side),
        variances=np.clip(variances[first], 0, None),  # rounding may give tiny negative values
    )


def shrink(batch: np.ndarray, side: int) -> np.ndarray:
    """Resize uint8 images (N, H, H) or (N, H, H, 3) to `side` pixels: float64 in [0, 1]."""
    return _shrunk(batch, side) / 255.0


def _shrunk(batch: np.ndarray, side: int) -> np.ndarray:
    if batch.shape[1] == side:
        return batch
    return np.stack(
        [cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for image in batch]
    )


def _cumulative_ratio(strengths: np.ndarray) -> np.ndarray:
    """Cumulative sums divided by the total; all 1 if the total is 0 because images are equal."""
    total = strengths.sum()
    return np.cumsum(strengths) / total if total > 0 else np.ones(len(strengths))


def _count_for(ratios: np.ndarray, fraction: float) -> int:
    """The number of components that explain a fraction."""
    return int(np.searchsorted(ratios, fraction - 1e-9) + 1)
