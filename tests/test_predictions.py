"""The table of predictions of all models, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifold.data.predictions import label_ranks, read_predictions, write_predictions

PROBABILITIES = {
    "a": np.array([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3]]),
    "b": np.array([[0.1, 0.3, 0.6], [0.4, 0.4, 0.2]]),
}
NAMED = {"ids": ["x", "y"], "classes": ["ape", "cat", "dog"]}


def test_predictions_by_hand(tmp_path):
    path = tmp_path / "predictions.parquet"
    predicted = {name: given.argmax(axis=1) for name, given in PROBABILITIES.items()}
    write_predictions(path, PROBABILITIES, predicted, labels=np.array([0, 2]), **NAMED)
    first, second = read_predictions(path, model="b")
    assert first == {
        "id": "x",
        "model": "b",
        "label": "ape",
        "predicted": "dog",
        "probability": 0.6,
        "label_probability": 0.1,
        "label_rank": 3,
        "top_class": "dog",
        "top_probability": 0.6,
    }
    assert (second["id"], second["predicted"], second["label_rank"]) == ("y", "ape", 3)
    assert [row["label_rank"] for row in read_predictions(path, model="a")] == [1, 2]


def test_predictions_of_several_labels_by_hand(tmp_path):
    path = tmp_path / "predictions.parquet"
    predicted = {name: given > 0.35 for name, given in PROBABILITIES.items()}
    labels = np.array([[1, 0, 1], [0, 0, 0]], np.uint8)
    write_predictions(path, PROBABILITIES, predicted, labels=labels, **NAMED)
    first, second = read_predictions(path, model="b")
    assert (first["label"], first["predicted"]) == ("ape|dog", "dog")
    assert first["probability"] == pytest.approx(0.9 * 0.7 * 0.6)
    assert first["label_probability"] == pytest.approx(0.1 * 0.7 * 0.6)
    assert (second["label"], second["predicted"], second["label_rank"]) == ("", "ape|cat", None)
    tops = [(row["top_class"], row["top_probability"]) for row in (first, second)]
    assert tops == [("dog", 0.6), ("ape", 0.4)]


def test_the_top_class_is_the_most_probable_predicted_class_or_of_all_where_none_is(tmp_path):
    path = tmp_path / "predictions.parquet"
    # A baseline predicts without regard to probabilities; it predicts nothing for the second image.
    predicted = {"a": np.array([[False, True, True], [False, False, False]])}
    labels = np.zeros((2, 3), np.uint8)
    write_predictions(path, {"a": PROBABILITIES["a"]}, predicted, labels=labels, **NAMED)
    rows = read_predictions(path, model="a")
    assert [row["predicted"] for row in rows] == ["cat|dog", ""]
    assert [(row["top_class"], row["top_probability"]) for row in rows] == [
        ("cat", 0.2),
        ("cat", 0.5),
    ]


def test_of_equally_probable_classes_the_first_has_the_lower_rank():
    probabilities = np.array([[0.25, 0.25, 0.25, 0.25]] * 4)
    assert label_ranks(probabilities, np.arange(4)).tolist() == [1, 2, 3, 4]
    assert label_ranks(np.array([[0.2, 0.4, 0.4]] * 3), np.arange(3)).tolist() == [3, 1, 2]


@given(st.integers(1, 6), st.integers(1, 3), st.integers(0, 1000))
def test_ranks_are_a_permutation_and_the_predicted_class_has_rank_1(n_classes, n_values, seed):
    row = np.random.default_rng(seed).integers(0, n_values, n_classes) / 8
    ranks = label_ranks(np.tile(row, (n_classes, 1)), np.arange(n_classes))
    assert sorted(ranks) == list(range(1, n_classes + 1))
    assert ranks[row.argmax()] == 1
