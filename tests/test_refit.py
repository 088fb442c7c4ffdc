"""Refit: a training run repeated on training and validation images together."""

from pathlib import Path

import numpy as np
import pytest
import torch

from classifold.data.csv_file import read_rows, write_rows
from classifold.data.json_file import read_json, write_json
from classifold.data.pack import join, new_pack, read_pack
from classifold.errors import UserError
from classifold.models.model_file import load_model
from classifold.params import validation
from classifold.runtime.atomic_files import new_folder
from classifold.training.config import TrainingConfig
from classifold.training.loop import fit, refit
from classifold.training.refit import refit_model
from command_line import classifold, output_of
from interruptions import bits_of, interrupted
from tiny_model import MODEL, PHASE

SCHEDULES = {
    "constant": {"name": "constant"},
    "plateau": {"name": "plateau", "factor": 0.1, "patience": 0},
    "one_cycle": {"name": "one_cycle", "pct_start": 0.3, "div_factor": 10, "final_div_factor": 10},
}
NO_POLICY = {"fill": "reflect", "steps": []}


def model_of(schedule, **changes):
    phase = PHASE | {"epochs": 4, "schedule": schedule}
    hidden = {"arguments": {"hidden": [16], "dropout": 0.0}}
    return MODEL | hidden | {"phases": {"p1": phase, "p2": phase}} | changes


@pytest.fixture
def work(machine):
    """The settings of a training with a schedule."""

    def of(schedule, **changes):
        config = TrainingConfig.of(model_of(SCHEDULES[schedule], **changes))
        return {"config": config, "policy": NO_POLICY, "machine": machine}

    return of


def kept(fitted):
    """The rows of each phase up to the epoch that was kept."""
    return [
        row for row in fitted.history if row["epoch"] <= fitted.phases[row["phase"]]["best_epoch"]
    ]


def weights_of(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_a_refit_on_the_same_images_ends_with_the_saved_weights(
    draw_pack, tiny_mlp, work, schedule, ema_decay
):
    pack, work = draw_pack(40), work(schedule, ema_decay=ema_decay)
    # What is learned from `pack` is wrong here, so that early epochs are the best.
    validation = draw_pack(30, seed=5)
    validation = validation._replace(labels=(validation.labels + 1) % 3)
    network, again = tiny_mlp(), tiny_mlp()
    fitted = fit(network, pack, validation, **work)
    rows = kept(fitted)
    assert len(rows) < len(fitted.history)

    history = refit(again, pack, recorded=rows, **work)
    # The second phase of the first training run began from the epoch that was kept of the first,
    # and counts its epochs, by which images are shuffled, from the end of all that were run.
    assert [row["epoch"] for row in history] == [row["epoch"] for row in rows]
    assert [row["learning_rate"] for row in history] == [row["learning_rate"] for row in rows]
    torch.testing.assert_close(weights_of(again), weights_of(network))


def test_an_interrupted_refit_on_more_images_continues_and_ends_with_the_same_new_weights(
    draw_pack, tiny_mlp, work, tmp_path
):
    pack, more, work = draw_pack(40), draw_pack(24, seed=3), work("plateau")
    network, images = tiny_mlp(), join(pack, more)
    recorded = kept(fit(network, pack, more, **work))

    def refit_new(checkpoint=None):
        again = tiny_mlp()
        history = refit(again, images, recorded=recorded, checkpoint=checkpoint, **work)
        assert not again.training
        return history, bits_of(again)

    history, bits = refit_new()
    assert len(history) > 3
    assert interrupted(refit_new, tmp_path, after=3) == (history, bits)
    assert bits != bits_of(network)


@pytest.fixture
def project(tmp_path, write_packs, tiny_mlp, work):
    """A folder with packs and a model `m` that was trained on them; and its params."""
    write_packs(tmp_path / "data/augmented", train=40, validation=20)
    params = {
        "train": {"device": "cpu", "precision": "fp32", "threads": 1, "compile": False},
        "limit": {"images_per_class": None, "epochs": None},
        "policies": {"none": NO_POLICY},
        "models": {"m": model_of(SCHEDULES["constant"])},
    }
    packs = [read_pack(tmp_path / "data/augmented" / split) for split in ("train", "validation")]
    fitted = fit(tiny_mlp(), *packs, **work("constant"))
    with new_folder(tmp_path / "models/m") as folder:
        write_rows(folder / "history.csv", fitted.history, columns=list(fitted.history[0]))
    (tmp_path / "metrics/train").mkdir(parents=True)
    write_json(tmp_path / "metrics/train/m.json", {"phases": fitted.phases})
    return tmp_path, params


def test_a_refitted_model_records_its_training_images(project):
    root, params = project
    refitted = refit_model("m", params, root=root, folder=root / "refit/m")
    model = load_model(root / "refit/m")
    assert model.description["trained_on"] == ["train", "validation"]
    assert model.description["n_train_images"] == 60
    phases = read_json(root / "metrics/train/m.json")["phases"]
    rows = read_rows(root / "refit/m/history.csv")
    assert int(rows[-1]["epoch"]) == phases["p2"]["best_epoch"]
    assert refitted == (40, 20, len(rows))


def test_the_command_writes_the_model_and_its_card(project, monkeypatch):
    root, params = project
    monkeypatch.chdir(root)
    params["dataset"] = {"task": "single"}
    monkeypatch.setattr(validation, "check_params", lambda: params)
    output_of(classifold("refit", "m"))
    assert load_model(Path("refit/m")).description["n_train_images"] == 60
    card = Path("refit/m/MODEL_CARD.md").read_text(encoding="utf-8")
    assert "40 training images" in card and "20 validation images" in card


def test_a_short_form_is_refitted_with_its_epochs(project):
    root, params = project
    # As if the training had been cut to what it was: the same rates, epoch by epoch.
    for phase in params["models"]["m"]["phases"].values():
        phase |= {"epochs": 40, "schedule": SCHEDULES["one_cycle"]}
    params["limit"] = {"images_per_class": None, "epochs": 4}
    refit_model("m", params, root=root, folder=root / "refit/m")
    assert load_model(root / "refit/m").description["max_epochs"] == 4
    rates = [float(row["learning_rate"]) for row in read_rows(root / "refit/m/history.csv")]
    assert max(rates) > 0.9 * PHASE["optimizer"]["lr"]  # of 40 epochs the peak is in the twelfth


def test_a_model_that_was_trained_with_other_phases_is_not_refitted(project):
    root, params = project
    params["models"]["m"]["phases"]["p3"] = params["models"]["m"]["phases"]["p1"]
    message = "models.m.phases.*p1, p2, got p1, p2, p3.*dvc repro train@m"
    with pytest.raises(UserError, match=message):
        refit_model("m", params, root=root, folder=root / "refit/m")
    (root / "metrics/train/m.json").unlink()
    with pytest.raises(UserError, match=r"models.m: not trained.*dvc repro train@m"):
        refit_model("m", params, root=root, folder=root / "refit/m")
    assert not (root / "refit").exists()


@pytest.mark.parametrize("storage", ["raw", "jpeg"])
def test_packs_are_concatenated(tmp_path, draw_pack, storage):
    for name, n_images in (("first", 5), ("second", 3)):
        drawn = draw_pack(n_images, seed=n_images)
        with new_pack(
            tmp_path / name, n_images=n_images, size=8, resize="box", classes=drawn.classes,
            storage=storage,
        ) as pack:  # fmt: skip
            pack.put(0, list(drawn.images))
            for i in range(n_images):
                pack.describe(
                    image_id=f"{name}{i}", variant=i % 2, transformation="none", labels=["class1"]
                )
    first, second = read_pack(tmp_path / "first"), read_pack(tmp_path / "second")
    joined = join(first, second)
    np.testing.assert_array_equal(
        np.asarray(joined.images), np.concatenate([first.images[:], second.images[:]])
    )
    assert joined.ids == first.ids + second.ids
    assert joined.labels.tolist() == [1] * 8
    originals = joined.originals()
    assert originals.ids == ["first0", "first2", "first4", "second0", "second2"]
    np.testing.assert_array_equal(originals.images[3], second.images[0])
