"""Folds: every image left out once, groups whole, classes in every fold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifold.errors import UserError
from classifold.splitting.folds import share_out_folds


@given(st.integers(2, 6), st.integers(0, 100), st.booleans())
def test_groups_stay_whole_and_every_fold_has_images(n_folds, seed, several):
    random = np.random.default_rng(seed)
    groups = [f"g{i}" for i in random.integers(0, 30, 80)]
    labels = random.integers(0, 2, (80, 3)) if several else random.integers(0, 3, 80)
    folds = share_out_folds(labels, groups, n_folds=n_folds, seed=seed)
    assert sorted(set(folds)) == list(range(n_folds))
    for group in set(groups):
        assert len({fold for fold, g in zip(folds, groups, strict=True) if g == group}) == 1


def test_folds_hold_the_same_share_of_each_class():
    labels = np.repeat([0, 1], [60, 30])
    folds = share_out_folds(labels, [str(i) for i in range(90)], n_folds=3, seed=1)
    for fold in range(3):
        assert np.bincount(labels[folds == fold]).tolist() == [20, 10]


def test_the_same_seed_gives_the_same_folds_and_another_gives_others():
    labels, groups = np.arange(60) % 3, [str(i) for i in range(60)]
    first = share_out_folds(labels, groups, n_folds=4, seed=1)
    np.testing.assert_array_equal(first, share_out_folds(labels, groups, n_folds=4, seed=1))
    assert (first != share_out_folds(labels, groups, n_folds=4, seed=2)).any()


def test_there_are_no_more_folds_than_groups_or_images_of_a_class():
    labels, one_each = np.array([0, 0, 0, 1]), list("abcd")
    assert set(share_out_folds(labels, one_each, n_folds=10, seed=1)) == {0, 1, 2}
    assert set(share_out_folds(labels, list("aabb"), n_folds=10, seed=1)) == {0, 1}


def test_a_class_with_fewer_images_than_folds_is_no_obstacle():
    labels = np.array([0] * 8 + [1] * 8 + [2])
    folds = share_out_folds(labels, [str(i) for i in range(17)], n_folds=5, seed=1)
    assert set(folds) == set(range(5))


def test_images_of_one_group_cannot_be_shared_out():
    with pytest.raises(UserError, match=r"3 images of one group .* raise split.shares"):
        share_out_folds(np.array([0, 1, 0]), ["a"] * 3, n_folds=2, seed=1)
