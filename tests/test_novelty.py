"""Predictions state how unlike the training images an image is, and which are nearest to it."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from classifold.analysis.features.nearest import find_nearest, unit_rows
from classifold.data.csv_file import read_rows
from classifold.data.json_file import write_json
from classifold.data.pixels import load_pixels
from classifold.errors import UserError
from classifold.serving.predict import Classifier
from command_line import classifold


@pytest.mark.parametrize("model", ["stack", "flat"])
def test_the_column_is_the_distance_to_the_fifth_training_image_of_scikit_learn(
    project, keep_training_images, monkeypatch, model
):
    root = project()
    images, features = keep_training_images(root)
    monkeypatch.chdir(root)
    command = ["predict", "source", "--out", "p.csv", "--model", model]
    done = classifold(*command, catch_exceptions=False)
    rows = {row["image"].removeprefix("source/"): row for row in read_rows(root / "p.csv")}
    reference = NearestNeighbors(n_neighbors=5, metric="cosine").fit(images.features)
    distances, _ = reference.kneighbors(features)
    expected = dict(zip(images.ids, distances[:, 4], strict=True))
    assert set(images.ids) < set(rows)
    n_remarks = 0
    for name, row in rows.items():
        novelty = float(row["novelty"])
        if name in expected:
            assert novelty == pytest.approx(expected[name], abs=2e-6)
        remark = f"unlike the training images: novelty {novelty:.3f} is above 0.100"
        is_novel = remark in row["remark"]
        assert is_novel == (novelty > images.threshold)
        n_remarks += is_novel
    assert 0 < n_remarks < len(rows)
    assert f"{n_remarks} of {len(rows)} images are unusual, such as unlike" in done.output


def test_the_nearest_training_images_of_a_training_image_begin_with_itself(
    project, keep_training_images
):
    root = project()
    images, _ = keep_training_images(root)
    classifier = Classifier.load(root)
    pixels = load_pixels(root / "data/ingested", images.ids, size=16, resize="lanczos")
    nearest = classifier.nearest(pixels, k=2)
    assert [near[0].id for near in nearest] == images.ids
    assert [near[0].labels for near in nearest] == [[name] for name in images.labels]
    assert all(near[0].similarity > near[1].similarity for near in nearest)
    np.testing.assert_allclose([near[0].similarity for near in nearest], 1, atol=1e-4)
    thumbnails = classifier.thumbnails(images.ids[:2], side=8)
    assert set(thumbnails) == set(images.ids[:2])
    assert all(max(thumbnail.size) == 8 for thumbnail in thumbnails.values())


def test_the_novelty_of_an_image_depends_on_no_other_image(project, keep_training_images):
    root = project()
    keep_training_images(root)
    source = sorted(path for path in (root / "source").rglob("*") if path.is_file())
    classifier = Classifier.load(root)
    together = [prediction.novelty for prediction in classifier.predict(source)]
    alone = [next(classifier.predict([path])).novelty for path in source]
    assert alone == together


def test_the_novelty_is_the_same_however_many_images_are_compared_at_once():
    rng = np.random.default_rng(0)
    train, new = (unit_rows(rng.random((n, 512))) for n in (500, 200))
    alone = [find_nearest(new[i : i + 1], train).novelty[0] for i in range(len(new))]
    assert find_nearest(new, train).novelty.tolist() == alone


def test_without_features_of_training_images_there_is_no_column(project, tmp_path, monkeypatch):
    root = project()
    monkeypatch.chdir(root)
    classifold("predict", "source", "--out", "p.csv", catch_exceptions=False)
    assert all("novelty" not in row for row in read_rows(root / "p.csv"))
    classifier = Classifier.load(root)
    with pytest.raises(UserError, match="Make them with 'dvc repro novelty'"):
        classifier.nearest(np.zeros((1, 16, 16, 3), np.uint8))


def test_features_of_another_model_are_an_error(project, keep_training_images):
    root = project()
    keep_training_images(root)
    write_json(root / "data/explained_model/name.json", {"model": "flat"})
    with pytest.raises(UserError, match=r"the features of flat, .*got those of deep"):
        Classifier.load(root)
    for file in ("model.json", "weights.safetensors"):  # a model of the same name
        (root / "data/explained_model" / file).write_bytes(
            (root / "models/flat" / file).read_bytes()
        )
    write_json(root / "data/explained_model/name.json", {"model": "deep"})
    with pytest.raises(UserError, match=r"must have the 11 features .* got 12\. Update it with"):
        Classifier.load(root).nearest(np.zeros((1, 16, 16, 3), np.uint8))


def test_thumbnails_of_images_that_are_not_in_the_table_are_an_error(project):
    with pytest.raises(UserError, match=r"1 ids are not in the table, such as cat/x\.png\. Update"):
        Classifier.load(project()).thumbnails(["cat/x.png"], side=8)
