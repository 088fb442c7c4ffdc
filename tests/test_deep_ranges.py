"""Deep images share one range per sample type, in a data set and in new images."""

import io
import json
import tracemalloc

import imagecodecs
import numpy as np
import onnx
import pytest
from PIL import Image

from archives import write_files
from classifold.data.deep_ranges import ANY, read_ranges
from classifold.data.image_table import iter_images
from classifold.data.json_file import read_json, write_json
from classifold.data.pixels import rgb_pixels
from classifold.errors import UserError
from classifold.ingest import limits
from classifold.ingest.deep_fit import fit_ranges, set_by_hand
from classifold.ingest.deep_image import DeepImage, Scaler, measure
from classifold.ingest.images import decode
from classifold.serving.export import export_onnx
from classifold.serving.new_images import open_images
from classifold.serving.predict import Classifier
from image_scene import tiff
from ingested import ingest_all

RAMP = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)


def image_of(values, dtype):
    """A deep image of one row."""
    return DeepImage(np.array([values], dtype), mode="I;16")


def fitted_range(*rows, dtype, split=None):
    """The range of images of one row each: black, white and why."""
    images = [image_of(row, dtype) for row in rows]
    (found,) = fit_ranges((split, measure(image)) for image in images).values()
    return found.low, found.high, found.reason


def scaled_values(values, dtype, ranges):
    image = image_of(values, dtype)
    return Scaler(image, ranges).scale(slice(0, 1))[0].tolist()


SPAN = "what the images span"
WHOLE = "the type's range"  # of floats 0 to 1


@pytest.mark.parametrize(
    ("dtype", "rows", "expected"),
    [
        pytest.param("f4", [[0, 0.5, 1]], (0, 1, WHOLE), id="0 to 1"),
        pytest.param("f4", [[0, 1.0001]], (0, 1.0001, SPAN), id="overshoot of a resize"),
        pytest.param("f4", [[0.01, 0.7]], (0, 1, WHOLE), id="more than half of 0 to 1"),
        pytest.param("f4", [[0.01, 0.3]], (0.01, 0.3, SPAN), id="less than half of it"),
        pytest.param("f4", [[0, 200]], (0, 255, "8 bits"), id="floats of 8 bits"),
        pytest.param("f8", [[0, 256.5]], (0, 256.5, SPAN), id="256.5"),
        pytest.param("f4", [[280, 320]], (280, 320, SPAN), id="Kelvin"),
        pytest.param("f2", [[-5, 35]], (-5, 35, SPAN), id="Celsius, in 16 bits"),
        pytest.param("i4", [[0, 300]], (0, 300, SPAN), id="int32 to 300"),
        pytest.param("i4", [[0, 255]], (0, 255, "8 bits"), id="int32 of 8 bits"),
        pytest.param("i2", [[-1000, 500]], (-1000, 500, SPAN), id="negative"),
        pytest.param("i2", [[-30000, 32767]], (-32768, 32767, WHOLE), id="int16"),
        pytest.param("u2", [[3, 4000]], (0, 4095, "12 bits"), id="12 bits in 16"),
        pytest.param("u2", [[3, 1000]], (0, 1023, "10 bits"), id="10 bits in 16"),
        pytest.param("u2", [[3, 60000]], (0, 65535, WHOLE), id="16 bits"),
        pytest.param("u2", [[30000, 31000]], (30000, 31000, SPAN), id="a part of 16 bits"),
        pytest.param("u4", [[0, 2**32 - 1]], (0, 2**32 - 1, WHOLE), id="32 bits"),
        pytest.param("u2", [[3, 100], [5, 4000], [9, 200]], (0, 4095, "12 bits"), id="a set"),
        pytest.param("u2", [[7, 7]], (0, 65535, "all values are equal"), id="one value"),
        pytest.param("f4", [[5, 5]], (5, 6, "all values are equal"), id="one float"),
        pytest.param("f4", [[np.nan, 280, np.inf, 320, -np.inf]], (280, 320, SPAN), id="NaN, inf"),
        pytest.param("f4", [[-3.4e38, 280, 320, 9.97e36]], (280, 320, SPAN), id="huge"),
        pytest.param("f2", [[np.nan, 0.25, np.inf, 1]], (0, 1, WHOLE), id="NaN in 16 bits"),
        pytest.param("f4", [[-9999, 280, 320]], (280, 320, SPAN), id="-9999 is missing"),
        pytest.param("i2", [[-9999, -8000, 9000]], (-9999, 9000, SPAN), id="-9999 is a value"),
    ],
)
def test_the_range_of_a_data_set_by_hand(dtype, rows, expected):
    low, high, reason = fitted_range(*rows, dtype=dtype)
    assert (low, high) == pytest.approx(expected[:2])
    assert reason == expected[2]


@pytest.mark.parametrize(
    ("dtype", "limits", "values", "grays"),
    [
        # 255 * (v - low) / (high - low), rounded half to even: 127.5 is 128.
        ("f4", (0, 1.0001), [0, 0.50005, 1.0001], [0, 128, 255]),
        ("f4", (280, 320), [279, 280, 290, 300, 320, 400], [0, 0, 64, 128, 255, 255]),
        ("i4", (0, 300), [0, 100, 150, 300], [0, 85, 128, 255]),
        ("u2", (0, 4095), [0, 1365, 2730, 4095], [0, 85, 170, 255]),
        ("u2", (0, 65535), [0, 257, 128, 129, 65535], [0, 1, 0, 1, 255]),
        ("i2", (-1000, 1000), [-1000, 0, 1000, -2000], [0, 128, 255, 0]),
        ("f4", (280, 320), [np.nan, np.inf, -np.inf, 300], [0, 255, 0, 128]),
        ("f4", (-320, -280), [np.nan, -3.4e38, -300], [0, 0, 128]),
    ],
)
def test_gray_levels_by_hand(dtype, limits, values, grays):
    kind = image_of(values, dtype).kind
    assert scaled_values(values, dtype, {kind: limits}) == grays


def test_each_sample_type_of_a_mixed_set_has_its_range():
    values = [([0, 4095], "u2"), ([280, 320], "f4"), ([290, 330], "f8"), ([-5, 5], "i2")]
    ranges = fit_ranges((None, measure(image_of(*each))) for each in values)
    found = {kind: (fit.low, fit.high) for kind, fit in ranges.items()}
    assert found == {"float": (280, 330), "int16": (-5, 5), "uint16": (0, 4095)}


def test_images_of_the_official_test_split_do_not_set_the_range():
    train, test = image_of([280, 320], "f4"), image_of([0, 1000], "f4")
    ranges = fit_ranges([(None, measure(train)), ("test", measure(test))])
    assert (ranges["float"].low, ranges["float"].high) == (280, 320)
    alone = fit_ranges([("test", measure(test))])
    assert (alone["float"].low, alone["float"].high) == (0, 1)


def test_a_range_set_by_hand_is_for_all_sample_types():
    ranges = {ANY: (0, 100)}
    assert scaled_values([0, 20, 100, 65535], "u2", ranges) == [0, 51, 255, 255]
    assert scaled_values([-1, 20, 100], "f4", ranges) == [0, 51, 255]
    with pytest.raises(UserError, match=r"ingest\.range: must be two values that differ"):
        set_by_hand(1, 1 + 1e-9)


@pytest.mark.parametrize(
    ("values", "limits", "few"),
    [
        (range(100), (0, 65535), True),
        (range(20), (0, 65535), False),  # the image has no more
        (range(0, 65536, 2049), (0, 65535), False),  # 32 levels
        (range(300), (0, 2410), False),  # 32 levels again
        (range(300), (0, 2550), True),  # 31
    ],
    ids=["1", "all 20", "32", "32 of 300", "31 of 300"],
)
def test_an_image_that_keeps_fewer_than_32_gray_levels_is_remarked(values, limits, few):
    image = image_of(list(values), "u2")
    scaler = Scaler(image, {"uint16": limits})
    levels = np.unique(scaler.scale(slice(0, 1)))
    assert scaler.use().few_levels == few == (len(levels) < 32 <= len(values))


def test_the_fraction_of_clipped_values_is_that_outside_of_the_range():
    image = image_of([0, 50, 100, 101, 200, 200.1, -9999, 150], "f4")
    scaler = Scaler(image, {"float": (100, 200)})
    scaler.scale(slice(0, 1))
    assert scaler.use().clipped == 2 / 8  # 0 and 50; 200.1 is within half a level, -9999 is missing


# What the issues of other programs report: as one image, and so as one data set.
@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        (0, 1, "f4"),
        (0, 1.0001, "f4"),  # overshoots
        (0, 255, "f4"),
        (0, 256.5, "f4"),
        (0, 70000, "f4"),
        (280, 320, "f4"),  # Kelvin
        (-5, 35, "f4"),  # degrees Celsius
        (0, 255, "i4"),
        (0, 300, "i4"),
        (0, 1023, "u2"),  # 10 bits
        (0, 4095, "u2"),  # 12 bits
    ],
)
def test_an_image_keeps_its_gray_levels(low, high, dtype):
    values = (low + RAMP * np.float32(high - low)).astype(dtype)
    gray = np.asarray(Image.open(io.BytesIO(decode(tiff(values)).encoded)))[..., 0]
    assert (gray.min(), gray.max(), len(np.unique(gray))) == (0, 255, 256)
    assert (np.diff(gray.astype(int).reshape(-1)) >= 0).all()


FILES = {
    "cat/dark.tif": tiff((RAMP * 400).astype(np.uint16)),
    "cat/bright.tif": tiff((1000 + RAMP * 3000).astype(np.uint16)),
    "dog/warm.tif": tiff(300 + 10 * RAMP),
    "dog/cold.tif": tiff(280 + 10 * RAMP),
    "dog/8-bit.png": None,
}


def ingest_files(root, files, **settings):
    write_files(root / "deep", files)
    ingest_all(root / "deep", root / "deep-ingested", layout="folder", fraction=0, **settings)
    return root / "deep-ingested"


@pytest.fixture
def deep_files(encode):
    return FILES | {"dog/8-bit.png": encode((RAMP * 255).astype(np.uint8))}


def grays_of_files(folder):
    names = list(FILES)
    return {name: rgb_pixels(content)[..., 0] for name, content in iter_images(folder, names)}


def test_ingest_converts_a_data_set_with_one_range_per_sample_type(tmp_path, deep_files, capsys):
    folder = ingest_files(tmp_path, deep_files)
    described = read_json(folder / "ranges.json")
    assert read_ranges(folder) == {"uint16": [0, 4095], "float": [280, 310]}
    assert described["uint16"]["reason"] == "12 bits"
    assert described["uint16"]["seen"] == [0, 4000]
    assert described["float"]["n_images"] == 2
    found = {name: (gray.min(), gray.max()) for name, gray in grays_of_files(folder).items()}
    # 400 * 255 / 4095 = 24.9; 1000 * 255 / 4095 = 62.3; 290 is a third of 280 to 310
    assert (found["cat/dark.tif"], found["cat/bright.tif"]) == ((0, 25), (62, 249))
    assert (found["dog/cold.tif"], found["dog/warm.tif"]) == ((0, 85), (170, 255))
    assert found["dog/8-bit.png"] == (0, 255)
    said = capsys.readouterr().out
    assert "uint16: 0 becomes black, 4,095 white (12 bits)" in said
    assert "float: 280 becomes black, 310 white" in said
    assert "WARNING: 1 of 2 deep images (uint16) have fewer than 32 gray levels" in said
    assert "'cat/dark.tif'. Set ingest.range" in said


def test_a_range_set_by_hand_is_recorded_and_clips(tmp_path, deep_files, capsys):
    folder = ingest_files(tmp_path, deep_files, range=[0, 400])
    assert read_ranges(folder) == {"any": [0, 400]}
    found = grays_of_files(folder)
    assert found["cat/dark.tif"].max() == 255
    assert found["cat/bright.tif"].min() == 255
    assert found["dog/cold.tif"].min() == 178  # 280 * 255 / 400 = 178.5, to even
    assert found["dog/8-bit.png"].max() == 255
    clipped = "WARNING: 1 of 4 deep images (any) have values outside of 0 to 400, which are clipped"
    assert clipped in capsys.readouterr().out


@pytest.mark.parametrize("setting", ["auto", [0, 1000]])
def test_ingest_predict_and_the_exported_file_use_the_same_range(
    project, tmp_path, deep_files, setting
):
    folder = ingest_files(tmp_path, deep_files, range=setting)
    ranges = read_ranges(folder)
    root = project()
    for name in ("flat", "deep"):
        path = root / "models" / name / "model.json"
        description = read_json(path)
        description["preprocessing"]["ranges"] = ranges
        write_json(path, description)
    classifier = Classifier.load(root, model="flat")
    assert classifier.ranges == Classifier.load(root).ranges == ranges
    with open_images([tmp_path / "deep"], ingested=folder) as images:
        settings = {name: getattr(classifier, name) for name in ("resize", "background", "ranges")}
        pixels = images.pixels(size=classifier.pack_size, **settings)
        new = dict(zip(images.names, pixels, strict=True))
    encoded = dict(iter_images(folder, list(FILES)))
    for name in FILES:
        stored = rgb_pixels(encoded[name], size=16, resize=classifier.resize)
        (found,) = (pixels for path, pixels in new.items() if path.endswith(name))
        np.testing.assert_array_equal(found.pixels, stored)
    noise = np.random.default_rng(1).integers(0, 256, (3, 16, 16, 3), np.uint8)
    export_onnx(tmp_path / "model.onnx", classifier, noise)
    properties = onnx.load(tmp_path / "model.onnx").metadata_props
    (exported,) = (entry.value for entry in properties if entry.key == "ranges")
    assert json.loads(exported) == ranges


def test_a_new_image_unlike_the_training_images_gets_a_remark(tmp_path):
    for name, values in (("kelvin", 280 + 40 * RAMP), ("int", (RAMP * 9).astype(np.int16))):
        (tmp_path / f"{name}.tif").write_bytes(tiff(values))
    names = [tmp_path / "kelvin.tif", tmp_path / "int.tif"]
    with open_images(names, ingested=tmp_path) as images:
        kelvin, integers = images.pixels(
            size=8, resize="box", background=(255, 255, 255), ranges={"float": [0, 300]}
        )
    # A gray level is 300 / 255; half of one above 300 is not clipped: 19.41 of 40 Kelvin are.
    assert kelvin.remark.startswith("48.54% of the values were clipped; fewer than 32 gray")
    assert integers.remark.startswith("a deep image (int16), unlike all training images")


@pytest.mark.parametrize(
    ("shape", "dtype", "options"),
    [
        ((1000, 1000), "u2", {}),
        ((1000, 1000, 3), "u2", {}),
        ((1000, 1000, 3), "u2", {"compression": "deflate"}),
        ((3, 1000, 1000), "u2", {"planarconfig": "separate"}),
        ((1000, 1000), "f4", {"compression": "deflate", "rowsperstrip": 16}),
        ((1000, 1000, 3), "u2", None),  # a PNG
    ],
)
@pytest.mark.promise("limit-image")
def test_the_memory_of_decoding_is_that_of_the_values_once(monkeypatch, shape, dtype, options):
    monkeypatch.setattr(limits, "PIXELS_PER_BAND", 2**12)
    rows = shape.index(1000)
    values = np.zeros(shape, dtype)
    values += np.linspace(0, 60_000, 1000).astype(dtype).reshape(-1, *[1] * (len(shape) - rows - 1))
    content = imagecodecs.png_encode(values) if options is None else tiff(values, **options)
    size = values.nbytes
    del values
    decode(content)  # imports
    tracemalloc.start()
    decode(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.3 * size + 2**20  # Pillow's memory for the result is not traced
