"""A short run: limited images per class, limited epochs per phase."""

import copy
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifold.filtering.limit import limit_images
from classifold.filtering.metrics import selection_metrics
from classifold.filtering.selection import Candidate, select
from classifold.training.limit import cap_epochs

ALL = {
    "size": {"rule": "none", "tolerance": 0},
    "duplicates": {"exact": "group", "near": "off", "distance": 4, "conflicting": "off"},
}


def image(name, *labels, split=None, group=None, pixels=None):
    return Candidate(name, labels, split, group, (8, 8), pixels or name, f"{0:016x}")


def kept_ids(selection):
    return {kept.id for kept in selection.kept}


def limit_to(images, n, *, seed=1):
    return limit_images(select(images, **ALL), images_per_class=n, seed=seed)


SPLITS = st.sampled_from([None, "train", "validation", "test"])
LABELED = st.lists(st.tuples(st.sampled_from("abc"), SPLITS), min_size=1, max_size=60)


@given(LABELED, st.integers(1, 9), st.integers(0, 3))
def test_each_class_keeps_the_limit_or_all_of_its_images_in_each_split(images_of, n, seed):
    images = [image(f"{i:03}", label, split=split) for i, (label, split) in enumerate(images_of)]
    selection = limit_to(images, n, seed=seed)
    kept = Counter((i.labels[0], i.split) for i in selection.kept)
    assert kept == {key: min(n, number) for key, number in Counter(images_of).items()}
    assert len(selection.kept) + len(selection.excluded) == len(images)


@given(LABELED, st.integers(1, 9), st.randoms())
def test_a_larger_limit_keeps_the_images_of_a_smaller_one_in_any_order(images_of, n, random):
    images = [image(f"{i:03}", label, split=split) for i, (label, split) in enumerate(images_of)]
    fewer = kept_ids(limit_to(images, n))
    random.shuffle(images)
    assert fewer <= kept_ids(limit_to(images, n + 3))
    assert fewer == kept_ids(limit_to(images, n))


def test_another_seed_keeps_other_images():
    images = [image(f"{i:03}", "a") for i in range(50)]
    assert len({frozenset(kept_ids(limit_to(images, 5, seed=seed))) for seed in range(4)}) == 4


def test_images_of_a_group_are_kept_or_excluded_together():
    images = [image(f"{i:02}", "a", group=f"patient {i // 4}") for i in range(40)]
    images += [image(f"copy {i}", "a", pixels="same") for i in range(3)]
    for seed in range(5):
        selection = limit_to(images, 6, seed=seed)
        groups = Counter(kept.group or kept.sha256 for kept in selection.kept)
        assert groups == {name: 3 if name == "same" else 4 for name in groups}
        assert 6 <= len(selection.kept) <= 6 + 3  # the last group brings it over the limit
        kept = [item.kept for item in selection.duplicates]
        assert kept == [("same" in groups)] * 3


def test_with_several_labels_the_rarest_is_filled_first_and_adds_images_of_others():
    images = [image(f"rare {i}", "baby", "people") for i in range(4)]
    images += [image(f"people {i}", "people") for i in range(9)]
    images += [image(f"nothing {i}") for i in range(9)]
    kept = kept_ids(limit_to(images, 3))
    # Three of the four with a baby are people enough; an image on no list is a kind of its own.
    assert Counter(name.split()[0] for name in kept) == {"rare": 3, "nothing": 3}


def test_unlabeled_images_stay_and_an_official_test_split_is_limited():
    images = [image(f"t{i}", "a", split="test") for i in range(9)]
    images += [image(f"l{i}", "a", split="train") for i in range(9)]
    images += [image(f"u{i}", split="unlabelled") for i in range(9)]
    selection = limit_to(images, 4)
    splits = Counter(kept.split for kept in selection.kept)
    assert splits == {"test": 4, "train": 4, "unlabelled": 9}
    reasons = {(item.reason, item.measured) for item in selection.excluded}
    assert reasons == {("limit", "4 images per class")}
    assert selection_metrics(selection)["excluded"]["limit"] == 10


def test_without_a_limit_nothing_changes():
    selection = select([image("a", "a"), image("b", "a")], **ALL)
    assert limit_images(selection, images_per_class=None, seed=1) is selection


def phase(epochs, **schedule):
    return {"epochs": epochs, "trainable": "all", "schedule": schedule}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (phase(9, name="constant"), phase(4, name="constant")),
        (phase(3, name="constant"), phase(3, name="constant")),
        # A warm-up keeps its fraction, a twentieth, unless the phase is as long as the limit.
        (phase(100, name="cosine", warmup_epochs=5), phase(4, name="cosine", warmup_epochs=0.2)),
        (phase(4, name="cosine", warmup_epochs=3), phase(4, name="cosine", warmup_epochs=3)),
        (phase(9, name="plateau", factor=0.1), phase(4, name="plateau", factor=0.1)),
        (phase(9, name="plateau", patience=5), phase(4, name="plateau", patience=5)),
    ],
)
def test_the_limit_on_epochs_shortens_a_phase_and_its_schedule(given, expected):
    model = {"seed": 1, "phases": {"p1": given}}
    before = copy.deepcopy(model)
    assert cap_epochs(model, epochs=4) == {"seed": 1, "phases": {"p1": expected}}
    assert model == before  # which is not changed
    assert cap_epochs(model, epochs=None) == model
