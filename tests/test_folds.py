"""Out-of-fold logits: each training image is predicted once, by a network trained without it."""

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny_model
from classifold.data.csv_file import read_rows
from classifold.data.json_file import read_json
from classifold.data.logits_file import load_logits
from classifold.data.out_of_fold import NO_FOLDS, write_out_of_fold
from classifold.errors import UserError
from classifold.models.feature_cache import FeatureCache
from classifold.models.inference import predict_logits
from classifold.training import folds as folds_module
from classifold.training.checkpoints import Checkpoint
from classifold.training.folds import assign_folds, fit_folds, train_folds
from classifold.training.loop import Fitted, fit
from classifold.training.machine import set_up
from classifold.training.scores import score_logits
from classifold.training.setup import Training
from interruptions import Stopped
from shared_fixtures import noisy_pack, with_variants
from stage_process import assert_a_killed_stage_writes_the_same, run_python
from tiny_model import NO_POLICY, write_params

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
PHASE = tiny_model.PHASE | {"epochs": 2}
POLICY = {"fill": "reflect", "steps": [{"flip": "horizontal"}, {"mix": {"cutmix": 1.0}}]}


def config_of(pack, *, epochs=2):
    return tiny_model.config_of(pack, phases={"p1": PHASE | {"epochs": epochs}})


@pytest.fixture
def out_of_fold(tmp_path, machine, tiny_mlp):
    """Train without each fold, and predict it."""

    def run(train, validation, folds, *, epochs=2, policy=POLICY, key="key", network=None):
        network = network or tiny_mlp(image_size=train.size)
        cache, config = FeatureCache(tmp_path / "features"), config_of(train, epochs=epochs)
        training = Training(network, train, validation, config, machine, "fp32", cache, {}, {})
        return fit_folds(
            training, folds=folds, policy=policy, checkpoints=tmp_path / "folds", key=key
        )

    return run


def with_groups(pack, *, of):
    """Each so many images that follow one another are a group."""
    return pack._replace(groups=[f"g{i // of}" for i in range(len(pack.ids))])


@given(st.lists(st.integers(0, 12), min_size=20, max_size=60), st.integers(2, 5), st.integers(0, 3))
def test_every_image_is_predicted_once_by_a_network_trained_without_it_its_variants_and_its_group(
    groups, n_folds, seed
):
    n_images = len(groups)
    pack = _numbered(n_images)._replace(groups=[str(group) for group in groups])
    group_of = dict(zip(pack.ids, pack.groups, strict=True))
    if len(set(groups)) < n_folds:
        with pytest.raises(UserError, match=r"Lower stack\.folds"):
            assign_folds(pack, n_folds=n_folds, seed=seed)
        return
    folds = assign_folds(pack, n_folds=n_folds, seed=seed)
    seen: list[list[str]] = []
    predicted: list[tuple[set[str], list[int]]] = []

    def learn(_, train, validation, **settings):
        assert validation == "validation"  # epochs are chosen there
        assert np.array_equal(train.images[:][:, 0, 0, 0], [int(i) for i in train.ids])
        seen.append(train.ids)
        return Fitted([], {}, best_epoch=len(seen), processes=[])

    def ask(_, held_out, **settings):
        numbers = held_out.images[:][:, 0, 0, 0].astype(int)
        predicted.append((set(seen[-1]), numbers.tolist()))
        return np.repeat(numbers[:, None], 3, axis=1).astype(np.float32)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folds_module, "fit", learn)
        patch.setattr(folds_module, "predict_distributed", ask)
        patch.setattr(Checkpoint, "save", lambda *_: None)
        machine, cache = set_up(device=CPU, precision="fp32"), FeatureCache(Path("nowhere"))
        training = Training(
            network=torch.nn.Linear(1, 1),
            train=with_variants(pack),
            validation="validation",
            config=config_of(pack),
            machine=machine,
            precision="fp32",
            cache=cache,
            settings={},
            model={},
        )
        logits, best_epochs = fit_folds(
            training,
            folds=folds,
            policy=NO_POLICY,
            checkpoints=Path("nowhere"),
            key="key",
        )
    assert sorted(number for _, numbers in predicted for number in numbers) == list(range(n_images))
    assert logits[:, 0].tolist() == list(range(n_images))  # in the order of the pack
    assert best_epochs == list(range(1, n_folds + 1))
    for trained, numbers in predicted:
        groups_seen = {group_of[image_id] for image_id in trained}
        assert not groups_seen & {group_of[str(number)] for number in numbers}
        assert len(trained) + len(numbers) == n_images
    for trained in seen:
        assert all(trained.count(image_id) == 3 for image_id in set(trained))


def _numbered(n_images):
    """Images that encode their number."""
    images = np.repeat(np.arange(n_images, dtype=np.uint8), 8 * 8 * 3).reshape(-1, 8, 8, 3)
    return noisy_pack(n_images)._replace(images=images, ids=[str(i) for i in range(n_images)])


def pack_of_random_labels(draw_pack, *, of):
    """Pairs of equal images with random labels, many times each."""
    random = np.random.default_rng(4)
    once = draw_pack(100)
    noise = random.integers(0, 256, once.images.shape, dtype=np.uint8)
    labels = random.integers(0, 3, 100)
    rows = np.repeat(np.arange(100), 2)
    pack = draw_pack(200)._replace(images=noise[rows], labels=labels[rows])
    return with_variants(with_groups(pack, of=of), 15)


@pytest.mark.parametrize(
    ("of", "between"),
    [
        (2, (0.2, 0.5)),  # equal images are a group: no better than a guess
        # They are none. In three of four pairs the other is in another fold: 3/4 + 1/4 x 1/3.
        (1, (0.7, 0.95)),
    ],
)
def test_a_network_that_memorizes_is_at_chance_out_of_fold(
    draw_pack, tiny_mlp, out_of_fold, of, between
):
    train = pack_of_random_labels(draw_pack, of=of)
    originals = train.originals()
    folds = assign_folds(originals, n_folds=4, seed=1)
    network = tiny_mlp()
    logits, _ = out_of_fold(train, originals, folds, epochs=1, policy=NO_POLICY, network=network)
    right = (logits.argmax(1) == originals.labels).mean()
    assert between[0] <= right <= between[1]
    # The last network left knows all but its own fold.
    logits_of_all = predict_logits(
        network, originals.images, image_size=8, normalize="half", device=CPU
    )
    right = logits_of_all.argmax(1) == originals.labels
    assert right[folds != 4].mean() > 0.95
    np.testing.assert_array_equal(logits_of_all[folds == 4], logits[folds == 4])


def test_a_fold_is_trained_as_if_it_were_the_only_training(
    draw_pack, tiny_mlp, out_of_fold, machine
):
    train, validation = with_variants(draw_pack(30)), draw_pack(12, seed=5)
    originals = train.originals()
    folds = assign_folds(originals, n_folds=3, seed=1)
    logits, best_epochs = out_of_fold(train, validation, folds)
    for fold in (1, 2, 3):
        left = np.isin(train.ids, np.array(originals.ids)[folds != fold])
        alone = tiny_mlp()  # first weights of the model's own seed
        fitted = fit(
            alone,
            train.subset(np.flatnonzero(left)),
            validation,
            config=config_of(train),
            policy=POLICY,
            machine=machine,
        )
        assert best_epochs[fold - 1] == fitted.best_epoch
        images = originals.images[np.flatnonzero(folds == fold)]
        logits_of_all = predict_logits(alone, images, image_size=8, normalize="half", device=CPU)
        np.testing.assert_array_equal(logits_of_all, logits[folds == fold])


@pytest.fixture
def stop_after(monkeypatch):
    """Stop right after so many saves, of epochs and of folds; None lets all pass."""
    real, left = Checkpoint.save, [None]

    def save(self, state):
        real(self, state)
        if left[0] is not None:
            left[0] -= 1
            if left[0] == 0:
                raise Stopped

    def set_left(n_saves):
        left[0] = n_saves

    monkeypatch.setattr(Checkpoint, "save", save)
    return set_left


@pytest.mark.parametrize("after", range(1, 7))  # two folds of two epochs and their logits
def test_an_interruption_anywhere_does_not_change_the_logits(
    draw_pack, out_of_fold, stop_after, capsys, after
):
    train, validation = with_variants(draw_pack(24)), draw_pack(12, seed=5)
    folds = assign_folds(train.originals(), n_folds=2, seed=1)
    expected, epochs = out_of_fold(train, validation, folds, key="undisturbed")
    stop_after(after)
    with pytest.raises(Stopped):
        out_of_fold(train, validation, folds)
    stop_after(None)
    capsys.readouterr()
    logits, best_epochs = out_of_fold(train, validation, folds)
    np.testing.assert_array_equal(logits, expected)
    assert best_epochs == epochs
    output = capsys.readouterr().out
    assert output.count("finished before the interruption") == after // 3
    assert output.count("continues after epoch") == (after % 3 > 0)


def test_a_fold_of_another_training_is_ignored(draw_pack, out_of_fold, capsys):
    train = with_variants(draw_pack(24))
    folds = assign_folds(train.originals(), n_folds=2, seed=1)
    out_of_fold(train, train, folds, key="one")
    capsys.readouterr()
    out_of_fold(train, train, folds, key="other")
    output = capsys.readouterr().out
    assert "finished before" not in output
    assert output.count("held out") == 2


def test_folds_hold_the_same_mix_of_labels_with_several_labels_an_image_too(draw_multi_pack):
    pack = draw_multi_pack(64)  # each of eight sets of labels eight times
    folds = assign_folds(pack, n_folds=4, seed=1)
    assert [pack.labels[folds == fold].sum(0).tolist() for fold in range(1, 5)] == [[8] * 3] * 4
    assert np.bincount(folds).tolist() == [0, 16, 16, 16, 16]


def test_with_several_labels_an_image_folds_are_measured_by_micro_f1(draw_multi_pack, out_of_fold):
    train = with_variants(draw_multi_pack(64))
    originals = train.originals()
    folds = assign_folds(originals, n_folds=2, seed=1)
    logits, _ = out_of_fold(train, draw_multi_pack(24, seed=5), folds, epochs=8, policy=NO_POLICY)
    score = score_logits(logits, originals.labels, loss=config_of(train).loss)
    assert score.columns("out_of_fold")["out_of_fold_micro_f1"] > 0.9


def test_folds_are_of_their_seed_and_of_nothing_else(draw_pack):
    pack = draw_pack(30)
    first, again, other = (
        assign_folds(with_groups(pack, of=2), n_folds=3, seed=seed).tolist() for seed in (1, 1, 2)
    )
    assert first == again != other


def test_a_class_in_only_one_fold_is_logged(draw_pack, capsys):
    pack = draw_pack(31)
    labels = np.where(np.arange(31) == 30, 2, np.arange(31) % 2)
    assign_folds(pack._replace(labels=labels), n_folds=3, seed=1)
    output = capsys.readouterr().out
    assert "class 'class2': all images are in one fold" in output
    assert "class1" not in output


def test_logits_and_folds_are_written_even_if_there_are_none(tmp_path):
    write_out_of_fold(tmp_path, NO_FOLDS)
    assert len(load_logits(tmp_path / "logits.npz").ids) == 0
    assert (tmp_path / "folds.csv").read_text() == "id,fold\n"
    ids, labels = np.array(["a/1", "b,2"]), np.array([1, 0])
    logits = NO_FOLDS.logits._replace(ids=ids, labels=labels, logits=np.eye(2, dtype=np.float32))
    write_out_of_fold(tmp_path, NO_FOLDS._replace(logits=logits, folds=np.array([2, 1])))
    written = load_logits(tmp_path / "logits.npz")
    assert written.ids.tolist() == ["a/1", "b,2"]
    np.testing.assert_array_equal(written.logits, np.eye(2))
    assert (tmp_path / "folds.csv").read_text() == 'id,fold\na/1,2\n"b,2",1\n'


MODEL = tiny_model.MODEL | {
    "arguments": {"hidden": [16], "dropout": 0.0},
    "online": "crop_flip",
    "batch_size": 10,
    "phases": {"p1": PHASE},
}
N_IMAGES = 48


@pytest.fixture
def workplace(tmp_path, write_packs):
    """A folder as the stage finds it, with the model `m`; call it to set folds and epochs."""
    write_packs(tmp_path / "data/augmented", train=N_IMAGES, validation=12, group_size=2)

    def configure(*, folds, epochs=2):
        model = MODEL | {"phases": {"p1": PHASE | {"epochs": epochs}}}
        write_params(tmp_path, model, stack={"folds": folds})
        return tmp_path

    return configure


STAGE = [str(ROOT / "stages/folds.py"), "m"]


def outputs(folder):
    made = [*(folder / "data/folds").rglob("*.*"), *(folder / "metrics").rglob("*.*")]
    return {path: path.read_bytes() for path in made}


def test_without_folds_torch_is_not_imported_and_the_result_is_empty(workplace):
    folder = workplace(folds=0)
    output = run_python(folder, "-X", "importtime", *STAGE, python=sys.executable)
    assert "classifold.params" in output.stderr  # imports are listed
    assert "torch" not in output.stderr
    assert read_json(folder / "metrics/folds/m.json") == {"n_folds": 0, "n_images": 0}
    assert read_rows(folder / "data/folds/m/folds.csv") == []
    assert len(load_logits(folder / "data/folds/m/logits.npz").logits) == 0


def test_every_training_image_is_predicted_and_scored(workplace):
    folder = workplace(folds=3, epochs=6)
    settings = {"launcher": "none", "device": "cpu", "precision": "fp32", "threads": 1}
    settings["compile"] = False
    found, metrics = train_folds(
        "m",
        settings=settings,
        model=MODEL | {"phases": {"p1": PHASE | {"epochs": 6}}},
        policy=NO_POLICY,
        packs=folder / "data/augmented",
        n_folds=3,
        seed=1,
        checkpoints=folder / "kept",
    )
    assert found.logits.ids.tolist() == [f"{i:03}" for i in range(N_IMAGES)]
    assert found.logits.labels.tolist() == [i % 3 for i in range(N_IMAGES)]
    right = (found.logits.logits.argmax(1) == found.logits.labels).mean()
    assert metrics["out_of_fold_accuracy"] == pytest.approx(right, abs=1e-6)
    assert right > 0.8  # these images are easy
    assert (metrics["n_folds"], metrics["n_images"], len(metrics["best_epochs"])) == (3, 48, 3)
    folds_of = defaultdict(set)
    for row, fold in enumerate(found.folds):
        folds_of[row // 2].add(fold)
    assert {len(of_group) for of_group in folds_of.values()} == {1}


@pytest.mark.slow
def test_a_stage_killed_in_its_second_fold_continues_and_ends_with_the_same_bytes(workplace):
    folder = workplace(folds=2, epochs=80)
    begins = (folder / ".cache/folds/m/2.safetensors").exists
    output = assert_a_killed_stage_writes_the_same(outputs, begins, folder, *STAGE)
    assert "fold 1/2: finished before the interruption" in output
    assert "fold 2/2: 24 training images" in output
    assert "continues after epoch" in output
    assert {path.name for path in outputs(folder)} == {"logits.npz", "folds.csv", "m.json"}
    assert not (folder / ".cache/folds/m").exists()


@pytest.mark.cluster
def test_two_processes_compute_the_same_as_one_and_one_of_them_writes(workplace):
    folder = workplace(folds=2)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    output = run_python(folder, *torchrun, *STAGE).stdout
    assert output.count("fold 2/2: best epoch") == 1  # one process talks
    together = load_logits(folder / "data/folds/m/logits.npz")
    folds = (folder / "data/folds/m/folds.csv").read_bytes()
    assert not list(folder.rglob("*.partial"))
    run_python(folder, *STAGE)
    alone = load_logits(folder / "data/folds/m/logits.npz")
    assert (folder / "data/folds/m/folds.csv").read_bytes() == folds
    np.testing.assert_allclose(together.logits, alone.logits, atol=2e-4)
    assert np.abs(alone.logits).max() > 0.1
