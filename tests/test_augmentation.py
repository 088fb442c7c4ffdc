"""Copies of training images: what is done to them, and on what the draws depend."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from classifold.augmentation.offline import make_copies, n_copies, write_packs
from classifold.augmentation.online import augment_batch
from classifold.augmentation.warp import BORDERS, FLIPS, flip, warp
from classifold.pack import read_pack

NOISE = np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)
FOUR_FLIPS = ["none", "horizontal", "vertical", "both"]
SETTINGS = {
    "flips": FOUR_FLIPS,
    "warped": 1,
    "rotate": 15,
    "scale": [0.8, 1.0],
    "fill": "reflect",
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", [[1, 2], [3, 4]]),
        ("horizontal", [[2, 1], [4, 3]]),
        ("vertical", [[3, 4], [1, 2]]),
        ("both", [[4, 3], [2, 1]]),
    ],
)
def test_flips_by_hand(name, expected):
    image = np.array([[[1], [2]], [[3], [4]]])
    assert flip(image, name)[..., 0].tolist() == expected


@pytest.mark.parametrize("name", FLIPS)
def test_a_flip_undoes_itself(name):
    np.testing.assert_array_equal(flip(flip(NOISE, name), name), NOISE)


@pytest.mark.parametrize("fill", BORDERS)
def test_no_angle_and_scale_one_leave_an_image_as_it_is(fill):
    np.testing.assert_array_equal(warp(NOISE, degrees=0, scale=1, fill=fill), NOISE)


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("size", [11, 12])
def test_quarter_turns_go_counter_clockwise_about_the_centre(turns, size):
    image = np.random.default_rng(1).integers(0, 256, (size, size, 3), np.uint8)
    turned = warp(image, degrees=90 * turns, scale=1, fill="reflect")
    difference = turned.astype(int) - np.rot90(image, turns)
    assert abs(difference).max() <= 1


@given(
    st.floats(-180, 180),
    st.floats(0.3, 3),
    st.sampled_from(["reflect", "edge"]),
    st.integers(0, 255),
)
def test_a_plain_image_stays_plain_where_borders_are_filled_from_it(degrees, scale, fill, gray):
    plain = np.full((9, 9, 3), gray, np.uint8)
    np.testing.assert_array_equal(warp(plain, degrees=degrees, scale=scale, fill=fill), plain)


def test_below_one_the_picture_shrinks_and_the_border_is_filled():
    white = np.full((12, 12, 3), 255, np.uint8)
    small = warp(white, degrees=0, scale=0.5, fill="black")
    assert (small[4:8, 4:8] == 255).all()
    assert (small[:2] == 0).all()
    assert (small[:, -2:] == 0).all()


def test_above_one_the_centre_is_magnified():
    image = np.zeros((9, 9, 3), np.uint8)
    image[4, 4] = 255
    larger = warp(image, degrees=0, scale=2, fill="black")
    assert larger[4, 4, 0] == 255
    assert larger[4, 5, 0] in (127, 128)  # half way to the next pixel
    assert larger[4, 6, 0] == 0


@given(
    st.lists(st.sampled_from(FOUR_FLIPS[1:]), unique=True).map(lambda flips: ["none", *flips]),
    st.integers(0, 3),
)
def test_copies_are_as_many_as_announced_the_untouched_original_first(flips, warped):
    settings = SETTINGS | {"flips": flips, "warped": warped}
    copies = make_copies(NOISE, image_id="a", seed=0, **settings)
    assert len(copies) == n_copies(flips=flips, warped=warped)
    assert copies[0].transformation == "none"
    np.testing.assert_array_equal(copies[0].pixels, NOISE)
    assert len({copy.transformation for copy in copies}) == len(copies)


def test_the_reports_eightfold_is_four_flips_each_also_warped_once():
    copies = make_copies(NOISE, image_id="a", seed=0, **SETTINGS)
    words = [copy.transformation for copy in copies]
    assert words[::2] == ["none", "flip horizontal", "flip vertical", "flip both"]
    for name, copy in zip(FOUR_FLIPS, copies[::2], strict=True):
        np.testing.assert_array_equal(copy.pixels, flip(NOISE, name))
    assert words[1].startswith("rotate ")
    assert words[7].startswith("flip both, rotate ")


def test_what_a_copy_is_said_to_be_is_what_was_done_to_it():
    smooth = np.asarray(Image.fromarray(NOISE).resize((24, 24), Image.Resampling.BICUBIC))
    for copy in make_copies(smooth, image_id="a", seed=0, **SETTINGS):
        words = dict(step.split() for step in copy.transformation.split(", ") if " " in step)
        again = warp(
            flip(smooth, words.get("flip", "none")),
            degrees=float(words.get("rotate", 0)),
            scale=float(words.get("scale", 1)),
            fill="reflect",
        )
        # The text is rounded to a hundredth of a degree and a thousandth of the scale.
        assert abs(copy.pixels.astype(int) - again).max() <= 4


@given(st.text(max_size=4), st.integers(0, 2**20))
def test_drawn_angles_and_scales_keep_to_their_ranges(image_id, seed):
    settings = SETTINGS | {"flips": ["none"], "warped": 4}
    for copy in make_copies(NOISE[:2, :2], image_id=image_id, seed=seed, **settings)[1:]:
        words = dict(step.split() for step in copy.transformation.split(", "))
        assert -15 <= float(words["rotate"]) <= 15
        assert 0.8 <= float(words["scale"]) <= 1


def test_draws_differ_by_copy_image_and_seed_and_repeat():
    def draws(image_id, seed):
        settings = SETTINGS | {"flips": ["none"], "warped": 3}
        copies = make_copies(NOISE, image_id=image_id, seed=seed, **settings)
        return [copy.transformation for copy in copies[1:]]

    assert draws("a", 0) == draws("a", 0)
    assert len({*draws("a", 0), *draws("b", 0), *draws("a", 1)}) == 9


def encoded(gray):
    buffer = io.BytesIO()
    image = np.full((8, 8, 3), gray, np.uint8)
    image[:, :4] = 0  # so that flips show
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


LABELS = {"train": {"a": "cat", "b": "dog"}, "validation": {"c": "cat"}}
IMAGES = {"a": encoded(50), "b": encoded(100), "c": encoded(150)}


@pytest.fixture
def packs(tmp_path):
    """Write both packs, and read them."""

    def write(name="packs", train=("a", "b"), **changes):
        images = {
            "train": [(image_id, IMAGES[image_id]) for image_id in train],
            "validation": [("c", IMAGES["c"])],
        }
        labels = LABELS | {"train": {image_id: LABELS["train"][image_id] for image_id in train}}
        settings = {"size": 4, "resize": "box", "seed": 0, **SETTINGS, **changes}
        write_packs(images, labels, tmp_path / name, **settings)
        return read_pack(tmp_path / name / "train"), read_pack(tmp_path / name / "validation")

    return write


def test_the_train_pack_holds_originals_and_copies_with_the_labels_of_their_source(packs):
    train, _ = packs()
    assert train.ids == ["a"] * 8 + ["b"] * 8
    assert train.copies.tolist() == [*range(8), *range(8)]
    assert [train.classes[label] for label in train.labels] == ["cat"] * 8 + ["dog"] * 8
    assert train.originals().images[:, 0, 3, 0].tolist() == [50, 100]


def test_validation_images_are_only_resized(packs):
    _, validation = packs()
    assert validation.transformations == ["none"]
    row = [[0, 0, 0]] * 2 + [[150] * 3] * 2
    assert validation.images.tolist() == [[row] * 4]
    assert validation.classes == ["cat", "dog"]


def test_an_images_copies_do_not_depend_on_the_other_images(packs):
    both, _ = packs("both")
    alone, _ = packs("alone", train=("b",), seed=0)
    np.testing.assert_array_equal(alone.images, both.images[8:])


def crops(image, padding):
    """Every window of an image padded by reflection."""
    size = len(image)
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)), "reflect")
    starts = range(2 * padding + 1)
    return [padded[y : y + size, x : x + size] for y in starts for x in starts]


BATCH = np.random.default_rng(3).integers(0, 256, (40, 16, 16, 3), np.uint8)
ROWS = np.arange(40)


def test_without_a_policy_images_stay_as_they_are():
    assert augment_batch(BATCH, policy="none", rows=ROWS, seed=0, epoch=1) is BATCH


def test_crop_shifts_by_at_most_an_eighth_of_the_side_and_invents_nothing():
    found = augment_batch(BATCH, policy="crop", rows=ROWS, seed=0, epoch=1)
    shifts = set()
    for image, result in zip(BATCH, found, strict=True):
        matches = [i for i, crop in enumerate(crops(image, 2)) if np.array_equal(crop, result)]
        assert matches
        shifts.update(matches[:1])
    assert len(shifts) > 12  # of 25


def test_crop_flip_mirrors_about_half_of_the_crops_and_changes_no_shift():
    cropped = augment_batch(BATCH, policy="crop", rows=ROWS, seed=0, epoch=1)
    flipped = augment_batch(BATCH, policy="crop_flip", rows=ROWS, seed=0, epoch=1)
    same = (flipped == cropped).all((1, 2, 3))
    mirrored = (flipped == cropped[:, :, ::-1]).all((1, 2, 3))
    assert (same ^ mirrored).all()
    assert 10 <= mirrored.sum() <= 30


def test_draws_belong_to_the_row_and_not_to_the_place_in_the_batch():
    whole = augment_batch(BATCH, policy="crop_flip", rows=ROWS, seed=0, epoch=1)
    order = np.random.default_rng(0).permutation(40)[:7]
    some = augment_batch(BATCH[order], policy="crop_flip", rows=order, seed=0, epoch=1)
    np.testing.assert_array_equal(some, whole[order])


def test_another_epoch_or_seed_draws_anew():
    first = augment_batch(BATCH, policy="crop", rows=ROWS, seed=0, epoch=1)
    for changes in ({"epoch": 2}, {"seed": 1}):
        other = augment_batch(
            BATCH, policy="crop", rows=ROWS, **({"seed": 0, "epoch": 1} | changes)
        )
        assert not np.array_equal(first, other)
