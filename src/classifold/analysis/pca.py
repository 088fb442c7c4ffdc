"""Principal components of images, a colour channel at a time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

from classifold.csv_file import write_rows

CHANNELS = ("red", "green", "blue")
SHARES = (0.90, 0.95)
BATCH_SIZE = 1024
N_PICTURES = 8
PICTURE_SIZE = 96


class Components(NamedTuple):
    """The principal components of one channel, the strongest first."""

    mean: np.ndarray  # float64 (size, size), of values in [0, 1]
    components: np.ndarray  # float64 (n_components, size, size), each of length 1
    variances: np.ndarray  # float64 (n_components,)

    def variance_shares(self) -> np.ndarray:
        """Share of the variance that the first k components hold, for k = 1, 2 and so on."""
        return np.cumsum(self.variances) / self.variances.sum()

    def singular_value_shares(self) -> np.ndarray:
        """The same ratio of singular values, which report 000 calls retained variance."""
        singular_values = np.sqrt(self.variances)
        return np.cumsum(singular_values) / singular_values.sum()


def principal_components(images: np.ndarray, *, size: int) -> dict[str, Components]:
    """Decompose each colour channel of images, exactly and in bounded memory.

    The covariance is summed up batch by batch, so memory holds size^4 numbers however many
    images there are; scikit-learn's incremental PCA would keep no more components than a batch
    has images, and only nearly the right ones.

    Args:
        images: uint8 array (N, H, H, 3), N at least 2; memory-mapped if need be.
        size: to which larger images are shrunk first, in pixels.

    Returns:
        Channel -> its components: as many as pixels, or as N - 1 if there are fewer images.
    """
    side = min(size, images.shape[1])
    return {
        channel: _decompose(images, position, side) for position, channel in enumerate(CHANNELS)
    }


def pca_metrics(channels: dict[str, Components], *, n_images: int) -> dict[str, Any]:
    """Count the components that hold 90 % and 95 %, by variance and by singular values."""
    size = channels[CHANNELS[0]].mean.shape[0]
    metrics: dict[str, Any] = {"n_images": n_images, "size": size, "n_features": size**2}
    for channel, found in channels.items():
        rows = {
            "variance": found.variance_shares(),
            "singular_values": found.singular_value_shares(),
        }
        metrics[channel] = {
            f"components_{share:.0%}_{name}".replace("%", ""): _count_for(shares, share)
            for name, shares in rows.items()
            for share in SHARES
        }
    return metrics


def write_components(folder: Path, channels: dict[str, Components]) -> None:
    """Write `explained.csv` (channel, component, two shares) and `components.png`."""
    rows = (
        {
            "channel": channel,
            "component": number,
            "variance_share": round(float(variance), 6),
            "singular_value_share": round(float(singular_value), 6),
        }
        for channel, found in channels.items()
        for number, (variance, singular_value) in enumerate(
            zip(found.variance_shares(), found.singular_value_shares(), strict=True), start=1
        )
    )
    columns = ["channel", "component", "variance_share", "singular_value_share"]
    write_rows(folder / "explained.csv", rows, columns=columns)
    pictures = [_picture_row(found) for found in channels.values()]
    Image.fromarray(np.concatenate(pictures)).save(folder / "components.png")


def _decompose(images: np.ndarray, channel: int, side: int) -> Components:
    n_images = len(images)
    total = np.zeros(side**2)
    products = np.zeros((side**2, side**2))
    for start in range(0, n_images, BATCH_SIZE):
        batch = images[start : start + BATCH_SIZE][..., channel]
        rows = _shrink(batch, side).reshape(len(batch), -1)
        total += rows.sum(axis=0)
        products += rows.T @ rows
    mean = total / n_images
    covariance = (products - n_images * np.outer(mean, mean)) / (n_images - 1)
    variances, vectors = np.linalg.eigh(covariance)
    n_components = min(side**2, n_images - 1)
    strongest = slice(None, -n_components - 1, -1)
    return Components(
        mean=mean.reshape(side, side),
        components=vectors.T[strongest].reshape(-1, side, side),
        variances=np.clip(variances[strongest], 0, None),  # rounding leaves tiny negatives
    )


def _shrink(batch: np.ndarray, side: int) -> np.ndarray:
    """Images (N, H, H) of uint8 to float64 (N, side, side) in [0, 1]."""
    if batch.shape[1] != side:
        batch = np.stack(
            [cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for image in batch]
        )
    return batch / 255.0


def _count_for(shares: np.ndarray, share: float) -> int:
    """How many components reach a share."""
    return int(np.searchsorted(shares, share - 1e-9) + 1)


def _picture_row(found: Components) -> np.ndarray:
    """The mean image, then the first components about mid-gray, side by side."""
    tiles: Sequence[np.ndarray] = [
        found.mean,
        *(
            0.5 + component / (2 * np.abs(component).max())
            for component in found.components[:N_PICTURES]
        ),
    ]
    enlarged = [
        np.asarray(
            Image.fromarray(np.rint(tile * 255).astype(np.uint8)).resize(
                (PICTURE_SIZE, PICTURE_SIZE), Image.Resampling.NEAREST
            )
        )
        for tile in tiles
    ]
    blank = np.full((PICTURE_SIZE, PICTURE_SIZE), 255, np.uint8)
    enlarged += [blank] * (N_PICTURES + 1 - len(enlarged))
    return np.concatenate([np.pad(tile, 2, constant_values=255) for tile in enlarged], axis=1)
