"""Fisher vectors: the gradients of a mixture's likelihood, and a model that is fitted on them."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from classifold.errors import UserError
from classifold.models.feature_cache import FeatureCache
from classifold.models.fisher_encoder import FisherEncoder
from classifold.models.inference import predict_logits
from classifold.models.local_descriptors import ColorStatistics, GradientHistograms, Window
from classifold.models.model_file import build_network, load_model, new_network, save_model
from classifold.training.config import TrainingConfig
from classifold.training.loop import fit
from shared_fixtures import noisy_pack
from tiny_model import NO_POLICY

SMALL = {"components": 4, "dimensions": 3, "cells": [2], "octaves": 2}
SIZE = {"image_size": 32, "normalize": "none"}
HEAD = {"name": "logistic", "c": [0.001, 0.1]}
CPU = torch.device("cpu")


def network_of(n_classes=2, **changes):
    arguments = SMALL | changes
    return new_network(
        "fisher_vectors", n_classes=n_classes, image_size=32, arguments=arguments, seed=1
    ).eval()


def stripes(n_images, *, seed=0):
    """Images of horizontal (label 0) and vertical stripes, of random colors, and their labels."""
    random = np.random.default_rng(seed)
    labels = np.arange(n_images) % 2
    images = np.empty((n_images, 32, 32, 3), np.uint8)
    for image, label in zip(images, labels, strict=True):
        bright = (np.arange(32) + random.integers(8)) // 4 % 2 == 0
        pattern = np.broadcast_to(bright[:, None] if label == 0 else bright, (32, 32))
        image[:] = np.where(pattern[..., None], *random.integers(0, 256, (2, 1, 1, 3)))
    return images, labels


def as_pack(n_images, *, seed=0):
    images, labels = stripes(n_images, seed=seed)
    pack = noisy_pack(n_images, n_classes=2, size=32)
    return pack._replace(images=images, labels=labels)


def batches_of(images):
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    return list(tensor.split(4))


@pytest.fixture
def fitted_encoder():
    random = torch.Generator().manual_seed(0)
    encoder = FisherEncoder(5, dimensions=3, components=4)
    for name in ("center", "projection", "means", "variances"):
        buffer = getattr(encoder, name)
        buffer.copy_(torch.rand(buffer.shape, generator=random) + 0.1)
    encoder.weights.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4]))
    descriptors = torch.randn(2, 30, 5, generator=random)
    return encoder, descriptors, torch.randn(30, 2, generator=random)


def test_a_fisher_vector_is_the_gradient_of_the_mean_log_likelihood(fitted_encoder):
    encoder, descriptors, positions = fitted_encoder
    encoded = encoder([encoder.sums(descriptors, positions)])

    means = encoder.means.clone().requires_grad_()
    deviations = encoder.variances.sqrt().requires_grad_()
    mixture = MixtureSameFamily(
        Categorical(encoder.weights), Independent(Normal(means, deviations), 1)
    )
    for vector, of_image in zip(encoded, descriptors, strict=True):
        reduced = torch.cat([(of_image - encoder.center) @ encoder.projection, positions], dim=1)
        likelihood = mixture.log_prob(reduced).mean()
        gradients = torch.stack(torch.autograd.grad(likelihood, [means, deviations]))
        # In units of its standard deviation: the diagonal of Fisher's information matrix.
        information = encoder.weights[:, None] / encoder.variances
        scaled = gradients / torch.stack([information, 2 * information]).sqrt()
        rooted = (scaled.sign() * scaled.abs().sqrt()).flatten()
        torch.testing.assert_close(vector, rooted / rooted.norm(), rtol=1e-2, atol=1e-3)
        assert vector.norm() == pytest.approx(1)


def test_descriptors_may_be_encoded_in_parts(fitted_encoder):
    encoder, descriptors, positions = fitted_encoder
    whole = encoder([encoder.sums(descriptors, positions)])
    parts = [
        encoder.sums(descriptors[:, rows], positions[rows]) for rows in (slice(9), slice(9, 30))
    ]
    torch.testing.assert_close(encoder(parts), whole)


def test_an_encoder_finds_the_components_of_its_descriptors():
    random = np.random.default_rng(0)
    centers = np.array([[-5, 0, 0], [5, 0, 0], [0, 9, 0]], np.float32)
    labels = random.integers(0, 3, 3000)
    descriptors = (centers[labels] + random.normal(0, 0.5, (3000, 3))).astype(np.float32)
    positions = random.uniform(-1.7, 1.7, (3000, 2)).astype(np.float32)
    encoder = FisherEncoder(3, dimensions=2, components=3)
    encoder.fit(descriptors, positions, seed=1)
    expected = (centers - descriptors.mean(0)) @ encoder.projection.numpy()
    found = encoder.means[:, :2].numpy()
    nearest = np.linalg.norm(expected[:, None] - found, axis=2).argmin(1)
    assert sorted(nearest) == [0, 1, 2]
    np.testing.assert_allclose(found[nearest], expected, atol=0.1)
    np.testing.assert_allclose(
        encoder.weights.numpy()[nearest], np.bincount(labels) / 3000, atol=0.01
    )


def gradients_of(image):
    """The histogram of the only patch of an image (H, W) of 8 pixels."""
    images = torch.as_tensor(image, dtype=torch.float32).expand(1, 3, 8, 8)
    return GradientHistograms()(images, Window(2))[0, 0].view(8, 4, 4)


def test_gradients_are_counted_in_their_direction():
    ramp = torch.arange(8) / 10
    right = gradients_of(ramp.expand(8, 8))
    proportions = right[:, 1:-1, 1:-1].square()  # at the borders there are none
    assert proportions[0].min() > 0.05
    assert proportions[2:7].max() < 1e-5
    torch.testing.assert_close(gradients_of(ramp[:, None].expand(8, 8))[2], right[0].T)
    torch.testing.assert_close(gradients_of(-ramp.expand(8, 8))[4], right[0])
    torch.testing.assert_close(gradients_of(3 + ramp.expand(8, 8)), right, atol=1e-3, rtol=1e-3)


def test_low_contrast_lowers_a_histogram_and_noise_free_areas_have_none():
    ramp = (torch.arange(8) / 10).expand(8, 8)
    sums = [gradients_of(factor * ramp).square().sum() for factor in (0, 0.001, 1, 2)]
    assert sums == sorted(sums)
    assert sums[0] < 1e-3
    assert sums[2] > 0.9


def test_colors_are_means_and_deviations_of_cells():
    images = torch.zeros(1, 3, 8, 8)
    images[:, 0], images[:, 1, :, ::2] = 0.25, 1.0  # red uniform, green in stripes of one pixel
    means, deviations = ColorStatistics()(images, Window(2))[0, 0].view(2, 3, 4, 4)
    torch.testing.assert_close(means[0], torch.full((4, 4), 0.25))
    torch.testing.assert_close(means[1, :, 1:-1], torch.full((4, 2), 0.5))
    torch.testing.assert_close(deviations[1, :, 1:-1], torch.full((4, 2), 0.5))
    assert max(means[2].max(), deviations[0].max(), deviations[2].max()) <= 1.1e-3


@pytest.mark.parametrize("cell", [1, 2, 3, 4])
def test_a_window_averages_over_the_cells_of_a_grid(cell):
    found = Window(cell)(torch.ones(1, 2, 13, 12))
    assert found.shape == (1, 2, 13 // cell, 12 // cell)
    torch.testing.assert_close(found, torch.ones_like(found))
    # A ramp has its value in the middle of each cell.
    ramp = torch.arange(12.0).expand(1, 1, 12, 12)
    expected = torch.arange(12 // cell) * cell + (cell - 1) / 2
    torch.testing.assert_close(Window(cell)(ramp)[0, 0, 1, 1:-1], expected[1:-1])


@pytest.fixture(scope="module")
def fitted_body():
    network = network_of()
    network.fit_body(batches_of(stripes(20)[0]), seed=1)
    return network


def test_features_of_an_image_are_those_of_its_mirror_image(fitted_body):
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = fitted_body.features(images)
        torch.testing.assert_close(fitted_body.features(images.flip(3)), features)
        assert not torch.allclose(fitted_body.features(images.flip(2)), features, atol=0.01)
        alone = torch.cat([fitted_body.features(image[None]) for image in images])
        plain = network_of(mirrored=False)
        plain.load_state_dict(fitted_body.state_dict())
        assert not torch.allclose(plain.features(images.flip(3)), plain.features(images), atol=0.01)
    assert features.shape == (3, 2 * 2 * 4 * 5)
    torch.testing.assert_close(alone, features, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_uniform_images_have_finite_features_and_gradients(fitted_body, value):
    images = torch.full((1, 3, 32, 32), value, requires_grad=True)
    logits = fitted_body(images)
    logits.sum().backward()
    assert logits.isfinite().all()
    assert images.grad.isfinite().all()
    uniform = network_of()
    uniform.fit_body([torch.full((8, 3, 32, 32), value)], seed=1)
    assert uniform.features(images).isfinite().all()


def test_a_body_depends_on_its_seed_and_images_alone():
    images = batches_of(stripes(8)[0])
    bits = []
    for seed in (1, 1, 2):
        network = network_of()
        network.fit_body(images, seed=seed)
        bits.append(torch.cat([tensor.flatten() for tensor in network.encoders.buffers()]))
    assert torch.equal(bits[0], bits[1])
    assert not torch.equal(bits[0], bits[2])


def test_bf16_does_not_change_the_features(fitted_body):
    images = torch.rand(2, 3, 32, 32)
    expected = fitted_body.features(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(fitted_body.features(images), expected)


@pytest.mark.parametrize(
    "head", [HEAD, {"name": "neighbors", "k": 3}], ids=lambda head: head["name"]
)
def test_a_model_learns_textures_and_is_the_same_from_its_file(machine, tmp_path, head):
    train, validation = as_pack(24), as_pack(20, seed=1)
    network, cache = network_of(), FeatureCache(tmp_path / "features")
    config = TrainingConfig(seed=1, loss={"name": "cross_entropy"}, head=head, **SIZE)
    work = {"config": config, "policy": NO_POLICY, "machine": machine}
    fitted = fit(network, train, validation, cache=cache, **work)
    assert fitted.history[0]["validation_accuracy"] == 1
    logits = predict_logits(network, validation.images, device=CPU, **SIZE)
    assert (logits.argmax(1) == validation.labels).all()
    # The body is that of the images: files of other bodies are not used.
    assert len(list(cache.folder.glob("*.npy"))) == 2
    fit(network_of(), as_pack(24, seed=5), validation, cache=cache, **work)
    assert len(list(cache.folder.glob("*.npy"))) == 4

    folder = tmp_path / "model"
    folder.mkdir()
    preprocessing = {"pack_size": 32, "resize": "lanczos", "ranges": {}, **SIZE}
    save_model(
        folder,
        network,
        network="fisher_vectors",
        arguments=SMALL,
        classes=train.classes,
        preprocessing=preprocessing,
        training={"threads": 1},
    )
    loaded = load_model(folder).network
    found = predict_logits(loaded, validation.images, device=CPU, **SIZE)
    np.testing.assert_array_equal(found, logits)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the exporter's own code
def test_an_exported_file_has_the_logits_for_any_number_of_images(fitted_body, tmp_path):
    images = torch.rand(5, 3, 32, 32)
    images[3:] = torch.tensor([0.0, 0.5]).view(2, 1, 1, 1)  # uniform
    with torch.inference_mode():
        program = torch.onnx.export(
            fitted_body,
            (images[:2],),
            dynamo=True,
            input_names=["images"],
            dynamic_shapes={"images": {0: torch.export.Dim("n_images")}},
            verbose=False,
        )
        expected = fitted_body(images).numpy()
    program.save(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    np.testing.assert_allclose(
        session.run(None, {"images": images.numpy()})[0], expected, atol=1e-4
    )


def test_too_few_patches_are_an_error():
    network = network_of(components=200)
    with pytest.raises(UserError, match=r"must have 200 patches, got 100\. Lower components"):
        network.fit_body([torch.rand(1, 3, 32, 32)], seed=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cells": []}, "at least 1"),
        ({"octaves": 0}, "at least 1"),
        ({"components": 0}, "at least 1"),
        ({"dimensions": 97}, "dimensions at most 96"),
        ({"cells": [9]}, "the largest patches .* have 72 pixels"),
        ({"cells": [2, 9]}, "the largest patches .* have 36 pixels"),
        ({"octaves": 9}, "the largest patches .* have 2048 pixels"),
    ],
)
def test_arguments_that_are_not_possible_are_an_error(changes, message):
    with pytest.raises(UserError, match=f"fisher_vectors cannot be built .*{message}"):
        build_network("fisher_vectors", n_classes=2, image_size=32, arguments=SMALL | changes)
