"""Write the tables and the pictures of principal components."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from classifold.analysis.pca.components import (
    CHANNELS,
    Components,
    ImageComponents,
    count_components,
    shrink,
)
from classifold.data.csv_file import write_rows
from classifold.pictures.reason import draw_reason
from classifold.pictures.tiles import draw_tiles

COLUMNS = ("channel", "component", "explained_variance_ratio", "singular_value_ratio")
N_PICTURES = 8
N_COMPONENTS_SHOWN = (6, 50, 500)  # report 000, section 8.2


def write_components(
    folder: Path, channels: Mapping[str, Components], *, reason: str | None
) -> None:
    """Write `explained.csv` (channel, component, two cumulative ratios) and `components.png`.

    The picture has one row per channel: the mean image, then the first components, 0 as mid-gray.
    Without components the table has no rows, and the picture shows the reason.
    """
    _write_ratios(folder / "explained.csv", channels)
    if reason:
        draw_reason(folder / "components.png", reason)
        return
    draw_tiles(
        folder / "components.png",
        [
            [
                found.mean,
                *(0.5 + one / (2 * np.abs(one).max()) for one in found.components[:N_PICTURES]),
            ]
            for found in channels.values()
        ],
    )


def write_reconstruction(
    folder: Path, channels: Mapping[str, Components], image: np.ndarray
) -> None:
    """Write `reconstruction.png`: an image, and it reconstructed from 6, 50 and 500 components.

    Args:
        folder: an existing folder.
        channels: as `principal_components` returns them.
        image: uint8 array (H, H, 3).
    """
    side = channels[CHANNELS[0]].mean.shape[0]
    (pixels,) = shrink(image[None], side)
    reconstructions = [
        np.stack(
            [channels[name].reconstruct(pixels[..., i], n) for i, name in enumerate(CHANNELS)],
            axis=-1,
        )
        for n in N_COMPONENTS_SHOWN
    ]
    draw_tiles(folder / "reconstruction.png", [[pixels, *reconstructions]])


def write_image_components(
    folder: Path, channels: Mapping[str, ImageComponents], image: np.ndarray
) -> None:
    """Write `image_components.csv` and `image_components.png`, of one image by itself.

    The picture has one row per channel: the channel itself, then its reconstruction from 6
    components, from those that hold 90 % and 95 % of the variance, and from those that reach the
    same ratios of singular values.

    Args:
        folder: an existing folder.
        channels: as `image_components` returns them.
        image: uint8 array (size, size, 3).
    """
    _write_ratios(folder / "image_components.csv", channels)
    draw_tiles(
        folder / "image_components.png",
        [
            [
                image[..., i] / 255,
                *map(found.reconstruct, [N_COMPONENTS_SHOWN[0], *count_components(found).values()]),
            ]
            for i, found in enumerate(channels.values())
        ],
    )


def _write_ratios(path: Path, channels: Mapping[str, Components | ImageComponents]) -> None:
    rows = (
        {
            "channel": channel,
            "component": number,
            "explained_variance_ratio": round(float(variance), 6),
            "singular_value_ratio": round(float(singular_value), 6),
        }
        for channel, found in channels.items()
        for number, (variance, singular_value) in enumerate(
            zip(*found.cumulative_ratios().values(), strict=True), start=1
        )
    )
    write_rows(path, rows, columns=COLUMNS, plotted=True)
