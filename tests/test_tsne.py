"""t-SNE maps of a sample of images."""

import tracemalloc
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness

from classifold.analysis.tsne import embedding
from classifold.analysis.tsne.embedding import embed, pixels_as_points, reduce_dimensions
from classifold.analysis.tsne.files import write_maps
from classifold.analysis.tsne.maps import (
    Map,
    Sample,
    choose,
    describe_small_sample,
    make_maps,
    map_rows,
    sample_images,
    tsne_metrics,
)
from classifold.data.csv_file import read_rows

LABELS = np.repeat(np.arange(6), 20)
SETTINGS = {"n_classes": 6, "classes": 3, "images_per_class": 5, "seed": 1}


def test_the_given_numbers_of_classes_and_images_are_sampled_by_the_seed_alone():
    (rows, labels), again, other = (
        sample_images(LABELS, **SETTINGS | {"seed": seed}) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(labels, LABELS[rows])
    assert sorted(Counter(labels).values()) == [5, 5, 5]
    assert (np.diff(rows) > 0).all()
    assert rows.tolist() == again.rows.tolist() != other.rows.tolist()
    assert set(labels) != set(other.labels)
    every = sample_images(LABELS, **SETTINGS | {"classes": 99, "images_per_class": 99})
    assert every.rows.tolist() == list(range(120))  # there are fewer


def test_with_several_labels_an_image_counts_as_the_rarest_of_the_sampled_classes_it_has():
    labels = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 1], [0, 0, 0], [1, 0, 1], [1, 0, 0]])
    sample = sample_images(labels, n_classes=3, classes=3, images_per_class=9, seed=1)
    # Four images have the first class, two the second, and three the third.
    assert sample.rows.tolist() == [0, 1, 2, 3, 5, 6]
    assert sample.labels.tolist() == [0, 1, 1, 2, 2, 0]

    two = sample_images(labels, n_classes=3, classes=2, images_per_class=9, seed=1)
    chosen = np.unique(two.labels)
    assert two.rows.tolist() == np.flatnonzero(labels[:, chosen].any(axis=1)).tolist()
    assert all(labels[row, label] for row, label in zip(*two, strict=True))


def test_images_that_all_have_two_of_a_few_labels_are_sampled():
    labels = np.tile([[1, 1, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]], (4, 1))
    sample = sample_images(labels, n_classes=3, classes=5, images_per_class=9, seed=1)
    assert len(sample.rows) == 16
    assert sample.labels[labels[:, 2] == 1].tolist() == [2] * 8  # the rarest


def test_clusters_stay_together_on_the_map():
    random = np.random.default_rng(0)
    points = np.repeat(np.eye(3) * 50, 20, axis=0) + random.normal(0, 1, (60, 3))
    (found,) = make_maps(points, space="pixels", perplexities=[5], seed=1)
    centers = found.points.reshape(3, 20, 2).mean(axis=1)
    spread = np.linalg.norm(found.points.reshape(3, 20, 2) - centers[:, None], axis=2).max()
    gaps = [np.linalg.norm(centers[i] - centers[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert min(gaps) > 2 * spread
    assert found.kl_divergence > 0
    assert found.trustworthiness == pytest.approx(
        trustworthiness(points, found.points, n_neighbors=10), abs=0.02
    )


def test_perplexities_that_need_more_neighbors_than_there_are_are_excluded():
    points = np.random.default_rng(0).normal(size=(30, 4))
    maps = make_maps(points, space="pixels", perplexities=[3, 5, 10, 50], seed=1)
    assert [one.perplexity for one in maps] == [3, 5]
    (one,) = make_maps(points, space="pixels", perplexities=[50], seed=1)
    assert one.perplexity == 3


def test_equal_images_are_mapped_to_finite_points():
    (found,) = make_maps(np.ones((12, 4)), space="pixels", perplexities=[3], seed=1)
    assert np.isfinite(found.points).all()


@pytest.mark.parametrize(
    ("n_images", "n_train", "parts"),
    [
        (10, 10, ()),
        (9, 50, ("at least 10 images", "has 9 of the 50", "Increase tsne.classes or")),
        (3, 3, ("at least 10 images", "has 3 of the 3 training images")),
    ],
)
def test_a_sample_of_fewer_than_ten_images_has_a_reason_and_a_remedy_if_there_is_one(
    n_images, n_train, parts
):
    sample = Sample(np.arange(n_images), np.zeros(n_images, int))
    reason = describe_small_sample(sample, n_train=n_train)
    assert (reason is None) == (not parts)
    assert all(part in str(reason) for part in parts)
    assert ("Increase" in str(reason)) == (n_train == 50)


def test_without_maps_the_tables_have_no_rows_and_there_is_no_picture(tmp_path, draw_pack):
    write_maps(tmp_path, {}, draw_pack(3), Sample(np.arange(3), np.zeros(3, int)))
    assert read_rows(tmp_path / "chosen.csv") == read_rows(tmp_path / "maps.csv") == []
    assert not (tmp_path / "maps.png").exists()


def test_the_most_trustworthy_map_is_chosen_and_all_are_reported():
    maps = [
        Map("pixels", perplexity, np.zeros((1, 2)), kl_divergence, trust)
        for perplexity, kl_divergence, trust in ((5, 0.9, 0.7), (30, 0.5, 0.8), (50, 0.1, 0.8))
    ]
    assert choose(maps).perplexity == 30
    assert tsne_metrics(maps) == {
        "perplexity": 30,
        "tried": {
            "5": {"kl_divergence": 0.9, "trustworthiness": 0.7},
            "30": {"kl_divergence": 0.5, "trustworthiness": 0.8},
            "50": {"kl_divergence": 0.1, "trustworthiness": 0.8},
        },
    }


def test_rows_of_a_map_have_the_label_that_colors_the_point(draw_pack):
    pack = draw_pack(6)
    sample = sample_images(pack.labels, n_classes=3, classes=3, images_per_class=1, seed=1)
    one = Map("pixels", 5, np.arange(6).reshape(3, 2) / 3, 0.1, 0.9)
    rows = map_rows([one], pack, sample)
    assert [row["label"] for row in rows] == [pack.classes[pack.labels[r]] for r in sample.rows]
    assert rows[2] == {
        "space": "pixels",
        "perplexity": 5,
        "id": pack.ids[sample.rows[2]],
        "label": pack.classes[sample.labels[2]],
        "x": 1.3333,
        "y": 1.6667,
    }


def test_every_map_is_in_the_table_and_the_chosen_ones_in_the_picture(tmp_path, draw_pack):
    pack = draw_pack(30)._replace(classes=["cat", "x$_y$", "long " * 20])
    sample = sample_images(pack.labels, n_classes=3, classes=3, images_per_class=9, seed=1)
    random = np.random.default_rng(0)
    maps = {
        space: [Map(space, p, random.normal(0, 5, (27, 2)), 0.1, p / 50) for p in (5, 30)]
        for space in ("pixels", "features")
    }
    for name in ("first", "again"):
        (tmp_path / name).mkdir()
        write_maps(tmp_path / name, maps, pack, sample)
    assert len(read_rows(tmp_path / "first/maps.csv")) == 4 * 27
    chosen = read_rows(tmp_path / "first/chosen.csv")
    assert {row["perplexity"] for row in chosen} == {"30"}
    with Image.open(tmp_path / "first/maps.png") as picture:
        assert picture.size == (1200, 640)
        colors = {color for _, color in picture.convert("RGB").getcolors(10**6)}
    assert {(0, 114, 178), (213, 94, 0), (0, 158, 115)} <= colors
    first, again = (tmp_path / name / "maps.png" for name in ("first", "again"))
    assert first.read_bytes() == again.read_bytes()


def test_components_that_explain_90_percent_of_the_variance_are_kept(monkeypatch):
    spreads = np.array([6, 3, 2, 1, 0.5, 0.5])
    points = np.random.default_rng(0).normal(size=(300, 6)) * spreads + 5
    variances = np.sort(np.linalg.eigvalsh(np.cov(points.T)))[::-1]
    needed = int(np.searchsorted(np.cumsum(variances) / variances.sum(), 0.9)) + 1
    exact = reduce_dimensions(points, seed=1)
    assert exact.shape == (300, needed)

    monkeypatch.setattr(embedding, "MAX_POINTS_EXACT", 200)
    fast = reduce_dimensions(points, seed=1)
    np.testing.assert_allclose(np.abs(fast), np.abs(exact), atol=1e-4)


def test_many_pixels_need_the_memory_of_float32_once(monkeypatch):
    monkeypatch.setattr(embedding, "MAX_POINTS_EXACT", 200)
    images = np.random.default_rng(0).integers(0, 256, (400, 40, 40, 3), np.uint8)
    np.testing.assert_array_equal(
        pixels_as_points(images[:200]), images[:200].reshape(200, -1) / 255
    )
    tracemalloc.start()
    points = pixels_as_points(images)
    monkeypatch.setattr(embedding, "MAX_COMPONENTS", 3)
    reduce_dimensions(points, seed=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 4 * images.size <= points.nbytes <= peak < 1.5 * 4 * images.size


def test_components_of_fewer_points_than_features_are_those_of_the_full_pca():
    points = np.random.default_rng(0).normal(size=(30, 90)) * np.geomspace(9, 0.1, 90) + 5
    expected = PCA(0.9, svd_solver="full").fit_transform(points)
    found = reduce_dimensions(points, seed=1)
    assert found.shape == expected.shape
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-9)


def test_many_points_are_embedded_by_another_algorithm_and_the_map_is_as_good(monkeypatch):
    random = np.random.default_rng(0)
    points = np.repeat(random.normal(0, 10, (4, 5)), 60, axis=0) + random.normal(0, 1, (240, 5))
    exact = embed(points, perplexity=20, seed=1)
    monkeypatch.setattr(embedding, "MAX_POINTS_EXACT", 200)
    fast, again = (embed(points, perplexity=20, seed=1) for _ in range(2))
    np.testing.assert_array_equal(fast.points, again.points)
    assert not np.allclose(fast.points, exact.points)
    assert fast.trustworthiness == pytest.approx(exact.trustworthiness, abs=0.01)
    assert fast.kl_divergence == pytest.approx(exact.kl_divergence, abs=0.1)


def test_trustworthiness_of_many_points_is_measured_on_a_sample(monkeypatch):
    random = np.random.default_rng(0)
    points = random.normal(size=(120, 6))
    monkeypatch.setattr(embedding, "MAX_POINTS_TRUSTWORTHINESS", 60)
    found = embed(points, perplexity=10, seed=1)
    every = trustworthiness(points, found.points, n_neighbors=10)
    assert found.trustworthiness == pytest.approx(every, abs=0.1)
    assert found.trustworthiness != every
