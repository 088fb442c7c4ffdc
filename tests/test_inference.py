"""Logits and features are the same for every caller."""

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from classifold.data.seeding import seed_torch
from classifold.models.inference import (
    BATCH_SIZE,
    View,
    aligned_rows,
    batch_size_of,
    make_views,
    predict_features,
    predict_logits,
)
from classifold.models.model_file import build_network
from classifold.models.preprocessing import to_input

CPU = torch.device("cpu")
SETTINGS = {"image_size": 8, "normalize": "half", "device": CPU}
IMAGES = np.random.default_rng(0).integers(0, 256, (BATCH_SIZE + 30, 8, 8, 3), np.uint8)


@pytest.fixture(
    params=[("mlp", {"hidden": [16]}), ("small_resnet", {"widths": [16, 20], "depth": 1})]
)
def network(request):
    name, arguments = request.param
    seed_torch(1)
    return build_network(name, n_classes=3, image_size=8, arguments=arguments | {"dropout": 0.5})


def test_logits_are_those_of_the_network_in_evaluation_mode(network):
    logits = predict_logits(network, IMAGES, **SETTINGS)
    with torch.inference_mode():
        expected = network.eval()(to_input(IMAGES, **SETTINGS)).numpy()
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_padding_changes_no_bit(network):
    whole = predict_logits(network, IMAGES, **SETTINGS)
    few = predict_logits(network, IMAGES[:5], **SETTINGS)
    np.testing.assert_array_equal(few, whole[:5])
    last = predict_logits(network, IMAGES[BATCH_SIZE:], **SETTINGS)
    np.testing.assert_array_equal(last, whole[BATCH_SIZE:])


@pytest.mark.parametrize("hidden", [[16], [33, 11], [255]])
def test_a_place_in_the_batch_changes_no_bit(hidden):
    seed_torch(2)
    network = build_network("mlp", n_classes=3, image_size=9, arguments={"hidden": hidden})
    settings = SETTINGS | {"image_size": 9}
    whole = predict_logits(network, IMAGES, **settings)
    order = np.random.default_rng(1).permutation(len(IMAGES))
    np.testing.assert_array_equal(predict_logits(network, IMAGES[order], **settings), whole[order])


def test_rows_that_are_moved_to_registers_keep_their_values_and_no_hook_stays():
    layer = torch.nn.Linear(33, 5)
    rows = torch.randn(7, 34)[:, 1:]
    seen = []
    layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with aligned_rows():
        moved = layer(rows)
    torch.testing.assert_close(moved, layer(rows))
    assert torch.equal(seen[0], rows)
    assert {seen[0][i].data_ptr() % 64 for i in range(7)} == {0}
    assert seen[1] is rows


def test_a_network_always_sees_batches_of_one_size(network):
    seen = []
    network.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    predict_logits(network, IMAGES, **SETTINGS)
    predict_features(network, IMAGES[:1], **SETTINGS)
    assert seen == [BATCH_SIZE] * 3


def test_images_on_the_disk_give_the_same_logits(network, tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    np.testing.assert_array_equal(
        predict_logits(network, mapped, **SETTINGS), predict_logits(network, IMAGES, **SETTINGS)
    )


@pytest.mark.parametrize("training", [True, False])
def test_inference_does_not_change_mode_or_weights_of_a_network(network, training):
    network.train(training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    predict_logits(network, IMAGES, **SETTINGS)
    predict_features(network, IMAGES, **SETTINGS)
    assert network.training == training
    after = network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_the_head_turns_features_into_logits(network):
    features = predict_features(network, IMAGES, **SETTINGS)
    with torch.inference_mode():
        logits = network.head(torch.from_numpy(features)).numpy()
    expected = predict_logits(network, IMAGES, **SETTINGS)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_feature_maps_before_a_convolutional_head_are_averaged():
    seed_torch(1)
    arguments = {"name": "squeezenet1_1"}
    network = build_network("torchvision", n_classes=3, image_size=32, arguments=arguments)
    settings = SETTINGS | {"image_size": 32}
    features = predict_features(network, IMAGES[:2], **settings)
    with torch.inference_mode():
        maps = network.backbone.eval().features(to_input(IMAGES[:2], **settings))
    np.testing.assert_allclose(features, maps.mean((2, 3)).numpy(), rtol=1e-4, atol=1e-5)


def test_no_images_give_no_logits(network):
    assert len(predict_logits(network, IMAGES[:0], **SETTINGS)) == 0


def test_without_views_no_bit_changes(network):
    plain = predict_logits(network, IMAGES, **SETTINGS)
    none = predict_logits(network, IMAGES, **SETTINGS, flips="none", shift=0)
    np.testing.assert_array_equal(none, plain)
    assert make_views("none", 0) == [View((False, False), (0, 0))]


@pytest.mark.parametrize(
    ("flips", "shift", "n_views"),
    [("horizontal", 0, 2), ("both", 0, 4), ("none", 1, 5), ("horizontal", 2, 10), ("both", 3, 20)],
)
def test_views_are_all_combinations_of_flips_and_shifts(flips, shift, n_views):
    views = make_views(flips, shift)
    assert len(set(views)) == n_views
    assert views[0] == View((False, False), (0, 0))
    assert {view.mirrored for view in views} == {v.mirrored for v in make_views(flips, 0)}
    assert {max(map(abs, view.offset)) for view in views} == {0, shift}


def test_logits_are_averaged_over_views(network):
    views = [IMAGES, IMAGES[:, :, ::-1]]
    expected = np.mean([predict_logits(network, view, **SETTINGS) for view in views], axis=0)
    found = predict_logits(network, IMAGES, **SETTINGS, flips="horizontal")
    np.testing.assert_array_equal(found, expected)


def test_an_image_and_its_mirror_image_have_equal_logits(network):
    settings = SETTINGS | {"flips": "both", "shift": 2}
    found = predict_logits(network, IMAGES[:9], **settings)
    for mirrored in (IMAGES[:9, :, ::-1], IMAGES[:9, ::-1], IMAGES[:9, ::-1, ::-1]):
        np.testing.assert_allclose(
            predict_logits(network, mirrored, **settings), found, rtol=1e-4, atol=1e-5
        )


def test_views_by_hand():
    image = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], np.uint8)[None, :, :, None]
    right = View((False, False), (0, 1)).of(image)[0, :, :, 0]
    assert right.tolist() == [[2, 1, 2], [5, 4, 5], [8, 7, 8]]  # the border is a mirror
    up = View((False, False), (-1, 0)).of(image)[0, :, :, 0]
    assert up.tolist() == [[4, 5, 6], [7, 8, 9], [4, 5, 6]]
    turned = View((True, True), (0, 0)).of(image)[0, :, :, 0]
    assert turned.tolist() == [[9, 8, 7], [6, 5, 4], [3, 2, 1]]


MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.mark.parametrize(
    ("normalize", "black", "white"),
    [
        ("none", [0] * 3, [1] * 3),
        ("half", [-1] * 3, [1] * 3),
        ("imagenet", -MEAN / STD, (1 - MEAN) / STD),
    ],
)
def test_normalization_by_hand(normalize, black, white):
    images = np.array([0, 255], np.uint8).repeat(4 * 4 * 3).reshape(2, 4, 4, 3)
    batch = to_input(images, image_size=4, normalize=normalize, device=CPU)
    assert batch.dtype == torch.float32
    assert batch.is_contiguous(memory_format=torch.channels_last)
    expected = np.array([black, white], np.float32)[:, :, None, None]
    np.testing.assert_allclose(batch, np.broadcast_to(expected, (2, 3, 4, 4)), rtol=1e-5)


@pytest.mark.parametrize("size", [5, 8, 13])
def test_preprocessing_agrees_with_torchvisions_transforms(size):
    scale, resize = v2.ToDtype(torch.float32, scale=True), v2.Resize((size, size), antialias=True)
    reference = v2.Compose([scale, resize, v2.Normalize(MEAN.tolist(), STD.tolist())])
    expected = reference(torch.from_numpy(IMAGES[:4]).permute(0, 3, 1, 2))
    batch = to_input(IMAGES[:4], image_size=size, normalize="imagenet", device=CPU)
    torch.testing.assert_close(batch, expected, rtol=1e-4, atol=1e-4)


def test_preprocessing_does_not_change_its_input():
    images = IMAGES.copy()
    to_input(images, image_size=8, normalize="half", device=CPU)
    np.testing.assert_array_equal(images, IMAGES)


@pytest.mark.parametrize(
    ("image_size", "device", "expected"),
    [(32, "cpu", 64), (224, "cpu", 4), (300, "cpu", 2), (2048, "cpu", 1), (224, "cuda", 64)],
)
def test_batches_of_large_images_are_small_on_a_cpu(image_size, device, expected):
    assert batch_size_of(image_size, torch.device(device)) == expected
