"""What is drawn for each image of an epoch, and what becomes of its pixels and its label."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps
from ruamel.yaml import YAML
from torchvision.transforms.v2 import functional as v2

from classifold.augmentation.online import steps as steps_module
from classifold.augmentation.online.batches import (
    augment_arrays,
    epoch_draws,
    mix_arrays,
)
from classifold.augmentation.online.color import (
    brightened,
    contrasted,
    hued,
    identity_colors,
    recolor_arrays,
    saturated,
    shifted,
    shuffled,
    then,
)
from classifold.augmentation.online.policy import count_draws, draw_plan
from classifold.augmentation.online.tensors import augment_tensors, mix_tensors, retone_tensors
from classifold.augmentation.online.tone import NAMES, Tones, retone_arrays

POLICIES = YAML(typ="safe").load(Path(__file__).parents[1] / "params.yaml")["policies"]
NAMED = sorted(POLICIES)

IMAGES = np.random.default_rng(3).integers(0, 256, (40, 16, 16, 3), np.uint8)
SMOOTH = np.stack(
    [np.asarray(Image.fromarray(image[:4, :4]).resize((16, 16), 3)) for image in IMAGES]
)


def plan_of(steps, *, n_images=40, size=16, seed=0, epoch=1, n_in_pack=40):
    draws = epoch_draws({"steps": steps}, n_images=n_images, seed=seed, epoch=epoch)
    return draw_plan(steps, draws, size=size, n_in_pack=n_in_pack)


def augmented(steps, images=IMAGES, *, fill="reflect", **kwargs):
    return augment_arrays(images, plan_of(steps, n_images=len(images), **kwargs), fill=fill)


def test_a_policy_without_steps_changes_nothing():
    assert augmented([]) is IMAGES


@pytest.mark.parametrize("name", NAMED)
def test_every_policy_keeps_shape_and_range_and_does_not_change_stored_images(name):
    before = IMAGES.copy()
    found = augmented(POLICIES[name]["steps"], fill=POLICIES[name]["fill"])
    assert (found.shape, found.dtype) == (IMAGES.shape, np.uint8)
    np.testing.assert_array_equal(IMAGES, before)
    if name not in ("none", "mix"):
        changed = (found != IMAGES).any((1, 2, 3))
        assert changed.mean() > 0.5


@pytest.mark.parametrize("name", NAMED)
def test_draws_belong_to_the_image_and_not_to_its_place_in_the_batch(name):
    steps, fill = POLICIES[name]["steps"], POLICIES[name]["fill"]
    draws = epoch_draws(POLICIES[name], n_images=40, seed=0, epoch=1)
    order = np.random.default_rng(0).permutation(40)[:7]
    whole = augment_arrays(IMAGES, draw_plan(steps, draws, size=16, n_in_pack=40), fill=fill)
    some = draw_plan(steps, draws[order], size=16, n_in_pack=40)
    np.testing.assert_array_equal(augment_arrays(IMAGES[order], some, fill=fill), whole[order])


def test_random_numbers_depend_on_epoch_and_seed():
    first = epoch_draws(POLICIES["class_c"], n_images=9, seed=0, epoch=1)
    again = epoch_draws(POLICIES["class_c"], n_images=9, seed=0, epoch=1)
    np.testing.assert_array_equal(first, again)
    for changes in ({"epoch": 2}, {"seed": 1}):
        other = epoch_draws(POLICIES["class_c"], n_images=9, **({"seed": 0, "epoch": 1} | changes))
        assert not np.isclose(first, other).all(axis=1).any()


@pytest.mark.parametrize("name", sorted(set(NAMED) - {"jpeg"}))
def test_the_cpu_and_a_batch_on_a_device_agree_within_two_gray_levels(name):
    plan = plan_of(POLICIES[name]["steps"])
    arrays = augment_arrays(SMOOTH, plan, fill=POLICIES[name]["fill"])
    batch = torch.from_numpy(SMOOTH).permute(0, 3, 1, 2).float()
    tensors = augment_tensors(batch, plan, fill=POLICIES[name]["fill"])
    gap = abs(arrays - tensors.permute(0, 2, 3, 1).numpy())
    # Tones are distinguished by thresholds and ranks, which the last gray level may cross.
    hard = {NAMES.index(tone) for tone in ("posterize", "solarize", "equalize", "autocontrast")}
    toned = np.zeros(len(SMOOTH), bool)
    for tones in plan.tones:
        toned |= np.isin(tones.kinds, list(hard))
    assert gap[~toned].max() <= 2
    if toned.any():
        assert gap[toned].mean() <= 2


# Settings with which every random number of a step has an effect.
STEPS = {
    **dict.fromkeys(("rotate", "shear", "hue", "channel_shift"), 40),
    **dict.fromkeys(("pad_crop", "channel_shuffle", "grayscale"), 0.5),
    **{key: [0.5, 1.5] for key in ("scale", "zoom", "brightness", "contrast", "saturation")},
    "flip": "both",
    "shift": [0.2, 0.2],
    "random_crop": {"area": [0.1, 0.9], "aspect": [0.5, 2.0]},
    "trivial_augment": True,
    "jpeg": [5, 95],
    "erase": {"probability": 0.5, "area": [0.1, 0.3], "aspect": [0.5, 2.0]},
    "mix": {"mixup": 0.2, "cutmix": 1.0},
}


@pytest.mark.parametrize("name", STEPS)
def test_every_random_number_of_a_step_changes_something(name):
    steps = [{name: STEPS[name]}]
    draws = epoch_draws({"steps": steps}, n_images=60, seed=0, epoch=1)

    def plan(draws):
        return pickle.dumps(vars(draw_plan(steps, draws, size=16, n_in_pack=60)))

    for column in range(count_draws(steps)):
        others = draws.copy()
        others[:, column] = 1 - others[:, column]
        assert plan(others) != plan(draws), column


def crops(image, padding):
    """Every window of an image padded by reflection."""
    size = len(image)
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)), "reflect")
    starts = range(2 * padding + 1)
    return [padded[y : y + size, x : x + size] for y in starts for x in starts]


def test_pad_crop_shifts_by_whole_pixels_up_to_its_fraction():
    shifts = set()
    for image, result in zip(IMAGES, augmented([{"pad_crop": 0.125}]), strict=True):
        matches = [i for i, crop in enumerate(crops(image, 2)) if np.array_equal(crop, result)]
        assert matches
        shifts.update(matches[:1])
    assert len(shifts) > 12  # of 25


@pytest.mark.parametrize(
    ("axes", "mirrored"),
    [
        ("horizontal", [lambda a: a[:, :, ::-1]]),
        ("vertical", [lambda a: a[:, ::-1]]),
        ("both", [lambda a: a[:, :, ::-1], lambda a: a[:, ::-1], lambda a: a[:, ::-1, ::-1]]),
    ],
    ids=["horizontal", "vertical", "both"],
)
def test_flips_mirror_about_half_of_the_images_exactly(axes, mirrored):
    found = augmented([{"flip": axes}])
    same = (found == IMAGES).all((1, 2, 3))
    others = [(found == turn(IMAGES)).all((1, 2, 3)) for turn in mirrored]
    assert (np.sum([same, *others], axis=0) == 1).all()
    for other in others:
        assert 3 <= other.sum() <= 30


def corners_of(matrices, size=16):
    half = size / 2
    corners = np.array([[-half, -half, 1], [half, -half, 1], [half, half, 1], [-half, half, 1]])
    return corners @ matrices.transpose(0, 2, 1)


def test_random_crops_keep_to_the_image_their_area_and_their_aspect():
    steps = [{"random_crop": {"area": [0.08, 1.0], "aspect": [0.75, 4 / 3]}}]
    matrices = plan_of(steps, n_images=500).geometry
    assert abs(corners_of(matrices)[..., :2]).max() <= 8 + 1e-4
    width, height = matrices[:, 0, 0], matrices[:, 1, 1]
    assert (width * height).min() >= 0.08 * 0.7  # cut where a side would be too long
    assert (width * height).max() <= 1
    whole = (width < 1) & (height < 1)
    aspects = (width / height)[whole]
    assert aspects.min() >= 0.75 - 1e-4
    assert aspects.max() <= 4 / 3 + 1e-4
    # The center is uniform in the range that keeps the crop in the image.
    room = 8 * (1 - np.stack([width, height], axis=1)[whole])
    offsets = abs(matrices[whole][:, :2, 2]) / room
    np.testing.assert_allclose(offsets.mean(axis=0), 0.5, atol=0.05)
    assert offsets.max() <= 1 + 1e-3


@pytest.mark.parametrize(
    ("step", "low", "high", "measure"),
    [
        ({"rotate": 20}, -20, 20, lambda m: np.degrees(np.arcsin(m[:, 1, 0]))),
        ({"scale": [0.5, 2.0]}, 0.5, 2.0, lambda m: 1 / m[:, 0, 0]),
        ({"zoom": [0.6, 1.4]}, 0.6, 1.4, lambda m: m[:, 1, 1]),
        ({"shift": [0.25, 0.0]}, -4, 4, lambda m: -m[:, 0, 2]),
        ({"shift": [0.0, 0.5]}, -8, 8, lambda m: -m[:, 1, 2]),
        ({"shear": 30}, -30, 30, lambda m: -np.degrees(np.arcsin(m[:, 1, 0]))),
    ],
    ids=["rotate", "scale", "zoom", "shift columns", "shift rows", "shear"],
)
def test_geometry_is_uniform_in_its_range(step, low, high, measure):
    found = measure(plan_of([step], n_images=4000).geometry)
    assert low <= found.min() < low + 0.05 * (high - low)
    assert high - 0.05 * (high - low) < found.max() <= high
    if "scale" not in step:
        assert found.mean() == pytest.approx((low + high) / 2, abs=0.03 * (high - low))


COLORS = np.array([[[[10, 20, 30], [200, 100, 0]]]], np.uint8)  # one image of two pixels


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        (shifted(np.array([[5.0, 5, 5]])), [[15, 25, 35], [205, 105, 5]]),
        (shifted(np.array([[-20.0, -20, -20]])), [[0, 0, 10], [180, 80, 0]]),
        (shuffled(np.array([5])), [[30, 20, 10], [0, 100, 200]]),
        (brightened(np.array([0.5])), [[5, 10, 15], [100, 50, 0]]),
        (brightened(np.array([2.0])), [[20, 40, 60], [255, 200, 0]]),
        (contrasted(np.array([0.0])), [[128, 128, 128], [128, 128, 128]]),
        (saturated(np.array([0.0])), [[18, 18, 18], [118, 118, 118]]),
        (saturated(np.array([1.0])), [[10, 20, 30], [200, 100, 0]]),
        (hued(np.array([0.0])), [[10, 20, 30], [200, 100, 0]]),
        (hued(np.array([120.0])), [[16, 23, 0], [135, 74, 255]]),
    ],
)
def test_colors_by_hand(matrix, expected):
    found = recolor_arrays(COLORS.copy(), matrix)[0, 0].astype(int)
    assert abs(found - expected).max() <= (1 if 128 in np.ravel(expected) else 0)


def test_steps_of_color_are_done_in_their_order():
    both = then(brightened(np.array([0.5])), shifted(np.array([[100.0, 0, 0]])))
    assert recolor_arrays(COLORS.copy(), both)[0, 0].tolist() == [[105, 10, 15], [200, 50, 0]]


def test_brightness_and_saturation_are_those_of_pillow():
    picture = Image.fromarray(IMAGES[0])
    bright = recolor_arrays(IMAGES[:1].copy(), brightened(np.array([1.3])))[0].astype(int)
    assert abs(bright - np.asarray(ImageEnhance.Brightness(picture).enhance(1.3))).max() <= 1
    vivid = recolor_arrays(IMAGES[:1].copy(), saturated(np.array([0.4])))[0].astype(int)
    assert abs(vivid - np.asarray(ImageEnhance.Color(picture).enhance(0.4))).max() <= 1


@given(st.floats(-180, 180), st.lists(st.integers(0, 255), min_size=3, max_size=3))
def test_a_hue_turns_back_and_keeps_luminance(degrees, color):
    there = hued(np.array([degrees]))
    back = then(there, hued(np.array([-degrees])))
    np.testing.assert_allclose(back, identity_colors(1), atol=1e-9)
    turned = there[0, :, :3] @ color
    weights = np.array([0.299, 0.587, 0.114])
    assert turned @ weights == pytest.approx(weights @ color, abs=1e-6)


def test_a_channel_shift_moves_all_channels_alike_and_a_shuffle_permutes_them():
    gray = np.full((200, 4, 4, 3), (100, 120, 140), np.uint8)
    shifts = augmented([{"channel_shift": 60}], gray)[:, 0, 0].astype(int) - (100, 120, 140)
    assert (shifts == shifts[:, :1]).all()
    assert (shifts.min(), shifts.max()) == (pytest.approx(-60, abs=3), pytest.approx(60, abs=3))
    orders = augmented([{"channel_shuffle": 0.2}], gray)[:, 0, 0]
    assert (np.sort(orders, axis=1) == (100, 120, 140)).all()
    kept = (orders == (100, 120, 140)).all(axis=1).mean()
    assert kept == pytest.approx(0.8 + 0.2 / 6, abs=0.08)


def test_about_as_many_images_become_gray_as_the_probability_says():
    found = augmented([{"grayscale": 0.25}], np.tile(IMAGES, (10, 1, 1, 1)))
    gray = (found == found[..., :1]).all(axis=(1, 2, 3))
    assert gray.mean() == pytest.approx(0.25, abs=0.07)


@pytest.mark.parametrize(
    ("name", "amount", "picture", "tensor"),
    [
        ("posterize", 3, lambda i: ImageOps.posterize(i, 3), lambda t: v2.posterize(t, 3)),
        ("solarize", 99, lambda i: ImageOps.solarize(i, 99), lambda t: v2.solarize(t, 99)),
        ("autocontrast", 0, ImageOps.autocontrast, v2.autocontrast),
        ("equalize", 0, ImageOps.equalize, v2.equalize),
        ("sharpness", 1.7, lambda i: ImageEnhance.Sharpness(i).enhance(1.7),
         lambda t: v2.adjust_sharpness(t, 1.7)),
    ],
    ids=["posterize", "solarize", "autocontrast", "equalize", "sharpness"],
)  # fmt: skip
def test_tones_are_those_of_pillow_and_torchvision(name, amount, picture, tensor):
    kinds = np.zeros(len(SMOOTH), int)
    kinds[::2] = NAMES.index(name)
    tones = Tones(kinds, np.full(len(SMOOTH), float(amount)))
    arrays = retone_arrays(SMOOTH.copy(), tones)
    np.testing.assert_array_equal(arrays[1::2], SMOOTH[1::2])
    for image, found in zip(SMOOTH[::2], arrays[::2], strict=True):
        np.testing.assert_array_equal(found, np.asarray(picture(Image.fromarray(image))))
    levels = torch.from_numpy(SMOOTH).permute(0, 3, 1, 2)
    tensors = retone_tensors(levels.float(), tones)
    np.testing.assert_array_equal(tensors[::2], tensor(levels[::2]).float())


def test_levels_between_two_are_rounded_before_tones_change():
    tones = Tones(np.array([NAMES.index("solarize")]), np.array([100.0]))  # inverted from 100
    changed = retone_tensors(torch.full((1, 3, 2, 2), 99.6), tones)
    assert changed.unique().tolist() == [155]


def test_jpeg_compression_is_that_of_the_quality_and_keeps_red_red():
    red = np.zeros((30, 16, 16, 3), np.uint8)
    red[..., 0] = 200
    found = augmented([{"jpeg": [90, 90]}], red).astype(int)
    assert abs(found - red).max() <= 6
    rough = augmented([{"jpeg": [5, 5]}], SMOOTH).astype(int)
    fine = augmented([{"jpeg": [95, 95]}], SMOOTH).astype(int)
    assert abs(rough - SMOOTH).mean() > 2 * abs(fine - SMOOTH).mean()


def test_jpeg_on_a_device_is_an_error():
    with pytest.raises(ValueError, match=r"JPEG.*CPU"):
        augment_tensors(torch.zeros(2, 3, 8, 8), plan_of([{"jpeg": [5, 5]}], n_images=2),
                        fill="reflect")  # fmt: skip


def test_erasing_paints_one_box_of_its_area_gray_and_spares_the_rest():
    white = np.full((400, 32, 32, 3), 255, np.uint8)
    step = {"erase": {"probability": 0.25, "area": [0.1, 0.3], "aspect": [0.5, 2.0]}}
    erased = (augmented([step], white, size=32) == 127).all(axis=3)
    fraction = erased.mean(axis=(1, 2))
    assert set(np.unique(augmented([step], white, size=32))) == {127, 255}
    assert (fraction > 0).mean() == pytest.approx(0.25, abs=0.07)
    assert fraction[fraction > 0].min() >= 0.08
    assert fraction.max() <= 0.33
    boxes = erased.any(axis=1).sum(axis=1) * erased.any(axis=2).sum(axis=1)
    np.testing.assert_array_equal(boxes, erased.sum(axis=(1, 2)))


def test_cutmix_weights_labels_by_the_area_of_the_partners_box():
    plan = plan_of([{"mix": {"cutmix": 1.0}}])
    partners = IMAGES[plan.mix.partners]
    mixed = mix_arrays(IMAGES, partners, plan.mix)
    own, others = (mixed == IMAGES).all(axis=3), (mixed == partners).all(axis=3)
    assert (own | others).all()
    different = plan.mix.partners != np.arange(40)
    np.testing.assert_allclose(own.mean(axis=(1, 2))[different], plan.mix.lam[different])


def test_mixup_blends_images_by_lam():
    plan = plan_of([{"mix": {"mixup": 0.5}}])
    partners = IMAGES[plan.mix.partners]
    expected = plan.mix.lam[:, None, None, None] * IMAGES
    expected = expected + (1 - plan.mix.lam[:, None, None, None]) * partners
    mixed = mix_arrays(IMAGES, partners, plan.mix)
    assert abs(mixed - expected).max() <= 0.51


def test_partners_are_uniform_over_the_pack_and_both_methods_are_used():
    mix = plan_of([{"mix": {"mixup": 0.2, "cutmix": 1.0}}], n_images=4000, n_in_pack=4000).mix
    assert mix.cut.mean() == pytest.approx(0.5, abs=0.03)
    assert np.histogram(mix.partners, bins=4, range=(0, 4000))[0].min() > 900
    assert mix.lam.min() >= 0
    assert mix.lam.max() <= 1
    assert mix.lam[mix.cut].mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("way", ["mixup", "cutmix"])
def test_mixing_on_a_device_is_the_same(way):
    plan = plan_of([{"mix": {way: 1.0}}])
    partners = IMAGES[plan.mix.partners]
    arrays = mix_arrays(IMAGES, partners, plan.mix)
    first, second = (torch.from_numpy(a).permute(0, 3, 1, 2).float() for a in (IMAGES, partners))
    tensors = mix_tensors(first, second, plan.mix).permute(0, 2, 3, 1).numpy()
    assert abs(arrays - tensors).max() <= 1


def test_trivial_augment_takes_each_operation_about_as_often():
    plan = plan_of([{"trivial_augment": True}], n_images=14_000)
    moved = (plan.geometry != np.eye(3)).any(axis=(1, 2))
    colored = (plan.colors != np.eye(3, 4)).any(axis=(1, 2))
    toned = plan.tones[0].kinds > 0
    assert not (moved & colored).any()
    assert not (toned & (moved | colored)).any()
    per_operation = 14_000 / 14
    assert moved.sum() == pytest.approx(5 * per_operation, rel=0.1)
    assert colored.sum() == pytest.approx(3 * per_operation, rel=0.1)
    assert np.bincount(plan.tones[0].kinds)[1:] == pytest.approx(per_operation, rel=0.15)


def test_rand_augment_of_no_strength_at_all_changes_only_what_has_no_strength():
    steps = [{"rand_augment": {"n": 2, "strength": 0.0}}]
    plan = plan_of(steps, n_images=500)
    assert count_draws(steps) == 6
    np.testing.assert_allclose(plan.geometry, np.tile(np.eye(3), (500, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(plan.colors, identity_colors(500), atol=1e-12)
    assert len(plan.tones) == 2


def test_every_step_of_the_schema_is_known_and_every_known_step_is_in_the_schema():
    from classifold.params.schema.policies import Step  # noqa: PLC0415

    assert set(Step.model_fields) == set(steps_module.STEPS) == {*STEPS, "rand_augment"}
