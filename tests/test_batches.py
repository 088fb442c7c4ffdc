"""Batches: what an epoch shows, in which order, to whom."""

from collections import Counter

import numpy as np
import pytest
import torch

from classifold.augmentation.online.batches import epoch_draws
from classifold.data.image_arrays import ImageArray
from classifold.errors import UserError
from classifold.training.batches import count_batches, draw_rows, epoch_batches
from classifold.training.images import TrainingImages
from tiny_model import NO_POLICY

CPU = torch.device("cpu")

CROP_FLIP = {"fill": "reflect", "steps": [{"pad_crop": 0.125}, {"flip": "horizontal"}]}
MIX = {"fill": "reflect", "steps": [{"mix": {"mixup": 0.5, "cutmix": 1.0}}]}
CROP_FLIP_MIX = {"fill": "edge", "steps": [*CROP_FLIP["steps"], *MIX["steps"]]}
BRIGHTNESS = {"fill": "reflect", "steps": [{"brightness": [0.5, 1.0]}]}


def epoch_of(
    pack, *, policy=NO_POLICY, image_size=8, reads_ahead=False, on_device=False, **changes
):
    images = TrainingImages(pack, policy=policy, image_size=image_size, device=CPU)
    images.reads_ahead, images.on_device = reads_ahead, on_device
    settings = {"batch_size": 8, "seed": 1, "epoch": 1, "normalize": "none"} | changes
    return list(epoch_batches(images, image_size=image_size, **settings))


def joined(batches, column="inputs"):
    return torch.cat([getattr(batch, column) for batch in batches])


def numbers_of(batches):
    """Which image of a pack of plain grays was shown, in the order of an epoch."""
    return torch.round(joined(batches)[:, 0, 0, 0] * 255).int().tolist()


@pytest.fixture
def gray_pack(draw_pack):
    """Image i is plain gray i, and its label is its remainder by 3."""
    pack = draw_pack(33)
    images = np.broadcast_to(np.arange(33, dtype=np.uint8)[:, None, None, None], (33, 8, 8, 3))
    return pack._replace(images=images)


@pytest.mark.parametrize("batch_size", [2, 8, 16, 32, 100])
def test_an_epoch_shows_every_image_once_with_its_label_in_equal_steps(gray_pack, batch_size):
    batches = epoch_of(gray_pack, batch_size=batch_size)
    numbers = numbers_of(batches)
    assert sorted(numbers) == list(range(33))
    assert joined(batches, "labels").tolist() == [number % 3 for number in numbers]
    assert torch.equal(joined(batches, "targets"), torch.eye(3)[[n % 3 for n in numbers]])
    assert len(batches) == count_batches(33, batch_size) == -(-33 // batch_size)
    sizes = [len(batch.labels) for batch in batches]
    assert max(sizes) <= batch_size and max(sizes) - min(sizes) <= 1
    assert [batch.n_in_step for batch in batches] == sizes
    assert all(batch.ends_step for batch in batches)


def test_the_order_depends_only_on_seed_and_epoch(gray_pack):
    first = numbers_of(epoch_of(gray_pack))
    assert first != list(range(33))
    assert numbers_of(epoch_of(gray_pack)) == first
    assert numbers_of(epoch_of(gray_pack, epoch=2)) != first
    assert numbers_of(epoch_of(gray_pack, seed=2)) != first


@pytest.mark.parametrize("policy", [CROP_FLIP, MIX])
@pytest.mark.parametrize("sampler", ["shuffle", "balanced"])
def test_online_augmentation_does_not_depend_on_the_size_of_batches(draw_pack, policy, sampler):
    pack = draw_pack(16)
    small, large = (epoch_of(pack, batch_size=n, policy=policy, sampler=sampler) for n in (4, 16))
    for column in ("inputs", "labels", "targets"):
        assert torch.equal(joined(small, column), joined(large, column))
    plain = epoch_of(pack, sampler=sampler)
    assert torch.equal(joined(small, "labels"), joined(plain, "labels"))
    assert not torch.equal(joined(small), joined(plain))


@pytest.mark.parametrize(
    ("n_processes", "n_micro"),
    [(1, 2), (1, 5), (2, 1), (3, 1), (2, 3), (2, 4), (4, 4), (3, 2)],
)
@pytest.mark.parametrize("sampler", ["shuffle", "balanced"])
def test_processes_and_micro_batches_split_the_images_of_each_step_and_change_no_pixel(
    draw_pack, n_processes, n_micro, sampler
):
    settings = {"policy": CROP_FLIP_MIX, "batch_size": 16, "sampler": sampler}
    pack = draw_pack(45)
    whole = epoch_of(pack, **settings)
    assert len(whole) == 3
    per_process = [
        epoch_of(pack, micro_batches=n_micro, process=process, n_processes=n_processes, **settings)
        for process in range(n_processes)
    ]
    n_own = -(-n_micro // n_processes)  # two processes split three micro-batches like four
    for own in per_process:
        ends = [batch.ends_step for batch in own]
        assert ends == [*[False] * (n_own - 1), True] * 3
    for number, step in enumerate(whole):
        parts = [b for own in per_process for b in own[number * n_own : (number + 1) * n_own]]
        assert {batch.n_in_step for batch in parts} == {step.n_in_step} == {15}
        # As with one process, so that batch norms go by the same images.
        expected = np.array_split(np.arange(15), n_own * n_processes)
        assert [len(batch.labels) for batch in parts] == [len(each) for each in expected]
        for column in ("inputs", "labels", "targets"):
            assert torch.equal(joined(parts, column), getattr(step, column))


@pytest.mark.parametrize(("n_processes", "n_micro"), [(1, 8), (8, 1), (3, 4)])
def test_a_step_with_fewer_images_than_micro_batches_is_an_error(gray_pack, n_processes, n_micro):
    # 33 images in 7 steps: some of them have 4.
    message = (
        rf"batch_size: steps of 4 images .* {n_processes} processes .*"
        rf"gradient_accumulation_steps: {n_micro}, got 5.*lower gradient_accumulation_steps"
    )
    with pytest.raises(UserError, match=message):
        epoch_of(gray_pack, batch_size=5, n_processes=n_processes, micro_batches=n_micro)


class CountedImages(ImageArray):
    """Images that count how often each of them is read."""

    def __init__(self, images):
        self.images, self.shape = images, images.shape
        self.n_reads = Counter()

    def __getitem__(self, key):
        self.n_reads.update(np.atleast_1d(np.arange(len(self))[key]).tolist())
        return self.images[key]


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("on_device", [False, True])
def test_a_process_reads_its_own_images_once_an_epoch_and_no_other(draw_pack, ahead, on_device):
    pack = draw_pack(61)
    reads = []
    for process in range(3):
        counted = CountedImages(pack.images)
        split = {"batch_size": 16, "micro_batches": 4, "process": process, "n_processes": 3}
        settings = {"policy": CROP_FLIP, "reads_ahead": ahead, "on_device": on_device}
        batches = epoch_of(pack._replace(images=counted), **split, **settings)
        assert sum(len(batch.labels) for batch in batches) == sum(counted.n_reads.values())
        reads.append(counted.n_reads)
    assert sum(reads, Counter()) == Counter(range(61))


def test_reading_ahead_changes_no_batch(draw_pack):
    for settings in ({"on_device": False}, {"on_device": True}):
        settings |= {"policy": CROP_FLIP_MIX, "normalize": "half"}
        epochs = [epoch_of(draw_pack(45), reads_ahead=ahead, **settings) for ahead in (False, True)]
        for one, other in zip(*epochs, strict=True):
            assert all(map(torch.equal, one[:3], other[:3]))


def test_a_micro_batch_may_have_one_image(gray_pack):
    batches = epoch_of(gray_pack, batch_size=5, micro_batches=4)
    assert sorted(numbers_of(batches)) == list(range(33))
    assert min(len(batch.labels) for batch in batches) == 1


SKEWED = np.repeat([0, 1, 2], [270, 20, 10])


def draw_balanced(labels, *, n_classes=3, epoch=1):
    return draw_rows(labels, n_classes=n_classes, seed=1, epoch=epoch, sampler="balanced")


def test_a_balanced_sampler_shows_classes_about_alike():
    rows = draw_balanced(SKEWED)
    assert len(rows) == 300
    shown_of = np.bincount(SKEWED[rows], minlength=3)
    # 100 each expected, with a standard deviation of sqrt(300 x 1/3 x 2/3) = 8.
    assert all(abs(shown_of - 100) < 3 * 8.2)
    # Within a class each image is as likely as any other: all of the 10 are shown, about 10 times.
    of_rarest = Counter(rows[SKEWED[rows] == 2].tolist())
    assert len(of_rarest) == 10
    assert max(of_rarest.values()) <= 22


def test_a_balanced_sampler_samples_differently_in_every_epoch():
    first, again, second = (draw_balanced(SKEWED, epoch=epoch) for epoch in (1, 1, 2))
    assert first.tolist() == again.tolist() != second.tolist()


def test_a_balanced_sampler_of_several_labels_goes_by_the_rarest_and_counts_none_as_a_class():
    # Label 0 alone 240 times, beside label 1 40 times, label 2 alone 10 times, none 10 times:
    # an image weighs 1/280, 1/40, 1/10 and 1/10.
    positive = [[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 0, 0]]
    labels = np.repeat(np.array(positive, np.uint8), [240, 40, 10, 10], axis=0)
    kinds = np.repeat(np.arange(4), [240, 40, 10, 10])
    epochs = [draw_balanced(labels, epoch=epoch) for epoch in range(20)]
    found = np.bincount(kinds[np.concatenate(epochs)]) / 6000
    expected = np.array([240 / 280, 1, 1, 1]) / (240 / 280 + 3)
    # The standard deviation is sqrt(0.26 x 0.74 / 6000) = 0.006.
    np.testing.assert_allclose(found, expected, atol=0.018)


def test_a_balanced_sampler_accepts_classes_without_images():
    rows = draw_balanced(np.array([0, 0, 2]), n_classes=4)
    assert set(rows.tolist()) <= {0, 1, 2}


def test_an_image_that_is_sampled_twice_is_augmented_differently(gray_pack):
    gray_pack = gray_pack._replace(images=np.full((33, 8, 8, 3), 200, np.uint8))
    batches = epoch_of(gray_pack, policy=BRIGHTNESS, sampler="balanced", batch_size=33)
    assert len(set(draw_balanced(gray_pack.labels).tolist())) < 33  # some are shown again
    levels = joined(batches)[:, 0, 0, 0] * 255
    draws = epoch_draws(BRIGHTNESS, n_images=33, seed=1, epoch=1)[:, 0]
    # All images are of the same gray: what differs is the draw of each place in the epoch.
    np.testing.assert_allclose(levels.numpy(), 200 * (0.5 + 0.5 * draws), atol=1)


def test_targets_of_mixed_images_are_probabilities_of_both_classes(draw_pack):
    (batch,) = epoch_of(draw_pack(16), batch_size=16, policy=MIX)
    assert batch.targets.shape == (16, 3)
    assert torch.allclose(batch.targets.sum(1), torch.ones(16))
    assert ((batch.targets > 0) & (batch.targets < 1)).any()
    own = batch.targets.gather(1, batch.labels[:, None])
    assert (own > 0).any()


@pytest.mark.parametrize("way", ["mixup", "cutmix"])
@pytest.mark.parametrize("sampler", ["shuffle", "balanced"])
def test_targets_of_mixed_images_with_several_labels_are_weighted_by_lam(gray_pack, way, sampler):
    # White images have the first two labels, black ones the last: the brightness of a mixed
    # image is its fraction of white.
    white = np.arange(33) % 2
    images = np.broadcast_to((255 * white).astype(np.uint8)[:, None, None, None], (33, 8, 8, 3))
    labels = np.stack([white, white, 1 - white], axis=1).astype(np.uint8)
    pack = gray_pack._replace(images=images, labels=labels, task="multi")
    policy = {"fill": "reflect", "steps": [{"mix": {way: 1.0}}]}
    batches = epoch_of(pack, policy=policy, batch_size=33, sampler=sampler)
    bright = joined(batches).mean((1, 2, 3))
    expected = torch.stack([bright, bright, 1 - bright], 1)
    torch.testing.assert_close(joined(batches, "targets"), expected, atol=0.003, rtol=0)
    assert ((bright > 0.1) & (bright < 0.9)).sum() > 3
    assert set(joined(batches, "labels").flatten().tolist()) == {0, 1}  # never mixed


def test_images_are_enlarged_by_the_warp_or_else_by_preprocessing(draw_pack):
    pack = draw_pack(4)
    turn = {"fill": "reflect", "steps": [{"rotate": 0}]}
    (warped,) = epoch_of(pack, policy=turn, image_size=16)
    (plain,) = epoch_of(pack, image_size=16)
    assert warped.inputs.shape == plain.inputs.shape == (4, 3, 16, 16)
    inner = slice(2, -2)  # borders are filled in another way
    gap = (warped.inputs - plain.inputs)[:, :, inner, inner].abs().max()
    assert gap <= 1.01 / 255  # a gray level


def test_images_on_a_device_are_augmented_there_as_on_the_cpu(draw_pack):
    pack = draw_pack(8, size=16)
    steps = [{"rotate": 20}, {"brightness": [0.8, 1.2]}, MIX["steps"][0]]
    settings = {"policy": {"fill": "edge", "steps": steps}, "image_size": 16, "device": CPU}
    on_cpu, there = TrainingImages(pack, **settings), TrainingImages(pack, **settings)
    there.on_device = True  # as where there is a GPU: a batch at a time, in torch
    draws = epoch_draws(settings["policy"], n_images=8, seed=1, epoch=1)
    rows, slots = np.array([5, 5, 2, 0]), np.array([0, 1, 7, 3])  # one of them is shown twice
    first, second = (
        images.inputs(images.read(rows, slots, draws), image_size=16, normalize="none")
        for images in (on_cpu, there)
    )
    assert (first - second).abs().max() <= 3 / 255
    assert (first[0] - first[1]).abs().max() > 0.1
