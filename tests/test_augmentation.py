"""Augmented variants: their transformations, and what their random numbers depend on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from classifold.augmentation.offline import make_variants, n_variants, write_packs
from classifold.augmentation.online import warp
from classifold.augmentation.online.warp import flip, warp_arrays
from classifold.data.pack import read_pack
from image_scene import pillow

NOISE = np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)
FOUR_FLIPS = ["none", "horizontal", "vertical", "both"]
SETTINGS = {
    "flips": FOUR_FLIPS,
    "warped": 1,
    "rotate": 15,
    "scale": [0.8, 1.0],
    "shear": 0,
    "shift": [0, 0],
    "fill": "reflect",
}


@given(
    st.lists(st.sampled_from(FOUR_FLIPS[1:]), unique=True).map(lambda flips: ["none", *flips]),
    st.integers(0, 3),
)
def test_the_number_of_variants_is_as_announced_and_the_original_is_first(flips, warped):
    settings = SETTINGS | {"flips": flips, "warped": warped}
    variants = make_variants(NOISE, image_id="a", seed=0, **settings)
    assert len(variants) == n_variants(flips=flips, warped=warped)
    assert variants[0].transformation == "none"
    np.testing.assert_array_equal(variants[0].pixels, NOISE)
    assert len({variant.transformation for variant in variants}) == len(variants)


def test_the_reports_eightfold_is_four_flips_each_also_warped_once():
    variants = make_variants(NOISE, image_id="a", seed=0, **SETTINGS)
    words = [variant.transformation for variant in variants]
    assert words[::2] == ["none", "flip horizontal", "flip vertical", "flip both"]
    for name, variant in zip(FOUR_FLIPS, variants[::2], strict=True):
        np.testing.assert_array_equal(variant.pixels, flip(NOISE, name))
    assert words[1].startswith("rotate ")
    assert words[7].startswith("flip both, rotate ")


@pytest.mark.parametrize("extra", [{}, {"shear": 10, "shift": [0.1, 0.2]}])
def test_the_recorded_transformation_reproduces_a_variant(extra):
    smooth = np.asarray(Image.fromarray(NOISE).resize((24, 24), Image.Resampling.BICUBIC))
    for variant in make_variants(smooth, image_id="a", seed=0, **SETTINGS | extra):
        steps = (step.split() for step in variant.transformation.split(", ") if " " in step)
        words = {name: values for name, *values in steps}

        def value_of(name, default=0.0, place=0, words=words):
            return np.array([float(words[name][place]) if name in words else default])

        matrix = (
            warp.shifts(24 * value_of("shift"), 24 * value_of("shift", place=1))
            @ warp.rotations(value_of("rotate"))
            @ warp.scalings(value_of("scale", 1), value_of("scale", 1))
            @ warp.shears(value_of("shear"))
        )
        flipped = flip(smooth, words.get("flip", ["none"])[0])
        again = warp_arrays([flipped], matrix, size=24, fill="reflect")[0]
        # The text is rounded to a hundredth of a degree and a thousandth of scale and shift.
        assert abs(variant.pixels.astype(int) - again).max() <= 5


@given(st.text(max_size=4), st.integers(0, 2**20))
def test_random_angles_and_scales_are_in_their_ranges(image_id, seed):
    settings = SETTINGS | {"flips": ["none"], "warped": 4}
    for variant in make_variants(NOISE[:2, :2], image_id=image_id, seed=seed, **settings)[1:]:
        words = dict(step.split() for step in variant.transformation.split(", "))
        assert -15 <= float(words["rotate"]) <= 15
        assert 0.8 <= float(words["scale"]) <= 1


def test_random_numbers_depend_on_variant_image_and_seed():
    def draws(image_id, seed):
        settings = SETTINGS | {"flips": ["none"], "warped": 3}
        variants = make_variants(NOISE, image_id=image_id, seed=seed, **settings)
        return [variant.transformation for variant in variants[1:]]

    assert draws("a", 0) == draws("a", 0)
    assert len({*draws("a", 0), *draws("b", 0), *draws("a", 1)}) == 9


def encoded(gray):
    image = np.full((8, 8, 3), gray, np.uint8)
    image[:, :4] = 0  # so that flips show
    return pillow(image, "PNG")


LABELS = {"train": {"a": ("cat",), "b": ("dog",)}, "validation": {"c": ("cat",)}}
IMAGES = {"a": encoded(50), "b": encoded(100), "c": encoded(150)}


@pytest.fixture
def packs(tmp_path):
    """Write both packs, and read them."""

    def write(name="packs", train=("a", "b"), **changes):
        images = {
            "train": [(name, IMAGES[name]) for name in train],
            "validation": [("c", IMAGES["c"])],
        }
        given = changes.pop("labels", LABELS)
        labels = given | {"train": {image_id: given["train"][image_id] for image_id in train}}
        settings = {"task": "single", "size": 4, "resize": "box", "storage": "raw", "seed": 0}
        settings |= SETTINGS | changes
        write_packs(images, labels, tmp_path / name, **settings)
        return read_pack(tmp_path / name / "train"), read_pack(tmp_path / name / "validation")

    return write


def test_the_train_pack_holds_originals_and_variants_with_the_labels_of_their_source(packs):
    train, _ = packs()
    assert train.ids == ["a"] * 8 + ["b"] * 8
    assert train.variants.tolist() == [*range(8), *range(8)]
    assert [train.classes[label] for label in train.labels] == ["cat"] * 8 + ["dog"] * 8
    assert train.originals().images[:][:, 0, 3, 0].tolist() == [50, 100]


def test_the_packs_have_the_groups_of_their_sources(packs):
    train, validation = packs(groups={"a": "a", "b": "a", "c": "b"})
    assert train.groups == ["a"] * 16
    assert validation.groups == ["b"]
    alone, _ = packs("alone")
    assert alone.groups == alone.ids
    assert train.subset(np.array([15, 0])).groups == ["a", "a"]


@pytest.mark.parametrize("split", ["validation", "calibration"])
@pytest.mark.promise("only-training-augmented")
def test_images_of_any_other_split_are_only_resized_and_stored_raw(tmp_path, split):
    images = {name: [("c", IMAGES["c"])] for name in ("train", split)}
    labels = {name: {"c": ("cat",)} for name in ("train", split)}
    settings = {"task": "single", "size": 4, "resize": "box", "storage": "jpeg", "seed": 0}
    write_packs(images, labels, tmp_path, **settings, **SETTINGS)
    other = read_pack(tmp_path / split)
    assert other.transformations == ["none"] and isinstance(other.images, np.memmap)
    assert other.images.tolist() == [[[[0, 0, 0]] * 2 + [[150] * 3] * 2] * 4]
    assert len(read_pack(tmp_path / "train").ids) == 8


def test_the_variants_of_an_image_do_not_depend_on_other_images(packs):
    both, _ = packs("both")
    alone, _ = packs("alone", train=("b",), seed=0)
    np.testing.assert_array_equal(alone.images, both.images[8:])


def test_variants_have_all_labels_of_their_source(packs):
    labels = {"train": {"a": ("dog", "ape"), "b": ()}, "validation": {"c": ("cat",)}}
    train, validation = packs(task="multi", labels=labels)
    assert train.classes == validation.classes == ["ape", "cat", "dog"]
    assert train.labels.tolist() == [[1, 0, 1]] * 8 + [[0, 0, 0]] * 8
    assert validation.labels.tolist() == [[0, 1, 0]]
    assert train.task == validation.task == "multi"


def test_a_pack_of_jpegs_holds_the_same_images_but_for_compression(packs):
    raw, _ = packs("raw", size=16)
    jpeg, _ = packs("jpeg", size=16, storage="jpeg")
    assert jpeg.ids == raw.ids
    assert jpeg.transformations == raw.transformations
    assert abs(np.asarray(jpeg.images).astype(int) - raw.images).max() <= 12
