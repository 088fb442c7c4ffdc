"""The training images that are nearest to an image, and the images that are unlike them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.neighbors import NearestNeighbors
from torch import nn

from classifold.analysis.explain.explanations import Explanation
from classifold.analysis.explain.neighbors import (
    COLUMNS,
    Neighbor,
    find_neighbors,
    label_overlap,
    neighbor_metrics,
    neighbor_rows,
)
from classifold.analysis.explain.novelty import NOVELTY_COLUMNS, novelty_rows, summarize_novelty
from classifold.analysis.explain.pictures import DIFFERENT, EQUAL, PARTLY, draw_neighbors
from classifold.analysis.explain.saliency import Maps
from classifold.analysis.features import training_images as module
from classifold.analysis.features.compute import compute_features
from classifold.analysis.features.nearest import N_NEIGHBORS, fit_novelty_threshold
from classifold.analysis.features.training_images import (
    TrainingImages,
    as_stored,
    describe_missing_threshold,
    fit_training_images,
    load_training_images,
    sample_rows,
    save_training_images,
)
from classifold.data.image_table import write_table
from classifold.data.json_file import write_json
from classifold.data.pixels import load_pixels
from classifold.errors import UserError
from classifold.models.feature_cache import FeatureCache
from classifold.models.inference import predict_features
from classifold.models.model_file import Model
from synthetic_run import EMPTY_ROW, encoded_image

CPU = torch.device("cpu")


@pytest.fixture
def training_images(draw_pack):
    """Training images with the given features, without the stage that fits a threshold."""

    def build(features, *, labels=None):
        train = draw_pack(len(features))  # labels class0, class1, class2, class0, class1
        names = labels or [train.classes[label] for label in train.labels]
        features = as_stored(np.array(features))
        return TrainingImages("m", features, train.ids, names, 0.5, 2 * len(features))

    return build


@pytest.fixture
def ingested(tmp_path):
    """An image table with the images 000 to 004, each of its own color."""
    ids = [f"00{i}" for i in range(5)]
    images = ({"image": {"bytes": encoded_image(i), "path": i}, "id": i} for i in ids)
    write_table(tmp_path, (EMPTY_ROW | image for image in images))
    return tmp_path


def test_neighbors_by_cosine_similarity_by_hand(training_images, ingested):
    train = training_images([[0, 5], [3, 4], [-1, 0], [4, 3], [6, 8]])
    nearest = train.nearest(np.array([[2.0, 0], [0, 0.5]]), k=3)
    found = find_neighbors(nearest, train, ingested=ingested, size=8, resize="box")
    # Lengths make no difference. 001 and 004 are in the same direction: the first comes first.
    assert [[(one.id, one.label) for one in nearest] for nearest in found] == [
        [("003", "class0"), ("001", "class1"), ("004", "class1")],
        [("000", "class0"), ("001", "class1"), ("004", "class1")],
    ]
    expected = [[0.8, 0.6, 0.6], [1, 0.8, 0.8]]
    np.testing.assert_allclose(nearest.similarities, expected, atol=1e-3)  # of float16
    (pixels,) = load_pixels(ingested, ["003"], size=8, resize="box")
    np.testing.assert_array_equal(found[0][0].pixels, pixels)
    # The fifth of five is in the opposite direction, or at a right angle.
    np.testing.assert_allclose(nearest.novelty, [2, 1], atol=1e-3)


def test_the_nearest_images_are_those_of_scikit_learn(training_images):
    random = np.random.default_rng(1)
    train = training_images(random.normal(size=(300, 12)))
    features = random.normal(size=(300, 12))
    reference = NearestNeighbors(n_neighbors=7, metric="cosine").fit(train.features)
    distances, rows = reference.kneighbors(features)
    found = train.nearest(features, k=7)
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_allclose(found.similarities, 1 - distances, atol=2e-6)
    np.testing.assert_allclose(found.novelty, distances[:, N_NEIGHBORS - 1], atol=2e-6)
    # Whatever number of images is asked for; and alone as among others.
    for k in (1, 10):
        np.testing.assert_array_equal(train.nearest(features, k=k).novelty, found.novelty)
    alone = [train.nearest(row[None]).novelty[0] for row in features]
    np.testing.assert_allclose(alone, found.novelty, atol=2e-6)


def test_an_image_without_any_active_feature_is_similar_to_none(training_images):
    nearest = training_images([[1, 0], [0, 1]]).nearest(np.zeros((1, 2)))
    assert nearest.similarities.tolist() == [[0, 0]]  # fewer than N_NEIGHBORS
    assert nearest.novelty.tolist() == [1]


@pytest.mark.parametrize("n_images", [19, 20, 38, 39, 40, 500])
def test_at_most_5_percent_of_images_like_the_validation_images_are_novel(n_images):
    """Of N + 1 exchangeable images, each may be the new one, and the others those of validation."""
    novelty = np.random.default_rng(n_images).permutation(n_images + 1) / n_images
    above = [fit_novelty_threshold(np.delete(novelty, i)) < novelty[i] for i in range(len(novelty))]
    assert sum(above) == (n_images + 1) // 20  # the largest whole number of 5 % of them


def test_too_few_validation_images_give_no_threshold_and_no_image_is_novel(training_images):
    assert fit_novelty_threshold(np.arange(18)) is None
    reason = describe_missing_threshold("validation", 18)
    assert "at least 19 validation images, and there are 18" in reason
    assert describe_missing_threshold("calibration", 19) is None
    train = training_images(np.eye(2))
    nearest = train.nearest(np.array([[-1.0, 0], [1, 0.1]]))
    assert train.is_novel(nearest).tolist() == [True, True]
    train = train._replace(threshold=None)
    assert train.is_novel(nearest).tolist() == [False, False]


def test_what_is_stored_is_compared_as_before(draw_pack, tmp_path):
    random = np.random.default_rng(0)
    labels = np.array([[1, 0, 1]] + [[0, 0, 0]] * 29, np.uint8)
    train = draw_pack(30)._replace(labels=labels, task="multi")
    features, validation = random.normal(size=(30, 3)), random.normal(size=(20, 3))
    images = fit_training_images(train, features, validation, model="m", n_train=70)
    assert images.labels[:2] == ["class0|class2", ""]
    assert images.threshold == images.nearest(validation).novelty.max()  # 20 of 21 images
    assert not images.is_novel(images.nearest(validation)).any()
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        save_training_images(tmp_path / folder, images)
    stored = load_training_images(tmp_path / "first")
    np.testing.assert_array_equal(stored.features, images.features)
    assert stored._replace(features=0) == images._replace(features=0)
    for file in (tmp_path / "first").iterdir():
        assert file.read_bytes() == (tmp_path / "second" / file.name).read_bytes()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("features.npy", np.ones((2, 3), np.float32), "must be a NumPy array of features"),
        ("features.npy", np.full((2, 3), np.nan, np.float16), "must be a NumPy array of features"),
        ("features.npy", np.array([[{}], [{}]]), "must be a NumPy array of features"),  # a pickle
        ("features.npy", np.ones((4, 3), np.float16), "must have a row for each of 4 images"),
        ("novelty.json", {"model": "m", "threshold": "0.5", "n_train": 2}, "not valid"),
    ],
)
def test_damaged_features_of_training_images_are_an_error(
    file, content, message, training_images, tmp_path
):
    save_training_images(tmp_path, training_images([[1, 0], [0, 1]]))
    if isinstance(content, dict):
        write_json(tmp_path / file, content)
    else:
        np.save(tmp_path / file, content)
    with pytest.raises(UserError, match=message):
        load_training_images(tmp_path)


def test_the_novelty_of_test_images_is_summarized_by_hand(training_images):
    train = training_images([[1, 0], [0, 1]])
    predictions = [prediction_row("a", "cat", "cat"), prediction_row("b", "cat", "dog")]
    nearest = train.nearest(np.array([[1.0, 1], [1, 0]]))
    rows = novelty_rows(predictions, nearest, train)
    assert [tuple(row) for row in rows] == [NOVELTY_COLUMNS] * 2
    assert [(row["is_novel"], row["nearest"]) for row in rows] == [(0, "000"), (1, "000")]
    found = summarize_novelty(rows, train)["novelty"]
    assert (found["n_images"], found["n_novel"], found["novel_fraction"]) == (2, 1, 0.5)
    assert found["correct"] == {"novel": 0, "other": 1}
    assert summarize_novelty([], train)["novelty"]["novel_fraction"] is None
    assert summarize_novelty(rows, train._replace(threshold=None))["novelty"]["n_novel"] is None


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


def prediction_row(image_id, label, prediction):
    top = {"top_class": prediction, "top_probability": 0.9}
    return {"id": image_id, "label": label, "predicted": prediction, **top}


def neighbor(image_id, label, similarity):
    return Neighbor(image_id, label, similarity, np.zeros((4, 4, 3), np.uint8))


@pytest.mark.parametrize(
    ("labels", "of_correct", "of_incorrect", "agreements"),
    [
        (("cat", "dog", "owl"), ("cat", "owl"), ("owl", "owl"), (0.5, 1, 0)),
        (
            ("cat|dog", "dog", "cat"),
            ("cat|dog", "cat"),
            ("cat|dog", ""),
            (0.75, 0.25, 0.25),
        ),
    ],
)
def test_the_agreement_of_neighbors_by_hand(
    labels, of_correct, of_incorrect, agreements, training_images
):
    actual, other, prediction = labels
    predictions = [prediction_row("a", actual, actual), prediction_row("b", other, prediction)]
    neighbors = [
        [neighbor("x", of[0], 0.9), neighbor("y", of[1], 0.8)] for of in (of_correct, of_incorrect)
    ]
    rows = neighbor_rows(predictions, neighbors)
    assert [row["rank"] for row in rows] == [1, 2, 1, 2]
    assert tuple(rows[3]) == COLUMNS
    assert tuple(rows[3].values()) == ("b", other, prediction, 2, "y", of_incorrect[1], 0.8)
    found = neighbor_metrics(rows, training_images(np.eye(20)))["neighbors"]
    assert (found["n_train_images"], found["n_compared"], found["n_per_image"]) == (40, 20, 5)
    assert found["correct"]["agreement"] == agreements[0]
    names = ("agreement_with_predicted", "agreement_with_actual")
    assert found["incorrect"] == dict(zip(names, agreements[1:], strict=True))


def test_without_test_images_there_are_no_neighbors_and_no_agreement(training_images):
    train = training_images(np.eye(3))
    nearest = train.nearest(np.zeros((0, 0)))
    assert find_neighbors(nearest, train, ingested=Path(), size=8, resize="box") == []
    assert neighbor_rows([], []) == novelty_rows([], nearest, train) == []
    found = neighbor_metrics([], train)["neighbors"]
    assert found["n_per_image"] == 3
    assert found["correct"]["agreement"] is None
    unknown = {"agreement_with_predicted": None, "agreement_with_actual": None}
    assert found["incorrect"] == unknown


@pytest.mark.parametrize(("limit", "value"), [("MAX_IMAGES", 3), ("MAX_VALUES", 7)])
def test_many_images_are_sampled_by_the_seed(limit, value, monkeypatch):
    def rows(seed):
        return sample_rows(12, seed=seed, n_features=2).tolist()

    assert rows(1) == list(range(12))
    monkeypatch.setattr(module, limit, value)
    samples = [rows(seed) for seed in range(5)]
    assert samples[1] == rows(1)
    assert all(sorted(set(sample)) == sample and len(sample) == 3 for sample in samples)
    assert all(set(sample) < set(range(12)) for sample in samples)
    assert len(set(map(tuple, samples))) > 1


def test_the_frame_of_a_neighbor_shows_whether_its_labels_are_those_of_the_test_image(tmp_path):
    def frames(label, neighbor_labels):
        maps = Maps(*[np.zeros((4, 4))] * 3, None, np.zeros((4, 4)))
        pixels = np.zeros((4, 4, 3), np.uint8)
        one = Explanation(prediction_row("a", label, "x$_"), pixels, maps, [], [])
        neighbors = [neighbor("n", label, 0.5) for label in neighbor_labels]
        draw_neighbors(tmp_path / "drawn.png", [one], [neighbors])
        with Image.open(tmp_path / "drawn.png") as picture:
            colors = {bytes(color) for _, color in picture.convert("RGB").getcolors(10**6)}
        kinds = (EQUAL, PARTLY, DIFFERENT)
        return {frame for frame in kinds if bytes.fromhex(frame.color[1:]) in colors}

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
