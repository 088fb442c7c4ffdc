"""The bench of peers, with peers that take a moment and images made here."""

import csv
import sys
from pathlib import Path

import pytest
from PIL import Image

from classifold.data.image_table import write_table
from classifold.data.orientation import ORIENTATION_TAG
from image_scene import pillow

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))

from peers import bench, measure  # noqa: E402
from peers.prepare import HUB_NAME, export  # noqa: E402
from peers.roster import PEERS, Peer  # noqa: E402
from peers.scores import baseline, score  # noqa: E402
from peers.table import table  # noqa: E402

COLORS = {"red": (255, 0, 0), "blue": (0, 0, 255)}

# Predicts a class by the red channel.
PEER = """
import csv, sys, time
sys.path.append({scripts!r})
from PIL import Image
from protocol import Bench
bench = Bench()
with bench.training():
    for _ in range(bench.epochs):
        time.sleep(0.2)
        bench.epoch()
files = [row["image"] for row in csv.DictReader((bench.data / "test.csv").open())]
red = [Image.open(bench.data / file).getpixel((0, 0))[0] > 99 for file in files]
labels = [["red" if one else "blue"] for one in red]
bench.report(files, labels, weights="none", done=str(bench.epochs))
"""


def encoded(color, **options):
    return pillow(Image.new("RGB", (8, 4), color), **options)


@pytest.fixture
def folder(tmp_path):
    """The folder of a bench, with images of an archive named `colors` and their splits."""
    ingested, split = tmp_path / "ingested", tmp_path / "split"
    ingested.mkdir()
    split.mkdir()
    ids = [f"{name}/{number}.png" for name in COLORS for number in range(6)]
    rows = [
        {"id": one, "image": {"bytes": encoded(COLORS[label]), "path": one}, "labels": [label]}
        for one in ids
        for label in [one.split("/")[0]]
    ]
    turned = Image.Exif()
    turned[ORIENTATION_TAG] = 6
    rows[0]["image"]["bytes"] = encoded(COLORS["red"], exif=turned)
    # An image that looks red, and has the label blue.
    rows[-1]["image"]["bytes"] = encoded(COLORS["red"])
    write_table(ingested, rows)
    for number, name in enumerate(("train", "validation", "test")):
        lines = [one for one in ids if int(one[-5]) // 2 == number]
        (split / f"{name}.csv").write_text("\n".join(["id", *lines]) + "\n")
    export(ingested, split, tmp_path / "images/colors", archive=Path("colors.zip"))
    weights = tmp_path / "huggingface/hub" / HUB_NAME / "snapshots/package/model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.touch()
    return tmp_path


def peer(folder, text=PEER, **settings):
    script = folder / "with_fake.py"
    script.write_text(text.format(scripts=str(BENCHMARKS / "peers/scripts")))
    return Peer("fake", script, "numpy", **settings)


def run(peer, folder):
    (result,) = bench.run([peer], Path("colors.zip"), 1, python=Path(sys.executable), folder=folder)
    return result


def test_peers_get_the_splits_without_the_labels_of_test_images(folder):
    images = folder / "images/colors/images"
    with (images / "train.csv").open() as file:
        train = list(csv.DictReader(file))
    assert [row["labels"] for row in train] == ["red", "red", "blue", "blue"]
    for row in train:
        pixel = Image.open(images / row["image"]).getpixel((0, 0))
        assert pixel == COLORS[row["labels"]] == COLORS[Path(row["image"]).parent.name]
    sizes = [Image.open(images / row["image"]).convert("RGB").size for row in train]
    assert sizes == [(4, 8), (8, 4), (8, 4), (8, 4)]  # the first one was turned upright
    names = [path.relative_to(images).as_posix() for path in images.rglob("*")]
    assert sum(name.startswith("test/") for name in names) == 4
    assert not [name for name in names if "test" in name and ("red" in name or "blue" in name)]
    assert "red" not in (images / "test.csv").read_text()


def test_a_peer_is_scored_and_its_result_is_kept(folder):
    fake = peer(folder)
    result = run(fake, folder)
    assert (result["end"], result["n_test"], result["baseline"]) == ("ok", 4, 0.5)
    assert result["score"] == 0.75  # one of four has the wrong color
    assert result["interval"][0] < 0.75 < result["interval"][1]
    assert result["images_per_second"] <= 4 / 0.2  # four images, at least 0.2 s per epoch
    assert 0 < result["first_result_seconds"] <= result["seconds"]
    fake.script.unlink()
    assert run(fake, folder) == result


@pytest.mark.parametrize(
    ("limited", "budget", "epochs"),
    [(False, 10, [1, 4]), (False, 5, [1]), (True, 10, [1])],  # 4 s for one epoch, 2 s for others
)
def test_epochs_fit_into_the_budget(monkeypatch, limited, budget, epochs):
    runs = []

    def run_once(peer, images, budget, epochs, interpreter, *, log):
        runs.append(epochs)
        return {"end": "ok", "seconds": 4.0, "epoch_seconds": 2.0}

    monkeypatch.setattr(bench, "_run", run_once)
    fake = Peer("fake", Path("fake.py"), "numpy", limited=limited)
    bench._run_within(fake, Path(), budget, Path(), log=Path())
    assert runs == epochs


def test_a_peer_that_fails_has_its_last_message(folder):
    result = run(peer(folder, "raise OSError('no weights')"), folder)
    assert (result["end"], result["message"]) == ("failed", "OSError: no weights")
    assert "failed" in table([result])


def test_a_peer_that_is_too_slow_is_stopped(folder, monkeypatch):
    monkeypatch.setattr(bench, "LEAST", 1)
    monkeypatch.setattr(bench, "SLOWEST", 0)
    result = run(peer(folder, "import time; time.sleep(60)"), folder)
    assert result["end"] == "stopped"
    assert 1 <= result["seconds"] < 10
    assert "stopped" in table([result])


def test_cost_counts_children(tmp_path):
    code = (
        "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; "
        "x = bytearray(300 << 20); x[::4096] = x[::4096]\\n"
        "while time.process_time() < 2: pass'])"
    )
    cost = measure.measure([sys.executable, "-c", code], folder=tmp_path, environment={}, limit=60)
    assert cost.end == "ok"
    assert cost.cpu_seconds > 1.8
    assert cost.peak_gib > 0.29


def test_several_labels_are_scored_by_micro_f1():
    actual = {"a": ["x", "y"], "b": ["x"], "c": []}
    predicted = {"a": ["x"], "b": ["x", "y"], "c": []}
    value, (low, high) = score(predicted, actual, ["x", "y"], task="multi")
    assert value == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))  # true positives 2, errors 2
    assert low < value < high
    train = [["x"], ["x", "y"], ["x"]]
    assert baseline(train, actual, ["x", "y"], task="multi") == pytest.approx(2 * 2 / (3 + 3))


def test_a_missing_prediction_is_an_error():
    with pytest.raises(ValueError, match="of 1 images, expected 2"):
        score({"a": ["x"]}, {"a": ["x"], "b": ["y"]}, ["x", "y"], task="single")


def test_the_table_has_scores_costs_and_reasons():
    common = {"images": "fruit", "budget": 120, "commands": False, "lines": 7}
    done = common | {"peer": "ours", "version": "1.0", "end": "ok", "metric": "accuracy"}
    done |= {"score": 0.92, "interval": [0.9, 0.94], "baseline": 0.336, "n_test": 1535}
    done |= {"first_result_seconds": 61.2, "seconds": 125.9, "cpu_seconds": 59.4}
    done |= {
        "images_per_second": 12.34,
        "peak_gib": 1.25,
        "weights": "ImageNet",
        "done": "3 epochs",
    }
    lines = table([done, common | {"peer": "other", "end": "unsupported"}]).splitlines()
    assert lines[0] == (
        "fruit, budget 120 s: 1,535 test images; the best constant prediction has 33.6 %"
    )
    assert lines[4] == (
        "| ours 1.0 | 92.0 % (90.0 to 94.0 %) | 1 min 01 s | 2 min 06 s | 59 s | 12 | 1.2 GiB | 7 "
        "| ImageNet; 3 epochs |"
    )
    assert {line.count("|") for line in lines[2:]} == {10}


def test_scripts_are_short():
    for one in PEERS:
        lines = [line for line in one.script.read_text().splitlines() if line]
        assert 0 < one.n_lines < len(lines) <= 60, one.script
