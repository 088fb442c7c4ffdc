"""The augmentation plan of a batch, made before any pixel is processed."""

from typing import NamedTuple

import numpy as np

from classifold.augmentation.online.color import (
    identity_colors,
    then,
)
from classifold.augmentation.online.tone import Tones
from classifold.augmentation.online.warp import identity


class Mix(NamedTuple):
    """The partner of each image, and how both are mixed."""

    partners: np.ndarray  # int (N,): rows of the training pack
    lam: np.ndarray  # float (N,): weight of the image's own labels; 1 - lam is its partner's
    cut: (
        np.ndarray
    )  # bool (N,): whether the partner covers a box (CutMix), or both are blended (mixup)
    boxes: np.ndarray  # int (N, 4): x0, y0, x1, y1 of the box


class Plan:
    """The augmentation of N images of one size; kinds that do nothing are None.

    Attributes:
        geometry: float (N, 3, 3), see `warp`.
        colors: float (N, 3, 4), see `color`.
        tones: changes of tones, in their order.
        jpeg: int (N,), qualities of the compression.
        erased: int (N, 4), x0, y0, x1, y1 of boxes that are filled with gray; an empty box is
            no change.
        mix: with another image of the training pack.
    """

    def __init__(self, n_images: int, *, size: int, n_in_pack: int) -> None:
        self.n_images = n_images
        self.size = size
        self.n_in_pack = n_in_pack
        self.geometry: np.ndarray | None = None
        self.colors: np.ndarray | None = None
        self.tones: list[Tones] = []
        self.jpeg: np.ndarray | None = None
        self.erased: np.ndarray | None = None
        self.mix: Mix | None = None

    def warp(self, matrices: np.ndarray, rows: np.ndarray | slice = slice(None)) -> None:
        """Add geometry for all images, or for some rows."""
        if self.geometry is None:
            self.geometry = identity(self.n_images)
        self.geometry[rows] = self.geometry[rows] @ matrices

    def recolor(self, matrices: np.ndarray, rows: np.ndarray | slice = slice(None)) -> None:
        """Add a change of colors for all images, or for some rows."""
        if self.colors is None:
            self.colors = identity_colors(self.n_images)
        self.colors[rows] = then(self.colors[rows], matrices)
