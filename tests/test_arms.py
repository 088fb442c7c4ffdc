"""Images split late or in time, augmented before or in training: what is compared, and how."""

from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from classifold.augmentation.offline import make_variants
from classifold.errors import UserError
from classifold.leakage.arms import (
    LATE,
    NONE,
    OFFLINE,
    Arm,
    Hits,
    make_arms,
    policy_like,
    steady,
    tell_arms,
    train_arm,
    with_copies,
)
from classifold.leakage.picture import draw_arms
from classifold.params.schema.policies import Policy
from classifold.training.batches import count_batches
from classifold.training.recipe import Recipe

ROOT = Path(__file__).parents[1]
STUDY = ROOT / "studies/warnings"
AUGMENTATION = {
    "flips": ["none", "horizontal", "vertical", "both"],
    "warped": 1,
    "rotate": 15,
    "scale": [0.8, 1.0],
    "shear": 0,
    "shift": [0, 0],
    "fill": "reflect",
    "seed": 5,
}


@pytest.fixture
def pool(draw_pack):
    return draw_pack(30, size=8)


@pytest.fixture
def arms(pool):
    return make_arms(pool, np.arange(30) % 5 == 0, augmentation=AUGMENTATION, seed=1)


def test_copies_in_memory_are_those_of_the_stage(pool):
    pack = with_copies(pool, AUGMENTATION)
    for row, image_id in enumerate(pool.ids):
        made = make_variants(np.asarray(pool.images[row]), image_id=image_id, **AUGMENTATION)
        mine = slice(8 * row, 8 * row + 8)
        np.testing.assert_array_equal(pack.images[mine], [one.pixels for one in made])
        assert pack.transformations[mine] == [one.transformation for one in made]
        assert pack.variants[mine].tolist() == list(range(8))
        assert set(pack.ids[mine]) == {image_id}
    assert pack.labels.tolist() == pool.labels.repeat(8).tolist()


def test_every_arm_takes_as_many_steps_on_as_many_images(arms):
    assert {len(arm.train.labels) for arm in arms.values()} == {24 * 8}
    assert len({count_batches(len(arm.train.labels), 7) for arm in arms.values()}) == 1


def test_a_split_in_time_shares_no_source_and_a_late_one_shares_nearly_all(arms):
    for name, arm in arms.items():
        shared = set(arm.train.ids) & set(arm.validation.ids)
        if name == LATE:
            assert len(shared) > 0.8 * len(set(arm.validation.ids))
        else:
            assert shared == set()
            assert set(arm.validation.variants) == {0}
            assert set(arm.train.ids) == set(arms[NONE].train.ids)


@pytest.mark.slow
def test_a_late_split_flatters_even_where_labels_are_drawn_by_lot(
    tmp_path, draw_pack, tiny_mlp, machine
):
    # Nothing can be learnt of such labels but by heart: in truth one answer in three is right.
    random = np.random.default_rng(1)
    noise = random.integers(0, 256, (90, 8, 8, 3), np.uint8)
    lot = draw_pack(90)._replace(images=noise, labels=random.integers(0, 3, 90))
    clean = draw_pack(90)._replace(
        images=random.integers(0, 256, (90, 8, 8, 3), np.uint8), labels=random.integers(0, 3, 90)
    )
    mild = AUGMENTATION | {"rotate": 1, "scale": [0.98, 1.0], "flips": ["none"], "warped": 4}
    phase = {
        "epochs": 25,
        "trainable": "all",
        "optimizer": {"name": "adam", "lr": 0.01},
        "schedule": {"name": "constant"},
    }
    recipe = Recipe(
        phases={"p1": phase}, batch_size=30, seed=1, image_size=8, normalize="half",
        loss={"name": "cross_entropy"},
    )  # fmt: skip
    arms = make_arms(lot, np.arange(90) % 5 == 0, augmentation=mild, seed=1)
    right = {
        name: train_arm(
            name, arms[name], clean, network=tiny_mlp(), recipe=recipe, machine=machine,
            seeds=[1], checkpoints=tmp_path, key="",
        )
        for name in (NONE, OFFLINE, LATE)
    }  # fmt: skip
    told = tell_arms(right, arms, clean, resamples=500, seed=1)
    assert told[LATE]["validation_accuracy"] > 0.7
    assert told[LATE]["flattered_ci95"][0] > 0.2
    low, high = told[OFFLINE]["clean_accuracy_ci95"]
    assert low < 1 / 3 < high


def test_hits_are_added_up_by_source_and_drawn_with_their_copies():
    right = np.array([[True, True, False], [True, False, False]])  # two seeds
    hits = Hits.of(["b", "a", "b"], right)
    assert hits.hits.tolist() == [1, 2]  # of a; of b
    assert hits.answers.tolist() == [2, 4]
    assert hits.share == 0.5
    drawn = hits.resampled(resamples=400, seed=1)
    # Of two sources: both once, one twice, or the other; all have half of their answers right.
    assert set(drawn.tolist()) == {0.5}
    uneven = Hits(np.array([0.0, 4.0]), np.array([1.0, 4.0]))
    assert set(uneven.resampled(resamples=400, seed=1).round(6).tolist()) == {0.0, 0.8, 1.0}


def test_scores_and_gains_of_arms_by_hand(draw_pack):
    pack = draw_pack(4)
    arm = Arm(pack, pack, {})
    nothing, everything = np.zeros((1, 4), bool), np.ones((1, 4), bool)
    right = {NONE: (everything, nothing), OFFLINE: (everything, everything)}
    told = tell_arms(right, {NONE: arm, OFFLINE: arm}, pack, resamples=100, seed=1)
    assert (told[NONE]["flattered"], told[NONE]["flattered_ci95"]) == (1, [1, 1])
    assert (told[OFFLINE]["flattered"], told[OFFLINE]["gain_over_none"]) == (0, 1)
    assert told[OFFLINE]["gain_over_none_ci95"] == [1, 1]
    assert told[NONE]["gain_over_none_ci95"] == [0, 0]
    assert told[NONE]["validation_accuracy_by_seed"] == [1]


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({}, [{"flip": "both"}, {"rotate": 15}, {"scale": [0.8, 1.0]}]),
        ({"flips": ["none", "horizontal"], "warped": 0}, [{"flip": "horizontal"}]),
        (
            {"flips": ["none"], "shear": 4, "shift": [0, 0.1]},
            [{"rotate": 15}, {"scale": [0.8, 1.0]}, {"shear": 4}, {"shift": [0, 0.1]}],
        ),
        ({"flips": ["none"], "warped": 0}, []),
    ],
)
def test_the_policy_draws_what_copies_are_drawn_from(changes, steps):
    policy = policy_like(AUGMENTATION | changes)
    assert policy["steps"] == steps
    Policy.model_validate(policy)


def test_a_steady_model_runs_all_its_epochs():
    phase = {"epochs": 9, "schedule": {"name": "constant"}}
    stopping = phase | {"stop": {"metric": "loss", "patience": 2}}
    model = steady({"phases": {"a": phase, "b": stopping}}, epochs=4)
    assert model["phases"]["a"]["stop"] == {"patience": None}
    assert model["phases"]["b"]["stop"] == {"metric": "loss", "patience": None}
    assert {phase["epochs"] for phase in model["phases"].values()} == {4}


def test_what_the_study_cannot_do_is_refused(pool, draw_multi_pack):
    with pytest.raises(UserError, match="augment makes no copies, so there is nothing to split"):
        plain = AUGMENTATION | {"flips": ["none"], "warped": 0}
        make_arms(pool, np.arange(30) < 6, augmentation=plain, seed=1)
    with pytest.raises(UserError, match=r"of one label an image; dataset\.task is multi"):
        make_arms(draw_multi_pack(8), np.arange(8) < 2, augmentation=AUGMENTATION, seed=1)


def test_the_picture_of_the_same_scores_has_the_same_bytes(tmp_path):
    arm = {
        f"{part}_accuracy{what}": value
        for part in ("validation", "clean")
        for what, value in (("", 0.7), ("_ci95", [0.6, 0.8]), ("_by_seed", [0.65, 0.75]))
    }
    panels = {"One": {"a": "first"}, "Two": {"a": "first", "b": "second"}}
    pictures = []
    for name in ("one.png", "two.png"):
        draw_arms(tmp_path / name, {"a": arm, "b": arm}, panels, n_clean=600)
        pictures.append((tmp_path / name).read_bytes())
    assert pictures[0] == pictures[1]


def test_the_study_declares_the_params_it_reads():
    stage = YAML(typ="safe").load((STUDY / "dvc.yaml").read_text())["stages"]["train_arms"]
    assert stage["params"][:3] == ["augment", "train", "models.${train_arms.model}"]
