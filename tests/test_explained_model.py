"""The model that `tsne` and `explain` use: selected by validation scores, or named."""

import pytest

from classifold.models import explained_model
from classifold.models.explained_model import load_explained_model, select_model
from classifold.models.model_file import load_model

ACCURACIES = {"a": 0.8, "b": 0.9, "c": 0.9, "majority_baseline": 1.0}
SINGLE = {name: {"validation_accuracy": accuracy} for name, accuracy in ACCURACIES.items()}
MULTI = {
    "a": {"validation_accuracy": 0.9, "validation_micro_f1": 0.9, "micro_f1_at_threshold": 0.5},
    "b": {"validation_accuracy": 0.1, "validation_micro_f1": 0.0, "micro_f1_at_threshold": 0.6},
}


@pytest.mark.parametrize(
    ("setting", "names", "scores", "expected"),
    [
        ("best", "abc", SINGLE, "b"),  # the first of equal ones
        ("best", "ab", MULTI, "b"),  # at its threshold
        ("a", "abc", SINGLE, "a"),
    ],
)
def test_the_explained_model_is_the_best_on_validation_or_named(setting, names, scores, expected):
    assert select_model(setting, list(names), scores) == expected


def test_the_copy_is_the_model(project):
    root = project()
    copied = root / "copied"
    copied.mkdir()
    explained_model.copy_explained_model(copied, "deep", models=root / "models")
    name, model = load_explained_model(copied)
    assert name == "deep"
    original = load_model(root / "models/deep")
    assert model.description == original.description
    expected = original.network.state_dict()
    assert all(value.equal(expected[key]) for key, value in model.network.state_dict().items())
