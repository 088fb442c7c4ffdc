"""Two sets of images are compared: false alarms are as rare as stated, differences are found."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import ks_2samp, mannwhitneyu, permutation_test
from sklearn.metrics import roc_auc_score

from classifold.analysis.drift.comparison import compare_images
from classifold.analysis.drift.features import aurocs, compare_features, place
from classifold.analysis.drift.images import COLUMNS, DescribedImages, keep_distinct
from classifold.analysis.drift.permutations import assign_folds, p_values, permute_sets
from classifold.analysis.drift.properties import measure_properties
from classifold.analysis.drift.shifts import compare_classes, compare_properties, ks_statistics
from classifold.data.csv_file import write_rows
from classifold.data.image_table import iter_columns
from command_line import classifold
from ingested import ingest_all

CLASSES = ["a", "b", "c"]


@pytest.fixture
def random_images():
    """Random images of one source."""

    def draw(n_images, *, seed):
        random = np.random.default_rng(seed)
        features = random.normal(0, 1, (n_images, 8)).astype(np.float32)
        names = [f"{seed}-{i}" for i in range(n_images)]
        predicted = np.eye(3, dtype=bool)[random.integers(0, 3, n_images)]
        properties = random.normal(0, 1, (n_images, len(COLUMNS)))
        hashes = [f"{random.integers(2**63):016x}" for _ in names]
        return DescribedImages(names, features, predicted, properties, list(names), hashes)

    return draw


def mask_of_new(n_reference, n_new):
    return np.repeat([False, True], [n_reference, n_new])


def test_permutations_keep_the_numbers_of_each_fold():
    is_new = mask_of_new(33, 21)
    folds = assign_folds(is_new, seed=1)
    sets = permute_sets(is_new, folds, seed=1, n=50)
    np.testing.assert_array_equal(sets[0], is_new)
    assert len(np.unique(sets, axis=0)) == 51
    for fold in range(5):
        n_new = is_new[folds == fold].sum()
        assert n_new in {4, 5}
        assert (sets[:, folds == fold].sum(axis=1) == n_new).all()


def test_p_values_by_hand():
    statistics = np.array([3.0, 1.0, 4.0, 2.0])  # the actual labeling comes first
    np.testing.assert_array_equal(p_values(statistics, np.array([3.0, 1.0])), [0.5, 1.0])


def test_the_auroc_is_that_of_scikit_learn_and_of_places():
    random = np.random.default_rng(1)
    scores = random.integers(0, 6, (3, 40)).astype(float)  # with ties
    sets = np.stack([random.permutation(mask_of_new(25, 15)) for _ in range(3)])
    expected = [roc_auc_score(is_new, one) for is_new, one in zip(sets, scores, strict=True)]
    np.testing.assert_allclose(aurocs(scores, sets), expected)
    places = place(scores[0], sets[0])
    assert places[sets[0]].mean() == pytest.approx(expected[0])
    assert places[~sets[0]].mean() == pytest.approx(1 - expected[0])


def test_ks_statistics_are_those_of_scipy():
    random = np.random.default_rng(2)
    values = random.integers(0, 9, 50).astype(float)
    sets = np.stack([random.permutation(mask_of_new(30, 20)) for _ in range(4)])
    expected = [ks_2samp(values[is_new], values[~is_new]).statistic for is_new in sets]
    np.testing.assert_allclose(ks_statistics(values, sets), expected)


def test_the_p_value_of_one_property_is_that_of_scipys_permutation_test():
    random = np.random.default_rng(3)
    values = np.concatenate([random.normal(0, 1, 30), random.normal(0.7, 1, 25)])
    is_new = mask_of_new(30, 25)
    sets = permute_sets(is_new, np.zeros(55, int), seed=1, n=4000)
    (row,) = compare_properties(values[:, None], sets, ["x"]).values()
    both_sets = values[is_new], values[~is_new]
    options = {"n_resamples": 1000, "alternative": "greater", "random_state": random}
    expected = permutation_test(both_sets, lambda *of: ks_2samp(*of).statistic, **options)
    assert row["p_value"] == pytest.approx(expected.pvalue, abs=0.02)
    assert row["new_mean"] - row["reference_mean"] == pytest.approx(row["difference"])


def test_classes_by_hand():
    # 40 and 20 images; of class a 10 and 15, of b 30 and 5, of c none.
    predicted = np.zeros((60, 3), bool)
    predicted[:10, 0] = predicted[10:40, 1] = predicted[40:55, 0] = predicted[55:, 1] = True
    sets = permute_sets(mask_of_new(40, 20), np.zeros(60, int), seed=1, n=999)
    compared = compare_classes(predicted, sets, CLASSES)
    assert compared["a"]["reference_fraction"] == 0.25
    assert compared["a"]["new_fraction"] == 0.75
    assert compared["a"]["difference"] == -compared["b"]["difference"] == 0.5
    low, high = compared["a"]["difference_ci95"]
    assert 0 < low < 0.5 < high
    assert compared["a"]["p_value"] == compared["b"]["p_value"] <= 0.003
    assert compared["c"]["p_value"] == 1


def test_the_classifier_finds_what_differs_and_its_auroc_is_that_of_the_shift():
    random = np.random.default_rng(5)
    features = random.normal(0, 1, (800, 3))
    is_new = mask_of_new(500, 300)
    features[is_new, 0] += 1.5
    folds = assign_folds(is_new, seed=1)
    found = compare_features(features, permute_sets(is_new, folds, seed=1, n=99), folds, alpha=0.05)
    # Of two normal distributions: the probability that a new value is above a reference value.
    best = mannwhitneyu(features[is_new, 0], features[~is_new, 0]).statistic / (500 * 300)
    assert found.auroc == pytest.approx(best, abs=0.01)
    assert found.p_value == 0.01
    low, high = found.auroc_ci95
    assert 0.77 < low < best < high < 0.94
    assert 0.5 < found.detectable_auroc < 0.6


@pytest.mark.slow
def test_false_alarms_are_as_rare_as_promised(random_images):
    alarms, features = [], []
    settings = {"classes": CLASSES, "alpha": 0.1, "n_permutations": 99}
    for seed in range(300):
        reference, new = random_images(60, seed=2 * seed), random_images(30, seed=2 * seed + 1)
        drift = compare_images(reference, new, seed=seed, **settings)
        alarms.append(drift.found)
        features.append(drift.features.p_value <= 0.1)
    assert 0.04 < np.mean(alarms) < 0.13  # 0.1 at most, with a standard error of 0.017
    assert 0.01 < np.mean(features) < 0.06  # a third of it


def test_an_auroc_is_found_at_least_as_often_as_promised():
    is_new, tests = mask_of_new(100, 50), []
    for seed in range(60):
        features = np.random.default_rng(seed).normal(0, 1, (150, 8))
        features[is_new, 0] += 0.97
        folds = assign_folds(is_new, seed=seed)
        sets = permute_sets(is_new, folds, seed=seed, n=199)
        tests.append(compare_features(features, sets, folds, alpha=0.01))
    detectable = np.mean([test.detectable_auroc for test in tests])
    assert np.mean([test.auroc for test in tests]) == pytest.approx(detectable, abs=0.015)
    assert np.mean([test.p_value <= 0.01 for test in tests]) >= 0.8


def test_duplicates_are_no_independent_images(random_images):
    reference, new = random_images(6, seed=1), random_images(5, seed=2)
    new.hashes[1] = new.hashes[0]  # two equal new images
    new.hashes[2] = reference.hashes[4]  # a copy of a reference image
    new.perceptual_hashes[4] = f"{int(new.perceptual_hashes[3], 16) ^ 1:016x}"  # a near duplicate
    reference = reference._replace(groups=["p", "p", "q", "r", "s", "t"])
    for seed in range(5):
        kept = keep_distinct(reference, new, distance=4, seed=seed)
        names = [*kept.reference.names, *kept.new.names]
        # One of each group, and the images without duplicates.
        groups = (("1-0", "1-1"), ("1-4", "2-2"), ("2-0", "2-1"), ("2-3", "2-4"))
        for group in (*groups, ("1-2",), ("1-3",), ("1-5",)):
            assert len(set(group) & set(names)) == 1
        assert len(names) == 7
        assert kept.n_duplicates_of_reference == 1
        assert kept.n_excluded == 5 - len(kept.new.names)
        rows = [new.names.index(name) for name in kept.new.names]
        np.testing.assert_array_equal(kept.new.features, new.features[rows])
    assert {"2-3", "2-4"} <= set(keep_distinct(reference, new, distance=None, seed=1).new.names)


def test_duplicates_with_other_properties_are_no_drift(random_images):
    # A smaller set would lose more of them if they were kept by set: a false alarm.
    images = random_images(600, seed=1)
    images.properties[:450, 0] += 2
    images.hashes[:450] = [str(row // 3) for row in range(450)]
    rows = np.random.default_rng(1).permutation(600)
    sets = images.subset(rows[:500]), images.subset(rows[500:])
    distinct = keep_distinct(*sets, distance=None, seed=1)
    means = [each.properties[:, 0].mean() for each in (distinct.reference, distinct.new)]
    assert means == pytest.approx([1, 1], abs=0.4)  # half of the 300 distinct images are shifted


def test_properties_by_hand():
    stripes = np.zeros((1, 6, 6, 3), np.uint8)
    stripes[:, :, ::2] = 200
    flat = np.full((1, 6, 6, 3), (100, 100, 40), np.uint8)
    # Brightness, contrast, saturation, and sharpness: of a dark pixel +400, of a bright one -400.
    np.testing.assert_allclose(measure_properties(stripes)[0], [100, 100, 0, 400])
    brightness = 100 * (0.299 + 0.587) + 40 * 0.114
    np.testing.assert_allclose(measure_properties(flat)[0], [brightness, 0, 60, 0], atol=1e-9)


@pytest.fixture
def write_images(project, keep_training_images, monkeypatch):
    """A project with 60 test images of noise, and a function that writes others."""
    root = project()
    shutil.rmtree(root / "data/ingested")

    def write(folder, *, seed, n=60, bright=256):
        random = np.random.default_rng(seed)
        (root / folder).mkdir(parents=True)
        for i in range(n):
            noise = random.integers(0, bright, (12, 12, 3)).astype(np.uint8)
            Image.fromarray(noise).save(root / folder / f"{i:02}.png")

    write("many/cat", seed=1, n=30)
    write("many/dog", seed=9, n=30)
    ingest_all(root / "many", root / "data/ingested", layout="folder", fraction=0)
    keep_training_images(root)
    (root / "data/split").mkdir()
    ids = [row["id"] for row in iter_columns(root / "data/ingested", ["id"])]
    rows = [{"id": image_id, "label": "cat", "group": image_id} for image_id in ids]
    write_rows(root / "data/split/test.csv", rows, columns=["id", "label", "group"])
    monkeypatch.chdir(root)
    return write


def run_drift(*arguments):
    return classifold("drift", *arguments, catch_exceptions=False)


def test_the_command_finds_no_drift_in_new_images_of_the_same_source(write_images):
    write_images("new", seed=2)
    done = run_drift("new", "--json")
    found = json.loads(done.stdout)
    assert (done.exit_code, found["drift"]) == (0, False)
    assert (found["n_reference_images"], found["n_new_images"]) == (60, 60)
    assert set(found["classes"]) == {"cat", "dog", "owl"}
    assert list(found["properties"]) == list(COLUMNS)
    assert found["most_different"] == []  # no image is different where no difference was found
    low, high = found["features"]["auroc_ci95"]
    assert low < 0.5 < high
    done = run_drift("new")
    assert done.exit_code == 0 and "No drift found" in done.stdout
    assert "60 new images are compared with 60 test images." in done.stdout
    assert "new/" not in done.stdout


def test_the_command_finds_dark_images_and_says_so(write_images):
    write_images("new", seed=2, bright=180)
    done = run_drift("new", "--top", "1")
    assert done.exit_code == 1, done.stderr
    assert done.stdout.count("new/") == 1  # of the most different images
    assert "Drift: the new images are not like the test images" in done.stdout
    assert re.search(r"^  brightness: 12[6-9] -> (88|89|90|91)", done.stdout, re.MULTILINE)
    assert "  width" not in done.stdout


def test_few_images_and_missing_features_are_errors_and_duplicates_are_counted(write_images):
    write_images("few", seed=2, n=19)
    done = run_drift("few")
    assert done.exit_code == 2
    assert "at least 20 readable images, duplicates not counted, got 19. Give" in done.stderr
    assert "describe" not in done.stderr  # refused before anything is computed
    Path("few/19.png").write_bytes(b"no image")
    assert "got 19 of 20 (1 unreadable). Give" in run_drift("few").stderr
    done = run_drift("many")
    assert done.exit_code == 0, done.stderr
    assert "60 new images are duplicates of test images." in done.stdout
    assert re.search(r"^Not compared: \d\d duplicates of images that are\.", done.stdout, re.M)
    shutil.copytree("few", "repeated")
    for i in range(10):
        shutil.copy(f"repeated/{i:02}.png", f"repeated/{i}-again.png")
    Path("repeated/19.png").unlink()
    assert "got 19 of 29 (10 duplicates). Give" in run_drift("repeated").stderr
    shutil.rmtree("data/novelty")
    done = run_drift("few")
    assert done.exit_code == 2 and "Make them with 'dvc repro novelty'" in done.stderr


def test_both_sets_that_are_too_small_are_one_error(write_images):
    write_images("few", seed=2, n=19)
    path = Path("data/split/test.csv")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:13]))
    reference, new = run_drift("few").stderr.splitlines()
    assert "data/split/test.csv: must have at least 20 distinct images" in reference
    assert "got 12. Raise split.fractions.test" in reference
    assert new.startswith("IMAGES: must have at least 20") and "got 19. Give more" in new
    write_images("new", seed=3)
    assert run_drift("new").stderr.splitlines() == [reference]


def test_new_images_that_are_the_test_images_are_named(write_images):
    write_images("new", seed=2)
    rows = Path("data/split/test.csv").read_text().splitlines(keepends=True)
    Path("data/split/test.csv").write_text("".join(rows[:26]))
    done = run_drift("many", "new")
    assert done.exit_code == 2
    assert "25 of the new images are duplicates of test images. Give images that" in done.stderr


def test_without_test_images_validation_images_are_compared(write_images):
    write_images("new", seed=2)
    shutil.move("data/split/test.csv", "data/split/validation.csv")
    write_rows(Path("data/split/test.csv"), [], columns=["id", "label", "group"])
    assert "60 validation images" in run_drift("new").stdout
