"""A pack is read as it was written, in the same order."""

import json

import cv2
import numpy as np
import pytest

from classifold.analysis.pca.components import principal_components
from classifold.data import image_arrays
from classifold.data.image_arrays import content_hash, prefetch
from classifold.data.pack import join, new_pack, read_pack

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), np.uint8)
ROWS = [
    {"image_id": "dog/1", "variant": 0, "transformation": "none", "labels": ["dog"]},
    {"image_id": "dog/1", "variant": 1, "transformation": "flip both", "labels": ["dog"]},
    {"image_id": "cat/2", "variant": 0, "transformation": "none", "labels": ["cat"]},
]


def write(folder, rows=ROWS, *, pixels=PIXELS, task="single", storage="raw"):
    size, classes = pixels.shape[1], ["ape", "cat", "dog"]
    settings = {"size": size, "resize": "box", "classes": classes, "task": task, "storage": storage}
    with new_pack(folder, n_images=len(pixels), **settings) as pack:
        pack.put(0, pixels)
        for row in rows:
            pack.describe(**row)
    return read_pack(folder)


def rows_of(n_images, *, n_variants):
    return [
        {"image_id": str(i), "variant": i % (1 + n_variants), "transformation": "none"}
        | {"labels": ["dog"]}
        for i in range(n_images)
    ]


def test_images_are_read_in_the_order_in_which_they_were_written(tmp_path):
    pack = write(tmp_path / "pack")
    np.testing.assert_array_equal(pack.images, PIXELS)
    assert pack.labels.tolist() == [2, 2, 1]  # positions in `classes`
    assert pack.ids == ["dog/1", "dog/1", "cat/2"]
    assert pack.variants.tolist() == [0, 1, 0]
    assert pack.transformations == ["none", "flip both", "none"]
    assert (pack.classes, pack.size, pack.resize) == (["ape", "cat", "dog"], 4, "box")
    assert pack.task == "single"


def test_several_labels_per_image_are_read_as_a_row_of_ones_and_zeros(tmp_path):
    given = (["dog", "ape"], [], ["cat"])
    rows = [row | {"labels": labels} for row, labels in zip(ROWS, given, strict=True)]
    pack = write(tmp_path, rows, task="multi")
    assert pack.task == "multi"
    assert pack.labels.dtype == np.uint8
    assert pack.labels.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert pack.originals().labels.tolist() == [[1, 0, 1], [0, 1, 0]]


def test_images_stay_on_the_disk_and_cannot_be_changed(tmp_path):
    images = write(tmp_path).images
    assert isinstance(images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0


@pytest.mark.parametrize("storage", ["raw", "jpeg"])
def test_a_pack_records_a_hash_of_all_its_images(tmp_path, storage):
    hashes = set()
    for name, changed in (("a", 0), ("b", 0), ("c", 40)):
        pixels = PIXELS.copy()
        pixels[2] = changed
        images = write(tmp_path / name, pixels=pixels, storage=storage).images
        recorded = content_hash(images)
        assert recorded == json.loads((tmp_path / name / "pack.json").read_text())["images_sha256"]
        hashes.add(recorded)
        images.recorded_hash = None
        assert content_hash(images) == recorded
        images.recorded_hash = recorded
        assert content_hash(images[1:2]) not in (recorded, content_hash(images[2:3]))
    assert len(hashes) == 2


def test_originals_have_no_variants_in_any_column(tmp_path):
    originals = write(tmp_path).originals()
    np.testing.assert_array_equal(originals.images, PIXELS[[0, 2]])
    assert originals.labels.tolist() == [2, 1]
    assert originals.ids == ["dog/1", "cat/2"]
    assert originals.variants.tolist() == [0, 0]
    assert originals.transformations == ["none", "none"]


def test_the_same_images_give_the_same_bytes(tmp_path):
    write(tmp_path / "a")
    write(tmp_path / "b")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_pack_with_missing_images_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="2 of 3 images described"):
        write(tmp_path, ROWS[:2])


@pytest.mark.parametrize(("task", "shape"), [("single", (0,)), ("multi", (0, 3))])
def test_a_pack_without_images_can_be_written_and_read(tmp_path, task, shape):
    pack = write(tmp_path, [], pixels=PIXELS[:0], task=task)
    assert pack.images.shape == (0, 4, 4, 3)
    assert pack.labels.shape == shape
    assert pack.originals().ids == []


def test_jpegs_are_decoded_where_they_are_used_and_look_like_an_array(tmp_path):
    plain = np.zeros((600, 8, 8, 3), np.uint8)
    plain[..., 0] = np.arange(600)[:, None, None] % 256  # more than one batch of the file
    settings = {"size": 8, "resize": "box", "classes": ["dog"], "storage": "jpeg"}
    with new_pack(tmp_path, n_images=600, **settings) as pack:
        for row in (4, 0, 8, *range(596, 8, -4)):  # threads put them as they are done
            pack.put(row, plain[row : row + 4])
        for row in rows_of(600, n_variants=1):
            pack.describe(**row)
    read = read_pack(tmp_path)
    found = (read.images.shape, len(read.images), read.images.nbytes)
    assert found == (plain.shape, 600, plain.size)
    for key in (599, slice(250, 260), np.array([3, 1, 599])):
        assert abs(read.images[key].astype(int) - plain[key]).max() <= 3
    assert abs(np.asarray(read.images).astype(int) - plain).max() <= 3
    originals = read.originals()
    assert originals.images.shape == (300, 8, 8, 3)
    assert abs(originals.images[:5].astype(int) - plain[:10:2]).max() <= 3


def test_a_subset_reads_its_images_from_the_disk_in_its_own_order(tmp_path):
    pack = write(tmp_path).subset(np.array([2, 0]))
    assert (pack.ids, pack.labels.tolist()) == (["cat/2", "dog/1"], [1, 2])
    assert pack.variants.tolist() == [0, 0]
    assert (len(pack.images), pack.images.nbytes) == (2, 2 * PIXELS[0].size)
    for key in (1, slice(1), np.array([1, 1, 0])):
        np.testing.assert_array_equal(pack.images[key], PIXELS[[2, 0]][key])
    np.testing.assert_array_equal(np.array(pack.images), PIXELS[[2, 0]])
    twice = pack.subset(np.array([1]))
    np.testing.assert_array_equal(twice.images, PIXELS[:1])


def test_originals_stored_as_jpeg_have_the_principal_components_of_the_raw_ones(tmp_path):
    random = np.random.default_rng(1)
    colors = random.uniform(0, 255, (40, 1, 1, 3))
    smooth = np.repeat(np.linspace(0, 1, 8)[:, None, None] * colors, 8, axis=2)
    rows, pixels = rows_of(40, n_variants=1), smooth.astype(np.uint8)
    raw, jpeg = (
        principal_components(
            write(tmp_path / storage, rows, pixels=pixels, storage=storage).originals().images,
            size=8,
        )["green"]
        for storage in ("raw", "jpeg")
    )
    np.testing.assert_allclose(jpeg.mean, raw.mean, atol=0.02)
    assert jpeg.variances[0] == pytest.approx(raw.variances[0], rel=0.05)


@pytest.mark.parametrize("storage", ["raw", "jpeg"])
def test_prefetched_places_are_those_of_the_images(tmp_path, monkeypatch, storage):
    pixels = np.random.default_rng(0).integers(0, 256, (300, 30, 30, 3), np.uint8)
    pack = write(tmp_path, rows_of(300, n_variants=0), pixels=pixels, storage=storage)
    rows = np.array([299, 0, 7])
    again = join(pack.subset(np.array([9, 299])), pack.subset(np.array([0, 1, 7])))
    requested = []
    monkeypatch.setattr(image_arrays, "_will_need", lambda *place: requested.append(place))
    prefetch(pack.images, rows)
    prefetch(again.images, np.array([1, 2, 4]))
    found = [mapped[first : first + n] for mapped, places in requested for first, n in places]
    if storage == "jpeg":
        found = [cv2.imdecode(np.frombuffer(f, np.uint8), cv2.IMREAD_COLOR_RGB) for f in found]
    for image, content in zip([*pack.images[rows]] * 2, found, strict=True):
        assert bytes(content) == image.tobytes()

    monkeypatch.undo()
    prefetch(pack.images, np.arange(300))  # what the system refuses is an error
    prefetch(np.zeros((2, 4, 4, 3), np.uint8), np.array([1]))  # in memory: nothing to do
