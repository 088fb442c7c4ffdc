"""Principal components of all images, one channel at a time, and of one image by itself."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from classifold.analysis.pca import components as pca
from classifold.analysis.pca.components import (
    CHANNELS,
    count_components,
    image_components,
    image_metrics,
    pca_metrics,
    principal_components,
)


def draw_images(n_images=60, size=6):
    """Images that vary along a few directions, and a little along all."""
    random = np.random.default_rng(0)
    directions = random.normal(0, 30, (3, size * size * 3))
    values = random.normal(0, 1, (n_images, 3)) @ directions
    values += random.normal(128, 6, values.shape)
    return np.clip(values, 0, 255).astype(np.uint8).reshape(-1, size, size, 3)


@pytest.mark.parametrize("batch_size", [7, 1024])
def test_components_are_those_of_scikit_learns_full_pca(batch_size, monkeypatch):
    monkeypatch.setattr(pca, "BATCH_SIZE", batch_size)
    images = draw_images()
    found = principal_components(images, size=6)
    for i, channel in enumerate(CHANNELS):
        reference = PCA().fit(images[..., i].reshape(60, -1) / 255)
        ours = found[channel]
        np.testing.assert_allclose(ours.mean.ravel(), reference.mean_)
        np.testing.assert_allclose(ours.variances, reference.explained_variance_, atol=1e-12)
        ratios = np.cumsum(reference.explained_variance_ratio_)
        np.testing.assert_allclose(ours.cumulative_ratios()["variance"], ratios)
        singular = reference.singular_values_
        expected = np.cumsum(singular) / singular.sum()
        np.testing.assert_allclose(ours.cumulative_ratios()["singular_values"], expected, rtol=1e-6)
        overlap = (ours.components[:3].reshape(3, -1) * reference.components_[:3]).sum(axis=1)
        np.testing.assert_allclose(np.abs(overlap), 1, rtol=1e-6)  # signs are arbitrary


@pytest.mark.parametrize("n_components", [1, 3, 36])
def test_an_image_is_reconstructed_as_scikit_learn_does(n_components):
    images = draw_images()
    found = principal_components(images, size=6)["green"]
    rows = images[..., 1].reshape(60, -1) / 255
    reference = PCA(n_components).fit(rows)
    expected = reference.inverse_transform(reference.transform(rows[:1]))[0]
    reconstruction = found.reconstruct(images[0, ..., 1] / 255, n_components)
    np.testing.assert_allclose(reconstruction.ravel(), expected, atol=1e-9)
    if n_components == 36:
        np.testing.assert_allclose(reconstruction, images[0, ..., 1] / 255, atol=1e-9)


def test_larger_images_are_resized_and_there_are_fewer_components_than_images():
    found = principal_components(draw_images(9, size=12), size=6)["red"]
    assert found.mean.shape == (6, 6)
    assert found.components.shape == (8, 6, 6)


def test_components_needed_by_hand():
    # Variances of 16, 4, 4 and 1, in all 25; singular values of 4, 2, 2 and 1, in all 9.
    variances = np.array([16.0, 4.0, 4.0, 1.0])
    found = pca.Components(np.zeros((2, 2)), np.zeros((4, 2, 2)), variances)
    ratios = found.cumulative_ratios()
    np.testing.assert_allclose(ratios["variance"], [0.64, 0.80, 0.96, 1])
    np.testing.assert_allclose(ratios["singular_values"], [4 / 9, 6 / 9, 8 / 9, 1])
    assert count_components(found) == {
        "components_90_variance": 3,
        "components_95_variance": 3,
        "components_90_singular_values": 4,
        "components_95_singular_values": 4,
    }


def test_components_of_one_image_are_those_of_its_rows():
    image = draw_images(1, size=8)[0]
    found = image_components(image)
    for i, channel in enumerate(CHANNELS):
        pixels, ours = image[..., i] / 255, found[channel]
        ratio = np.cumsum(PCA().fit(pixels).explained_variance_ratio_)
        np.testing.assert_allclose(ours.cumulative_ratios()["variance"], ratio, atol=1e-12)
        np.testing.assert_allclose(ours.reconstruct(8), pixels, atol=1e-12)
        two = PCA(2).fit(pixels)
        expected = two.inverse_transform(two.transform(pixels))
        np.testing.assert_allclose(ours.reconstruct(2), expected, atol=1e-12)


def test_an_image_of_equal_rows_needs_one_component():
    image = np.tile(np.arange(8, dtype=np.uint8)[None, :, None], (8, 1, 3))
    metrics = image_metrics(image_components(image), image_id="a.png")
    assert (metrics["id"], metrics["n_components"]) == ("a.png", 8)
    assert set(metrics["blue"].values()) == {1}


def test_metrics_have_every_channel():
    images = draw_images()
    metrics = pca_metrics(principal_components(images, size=6), n_images=60)
    assert (metrics["n_images"], metrics["size"], metrics["n_features"]) == (60, 6, 36)
    for i, channel in enumerate(CHANNELS):
        rows = images[..., i].reshape(60, -1) / 255
        expected = PCA(0.9, svd_solver="full").fit(rows).n_components_
        assert metrics[channel]["components_90_variance"] == expected
