"""Models that are trained from several seeds: training, comparison and evaluation."""

import numpy as np
import pytest
import torch
from scipy.stats import t, ttest_ind

from classifold.data.json_file import read_json
from classifold.data.logits_file import load_logits
from classifold.data.metrics import spread
from classifold.data.model_settings import by_seed, other_seeds, seed_folder
from classifold.evaluation.intervals import Z, gain_interval, seeds_gain_interval
from classifold.evaluation.seeds import predict_seeds, score_seeds
from classifold.models.decisions import fit_decision
from classifold.models.model_file import load_model
from classifold.training import train_model
from classifold.training.train_model import metrics_of_seeds, train_seeds, write_seeds
from interruptions import Stopped, stopping_at_call
from tiny_model import MODEL

SETTINGS = {"device": "cpu", "precision": "fp32", "threads": 1, "compile": False}
NO_AUGMENTATION = {"steps": [], "fill": "reflect"}
LABELS = np.zeros(10, int)


def right_for(n_images):
    """Predictions that are correct for the first images."""
    return (np.arange(10) >= n_images).astype(int)


def test_seeds_follow_the_seed_of_the_model():
    assert by_seed({"seed": 7, "seeds": 2, "a": 1}) == {
        7: {"seed": 7, "a": 1},
        8: {"seed": 8, "a": 1},
    }
    assert other_seeds({"seed": 7}) == other_seeds({"seed": 7, "seeds": None}) == []


def test_a_spread_by_hand():
    # Deviations -2, 0, 2: a variance of 8 / 2 = 4.
    found = spread({1: 0.82, 2: 0.84, 3: 0.80})
    assert found["scores"] == {"1": 0.82, "2": 0.84, "3": 0.80}
    assert [found[key] for key in ("n", "mean", "sd", "min", "max")] == pytest.approx(
        [3, 0.82, 0.02, 0.80, 0.84]
    )
    assert spread({1: 0.5, 2: 0.6})["sd"] is None  # too few to claim one


@pytest.fixture
def train(tmp_path, write_packs):
    packs = write_packs(tmp_path / "packs", train=48, validation=12)

    def run(folder, **changes):
        trained = train_seeds(
            "m",
            model=MODEL | changes,
            checkpoints=tmp_path / "checkpoints",
            settings=SETTINGS,
            policy=NO_AUGMENTATION,
            packs=packs,
        )
        folder.mkdir()
        write_seeds(folder, trained, max_epochs=None)
        for of_seed in trained.values():
            of_seed.checkpoint.remove()
        files = {file.relative_to(folder): file for file in folder.rglob("*.*")}
        return metrics_of_seeds(trained), {path: files[path].read_bytes() for path in files}

    return run


def test_each_seed_is_the_model_that_this_seed_alone_gives(train, tmp_path):
    metrics, files = train(tmp_path / "three", seeds=3)
    for seed in (1, 2, 3):
        of_seed, expected = train(tmp_path / str(seed), seed=seed)
        folder = tmp_path / "three" if seed == 1 else seed_folder(tmp_path / "three", seed)
        for path, content in expected.items():
            assert (folder / path).read_bytes() == content
        assert metrics["seeds"]["scores"][str(seed)] == of_seed["validation_accuracy"]
        assert "seeds" not in of_seed
        if seed == 1:
            assert of_seed == {key: metrics[key] for key in metrics if key != "seeds"}
    assert len(files) == 3 * len(expected)


def test_an_interrupted_run_keeps_finished_seeds_and_ends_with_the_same_bytes(
    train, tmp_path, monkeypatch, capsys
):
    expected = train(tmp_path / "expected", seeds=3)
    monkeypatch.setattr(train_model, "fit", stopping_at_call(3, train_model.fit))
    with pytest.raises(Stopped):
        train(tmp_path / "interrupted", seeds=3)
    capsys.readouterr()
    assert train(tmp_path / "continued", seeds=3) == expected
    log = capsys.readouterr().out
    assert "m, seed 1: continues after epoch 3" in log
    assert "m, seed 2: continues after epoch 3" in log
    assert "m, seed 3: continues" not in log and "m, seed 3: epoch 1/3" in log
    assert not list((tmp_path / "checkpoints").glob("*.safetensors"))


def test_other_seeds_predict_with_their_own_weights_and_decision(train, tmp_path):
    train(tmp_path / "m", seeds=2)
    folder = seed_folder(tmp_path / "m", 2)
    model, logits = load_model(folder), load_logits(folder / "validation.npz")
    decision = fit_decision(logits.logits, logits.labels)
    decisions = {
        "task": "single",
        "classes": model.classes,
        "models": {"m": {"temperature": 1.0, "seeds": {"2": decision}}, "n": {"temperature": 1.0}},
    }
    pixels = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), np.uint8)
    found = predict_seeds(
        pixels,
        models=tmp_path,
        decisions=decisions,
        device=torch.device("cpu"),
        test_time={"flips": "none", "shift": 0},
    )
    with torch.inference_mode():
        inputs = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1
        expected = model.network(inputs).argmax(1).numpy()
    assert found.keys() == {"m"} and found["m"].keys() == {2}
    np.testing.assert_array_equal(found["m"][2], expected)
    assert read_json(folder / "model.json")["classes"] == model.classes


def test_models_are_compared_over_seeds_by_hand():
    a, b = [right_for(9), right_for(8), right_for(10)], [right_for(5), right_for(6), right_for(7)]
    seeds = {"a": dict(enumerate(a)), "two": {0: a[0], 1: a[1]}, "b": dict(enumerate(b))}
    found = score_seeds(seeds, LABELS)
    assert found["a"]["mean"] == pytest.approx(0.9) and found["a"]["sd"] == pytest.approx(0.1)
    assert found["two"]["sd"] is None and "versus" not in found["two"]
    assert "versus" not in found["a"] and found["b"]["versus"].keys() == {"a"}
    # Mean over seeds, of b minus a: 0 for five images, -1/3 for image 6, -2/3 for image 7, -1 for
    # image 8, -2/3 for image 9, -1/3 for image 10; and the two added images, 1 and -1. Their sum
    # is -3, and that of their squares 0 + 1/9 + 4/9 + 1 + 4/9 + 1/9 + 2 = 37/9.
    of_images = (37 / 9 - 9 / 12) / 12**2
    variance = of_images + 0.01 / 3 + 0.01 / 3
    freedom = variance**2 / (2 * (0.01 / 3) ** 2 / 2)
    half = t.ppf(0.975, freedom) * variance**0.5
    versus = found["b"]["versus"]["a"]
    assert versus["difference"] == pytest.approx(-0.3)
    assert versus["difference_ci95"] == pytest.approx([-0.3 - half, -0.3 + half])
    assert not versus["larger_than_both"]
    far = {"a": seeds["a"], "b": {0: right_for(1), 1: right_for(1), 2: right_for(2)}}
    assert score_seeds(far, LABELS)["b"]["versus"]["a"]["larger_than_both"]


def test_with_many_images_the_interval_over_seeds_is_that_of_welch():
    random = np.random.default_rng(0)
    labels = np.zeros(200_000, int)
    chances = [[0.9, 0.8, 0.85], [0.5, 0.6, 0.55, 0.58]]
    predicted = [[(random.random(len(labels)) > p).astype(int) for p in each] for each in chances]
    scores = [[float((one == 0).mean()) for one in each] for each in predicted]
    found = seeds_gain_interval(*predicted, labels, scores=scores[0], reference_scores=scores[1])
    expected = ttest_ind(*scores, equal_var=False).confidence_interval(0.95)
    assert found == pytest.approx(list(expected), abs=1e-3)


def test_if_all_seeds_predict_the_same_the_interval_is_that_of_the_images():
    a, b = right_for(9), right_for(6)
    found = seeds_gain_interval(
        [a] * 3, [b] * 3, LABELS, scores=[0.9] * 3, reference_scores=[0.6] * 3
    )
    low, high = gain_interval(a, b, LABELS)
    assert Z > 1.9 and found[1] - found[0] == pytest.approx(high - low)
    assert sum(found) / 2 == pytest.approx(0.3)


def test_several_labels_are_compared_by_micro_f1():
    labels = np.eye(3, dtype=np.uint8)[np.arange(60) % 3]
    random = np.random.default_rng(1)
    noisy = [(labels > 0) ^ (random.random(labels.shape) < p) for p in (0.1, 0.12, 0.11) * 2]
    found = score_seeds({"a": dict(enumerate(noisy[:3])), "b": dict(enumerate(noisy[3:]))}, labels)
    low, high = found["b"]["versus"]["a"]["difference_ci95"]
    assert low < found["b"]["mean"] - found["a"]["mean"] < high
    empty = [np.zeros_like(noisy[0])] * 3
    nothing = np.zeros_like(labels)
    none = seeds_gain_interval(empty, empty, nothing, scores=[0.0] * 3, reference_scores=[0.0] * 3)
    assert none == [-1.0, 1.0]
