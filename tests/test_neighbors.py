"""The training images that are nearest to a test image in the features of a model."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from classifold.analysis.explain import neighbors as module
from classifold.analysis.explain.explanations import Explanation
from classifold.analysis.explain.neighbors import (
    COLUMNS,
    Neighbor,
    find_neighbors,
    label_overlap,
    neighbor_metrics,
    neighbor_rows,
    sample_originals,
)
from classifold.analysis.explain.pictures import DIFFERENT, EQUAL, PARTLY, draw_neighbors
from classifold.analysis.explain.saliency import Maps
from classifold.analysis.features import compute_features
from classifold.models.feature_cache import FeatureCache
from classifold.models.inference import predict_features
from classifold.models.model_file import Model

CPU = torch.device("cpu")


def test_neighbors_by_cosine_similarity_by_hand(draw_pack, monkeypatch):
    monkeypatch.setattr(module, "N_NEIGHBORS", 3)
    train = draw_pack(5)  # labels class0, class1, class2, class0, class1
    train_features = np.array([[0, 5], [3, 4], [-1, 0], [4, 3], [6, 8]])
    found = find_neighbors(np.array([[2.0, 0], [0, 0.5]]), train, train_features)
    # Lengths make no difference. 001 and 004 are in the same direction: the first comes first.
    assert [[(one.id, one.label, one.similarity) for one in nearest] for nearest in found] == [
        [("003", "class0", 0.8), ("001", "class1", 0.6), ("004", "class1", 0.6)],
        [("000", "class0", 1), ("001", "class1", 0.8), ("004", "class1", 0.8)],
    ]
    np.testing.assert_array_equal(found[0][0].pixels, train.images[3])


def test_an_image_without_any_active_feature_is_similar_to_none(draw_pack):
    (nearest,) = find_neighbors(np.zeros((1, 2)), draw_pack(2), np.array([[1, 0], [0, 1]]))
    assert [one.similarity for one in nearest] == [0, 0]  # fewer than N_NEIGHBORS


def test_neighbors_with_several_labels_have_all_of_them(draw_pack):
    labels = np.array([[1, 0, 1], [0, 0, 0]], np.uint8)
    train = draw_pack(2)._replace(labels=labels, task="multi")
    (nearest,) = find_neighbors(np.ones((1, 2)), train, np.array([[1, 0.9], [1, 0.5]]))
    assert [one.label for one in nearest] == ["class0|class2", ""]


@pytest.mark.parametrize(
    ("first", "second", "overlap"),
    [
        ("cat", "cat", 1),
        ("cat", "dog", 0),
        ("cat|dog", "dog|owl", 1 / 3),
        ("cat|dog", "cat", 1 / 2),
        ("", "", 1),
        ("", "cat", 0),
    ],
)
def test_the_overlap_of_labels_is_those_in_common_of_those_in_either(first, second, overlap):
    assert label_overlap(first, second) == label_overlap(second, first) == overlap


def predicted(image_id, label, prediction):
    return {
        "id": image_id,
        "label": label,
        "predicted": prediction,
        "top_class": prediction,
        "top_probability": 0.9,
    }


def near(image_id, label, similarity):
    return Neighbor(image_id, label, similarity, np.zeros((4, 4, 3), np.uint8))


@pytest.mark.parametrize(
    ("labels", "of_correct", "of_incorrect", "agreements"),
    [
        pytest.param(
            ("cat", "dog", "owl"), ("cat", "owl"), ("owl", "owl"), (0.5, 1, 0), id="one label"
        ),
        pytest.param(
            ("cat|dog", "dog", "cat"),
            ("cat|dog", "cat"),
            ("cat|dog", ""),
            (0.75, 0.25, 0.25),
            id="several labels",
        ),
    ],
)
def test_the_agreement_of_neighbors_by_hand(labels, of_correct, of_incorrect, agreements):
    actual, other, prediction = labels
    predictions = [predicted("a", actual, actual), predicted("b", other, prediction)]
    neighbors = [
        [near("x", of[0], 0.9), near("y", of[1], 0.8)] for of in (of_correct, of_incorrect)
    ]
    rows = neighbor_rows(predictions, neighbors)
    assert [row["rank"] for row in rows] == [1, 2, 1, 2]
    assert rows[3] == dict(
        zip(COLUMNS, ("b", other, prediction, 2, "y", of_incorrect[1], 0.8), strict=True)
    )
    found = neighbor_metrics(rows, n_train=30, n_compared=20)["neighbors"]
    assert (found["n_train_images"], found["n_compared"], found["n_per_image"]) == (30, 20, 5)
    incorrect = found["incorrect"]
    assert agreements == (
        found["correct"]["agreement"],
        incorrect["agreement_with_predicted"],
        incorrect["agreement_with_actual"],
    )


def test_without_test_images_there_are_no_neighbors_and_no_agreement(draw_pack):
    assert find_neighbors(np.zeros((0, 0)), draw_pack(3), np.zeros((3, 2))) == []
    assert neighbor_rows([], []) == []
    found = neighbor_metrics([], n_train=3, n_compared=3)["neighbors"]
    assert found["n_per_image"] == 3
    assert found["correct"]["agreement"] is None
    assert found["incorrect"] == dict.fromkeys(
        ("agreement_with_predicted", "agreement_with_actual")
    )


def test_many_training_images_are_sampled_by_the_seed_and_variants_are_not_used(
    draw_pack, monkeypatch
):
    train = draw_pack(12)
    train = train._replace(variants=np.arange(12, dtype=np.int32) % 2)
    assert sample_originals(train, seed=1).ids == train.ids[::2]
    monkeypatch.setattr(module, "MAX_TRAIN_IMAGES", 3)
    samples = {seed: sample_originals(train, seed=seed).ids for seed in range(5)}
    assert samples[1] == sample_originals(train, seed=1).ids
    assert all(len(ids) == 3 and set(ids) < set(train.ids[::2]) for ids in samples.values())
    assert len(set(map(tuple, samples.values()))) > 1


def test_the_frame_of_a_neighbor_shows_whether_its_labels_are_those_of_the_test_image(tmp_path):
    def frames(label, neighbor_labels):
        maps = Maps(*[np.zeros((4, 4))] * 3, None, np.zeros((4, 4)))
        pixels = np.zeros((4, 4, 3), np.uint8)
        one = Explanation(predicted("a", label, "x$_"), pixels, maps, [], [])
        draw_neighbors(
            tmp_path / "drawn.png", [one], [[near("n", label, 0.5) for label in neighbor_labels]]
        )
        with Image.open(tmp_path / "drawn.png") as picture:
            colors = {color for _, color in picture.convert("RGB").getcolors(10**6)}
        known = {
            frame: tuple(bytes.fromhex(frame.color[1:])) for frame in (EQUAL, PARTLY, DIFFERENT)
        }
        return {frame for frame, color in known.items() if color in colors}

    assert frames("x$_", ["x$_", "x$_"]) == {EQUAL}
    assert frames("x$_", ["x$_", "long " * 30]) == {EQUAL, DIFFERENT}
    assert frames("a|b", ["b|c", ""]) == {PARTLY, DIFFERENT}


class Body(nn.Module):
    """The features of an image are its mean colors."""

    def __init__(self):
        super().__init__()
        self.n_images, self.head = 0, nn.Linear(3, 2)

    def forward(self, images):
        self.n_images += len(images)
        return self.head(images.mean((2, 3)))


@pytest.mark.parametrize(("network", "cached"), [("probe", True), ("mlp", False)])
def test_features_of_the_images_of_a_probes_training_are_read_and_not_computed(
    network, cached, draw_pack, tmp_path
):
    cache = FeatureCache(tmp_path)
    train = draw_pack(40).subset(np.arange(0, 40, 2))
    settings = {"image_size": 8, "normalize": "none"}
    body = Body()
    left_by_training = cache.features(body, train.images, **settings, device=CPU)
    expected = predict_features(body, train.images, **settings, device=CPU)
    model = Model(body, ["a", "b"], settings, {"network": network, "precision": "fp32"})
    body.n_images = 0
    found = compute_features(model, train.images, device=CPU, cache=cache)
    assert (body.n_images == 0) == cached
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    if cached:
        np.testing.assert_array_equal(found, left_by_training)
    compute_features(model, train.images[:2], device=CPU)
    assert body.n_images > 0
