"""The table and the pictures of principal components."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from classifold.analysis.pca.components import (
    CHANNELS,
    Components,
    OwnComponents,
    count_components,
    shrink,
)
from classifold.data.csv_file import write_rows
from classifold.pictures.tiles import draw_tiles

COLUMNS = ("channel", "component", "explained_variance_ratio", "singular_value_ratio")
N_PICTURES = 8
REBUILT_FROM = (6, 50, 500)  # report 000, section 8.2


def write_components(folder: Path, channels: Mapping[str, Components]) -> None:
    """Write `explained.csv` (channel, component, two shares) and `components.png`.

    The picture has a row a channel: the mean image, then the first components about mid-gray.
    """
    _write_shares(folder / "explained.csv", channels)
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


def write_rebuilt(folder: Path, channels: Mapping[str, Components], image: np.ndarray) -> None:
    """Write `rebuilt.png`: an image, and what 6, 50 and 500 components a channel make of it.

    Args:
        folder: an existing folder.
        channels: what `principal_components` found.
        image: uint8 array (H, H, 3).
    """
    side = channels[CHANNELS[0]].mean.shape[0]
    (pixels,) = shrink(image[None], side)
    rebuilt = [
        np.stack(
            [channels[name].rebuild(pixels[..., i], n) for i, name in enumerate(CHANNELS)], axis=-1
        )
        for n in REBUILT_FROM
    ]
    draw_tiles(folder / "rebuilt.png", [[pixels, *rebuilt]])


def write_own_components(
    folder: Path, channels: Mapping[str, OwnComponents], image: np.ndarray
) -> None:
    """Write `own_components.csv` and `own_components.png`, of one image by itself.

    The picture has a row a channel: as it is, then rebuilt from 6 components, and from so many as
    hold 90 % and 95 % of the variance, and by the ratio of singular values.

    Args:
        folder: an existing folder.
        channels: what `own_components` found.
        image: uint8 array (size, size, 3).
    """
    _write_shares(folder / "own_components.csv", channels)
    draw_tiles(
        folder / "own_components.png",
        [
            [
                image[..., i] / 255,
                *map(found.rebuild, [REBUILT_FROM[0], *count_components(found).values()]),
            ]
            for i, found in enumerate(channels.values())
        ],
    )


def _write_shares(path: Path, channels: Mapping[str, Components | OwnComponents]) -> None:
    rows = (
        {
            "channel": channel,
            "component": number,
            "explained_variance_ratio": round(float(variance), 6),
            "singular_value_ratio": round(float(singular_value), 6),
        }
        for channel, found in channels.items()
        for number, (variance, singular_value) in enumerate(
            zip(*found.shares().values(), strict=True), start=1
        )
    )
    write_rows(path, rows, columns=COLUMNS)
