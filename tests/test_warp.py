"""Geometry: one matrix an image, the same on the CPU and in a batch on a device."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from classifold.augmentation.online.tensors import warp_tensors
from classifold.augmentation.online.warp import (
    BORDERS,
    FLIPS,
    flip,
    identity,
    rotations,
    scalings,
    shears,
    shifts,
    slants,
    warp_arrays,
)

NOISE = np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)


def array(value):
    return np.array([float(value)])


def warp(image, matrix, *, size=None, fill="reflect"):
    return warp_arrays([image], matrix, size=size or len(image), fill=fill)[0]


def turned(image, *, degrees=0, scale=1, fill="reflect"):
    return warp(image, rotations(array(degrees)) @ scalings(array(scale), array(scale)), fill=fill)


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
    image = np.array([[1, 2], [3, 4]], np.uint8)[..., None].repeat(3, axis=2)
    assert flip(image, name)[..., 0].tolist() == expected


@pytest.mark.parametrize("name", FLIPS)
def test_a_flip_undoes_itself_and_is_a_scaling_by_minus_one(name):
    np.testing.assert_array_equal(flip(flip(NOISE, name), name), NOISE)
    columns = -1 if name in ("horizontal", "both") else 1
    rows = -1 if name in ("vertical", "both") else 1
    mirrored = warp(NOISE, scalings(array(columns), array(rows)))
    np.testing.assert_array_equal(mirrored, flip(NOISE, name))


@pytest.mark.parametrize("fill", BORDERS)
def test_the_identity_leaves_an_image_as_it_is(fill):
    np.testing.assert_array_equal(warp(NOISE, identity(1), fill=fill), NOISE)


GRAY = np.repeat(np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize(
    ("matrix", "fill", "expected"),
    [
        (shifts(array(1), array(0)), "black", [[0, 1, 2], [0, 4, 5], [0, 7, 8]]),  # to the right
        (shifts(array(0), array(-1)), "edge", [[4, 5, 6], [7, 8, 9], [7, 8, 9]]),  # up
        # Reflected about the outermost pixel.
        (shifts(array(1), array(0)), "reflect", [[2, 1, 2], [5, 4, 5], [8, 7, 8]]),
        (slants(array(1), array(0)), "edge", [[2, 3, 3], [4, 5, 6], [7, 7, 8]]),  # rows slide
        (rotations(array(90)), "black", [[3, 6, 9], [2, 5, 8], [1, 4, 7]]),  # counter-clockwise
    ],
)
def test_matrices_by_hand(matrix, fill, expected):
    assert warp(GRAY, matrix, fill=fill)[..., 0].tolist() == expected


OF_OPENCV = {
    "reflect": cv2.BORDER_REFLECT_101,
    "edge": cv2.BORDER_REPLICATE,
    "black": cv2.BORDER_CONSTANT,
}


@given(
    st.one_of(st.floats(-180, 180), st.sampled_from([90, 180, 270])),
    st.one_of(st.floats(0.3, 3), st.sampled_from([0.5, 2])),
    st.sampled_from([11, 12]),
    st.sampled_from(list(OF_OPENCV)),
)
def test_rotation_and_scale_are_those_of_opencv(degrees, scale, size, fill):
    image = NOISE[:size, :size]
    center, shape = ((size - 1) / 2, (size - 1) / 2), (size, size)
    matrix = cv2.getRotationMatrix2D(center, degrees, scale)
    expected = cv2.warpAffine(image, matrix, shape, borderMode=OF_OPENCV[fill])
    found = turned(image, degrees=degrees, scale=scale, fill=fill)
    assert abs(found.astype(int) - expected).max() <= 1


@given(
    st.floats(-180, 180),
    st.floats(0.3, 3),
    st.sampled_from(["reflect", "edge"]),
    st.integers(0, 255),
)
def test_a_plain_image_stays_plain_where_borders_are_filled_from_it(degrees, scale, fill, gray):
    plain = np.full((9, 9, 3), gray, np.uint8)
    np.testing.assert_array_equal(turned(plain, degrees=degrees, scale=scale, fill=fill), plain)


def test_shear_is_that_of_keras():
    """Keras looks up row - sin(s) * column and cos(s) * column, from the center."""
    sine, cosine = np.sin(np.radians(20)), np.cos(np.radians(20))
    found = shears(array(20))[0] @ [3, 5, 1]  # column, row
    np.testing.assert_allclose(found[:2], [cosine * 3, 5 - sine * 3])


def test_the_first_step_is_done_first():
    image = np.zeros((9, 9, 3), np.uint8)
    image[4, 6] = 255
    moved_then_turned = warp(
        image, shifts(array(-2), array(0)) @ rotations(array(90)), fill="black"
    )
    turned_then_moved = warp(
        image, rotations(array(90)) @ shifts(array(-2), array(0)), fill="black"
    )
    assert moved_then_turned[4, 4, 0] == 255  # into the center, where it stays
    assert turned_then_moved[2, 2, 0] == 255  # up, then to the left


@given(st.integers(0, 2**32 - 1), st.sampled_from(list(BORDERS)), st.sampled_from([8, 12, 17]))
def test_the_cpu_and_a_batch_on_a_device_agree_within_two_gray_levels(seed, fill, size):
    draw = np.random.default_rng(seed)
    images = draw.integers(0, 256, (3, 12, 12, 3), np.uint8)
    matrices = (
        rotations(draw.uniform(-180, 180, 3))
        @ shifts(draw.uniform(-6, 6, 3), draw.uniform(-6, 6, 3))
        @ shears(draw.uniform(-30, 30, 3))
        @ scalings(draw.uniform(0.5, 2, 3), draw.choice([-1, 1], 3))
    )
    arrays = warp_arrays(images, matrices, size=size, fill=fill)
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    tensors = warp_tensors(batch, matrices, size=size, fill=fill).permute(0, 2, 3, 1).numpy()
    assert abs(arrays - tensors).max() <= 2


def test_resizing_is_folded_into_the_warp():
    ramp = np.repeat(np.arange(0, 160, 10, dtype=np.uint8)[None, :, None], 16, 0).repeat(3, 2)
    larger = warp(ramp, identity(1), size=32, fill="edge")
    expected = cv2.resize(ramp, (32, 32), interpolation=cv2.INTER_LINEAR)
    assert abs(larger.astype(int) - expected).max() <= 1
