"""The short form: a few images of each class, a few epochs of each phase."""

import copy
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifold.filtering.limit import keep_few
from classifold.filtering.selection import Candidate, select, selection_metrics
from classifold.training.limit import cap_epochs

ALL = {
    "size": {"rule": "none", "tolerance": 0},
    "duplicates": {"exact": "group", "near": "off", "distance": 4, "conflicting": "off"},
}


def image(name, *labels, split=None, group=None, pixels=None):
    return Candidate(name, labels, split, group, (8, 8), pixels or name, f"{0:016x}")


def ids(selection):
    return {kept.id for kept in selection.kept}


def short(images, n, *, seed=1):
    return keep_few(select(images, **ALL), images_per_class=n, seed=seed)


PARTS = st.sampled_from([None, "train", "validation", "test"])
LABELLED = st.lists(st.tuples(st.sampled_from("abc"), PARTS), min_size=1, max_size=60)


@given(LABELLED, st.integers(1, 9), st.integers(0, 3))
def test_each_class_keeps_as_many_as_the_limit_or_all_it_has_in_each_part(drawn, n, seed):
    images = [image(f"{i:03}", label, split=split) for i, (label, split) in enumerate(drawn)]
    selection = short(images, n, seed=seed)
    kept = Counter((i.labels[0], i.split) for i in selection.kept)
    assert kept == {key: min(n, number) for key, number in Counter(drawn).items()}
    assert len(selection.kept) + len(selection.excluded) == len(images)


@given(LABELLED, st.integers(1, 9), st.randoms())
def test_a_larger_limit_keeps_the_images_of_a_smaller_one_in_any_order(drawn, n, random):
    images = [image(f"{i:03}", label, split=split) for i, (label, split) in enumerate(drawn)]
    fewer = ids(short(images, n))
    random.shuffle(images)
    assert fewer <= ids(short(images, n + 3))
    assert fewer == ids(short(images, n))


def test_another_seed_draws_other_images():
    images = [image(f"{i:03}", "a") for i in range(50)]
    assert len({frozenset(ids(short(images, 5, seed=seed))) for seed in range(4)}) == 4


def test_images_that_belong_together_are_kept_or_left_out_together():
    images = [image(f"{i:02}", "a", group=f"patient {i // 4}") for i in range(40)]
    images += [image(f"copy {i}", "a", pixels="same") for i in range(3)]
    for seed in range(5):
        selection = short(images, 6, seed=seed)
        groups = Counter(kept.group or kept.sha256 for kept in selection.kept)
        assert all(
            number == 3 if name == "same" else number == 4 for name, number in groups.items()
        )
        assert 6 <= len(selection.kept) <= 6 + 3  # the last group brings it over the limit
        told = [copy.kept for copy in selection.copies]
        assert told == [("same" in groups)] * 3


def test_with_several_labels_the_rarest_is_filled_first_and_brings_others_along():
    images = [image(f"rare {i}", "baby", "people") for i in range(4)]
    images += [image(f"people {i}", "people") for i in range(9)]
    images += [image(f"nothing {i}") for i in range(9)]
    kept = ids(short(images, 3))
    # Three of the four with a baby are people enough; an image on no list is a kind of its own.
    assert Counter(name.split()[0] for name in kept) == {"rare": 3, "nothing": 3}


def test_images_that_wait_for_a_label_stay_and_those_of_an_official_test_do_not():
    images = [image(f"t{i}", "a", split="test") for i in range(9)]
    images += [image(f"l{i}", "a", split="train") for i in range(9)]
    images += [image(f"u{i}", split="unlabelled") for i in range(9)]
    selection = short(images, 4)
    splits = Counter(kept.split for kept in selection.kept)
    assert splits == {"test": 4, "train": 4, "unlabelled": 9}
    assert {(item.reason, item.measured) for item in selection.excluded} == {
        ("limit", "4 images a class")
    }
    assert selection_metrics(selection)["excluded"]["limit"] == 10


def test_without_a_limit_nothing_changes():
    selection = select([image("a", "a"), image("b", "a")], **ALL)
    assert keep_few(selection, images_per_class=None, seed=1) is selection


def phase(epochs, **schedule):
    return {"epochs": epochs, "trainable": "all", "schedule": schedule}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(phase(9, name="constant"), phase(4, name="constant"), id="shorter"),
        pytest.param(phase(3, name="constant"), phase(3, name="constant"), id="short already"),
        pytest.param(
            phase(100, name="cosine", warmup_epochs=5),
            phase(4, name="cosine", warmup_epochs=0.2),  # a twentieth, as before
            id="a warm-up keeps its share",
        ),
        pytest.param(
            phase(4, name="cosine", warmup_epochs=3),
            phase(4, name="cosine", warmup_epochs=3),
            id="a phase as long as the limit",
        ),
        pytest.param(
            phase(9, name="plateau", factor=0.1, patience=5),
            phase(4, name="plateau", factor=0.1, patience=5),
            id="a plateau keeps its patience",
        ),
    ],
)
def test_a_phase_is_capped_with_its_schedule(given, expected):
    model = {"seed": 1, "phases": {"p1": given}}
    before = copy.deepcopy(model)
    assert cap_epochs(model, epochs=4) == {"seed": 1, "phases": {"p1": expected}}
    assert model == before  # which is not changed
    assert cap_epochs(model, epochs=None) == model
