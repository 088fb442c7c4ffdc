"""The study of more training images: subsets, scores, the power law and what it predicts."""

from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML
from scipy.optimize import curve_fit
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from classifold.data.metrics import micro_f1
from classifold.errors import UserError
from classifold.evaluation.intervals import accuracy_interval
from classifold.learning_curve import curve as curve_module
from classifold.learning_curve.curve import describe_curve, find_not_identified, measure_curve
from classifold.learning_curve.description import describe_fit, describe_probe
from classifold.learning_curve.figure import draw_curve
from classifold.learning_curve.params import check_curve_params
from classifold.learning_curve.power_law import fit_power_law
from classifold.learning_curve.scores import Terms, cross_fitted_terms, measure_terms
from classifold.learning_curve.subsets import nested_subsets
from classifold.models.decisions import fit_threshold, probabilities
from classifold.models.feature_cache import FeatureCache
from classifold.models.inference import predict_features
from classifold.models.model_file import new_network
from classifold.training.config import TrainingConfig
from classifold.training.folds import assign_parts
from classifold.training.setup import Training
from study_stages import read_study

STUDY = Path(__file__).parents[1] / "studies/learning_curve"
SIZES = np.array([100.0, 200, 400, 600, 800, 1200, 1600])


@pytest.mark.parametrize("law", [(0.05, 2, 0.5), (0, 1, 0.3), (0.02, 5, 0.9)])
def test_a_law_without_noise_is_found_again(law):
    a, b, c = law
    found = fit_power_law(SIZES, a + b * SIZES**-c)
    np.testing.assert_allclose([found.a, found.c], [a, c], atol=1e-9)
    assert found.error(3200) == pytest.approx(a + b * 3200**-c)
    assert found.gain(2) == pytest.approx(b * (1600**-c - 3200**-c))


def test_the_fit_is_that_of_scipy():
    errors = 0.05 + 2 * SIZES**-0.5 + np.random.default_rng(0).normal(0, 0.003, 7)
    found = fit_power_law(SIZES, errors)
    (a, b, c), _ = curve_fit(
        lambda n, a, b, c: a + b * (n / 1600) ** -c,
        SIZES,
        errors,
        p0=(0.05, 0.05, 0.5),
        sigma=errors,
        bounds=([0, 0, 0], [1, 9, 2]),
    )
    assert found.c == pytest.approx(c, abs=0.01)  # the grid has steps of 0.02
    assert (found.a, found.b) == (pytest.approx(a, abs=2e-3), pytest.approx(b, abs=2e-3))


def test_bounds_hold_and_several_curves_are_fitted_as_one_by_one():
    falling_to_below_zero = 0.9 - 0.1 * np.log2(SIZES / 100)
    rising = np.linspace(0.1, 0.2, 7)
    curves = np.stack([falling_to_below_zero, rising])
    laws = fit_power_law(SIZES, curves)
    assert (laws.a >= 0).all() and (laws.b >= 0).all()
    assert laws.b[1] == 0 and laws.gain(2)[1] == 0
    for i, errors in enumerate(curves):
        alone = fit_power_law(SIZES, errors)
        np.testing.assert_allclose([alone.a, alone.b, alone.c], [v[i] for v in laws[:3]])
    assert laws.error(SIZES).shape == (2, 7)


def test_subsets_are_nested_stratified_and_keep_groups_and_variants_together(draw_pack):
    pack = draw_pack(96)
    twice = pack.subset(np.repeat(np.arange(96), 2))
    twice = twice._replace(
        variants=np.tile([0, 1], 96).astype(np.int32),
        groups=[f"g{int(image_id) // 6}" for image_id in twice.ids],
    )
    subsets = nested_subsets(twice, n_parts=8, sizes=[1, 2, 4, 8], seed=1)
    assert [len(subset.labels) for subset in subsets.values()] == [24, 48, 96, 192]
    ids = [set(subset.ids) for subset in subsets.values()]
    assert ids[0] < ids[1] < ids[2] < ids[3]
    for subset in subsets.values():
        assert np.ptp(np.bincount(subset.labels)) == 0
        assert {len(subset.labels) / 12} == {len(set(subset.groups))}
    other = nested_subsets(twice, n_parts=8, sizes=[1, 2, 3, 8], seed=2)
    assert set(other[1].ids) != ids[0]


def test_each_half_is_scored_by_what_is_best_on_the_other_half(draw_pack):
    pack = draw_pack(6)  # labels 0, 1, 2, 0, 1, 2
    halves = np.array([0, 0, 0, 1, 1, 1])
    right, wrong = (9 * np.eye(3, dtype=np.float32)[(pack.labels + i) % 3] for i in (0, 1))
    # 1.0 is right for the first half alone, 2.0 for the second one.
    logits = {
        1.0: np.concatenate([right[:3], wrong[3:]]),
        2.0: np.concatenate([wrong[:3], right[3:]]),
    }
    loss = {"name": "cross_entropy"}
    terms = cross_fitted_terms(logits, pack, halves, loss=loss)
    assert terms.parts.sum() == 0  # the choice of the other half is wrong for this one
    terms = cross_fitted_terms({1.0: right}, pack, halves, loss=loss)
    assert (terms.parts == 1).all() and (terms.wholes == 1).all()


def test_micro_f1_has_the_threshold_of_the_other_half(draw_multi_pack):
    pack = draw_multi_pack(40)
    halves = assign_parts(pack, n_parts=2, seed=1, setting="parts")
    logits = np.random.default_rng(1).normal(pack.labels, 1).astype(np.float32)
    terms = cross_fitted_terms({1.0: logits}, pack, halves, loss={"name": "binary_cross_entropy"})
    values = probabilities(logits, temperature=1, task="multi")
    for half in (0, 1):
        threshold = fit_threshold(values[halves != half], pack.labels[halves != half])
        scored = halves == half
        expected = micro_f1(values[scored] > threshold, pack.labels[scored])
        assert terms.parts[scored].sum() / terms.wholes[scored].sum() == pytest.approx(expected)


def test_probes_are_those_of_scikit_learn_and_all_images_are_fitted_once(
    draw_pack, machine, tmp_path
):
    train, validation = draw_pack(60), draw_pack(24, seed=1)
    settings = {"image_size": 32, "normalize": "half"}
    arguments = {"name": "test_efficientnet"}
    network = new_network("probe", n_classes=3, image_size=32, arguments=arguments, seed=1)
    head = {"name": "logistic", "c": 0.1}
    config = TrainingConfig(seed=1, loss={"name": "cross_entropy"}, head=head, **settings)
    cache = FeatureCache(tmp_path / "features")
    training = Training(network, train, validation, config, machine, "fp32", cache, {}, {})
    terms = measure_terms(training, n_parts=4, sizes=[1, 2, 3, 4], seeds=[1, 2], seed=1)
    assert {n: len(of_size) for n, of_size in terms.items()} == {15: 2, 30: 2, 45: 2, 60: 1}
    features = [
        predict_features(network, pack.images, device=machine.device, **settings).astype(np.float16)
        for pack in (train, validation)
    ]
    reference = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    predicted = reference.fit(features[0], train.labels).predict(features[1])
    np.testing.assert_array_equal(terms[60][0].parts, predicted == validation.labels)


def draw_terms(law=(0.05, 2, 0.5), *, n_images=400, n_seeds=4, seed=0):
    """Predictions whose errors follow a law: hard images are wrong at all sizes."""
    random = np.random.default_rng(seed)
    a, b, c = law
    difficulty = random.random(n_images)
    terms = {}
    for size in SIZES.astype(int).tolist():
        error = a + b * size**-c
        noise = random.normal(0, 0.01, (n_seeds if size < SIZES[-1] else 1, n_images))
        correct = (difficulty > error + noise).astype(float)
        terms[size] = [Terms(of_seed, np.ones(n_images)) for of_seed in correct]
    return terms


def curve_of(terms, groups):
    n_half = sum(2 * n <= max(terms) for n in terms)
    return measure_curve(terms, [str(group) for group in groups], n_half=n_half, seed=1)


def test_a_curve_is_described_and_its_prediction_tested():
    curve = curve_of(draw_terms(), range(400))
    described = describe_curve(curve)
    assert [row["n_images"] for row in described["sizes"]] == SIZES.tolist()
    assert [len(row["score_by_seed"]) for row in described["sizes"]] == [4] * 6 + [1]
    for row in described["sizes"]:
        low, high = row["score_ci95"]
        assert low < row["score"] < high
        assert row["score"] == pytest.approx(np.mean(row["score_by_seed"]))
    held_back = described["held_back"]
    assert held_back["n_fitted_images"] == 800
    assert held_back["measured"] == described["sizes"][-1]["score"]
    assert held_back["difference"] == pytest.approx(held_back["measured"] - held_back["predicted"])
    low, high = described["twice"]["gain_ci95"]
    assert low <= described["twice"]["gain"] <= high
    text = "\n".join(describe_fit(described))
    assert "3,200 training images, twice as many: predicted 0." in text


def test_all_images_vary_as_subsets_of_half_of_them_and_scores_stay_between_0_and_1():
    # Seeds differ in one size alone, and no image is hard: all variation is that of its seeds.
    rates = {200: (1.0, 1.0), 400: (1.0, 0.9), 600: (1.0, 1.0), 800: (1.0,)}
    terms = {
        n: [Terms((np.arange(400) < 400 * rate).astype(float), np.ones(400)) for rate in of_size]
        for n, of_size in rates.items()
    }
    curve = curve_of(terms, range(400))
    scores = 1 - curve.resampled[:, -1]
    assert scores.min() < 0.85 and scores.max() == 1
    # Half of a normal distribution is cut off at 1: its mean is sd / sqrt(2 pi) below.
    assert 1 - scores.mean() == pytest.approx(np.std([0, 0.1], ddof=1) / np.sqrt(2 * np.pi), 0.15)
    assert all(0 <= end <= 1 for row in describe_curve(curve)["sizes"] for end in row["score_ci95"])


def test_no_interval_of_a_score_is_a_point_and_labels_may_be_rare():
    correct = {n: [Terms(np.ones(25), np.ones(25))] for n in (200, 400, 600, 800)}
    described = describe_curve(curve_of(correct, range(25)))
    low, high = described["sizes"][0]["score_ci95"]
    assert (low, high) == (pytest.approx(accuracy_interval(25, 25)[0], abs=0.05), 1)
    assert "with 800 images no validation image is wrong" in described["fit"]["not_identified"]
    rare = Terms(np.arange(10) == 0, np.arange(10) == 0)  # one image has labels
    resampled = curve_of({n: [rare] for n in correct}, range(10)).resampled
    assert np.isfinite(resampled).all()


def test_the_interval_of_the_gain_contains_the_true_gain():
    true = 2 * (1600**-0.5 - 3200**-0.5)
    hits = 0
    for seed in range(10):
        curve = curve_of(draw_terms(seed=seed), range(400))
        _, laws = curve.fit()
        low, high = np.quantile(laws.gain(2), [0.025, 0.975])
        hits += low <= true <= high
    assert hits >= 8


def test_a_curve_that_does_not_rise_is_not_identified():
    curve = curve_of(draw_terms((0.2, 0, 0.5)), range(400))
    reasons = describe_curve(curve)["fit"]["not_identified"]
    assert "the score does not rise measurably" in reasons
    few = curve._replace(n_half=3).half()
    assert "3 sizes are too few for three parameters" in find_not_identified(few, few.fit()[1])


def test_images_of_a_group_vary_together():
    terms = draw_terms(n_images=40)
    repeated = {
        size: [Terms(*(np.repeat(column, 10) for column in one)) for one in of_size]
        for size, of_size in terms.items()
    }
    groups = [str(i) for i in np.repeat(np.arange(40), 10)]
    alone = curve_of(terms, range(40))
    grouped = curve_of(repeated, groups)
    apart = curve_of(repeated, range(400))
    np.testing.assert_allclose(grouped.resampled, alone.resampled)
    assert apart.resampled[:, 0].std() < grouped.resampled[:, 0].std() / 2


def test_memory_is_bounded_and_changes_no_resample(monkeypatch):
    terms, groups = draw_terms(n_images=40), [str(i) for i in range(40)]
    whole = curve_of(terms, groups)
    monkeypatch.setattr(curve_module, "MAX_COUNTS_IN_MEMORY", 40 * 300)
    np.testing.assert_array_equal(curve_of(terms, groups).resampled, whole.resampled)


def test_the_figure_of_the_same_scores_has_the_same_bytes(tmp_path):
    curve = curve_of(draw_terms(), range(400))
    for name in ("one.png", "two.png"):
        draw_curve(tmp_path / name, curve, metric="accuracy")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"sizes": [1, 2, 3]}, r"sizes: must be at least 4 increasing .* got \[1, 2, 3\]"),
        ({"sizes": [1, 9, 12, 16]}, "sizes: must be .* two of them at most 8"),
        ({"sizes": [1, 2, 4, 8]}, r"sizes: must be .* the last one 16 \(parts\)"),
        ({"sizes": []}, "sizes: must be "),
        ({"sizes": 16}, "sizes: must be .* list, got 16"),
        ({"seeds": []}, "seeds: .*at least 1"),
        ({"seeds": [1, 1]}, r"seeds: must have each value once, got \[1, 1\]"),
        ({"seeds": [-1]}, "seeds.0: must be .* -1"),
        ({"model": {"network": "mlp"}}, "model.network: must be 'probe', got .mlp"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_read(change, rule, tmp_path):
    yaml = YAML(typ="safe")
    study = yaml.load((STUDY / "params.yaml").read_text())
    study["measure_curve"] |= {
        key: study["measure_curve"][key] | value if key == "model" else value
        for key, value in change.items()
    }
    yaml.dump(study, tmp_path / "params.yaml")
    with pytest.raises(UserError, match=rule):
        check_curve_params(tmp_path / "params.yaml")


def test_a_network_that_is_trained_is_named():
    (line,) = describe_probe({"one": {"network": "probe"}, "two": {"network": "mlp"}})
    assert "the curve of a probe; two train networks" in line
    assert not list(describe_probe({"one": {"network": "probe"}}))


def test_the_study_declares_the_params_it_reads():
    stage = read_study("learning_curve")["measure_curve"]
    own = {"studies/learning_curve/params.yaml": ["measure_curve"]}
    assert stage["params"] == ["models", "train", own]
    study = YAML(typ="safe").load((STUDY / "params.yaml").read_text())["measure_curve"]
    assert study["sizes"][-1] == study["parts"]
