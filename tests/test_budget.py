"""Models and epochs that fit into a given time."""

import json
import time
from pathlib import Path

import pytest
from dvc.utils.serialize import modify_yaml

import tiny_model
from classifold.data.json_file import read_json, write_json
from classifold.errors import UserError
from classifold.networks.fisher_vectors import FisherVectors
from classifold.params.validation import check_params
from classifold.project import budget, speed
from classifold.project.budget import Candidate, Costs, Speed, choose_epochs
from classifold.project.choices import Choice
from classifold.project.chosen_params import write_params
from classifold.project.presets import Preset, epochs_of, reduce_analyses, set_epochs
from classifold.project.timed_run import STATE, TimedRun
from test_findings import CPU, FOUND, photos_of_size

PROBE = Candidate(Speed(once=20, each=5, epoch=0, image=0.01), 0)
TUNED = Candidate(Speed(once=0, each=30, epoch=60, image=0.02), 10)
SMALLER = Candidate(Speed(once=0, each=20, epoch=40, image=0.01), 10)
THREE = {"tuned": TUNED, "smaller": SMALLER, "probe": PROBE}
EXPLAIN = {"images": 6, "smooth_samples": 16, "integrated_steps": 32}
ROBUSTNESS = {
    "images": 0,
    "corruptions": "all",
    "severities": [1, 3],
    "adversarial": {"images": 3, "epsilons": [1, 2], "steps": 4},
}
COSTS = Costs(2, 0, n_test=100, n_rows=900, explain=EXPLAIN, trained={}, robustness=ROBUSTNESS)


def choose(seconds, *, costs=COSTS, tolerance=0):
    return choose_epochs(THREE, costs, seconds=seconds, tolerance=tolerance)


def test_seconds_by_hand():
    # Four times 2 s to start, a head phase of 30 s, 10 epochs, and 100 test images twice; a
    # prediction takes 1.4 times what was measured.
    assert COSTS.of(TUNED, 10) == pytest.approx(8 + 30 + 600 + 1.4 * 4)
    # Five folds train five times on four fifths of the images: four trainings more.
    assert COSTS._replace(n_folds=5).of(TUNED, 10) == pytest.approx(8 + 5 * (30 + 600) + 1.4 * 4)
    # Three seeds train three times, and their networks predict the test images, too.
    of_seeds = COSTS._replace(n_folds=5).of(TUNED._replace(n_seeds=3), 10)
    assert of_seeds == pytest.approx(8 + 7 * 630 + 1.4 * 8)
    # The body of a probe has no initial weights: its test images are predicted once.
    assert COSTS._replace(n_folds=5).of(PROBE, 0) == pytest.approx(8 + 20 + 5 * 5 + 1.4)
    # Two predictions for each of 16 + 32 gradients, 64 for occlusion, and the features.
    assert COSTS.explanation(TUNED) == pytest.approx(1.4 * 0.02 * (6 * 160 + 1000))
    assert COSTS.explanation(PROBE) == pytest.approx(1.4 * 0.01 * (6 * 160 + 100))
    both = {"probe": 0, "smaller": 3}
    models = COSTS.of(PROBE, 0) + COSTS.of(SMALLER, 3)
    assert COSTS.total(THREE, both) == pytest.approx(models + 1.4 * 19.6)
    # 7 images as they are and under 15 corruptions at 2 severities; 3 of them with 2 epsilons by
    # FGSM and by PGD of 4 steps, against the model and the stack: 5 gradients, and 2 predictions.
    n_changed = budget.count_robustness(ROBUSTNESS | {"images": 9}, n_test=7)
    assert n_changed == 7 * 31 + 2 * 3 * 2 * (5 * 2 + 2)
    seven = COSTS._replace(robustness=ROBUSTNESS | {"images": 9}, n_test=7)
    assert seven.evaluation(PROBE) == pytest.approx(1.4 * 0.01 * (7 + n_changed))
    trained = COSTS._replace(trained={"tuned": TUNED})  # and may be the best one
    assert trained.total(THREE, both) == pytest.approx(COSTS.total(THREE, both) + 1.4 * 19.6)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (1, {"probe": 0}),  # the model that takes the least time always
        (225, {"smaller": 3, "probe": 0}),  # the fewest epochs of one network
        (470, {"tuned": 3, "smaller": 3, "probe": 0}),  # and of all networks
        (1170, {"tuned": 10, "smaller": 10, "probe": 0}),  # the recipe
        (9999, {"tuned": 30, "smaller": 30, "probe": 0}),  # no more than useful
    ],
)
@pytest.mark.promise("minutes")
def test_models_and_epochs_fit_into_the_time(seconds, expected):
    assert choose(seconds) == expected


def test_a_network_is_kept_instead_of_one_probe_but_not_of_two():
    alone = COSTS.total(THREE, {"smaller": SMALLER.shortest})
    for seconds, expected in ((alone, ["smaller"]), (alone - 1, ["probe"])):
        assert list(choose(seconds)) == expected
    four = THREE | {"fast": PROBE._replace(speed=PROBE.speed.scaled(0.5))}
    assert COSTS.total(four, {"probe": 0, "fast": 0}) < alone
    plan = choose_epochs(four, COSTS, seconds=alone, tolerance=0)
    assert list(plan) == ["probe", "fast"]


def test_a_network_with_time_for_one_epoch_does_not_replace_a_probe():
    slow = PROBE._replace(speed=PROBE.speed.scaled(2))  # too slow to be trained beside it
    short = {"smaller": SMALLER._replace(epochs=3), "probe": slow}
    assert short["smaller"].shortest == 1
    two = COSTS.total(short, {"smaller": 2})
    for seconds, expected in ((two, {"smaller": 2}), (two - 1, {"probe": 0})):
        assert choose_epochs(short, COSTS, seconds=seconds, tolerance=0) == expected


@pytest.mark.parametrize("names", ["tuned smaller", "tuned probe", "probe slow", "smaller slow"])
def test_where_nothing_fits_the_shortest_plan_is_chosen(names):
    models = THREE | {"slow": PROBE._replace(speed=PROBE.speed.scaled(9))}
    # The cheaper network to train may be the slower one to explain.
    models["smaller"] = SMALLER._replace(speed=SMALLER.speed._replace(image=0.2))
    candidates = {name: models[name] for name in names.split()}
    shortest = budget.shortest_plan(candidates, COSTS)
    less = COSTS.total(candidates, shortest) - 1
    assert choose_epochs(candidates, COSTS, seconds=less, tolerance=0) == shortest


@pytest.mark.parametrize("seconds", range(200, 3000, 70))
def test_less_than_an_epoch_of_time_is_left(seconds):
    plan = choose(seconds, tolerance=10)
    left = seconds - COSTS.total(THREE, plan)
    shortest = min(THREE[name].speed.epoch for name in plan if name != "probe")
    assert -10 <= left < shortest + (200 if len(plan) < 3 else 0)


def test_a_fixed_number_of_epochs_does_not_end_early():
    plateau = {"name": "plateau", "factor": 0.3, "patience": 2}
    model = {"phases": {"p1": {"epochs": 15, "schedule": plateau, "stop": {"patience": 5}}}}
    set_epochs(model, 20, fixed=True)
    cosine = {"name": "cosine", "warmup_epochs": 0}
    assert model == {"phases": {"p1": {"epochs": 20, "schedule": cosine}}}


def target_of(arguments):
    """The first stage that `dvc repro` is to run; empty: all."""
    return next((each for each in arguments if not each.startswith("--")), "")


class Simulated:
    """A project whose stages take the seconds that a clock shows, and no others."""

    def __init__(self, root, preset, *, found=FOUND, pace=1.0):
        self.root, self.now, self.pace, self.runs = root, 0.0, pace, []
        settings = {"preset": Preset(preset, timed=True), "is_installed": lambda _: True}
        write_params(root / "params.yaml", Path("x"), found, CPU, **settings)
        write_json(root / "metrics/split.json", {"n_test": 500})
        write_json(root / "metrics/augment.json", {"n_images": 1000})

    def measure(self, _):
        self.now += 15
        networks = check_params(self.root / "params.yaml")["models"]
        return {
            name: PROBE.speed if model["network"] == "probe" else TUNED.speed
            for name, model in networks.items()
        }

    def repro(self, _, *arguments):
        params = check_params(self.root / "params.yaml")
        target = target_of(arguments)
        stage, _, name = target.partition("@")
        self.runs.append(target)
        sections = {"explain": params["explain"], "robustness": params["robustness"]}
        costs = Costs(2, params["stack"]["folds"], 500, 1000, trained={}, **sections)
        if stage == "augment" and self.runs.count("augment") == 1:
            for part in ("check", "ingest", "filter", "split", "augment"):
                write_json(self.root / f"timings/{part}.json", {"seconds": 5})
            self.now += 5 * (5 + 2)
        elif stage == "train":
            assert arguments == ("--single-item", f"train@{name}", f"folds@{name}")
            model = params["models"][name]
            probe = model["network"] == "probe"
            speed = PROBE.speed if probe else TUNED.speed.scaled(self.pace)
            candidate = Candidate(speed, 0, n_seeds=model.get("seeds") or 1)
            self.now += costs.training(candidate, 0 if probe else epochs_of(model))
        elif not stage:
            self.now += budget.seconds_of_the_rest(
                2, n_maps=2 * len(params["tsne"]["perplexities"])
            )
            kinds = {model["network"] for model in params["models"].values()}
            self.now += costs.explanation(PROBE if kinds == {"probe"} else TUNED)
            self.now += costs.evaluation(TUNED) * len(params["models"])

    def run(self, minutes):
        clock = {"started": self.now, "clock": lambda: self.now}
        TimedRun(self.root, minutes=minutes, repro=self.repro, measure=self.measure, **clock).run()


@pytest.mark.parametrize(
    ("preset", "minutes", "pace", "seeds"),  # pace of the networks: seconds, by the measured ones
    [
        *[("good", 9, 1, 1), ("good", 30, 0.8, 1), ("good", 30, 1.25, 1)],
        *[("best", 90, 0.8, 1), ("best", 90, 1.25, 1), ("best", 90, 1.25, 3)],
    ],
)
@pytest.mark.promise("minutes")
def test_a_run_takes_the_time_within_a_tenth(tmp_path, preset, minutes, pace, seeds):
    run = Simulated(tmp_path, preset, pace=pace)
    with modify_yaml(str(tmp_path / "params.yaml")) as params:
        for model in params["models"].values():
            model["seeds"] = 1 if model["network"] == "probe" else seeds
    run.run(minutes)
    assert run.now / 60 == pytest.approx(minutes, rel=0.1)
    assert run.runs[0] == "augment" and run.runs[1] == "train@lite2" and run.runs[-1] == ""
    head = (tmp_path / "params.yaml").read_text().partition("\n\n")[0]
    assert f"fit into {minutes} minutes" in head
    assert all(len(line) <= 100 for line in head.splitlines())


def test_too_few_minutes_are_an_error_and_more_continue(tmp_path):
    run = Simulated(tmp_path, "good")
    before = (tmp_path / "params.yaml").read_bytes()
    with pytest.raises(UserError, match=r"--minutes: must be at least (\d+\.5|\d+) ") as error:
        run.run(1)
    assert (tmp_path / "params.yaml").read_bytes() == before
    at_least = float(str(error.value).split("at least ")[1].split()[0])
    assert not [stage for stage in run.runs if stage.startswith("train")]
    run.run(at_least + 1)
    assert list(check_params(tmp_path / "params.yaml")["models"]) == ["lite2"]
    assert "models.lite2_tuned" not in (tmp_path / "params.yaml").read_text()
    assert run.now / 60 <= at_least + 1


@pytest.mark.parametrize(("minutes", "is_reduced"), [(7, True), (30, False)])
def test_explanations_and_robustness_leave_time_for_training(tmp_path, minutes, is_reduced):
    run = Simulated(tmp_path, "good")
    before = check_params(tmp_path / "params.yaml")
    run.run(minutes)
    params = check_params(tmp_path / "params.yaml")
    kept = [params[key] == before[key] for key in ("explain", "robustness", "tsne")]
    assert kept == 3 * [not is_reduced]
    assert params["robustness"]["images"] == (0 if is_reduced else 50)
    assert [name for name in params["models"] if name.endswith("_tuned")]
    assert run.now / 60 == pytest.approx(minutes, rel=0.1)
    text = (tmp_path / "params.yaml").read_text()
    assert ("# robustness.images: 0: this leaves " in text) == is_reduced


def test_what_is_already_short_is_not_changed():
    params = {
        "tsne": {"perplexities": [5]},
        "explain": {"images": 2, "smooth_samples": 16, "integrated_steps": 16},
        "robustness": {"images": 0},
    }
    (choice,) = reduce_analyses(params, reason="a reason")
    assert choice == Choice("explain", "smooth_samples 8", "a reason")
    assert params["explain"] == {"images": 2, "smooth_samples": 8, "integrated_steps": 16}
    assert params["tsne"]["perplexities"] == [5]


def test_an_interrupted_run_keeps_its_reduced_analyses(tmp_path, capsys):
    run = Simulated(tmp_path, "good")
    repro, interrupted = run.repro, []

    def interrupt(root, *arguments):
        if target_of(arguments).startswith("train@") and not interrupted:
            interrupted.append((root / "params.yaml").read_text())
            raise KeyboardInterrupt
        repro(root, *arguments)

    run.repro = interrupt
    with pytest.raises(KeyboardInterrupt):
        run.run(7)
    run.run(7)
    assert "# robustness.images: 0: this leaves " in interrupted[0]
    assert check_params(tmp_path / "params.yaml")["robustness"]["images"] == 0
    assert "you changed it" not in capsys.readouterr().out


def test_the_head_has_no_choice_of_a_model_that_is_left_out(tmp_path):
    run = Simulated(tmp_path, "quick", found=FOUND._replace(sample=photos_of_size(28)))
    assert "# models.mlp: 5 epochs" in (tmp_path / "params.yaml").read_text()
    run.run(7)
    text = (tmp_path / "params.yaml").read_text()
    assert list(check_params(tmp_path / "params.yaml")["models"]) == ["small_resnet"]
    assert "# models.small_resnet: " in text and "# models.mlp" not in text


def test_more_minutes_than_useful_end_earlier(tmp_path, capsys):
    run = Simulated(tmp_path, "quick")
    run.run(60)
    assert run.now / 60 < 7
    assert "of 60 minutes are useful" in capsys.readouterr().out


def test_an_interrupted_run_finishes_a_network_with_its_epochs(tmp_path):
    run = Simulated(tmp_path, "good")
    repro, interrupted = run.repro, []

    def interrupt(root, *arguments):
        if target_of(arguments) == "train@lite2_tuned" and not interrupted:
            run.now += 60
            models = check_params(root / "params.yaml")["models"]
            interrupted.append(epochs_of(models["lite2_tuned"]))
            raise KeyboardInterrupt
        repro(root, *arguments)

    run.repro = interrupt
    with pytest.raises(KeyboardInterrupt):
        run.run(20)
    run.now += 1e6  # the time between two runs does not count
    run.run(20)
    models = check_params(tmp_path / "params.yaml")["models"]
    assert [epochs_of(models["lite2_tuned"])] == interrupted
    assert read_json(tmp_path / STATE)["seconds"] / 60 == pytest.approx(20, rel=0.1)
    assert run.runs.count("train@lite2") == 1


def test_params_that_the_user_changed_are_kept(tmp_path, capsys):
    run = Simulated(tmp_path, "quick", found=FOUND._replace(sample=photos_of_size(28)))
    run.run(12)
    file = tmp_path / "params.yaml"
    changed = file.read_text().replace("seed: 1\n", "seed: 2\n")
    file.write_text(changed)
    run.run(30)
    assert file.read_text() == changed
    assert "params.yaml: you changed it" in capsys.readouterr().out


def test_speed_is_measured_at_the_middle_size(tmp_path, monkeypatch, write_packs, capsys):
    monkeypatch.chdir(tmp_path)
    small_resnet = {"network": "small_resnet", "arguments": {"widths": [16], "depth": 1}}
    sizes = {"image_size": 16, "train_size": [8, 20], "batch_size": 3}
    tiny_model.write_params(tmp_path, tiny_model.MODEL | small_resnet | sizes)
    write_packs(tmp_path / "data/augmented", train=6, validation=6)
    measured = []

    class Recorded(speed.Epochs):
        def __init__(self, pack, *, config, **options):
            measured.append(config.training_sizes())
            super().__init__(pack, config=config, **options)

    monkeypatch.setattr(speed, "Epochs", Recorded)
    monkeypatch.setattr(speed, "SECONDS", 0)
    speed.main()
    assert json.loads(capsys.readouterr().out).keys() == {"m"}
    assert measured == [(14, 14)]


def test_the_speed_of_fisher_vectors_includes_the_fit_of_their_body(
    tmp_path, monkeypatch, write_packs, capsys
):
    monkeypatch.chdir(tmp_path)
    model = {
        "network": "fisher_vectors",
        "arguments": {"components": 2, "dimensions": 2, "cells": [2], "octaves": 1},
        "head": {"name": "logistic", "c": 0.1},
        **{"image_size": 16, "normalize": "none", "online": "none", "seed": 1},
    }
    tiny_model.write_params(tmp_path, model)
    write_packs(tmp_path / "data/augmented", train=8, validation=6)
    fitted = []

    def fit_body(network, batches, *, seed):
        fitted.append(sum(map(len, batches)))
        time.sleep(0.1)

    monkeypatch.setattr(FisherVectors, "fit_body", fit_body)
    monkeypatch.setattr(speed, "TRIED_IMAGES", 2)
    monkeypatch.setattr(speed, "SECONDS", 0)
    speed.main()
    once, each, epoch, image = json.loads(capsys.readouterr().out)["m"]
    assert fitted == [2]
    assert (once, epoch, image > 0) == (0, 0, True)
    assert each > 0.4  # of 8 images; 2 were measured
