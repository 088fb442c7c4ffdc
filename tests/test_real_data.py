"""The real images beside the project go through the data stages, counted a second time."""

import hashlib
import io
import zipfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from classifold.data.image_table import iter_columns, iter_images
from classifold.data.pixels import rgb_pixels
from classifold.filtering.files import read_candidates
from classifold.filtering.metrics import selection_metrics
from classifold.filtering.selection import Selection, select
from classifold.ingest.detection import open_source
from classifold.ingest.ingestion import ingest
from classifold.splitting import splits as splitting

REAL = Path(__file__).parents[1].parent / "shared" / "data"

SIZE = {"rule": "modal", "tolerance": 0}
DUPLICATES = {"exact": "drop", "near": "group", "distance": 4, "conflicting": "drop"}
FRACTIONS = {"train": 0.7, "validation": 0.15, "test": 0.15}

pytestmark = pytest.mark.real


class Run(NamedTuple):
    """What the three stages made of an archive, and the archive."""

    archive: Path
    table: Path
    counts: dict
    selection: Selection
    splits: dict[str, str]  # id -> split
    metrics: dict


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    done = {}

    def through_the_stages(name, task):
        if name not in done:
            archive = REAL / f"{name}.zip"
            if not archive.is_file():
                pytest.skip(f"the real images of {archive.name} are not beside the project")
            table = tmp_path_factory.mktemp(name)
            with open_source(archive, layout="auto", task=task, scratch=table) as (tree, source):
                counts = ingest(
                    tree,
                    source,
                    table,
                    background=(255, 255, 255),
                    max_unreadable={"fraction": 0, "count": 0},
                )
            selection = select(read_candidates(table), size=SIZE, duplicates=DUPLICATES)
            images = [
                splitting.Image(i.id, i.labels, selection.groups.get(i.id, i.id), i.split)
                for i in selection.kept
                if i.split != "unlabelled"
            ]
            splits = splitting.assign_splits(images, fractions=FRACTIONS, method="grouped", seed=1)
            metrics = splitting.split_metrics(images, splits)
            ids = [image.id for image in images]
            done[name] = Run(
                archive, table, counts, selection, dict(zip(ids, splits, strict=True)), metrics
            )
        return done[name]

    return through_the_stages


ARCHIVES = [("fruit", "single"), ("photos", "multi"), ("tiny-imagenet-40", "single")]


@pytest.mark.parametrize(("name", "task"), ARCHIVES)
def test_every_image_of_the_archive_is_in_the_table_and_every_gray_one_has_equal_channels(
    run, name, task
):
    done = run(name, task)
    with zipfile.ZipFile(done.archive) as archive:
        names = {n for n in archive.namelist() if n.lower().endswith((".jpg", ".jpeg"))}
        gray = {n for n in names if Image.open(archive.open(n)).mode == "L"}
    modes = {row["id"]: row["mode"] for row in iter_columns(done.table, ["id", "mode"])}
    assert set(modes) == names
    assert {n for n, mode in modes.items() if mode == "L"} == gray
    assert done.counts["n_images"] == len(names)
    assert done.counts["converted"]["grayscale"] == done.counts["n_converted_to_rgb"] == len(gray)
    for _, encoded in iter_images(done.table, sorted(gray)[:100]):
        pixels = rgb_pixels(encoded)
        assert pixels.shape[2] == 3
        assert (pixels == pixels[..., :1]).all()


@pytest.mark.parametrize(("name", "task"), ARCHIVES)
@pytest.mark.promise("never-in-two-splits")
def test_no_image_and_no_duplicate_is_in_two_splits(run, name, task):
    done = run(name, task)
    kept = {image.id for image in done.selection.kept if image.split != "unlabelled"}
    assert set(done.splits) == kept
    sides = defaultdict(set)
    with zipfile.ZipFile(done.archive) as archive:
        for image_id, split in done.splits.items():
            pixels = np.asarray(Image.open(io.BytesIO(archive.read(image_id))).convert("RGB"))
            key = hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).digest()
            sides[key].add(split)
    torn = [splits for splits in sides.values() if len(splits) > 1]
    assert torn == []
    assert done.metrics["n_groups_across_splits"] == 0


def test_the_counts_of_fruit(run):
    done = run("fruit", "single")
    assert selection_metrics(done.selection)["excluded"] == {
        "size": 38,
        "duplicate": 14,
        "conflicting_labels": 0,
        "limit": 0,
    }
    assert done.metrics["max_proportion_gap"] < 0.0025


def test_the_counts_of_photos_with_several_labels(run):
    done = run("photos", "multi")
    with zipfile.ZipFile(done.archive) as archive:
        lists = {
            Path(n).stem: set(archive.read(n).split())
            for n in archive.namelist()
            if n.endswith(".txt")
        }
    per_class = {label: len(numbers) for label, numbers in lists.items()}
    assert done.counts["images_per_class"] == per_class
    assert done.counts["n_unlabelled"] == 302
    assert Counter(done.splits.values()) == {"train": 2266, "validation": 485, "test": 485}
    assert done.metrics["max_proportion_gap"] <= 0.0025  # an image is 0.0021 of a held-out split


def test_the_counts_of_tiny_imagenet_and_its_official_splits(run):
    done = run("tiny-imagenet-40", "single")
    metrics = selection_metrics(done.selection)
    expected = {"size": 0, "duplicate": 0, "conflicting_labels": 6, "limit": 0}
    assert metrics["excluded"] == expected
    assert done.counts["images_per_split"] == {"test": 2000, "train": 20000, "unlabelled": 429}
    assert set(done.counts["images_per_class"].values()) == {550}
    assert "Egyptian cat" in done.counts["images_per_class"]
    official = {i for i, split in done.splits.items() if split == "test"}
    assert official == {i for i in done.splits if "/val/" in i}
    assert Counter(done.splits.values())["validation"] == pytest.approx(0.15 * 19994, abs=20)
    boxes = {row["id"]: row["boxes"] for row in iter_columns(done.table, ["id", "boxes"])}
    first = "tiny-imagenet-40/train/n02124075/images/n02124075_0.JPEG"
    assert boxes[first] == [{"x0": 1, "y0": 0, "x1": 53, "y1": 63}]
    assert sum(box is not None for box in boxes.values()) == 22000
