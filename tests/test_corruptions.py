"""The fifteen common corruptions."""

from typing import get_args

import numpy as np
import pytest

from classifold.analysis.robustness import corruptions as module
from classifold.analysis.robustness.corruptions import CORRUPTIONS, corrupt, list_corruptions
from classifold.analysis.robustness.severities import SEVERITIES, SIZES, arguments_of
from classifold.analysis.robustness.weather import motion_blur, plasma, zoomed
from classifold.data.seeding import generator
from classifold.params.schema.robustness import Corruption

IMAGE = np.random.default_rng(1).integers(40, 200, (32, 32, 3), np.uint8)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("size", [4, 32, 45, 130])
def test_each_corruption_changes_images_of_any_size_more_at_severity_5_than_at_1(name, size):
    image = np.resize(IMAGE, (size, size, 3))
    changed = [corrupt(image, name, severity, seed=1, image_id="a") for severity in (1, 5)]
    assert all(one.dtype == np.uint8 and one.shape == image.shape for one in changed)
    mild, strong = (np.abs(one.astype(float) - image).mean() for one in changed)
    if size > 4:
        # Larger areas of frost hide less at severity 5 than at 4; elastic moves are another kind.
        assert name in {"frost", "elastic_transform"} or 0 <= mild < strong
        assert strong > 0.5


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_is_corrupted_by_its_id_and_the_seed_alone(name):
    first = corrupt(IMAGE, name, 3, seed=1, image_id="a")
    np.random.seed(0)
    others = [corrupt(IMAGE, name, 3, seed=2, image_id="a")]
    others += [corrupt(IMAGE, name, 3, seed=1, image_id="b")]
    np.testing.assert_array_equal(corrupt(IMAGE, name, 3, seed=1, image_id="a"), first)
    fixed = {"defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"}
    assert all(np.array_equal(other, first) == (name in fixed) for other in others)


def test_there_are_fifteen_corruptions_with_five_severities_for_three_sizes():
    assert len(CORRUPTIONS) == 15
    assert list(SEVERITIES) == list(CORRUPTIONS) == list(get_args(Corruption))
    assert all([len(each) for each in sizes] == [5, 5, 5] for sizes in SEVERITIES.values())
    assert list_corruptions("all") == list(CORRUPTIONS)
    assert list_corruptions(["fog", "snow"]) == ["snow", "fog"]


def test_severities_are_those_of_the_nearest_size():
    assert SIZES == (32, 64, 224)
    for image_size, calibrated in ((8, 0), (45, 0), (46, 1), (119, 1), (120, 2)):
        for severity in range(1, 6):
            expected = SEVERITIES["gaussian_noise"][calibrated][severity - 1]
            assert arguments_of("gaussian_noise", severity, image_size=image_size) == (expected,)


def test_contrast_brightness_and_zoom_by_hand():
    image = np.array([[[0.2, 0.4, 0.0], [0.6, 0.4, 0.0]]])
    random = generator(1)
    halved = module.contrast(image, random, 0.5)
    np.testing.assert_allclose(halved, [[[0.3, 0.4, 0], [0.5, 0.4, 0]]])
    # Hue and saturation stay: the channels keep their ratios; black becomes gray.
    brighter = module.brightness(np.array([[[0.2, 0.4, 0.1], [0, 0, 0]]]), random, 0.4)
    np.testing.assert_allclose(brighter, [[[0.4, 0.8, 0.2], [0.4, 0.4, 0.4]]])
    # Twice as large: of five pixels the middle three, the new ones halfway between.
    line = np.tile(np.arange(5.0), (5, 1))
    np.testing.assert_allclose(zoomed(line, 2)[0], [1, 1.4, 1.8, 2.2, 2.6], atol=0.02)
    np.testing.assert_allclose(zoomed(line, 1), line)


def test_blurs_keep_a_flat_image_and_spread_a_point_by_hand():
    flat = np.full((32, 32, 3), 0.25)
    for name in ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "elastic_transform"):
        blurred = CORRUPTIONS[name](flat, generator(1), *arguments_of(name, 4, image_size=32))
        np.testing.assert_allclose(blurred, 0.25, atol=1e-6)
    point = np.zeros((32, 32, 3))
    point[16, 16] = 1

    class Horizontal:
        def uniform(self, low, high):
            assert (low, high) == (-45, 45)
            return 0

    row = motion_blur(point, Horizontal(), 1, 1.0)[16, :, 0]
    weights = np.exp([0, -0.5, -2])
    np.testing.assert_allclose(row[14:17], weights[::-1] / weights.sum())
    disk = module.defocus_blur(point, generator(1), 1, 0.01)[15:18, 15:18, 0]
    np.testing.assert_allclose(disk, np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]]) / 5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "constant", "mean", "deviation"),
    [
        ("gaussian_noise", 0.1, 0.5, 0.1),
        ("shot_noise", 50, 0.5, np.sqrt(0.5 / 50)),
        ("impulse_noise", 0.2, 0.5, np.sqrt(0.2 * 0.25)),  # a fifth is 0 or 1
    ],
)
def test_noise_has_the_mean_and_deviation_of_its_distribution(name, constant, mean, deviation):
    noisy = CORRUPTIONS[name](np.full((200, 200, 3), 0.5), generator(1), constant)
    assert noisy.mean() == pytest.approx(mean, abs=0.003)
    assert noisy.std() == pytest.approx(deviation, rel=0.02)


def test_a_plasma_is_rougher_if_it_decays_less():
    maps = [plasma(64, decay, generator(1)) for decay in (1.5, 3)]
    assert all(one.min() == 0 and one.max() == 1 for one in maps)
    rough, smooth = (np.abs(np.diff(one)).mean() for one in maps)
    assert rough > 1.3 * smooth
