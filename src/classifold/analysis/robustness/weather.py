"""Corruptions of `corruptions.py` with a layer that is added to the image, and motion blur."""

import cv2
import numpy as np

from classifold.data.pixels import LUMA

Random = np.random.Generator

# Of each of the five photos of frost in the authors' scripts: mean red, green and blue; standard
# deviation within a part of 224 pixels; slope of the logarithm of its power spectrum. The second
# and third photo are the same.
FROSTS = (
    ((0.30, 0.58, 0.65), 0.06, -2.6),
    ((0.79, 0.81, 0.84), 0.08, -1.3),
    ((0.79, 0.81, 0.84), 0.08, -1.3),
    ((0.54, 0.60, 0.65), 0.10, -1.0),
    ((0.44, 0.48, 0.53), 0.14, -1.7),
)


def motion_blur(image: np.ndarray, random: Random, radius: int, sigma: float) -> np.ndarray:
    """Blur along a line of a random direction within 45 degrees of the horizontal."""
    return _moved(image, radius=radius, sigma=sigma, degrees=random.uniform(-45, 45))


def snow(  # noqa: PLR0917 - the constants of a severity
    image: np.ndarray,
    random: Random,
    mean: float,
    scale: float,
    zoom: float,
    threshold: float,
    radius: int,
    sigma: float,
    kept: float,
) -> np.ndarray:
    """Whiten the image, and add falling flakes: noise above a threshold, blurred along a line.

    Args:
        image: see the top of `corruptions.py`, as for `random`.
        random: see there.
        mean: mean of the noise.
        scale: its standard deviation.
        zoom: factor by which it is enlarged.
        threshold: below it there is no flake.
        radius: of the motion blur.
        sigma: of the motion blur.
        kept: weight of the image; the rest is a white version of it.
    """
    noise = zoomed(random.normal(mean, scale, size=image.shape[:2]), zoom)
    flakes = np.clip(np.where(noise < threshold, 0, noise), 0, 1)
    layer = _moved(flakes, radius=radius, sigma=sigma, degrees=random.uniform(-135, -45))[..., None]
    white = np.maximum(image, (image @ LUMA)[..., None] * 1.5 + 0.5)
    return kept * image + (1 - kept) * white + layer + np.rot90(layer, 2)


def frost(image: np.ndarray, random: Random, kept: float, added: float) -> np.ndarray:
    """Add a texture of frost.

    The authors add a part of one of five photos. Their origin is unknown, so here a random texture
    has the mean color, the contrast and the power spectrum of one of them instead.
    """
    color, contrast, slope = FROSTS[random.integers(len(FROSTS))]
    size = len(image)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))
    frequency[0, 0] = np.inf  # no mean
    spectrum = np.fft.rfft2(random.normal(size=(size, size))) * frequency ** (slope / 2)
    texture = np.fft.irfft2(spectrum, (size, size))
    layer = np.clip(color + contrast * (texture / texture.std())[..., None], 0, 1)
    return kept * image + added * layer


def fog(image: np.ndarray, random: Random, strength: float, decay: float) -> np.ndarray:
    """Add a plasma fractal, and reduce the contrast so that the brightest value stays the same."""
    size, brightest = len(image), image.max()
    layer = plasma(1 << (size - 1).bit_length(), decay, random)[:size, :size, None]
    return (image + strength * layer) * brightest / (brightest + strength)


def plasma(size: int, decay: float, random: Random) -> np.ndarray:
    """Make a plasma fractal by the diamond-square algorithm, on a torus.

    Args:
        size: a power of two.
        decay: by which the roughness is divided when the distance of points is halved.
        random: source of random numbers.

    Returns:
        float array (size, size) in [0, 1].
    """
    heights = np.zeros((size, size))
    step, roughness = size, 100.0

    def between(*corners: np.ndarray) -> np.ndarray:
        mean = sum(corners) / len(corners)
        return mean + roughness * random.uniform(-roughness, roughness, np.shape(mean))

    while step >= 2:
        half = step // 2
        corners = heights[::step, ::step]
        below = np.roll(corners, -1, 0)
        right = np.roll(corners, -1, 1)
        centers = between(corners, below, right, np.roll(below, -1, 1))
        heights[half::step, half::step] = centers
        heights[::step, half::step] = between(centers, np.roll(centers, 1, 0), corners, right)
        heights[half::step, ::step] = between(centers, np.roll(centers, 1, 1), corners, below)
        step, roughness = half, roughness / decay
    heights -= heights.min()
    return heights / heights.max()


def zoomed(image: np.ndarray, factor: float) -> np.ndarray:
    """Enlarge the center of an image (size, size) or (size, size, 3) bilinearly to its size."""
    size = len(image)
    part = int(np.ceil(size / factor))
    enlarged = round(part * factor)
    scale = (part - 1) / max(enlarged - 1, 1)
    first = (size - part) // 2 + (enlarged - size) // 2 * scale
    matrix = np.array([[scale, 0, first], [0, scale, first]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _moved(image: np.ndarray, *, radius: int, sigma: float, degrees: float) -> np.ndarray:
    """Average shifted images with half of a Gaussian as weights, as ImageMagick does.

    Args:
        image: (size, size) or (size, size, 3); its borders are repeated.
        radius: 2 radius + 1 images are averaged.
        sigma: standard deviation of the Gaussian, in pixels.
        degrees: direction of the line.
    """
    size, width = len(image), 2 * radius + 1
    steps = np.arange(width)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    angle = np.deg2rad(degrees)
    # The shift of ImageMagick: half a pixel is rounded towards zero.
    down, right = (-np.ceil(steps * part - 0.5) for part in (np.sin(angle), np.cos(angle)))
    padded = np.pad(image, [(width, width)] * 2 + [(0, 0)] * (image.ndim - 2), mode="edge")
    total = np.zeros(image.shape)
    for weight, dy, dx in zip(
        weights / weights.sum(), down.astype(int), right.astype(int), strict=True
    ):
        top, left = width - dy, width - dx
        total += weight * padded[top : top + size, left : left + size]
    return total
