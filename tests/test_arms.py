"""The study of leakage: how its arms are made, trained and compared."""

import numpy as np
import pytest

from classifold.augmentation.offline import make_variants
from classifold.errors import UserError
from classifold.leakage import arms as module
from classifold.leakage.arms import LATE, NONE, OFFLINE, Arm, make_arms, without_early_stopping
from classifold.leakage.comparison import Counts, compare_arms
from classifold.leakage.figure import draw_arms
from classifold.leakage.training import train_arm
from classifold.params.schema.policies import Policy
from classifold.training.batches import count_batches
from study_stages import read_study
from test_augmentation import SETTINGS as EIGHTFOLD
from tiny_model import PHASE, config_of

AUGMENTATION = EIGHTFOLD | {"seed": 5}


@pytest.fixture
def pool(draw_pack):
    return draw_pack(30)


@pytest.fixture
def arms(pool):
    return make_arms(pool, np.arange(30) % 5 == 0, augmentation=AUGMENTATION, seed=1)


def test_variants_in_memory_equal_those_of_the_stage(pool):
    pack = module.with_variants(pool, AUGMENTATION)
    for row, image_id in enumerate(pool.ids):
        made = make_variants(np.asarray(pool.images[row]), image_id=image_id, **AUGMENTATION)
        mine = slice(8 * row, 8 * row + 8)
        np.testing.assert_array_equal(pack.images[mine], [one.pixels for one in made])
        assert pack.transformations[mine] == [one.transformation for one in made]
        assert pack.variants[mine].tolist() == list(range(8))
        assert set(pack.ids[mine]) == {image_id}
    assert pack.labels.tolist() == pool.labels.repeat(8).tolist()


def test_every_arm_has_the_same_number_of_images_and_steps(arms):
    assert {len(arm.train.labels) for arm in arms.values()} == {24 * 8}
    assert len({count_batches(len(arm.train.labels), 7) for arm in arms.values()}) == 1


def test_only_a_split_after_augmentation_has_the_same_sources_in_both_splits(arms):
    for name, arm in arms.items():
        in_both = set(arm.train.ids) & set(arm.validation.ids)
        if name == LATE:
            assert len(in_both) > 0.8 * len(set(arm.validation.ids))
        else:
            assert in_both == set()
            assert set(arm.validation.variants) == {0}
            assert set(arm.train.ids) == set(arms[NONE].train.ids)


@pytest.mark.slow
def test_a_split_after_augmentation_is_optimistically_biased_with_random_labels(
    tmp_path, draw_pack, tiny_mlp, machine
):
    # Such labels can only be memorized: on other images one prediction in three is correct.
    random = np.random.default_rng(1)
    random_labels, clean = (
        draw_pack(90)._replace(images=images, labels=random.integers(0, 3, 90))
        for images in random.integers(0, 256, (2, 90, 8, 8, 3), np.uint8)
    )
    mild = AUGMENTATION | {"rotate": 1, "scale": [0.98, 1.0], "flips": ["none"], "warped": 4}
    config = config_of(clean, phases={"p1": PHASE | {"epochs": 25}}, batch_size=30)
    options = {"config": config, "machine": machine, "seeds": [1], "checkpoints": tmp_path}
    arms = make_arms(random_labels, np.arange(90) % 5 == 0, augmentation=mild, seed=1)
    correct = {
        name: train_arm(name, arms[name], clean, network=tiny_mlp(), **options, key="")
        for name in (NONE, OFFLINE, LATE)
    }
    compared = compare_arms(correct, arms, clean)
    assert compared[LATE]["validation_accuracy"] > 0.7
    assert compared[LATE]["optimistic_bias_ci95"][0] > 0.2
    low, high = compared[OFFLINE]["clean_accuracy_ci95"]
    assert low < 1 / 3 < high


def test_predictions_are_summed_by_source():
    correct = np.array([[True, True, False], [True, False, False]])  # two seeds
    counts = Counts.of(["b", "a", "b"], correct)
    assert counts.n_correct.tolist() == [1, 2]  # of a; of b
    assert counts.n_predictions.tolist() == [2, 4]
    assert counts.accuracy == 0.5


def test_the_interval_of_an_arm_depends_on_sources_and_not_on_the_number_of_their_variants():
    n_correct = np.array([0.0, 1, 1, 1, 1])
    few, many = (Counts(n_correct * n, np.full(5, float(n))) for n in (1, 8))
    assert few.interval() == pytest.approx(many.interval())
    apart = Counts(np.repeat(n_correct, 8), np.ones(40))  # 40 sources
    assert np.ptp(apart.interval()) < np.ptp(many.interval()) / 2


def test_scores_and_gains_of_arms_by_hand(draw_pack):
    pack = draw_pack(4)
    arm = Arm(pack, pack, {})
    nothing, everything = np.zeros((1, 4), bool), np.ones((1, 4), bool)
    correct = {NONE: (everything, nothing), OFFLINE: (everything, everything)}
    compared = compare_arms(correct, {NONE: arm, OFFLINE: arm}, pack)
    assert compared[NONE]["optimistic_bias"] == 1
    # All of four and none of four, so that both intervals are those of Agresti and Coull.
    (low, high), reference = compared[NONE]["validation_accuracy_ci95"], compared[NONE]
    assert reference["clean_accuracy_ci95"] == pytest.approx([1 - high, 1 - low])
    assert reference["optimistic_bias_ci95"] == pytest.approx([1 - np.sqrt(2) * (1 - low), 1])
    assert (compared[OFFLINE]["optimistic_bias"], compared[OFFLINE]["gain_over_none"]) == (0, 1)
    for name, gain in ((OFFLINE, 1), (NONE, 0)):
        low, high = compared[name]["gain_over_none_ci95"]
        assert low < gain <= high
    assert compared[NONE]["validation_accuracy_by_seed"] == [1]


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
def test_the_policy_has_the_same_transformations_as_the_variants(changes, steps):
    policy = module.equivalent_policy(AUGMENTATION | changes)
    assert policy["steps"] == steps
    Policy.model_validate(policy)


def test_a_model_without_early_stopping_runs_all_its_epochs():
    phase = {"epochs": 9, "schedule": {"name": "constant"}}
    stopping = phase | {"stop": {"metric": "loss", "patience": 2}}
    model = without_early_stopping({"phases": {"a": phase, "b": stopping}}, epochs=4)
    assert model["phases"]["a"]["stop"] == {"patience": None}
    assert model["phases"]["b"]["stop"] == {"metric": "loss", "patience": None}
    assert {phase["epochs"] for phase in model["phases"].values()} == {4}
    with pytest.raises(UserError, match=r"train_arms\.model: .*phases, got .*probe"):
        without_early_stopping({"network": "probe", "head": {}}, epochs=4)


def test_data_without_variants_or_with_several_labels_is_refused(pool, draw_multi_pack):
    with pytest.raises(UserError, match=r"augment: .*no variants.*augment\.warped to 1"):
        plain = AUGMENTATION | {"flips": ["none"], "warped": 0}
        make_arms(pool, np.arange(30) < 6, augmentation=plain, seed=1)
    with pytest.raises(UserError, match=r"dataset\.task: .*got multi"):
        make_arms(draw_multi_pack(8), np.arange(8) < 2, augmentation=AUGMENTATION, seed=1)


def test_the_figure_of_the_same_scores_has_the_same_bytes(tmp_path):
    arm = {
        f"{split}_accuracy{suffix}": value
        for split in ("validation", "clean")
        for suffix, value in (("", 0.7), ("_ci95", [0.6, 0.8]), ("_by_seed", [0.65, 0.75]))
    }
    panels = {"One": {"a": "first"}, "Two": {"a": "first", "b": "second"}}
    for name in ("one.png", "two.png"):
        draw_arms(tmp_path / name, {"a": arm, "b": arm}, panels, n_clean=600)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_the_study_declares_the_params_it_reads():
    stage = read_study("leakage")["train_arms"]
    assert stage["params"][:3] == ["augment", "train", "models.${train_arms.model}"]
