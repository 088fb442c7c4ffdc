"""Quality of generated images: distances by hand, and measures that rank real images first."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from classifold.errors import UserError
from classifold.gan.distances import frechet_distance, nearest_distance, precision_recall
from classifold.gan.quality import measure_quality
from classifold.models.model_file import Model

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [
        # Means 1 and 7, variances 2 and 8: 36 + (sqrt 2 - sqrt 8)^2.
        ([[0], [2]], [[5], [9]], 38.0),
        # Means (0, 0) and (3, 4), variances (2/3, 8/3) and (8/3, 2/3): 25 + 2 x 2/3.
        ([[1, 0], [-1, 0], [0, 2], [0, -2]], [[5, 4], [1, 4], [3, 5], [3, 3]], 25 + 4 / 3),
        ([[1, 2, 3], [4, 6, 8]], [[1, 2, 3], [4, 6, 8]], 0.0),
    ],
)
def test_frechet_distance_by_hand(first, second, distance):
    arrays = np.array(first, float), np.array(second, float)
    assert frechet_distance(*arrays) == pytest.approx(distance, abs=1e-7)
    assert frechet_distance(*arrays[::-1]) == pytest.approx(distance, abs=1e-7)


def test_frechet_distance_agrees_with_the_root_of_a_matrix():
    random = np.random.default_rng(1)
    first = random.normal(size=(200, 6)) @ random.normal(size=(6, 6))
    second = random.normal(size=(300, 6)) @ random.normal(size=(6, 6)) + 2
    one, other = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    expected = np.square(first.mean(0) - second.mean(0)).sum() + np.trace(
        one + other - 2 * sqrtm(one @ other).real
    )
    assert frechet_distance(first, second) == pytest.approx(expected)
    turned, _ = np.linalg.qr(random.normal(size=(6, 6)))
    assert frechet_distance(first @ turned, second @ turned) == pytest.approx(expected)
    assert frechet_distance(first, first + np.array([3, 0, 0, 4, 0, 0])) == pytest.approx(25)


def test_precision_and_recall_by_hand():
    # Radii to the nearest: 1, 1, 1, 8 in the reference, 0.1, 0.1 and 19.4 in the generated set.
    reference, generated = np.array([[0.0], [1], [2], [10]]), np.array([[0.5], [0.6], [20]])
    precision, recall = precision_recall(reference, generated, neighbors=1)
    assert precision == pytest.approx(2 / 3)
    assert recall == pytest.approx(3 / 4)


def test_the_nearest_distance_is_a_median():
    assert nearest_distance(np.array([[0.0], [4], [11]]), to=np.array([[1.0], [10]])) == 1.0


@pytest.fixture
def model(tiny_mlp):
    preprocessing = {"image_size": 8, "normalize": "half"}
    return Model(tiny_mlp(), ["class0", "class1", "class2"], preprocessing, {})


@pytest.fixture
def quality_of(model):
    def measure(real, generated, untrained, *, model=model, neighbors=2):
        settings = {"model": model, "neighbors": neighbors, "seed": 1, "device": CPU}
        return measure_quality(real, generated, untrained, **settings)

    return measure


def test_quality_is_best_for_real_images_and_worst_for_noise(draw_pack, quality_of):
    real = draw_pack(120)
    good, poor = draw_pack(60, seed=4), draw_pack(60, seed=5)
    poor = poor._replace(images=255 - poor.images)
    quality = quality_of(real, good, poor, neighbors=3)
    assert quality["n_images"] == 60
    for better in ("real", "generated"):
        assert quality[better]["frechet_distance"] < quality["untrained"]["frechet_distance"]
    assert quality["generated"]["precision"] > 0.8 > quality["untrained"]["precision"]
    assert quality["noise"]["precision"] == 0
    assert "agreement" not in quality["noise"]


def test_agreement_is_the_fraction_of_images_with_the_predicted_class(draw_pack, quality_of):
    real = draw_pack(60)
    everything = quality_of(real, real, real)["generated"]
    other = quality_of(real, real._replace(labels=(real.labels + 1) % 3), real)
    unconditional = real._replace(labels=0 * real.labels, classes=["generated"])
    assert "agreement" not in quality_of(real, unconditional, real)["generated"]
    by_class = list(everything["agreement_by_class"].values())
    assert np.mean(by_class) == pytest.approx(everything["agreement"])  # of one size
    assert other["generated"]["agreement"] + everything["agreement"] <= 1
    assert other["generated"]["frechet_distance"] == everything["frechet_distance"]


def test_quality_refuses_a_model_of_other_classes_and_too_few_images(draw_pack, model, quality_of):
    real = draw_pack(12)
    with pytest.raises(UserError, match=r"sample_gan.model: .*3: .*got 2: a, b"):
        quality_of(real, real, real, model=model._replace(classes=["a", "b"]))
    with pytest.raises(UserError, match=r"sample_gan.neighbors: .*got 6"):
        quality_of(real, real, real, neighbors=6)
