"""No step has quadratic cost in images or classes: twice as many take about twice as much.

The tests count bytecode operations and bytes of memory, which are reproducible, unlike seconds.
"""

import sys
import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest

from classifold.evaluation.labels import read_labeled_images
from classifold.filtering import duplicates
from classifold.filtering.duplicates import choose_bands, near_groups
from classifold.filtering.limit import limit_images
from classifold.filtering.metrics import selection_metrics
from classifold.filtering.selection import Candidate, select
from classifold.reporting.sections.class_axis import MAX_LABELED_CLASSES
from classifold.reporting.sections.confusion import confused_classes, confusion_matrix
from classifold.splitting.files import write_splits
from classifold.splitting.splits import Image, assign_splits, split_metrics
from synthetic_run import Run

FRACTIONS = {"train": 0.7, "validation": 0.15, "test": 0.15}
DUPLICATES = {"exact": "drop", "near": "group", "distance": 4, "conflicting": "drop"}
MAX_GROWTH = 2.6  # from n to 2n; n log n would grow by 2.2 at these sizes, a square by 4


@dataclass(frozen=True)
class Load:
    """Images of many classes; some are duplicates, and some of those have another label."""

    n_classes: int
    each: int = 10

    @property
    def candidates(self):
        draw = np.random.default_rng(1)
        n_images = self.n_classes * self.each
        words = draw.integers(0, 2**63, n_images, dtype=np.uint64)
        words[::10] ^= np.uint64(1)
        words[5::50] = words[4::50]
        return [
            Candidate(
                id=f"{number % self.n_classes:05}/{number:07}.jpg",
                labels=(f"{number % self.n_classes:05}",),
                split=None,
                group=None,
                size=(64, 64),
                sha256=f"{number:064x}",
                perceptual_hash=f"{word:016x}",
            )
            for number, word in enumerate(words.tolist())
        ]

    @property
    def images(self):
        """Every tenth image is in one group with the next one, which has another label."""
        found = self.candidates
        groups = [found[i - (i % 10 == 1)].id for i in range(len(found))]
        return [
            Image(one.id, one.labels, group, None) for one, group in zip(found, groups, strict=True)
        ]


def operations(function, *arguments):
    """Count the bytecode operations of a call."""
    count = 0

    def trace(frame, event, _):
        nonlocal count
        if event == "call":
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function(*arguments)
    finally:
        sys.settrace(before)
    return count


def memory(function, *arguments):
    """Measure the peak memory of a call, in bytes."""
    tracemalloc.start()
    try:
        function(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def filter_images(images):
    selection = select(images, size={"rule": "modal", "tolerance": 0}, duplicates=DUPLICATES)
    return selection_metrics(limit_images(selection, images_per_class=8, seed=1))


def split_images(images):
    return split_metrics(
        images, assign_splits(images, fractions=FRACTIONS, method="grouped", seed=1)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "what"), [(filter_images, "candidates"), (split_images, "images")]
)
def test_twice_the_images_and_classes_take_about_twice_the_work(step, what):
    # The split swaps images of at most 400 kinds; smaller data sets have fewer kinds.
    for measure, n_classes in ((operations, 100), (memory, 400)):
        once, twice = (getattr(Load(n), what) for n in (n_classes, 2 * n_classes))
        step(once)  # the first call also imports modules
        few, many = measure(step, once), measure(step, twice)
        assert many < MAX_GROWTH * few, measure.__name__


def test_a_step_with_quadratic_work_or_memory_is_detected():
    def pairs(n):
        return sum(1 for i in range(n) for j in range(n))

    assert operations(pairs, 100) > MAX_GROWTH * operations(pairs, 50)
    assert memory(np.ones, (600, 600)) > MAX_GROWTH * memory(np.ones, (300, 300))


@pytest.mark.slow
def test_the_memory_of_a_multi_label_split_grows_with_the_number_of_labels():
    def images(n_classes):
        return [
            Image(f"{i}", (f"{i % n_classes}", f"{(7 * i + 1) % n_classes}"), f"{i}", None)
            for i in range(10 * n_classes)
        ]

    once, twice = (memory(split_images, images(n_classes)) for n_classes in (600, 1200))
    assert twice < MAX_GROWTH * once


@pytest.mark.slow
@pytest.mark.parametrize("n_images", [100_000, 400_000])
def test_there_are_fewer_than_40_hash_comparisons_per_image(monkeypatch, n_images):
    n_compared = 0
    count_bits = np.bitwise_count

    def count(words):
        nonlocal n_compared
        n_compared += len(words)
        return count_bits(words)

    monkeypatch.setattr(duplicates.np, "bitwise_count", count)
    words = np.random.default_rng(1).integers(0, 2**63, n_images, dtype=np.uint64)
    near_groups([f"{word:016x}" for word in words.tolist()], distance=4)
    assert 0 < n_compared < 40 * n_images


def test_bands_are_wider_with_more_images():
    for n_words in (10, 10_000, 1_000_000, 100_000_000):
        widths = choose_bands(n_words, distance=4)
        assert sum(widths) == 64 and max(widths) <= 22
    assert len(choose_bands(1_000, distance=4)) > len(choose_bands(10_000_000, distance=4))


@pytest.mark.slow
@pytest.mark.parametrize("task", ["single", "multi"])
def test_the_page_grows_by_less_than_3000_bytes_per_class(tmp_path, task):
    sizes = []
    for n_classes in (220, 440):
        classes = [f"class {i:04}" for i in range(n_classes)]
        test = {"each": 1, "n_test": n_classes, "n_right": n_classes // 2}
        run = Run(tmp_path / str(n_classes), classes=classes, task=task, **test)
        sizes.append(len(run.page()))
    assert 0 < sizes[1] - sizes[0] < 220 * 3000


def test_with_very_many_classes_the_matrix_shows_those_that_are_confused(tmp_path):
    classes = [f"{i:03}" for i in range(300)]
    run = Run(tmp_path, classes=classes, each=1, n_test=300, n_right=298)
    facts = run.facts()
    # The last two images are predicted as the next class: 298 as 299, and 299 as 000.
    shown = confused_classes(facts)
    assert {"298", "299", "000"} <= set(shown) and len(shown) == MAX_LABELED_CLASSES
    assert shown == sorted(shown)
    chart = confusion_matrix(facts)
    assert all(trace.z.shape == (len(shown),) * 2 for trace in chart.figure.data)
    correct, incorrect = chart.figure.data
    at = {name: i for i, name in enumerate(shown)}
    assert incorrect.z[at["298"], at["299"]] == incorrect.z[at["299"], at["000"]] == 100
    assert np.isnan(correct.z[at["298"], at["298"]]) and correct.z[at["000"], at["000"]] == 100
    assert "Of 300 classes, these 60 are the ones that are confused most often" in run.page()


def test_predictions_of_classes_that_are_not_shown_count_in_the_fractions(tmp_path, monkeypatch):
    run = Run(tmp_path, classes=[f"{i:03}" for i in range(300)], each=1, n_test=300, n_right=300)
    rows = [{"actual": "000", "predicted": name} for name in ("000", "001", "001", "299")]
    rows += [{"actual": f"{i:03}", "predicted": f"{i + 1:03}"} for i in range(2, 62, 2)] * 2
    chart = confusion_matrix(run.facts()._replace(confusion=rows))
    correct, incorrect = chart.figure.data
    assert "299" not in correct.x
    assert (correct.z[0, 0], incorrect.z[0, 1]) == (25, 50)


def test_reading_labels_needs_no_matrix_of_images_and_classes(tmp_path):
    def read(load):
        path = tmp_path / f"{load.n_classes}"
        images = [image._replace(group=image.id) for image in load.images]
        write_splits(path, images, ["test"] * len(images))
        classes = sorted({label for image in images for label in image.labels})
        decisions = {"classes": classes, "task": "single"}
        return memory(lambda: read_labeled_images(path / "test.csv", decisions=decisions))

    assert read(Load(800, each=5)) < MAX_GROWTH * read(Load(400, each=5))
