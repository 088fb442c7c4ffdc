"""The model that `tsne` and `explain` use: selected by validation scores, or named."""

import pytest

from classifold.models.explained_model import (
    copy_explained_model,
    load_explained_model,
    select_model,
)
from classifold.models.model_file import load_model

SINGLE = {
    "a": {"validation_accuracy": 0.8},
    "b": {"validation_accuracy": 0.9},
    "c": {"validation_accuracy": 0.9},
    "majority_baseline": {"validation_accuracy": 1.0},
}
MULTI = {
    "a": {"validation_accuracy": 0.9, "validation_micro_f1": 0.9, "micro_f1_at_threshold": 0.5},
    "b": {"validation_accuracy": 0.1, "validation_micro_f1": 0.0, "micro_f1_at_threshold": 0.6},
}


@pytest.mark.parametrize(
    ("setting", "names", "scores", "expected"),
    [
        pytest.param("best", "abc", SINGLE, "b", id="the first of equal ones"),
        pytest.param("best", "ab", MULTI, "b", id="at its threshold"),
        pytest.param("a", "abc", SINGLE, "a", id="named"),
    ],
)
def test_the_explained_model_is_the_best_on_validation_or_named(setting, names, scores, expected):
    assert select_model(setting, list(names), scores) == expected


def test_the_copy_is_the_model(project):
    root = project()
    copied = root / "copied"
    copied.mkdir()
    copy_explained_model(copied, "deep", models=root / "models")
    name, model = load_explained_model(copied)
    assert name == "deep"
    original = load_model(root / "models/deep")
    assert model.description == original.description
    expected = original.network.state_dict()
    assert all(value.equal(expected[key]) for key, value in model.network.state_dict().items())
