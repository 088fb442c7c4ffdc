"""Predictions for new images equal those of `evaluate`, bit for bit, from files or archives."""

import os
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from dvc.utils.hydra import apply_overrides
from rich.cells import cell_len

from archives import member, pack, write_files
from classifold.data.csv_file import read_rows
from classifold.data.json_file import read_json, write_json
from classifold.data.pixels import load_pixels
from classifold.errors import UserError
from classifold.evaluation import inference as evaluation
from classifold.models.decisions import probabilities
from classifold.models.inference import BATCH_SIZE
from classifold.models.model_file import load_model
from classifold.runtime import chunks, parallel
from classifold.serving import new_images, predict
from classifold.serving.predict import N_IMAGES_AT_ONCE, Classifier, Prediction
from classifold.serving.predictions_file import write_predictions
from classifold.serving.predictions_table import print_predictions, shorten
from classifold.stacking.ensemble import load_ensemble
from command_line import classifold, error_of, output_of

CPU = torch.device("cpu")
UNLABELED = ["unlabelled/cmyk.jpg", "unlabelled/small.png"]
CLASSES = ("cat", "dog", "owl")
ONE_VIEW = {"flips": "none", "shift": 0}


def evaluated(root, ids, *, test_time=ONE_VIEW):
    """The probabilities that the stage `evaluate` computes for images of the table, by model."""
    ingested, models = root / "data/ingested", root / "models"
    predictions = evaluation.predict_all(
        evaluation.read_pixels(ids, ingested=ingested, model=models / "flat"),
        models=models,
        ensemble=root / "ensemble",
        decisions=read_json(root / "data/compared/decisions.json"),
        device=CPU,
        test_time=test_time,
    )
    return {name: prediction.probabilities for name, prediction in predictions.items()}


def probabilities_of(predictions):
    return np.array([[p.probabilities[name] for name in CLASSES] for p in predictions])


def classify(root, images, *, model="stack"):
    return list(Classifier.load(root, model=model).predict(images))


@pytest.mark.parametrize("model", ["stack", "flat", "deep"])
def test_predictions_for_files_equal_those_of_evaluate_bit_for_bit(project, odd_images, model):
    root = project()
    ids = list(odd_images)
    predictions = classify(root, [root / "source" / name for name in reversed(ids)], model=model)
    expected = evaluated(root, ids)[model]
    np.testing.assert_array_equal(probabilities_of(predictions)[::-1], expected)
    assert [p.image for p in predictions] == [str(root / "source" / n) for n in ids[::-1]]
    assert [p.labels for p in reversed(predictions)] == [
        [CLASSES[row.argmax()]] for row in expected
    ]
    for prediction in predictions:
        ranked = sorted(prediction.probabilities.items(), key=lambda pair: -pair[1])
        assert list(prediction.probabilities.items()) == ranked
        assert prediction.labels == [ranked[0][0]]
        assert prediction.reason is None


@pytest.mark.parametrize("resize", ["box", "bilinear"])
def test_the_filter_is_that_of_the_pack(project, odd_images, resize):
    root = project(resize=resize)
    found = probabilities_of(classify(root, [root / "source"]))
    np.testing.assert_array_equal(found, evaluated(root, sorted(odd_images))["stack"])


def test_views_are_averaged_as_evaluate_does(project, odd_images):
    root = project()
    text = (root / "params.yaml").read_text()
    assert "{flips: none, shift: 0}" in text
    (root / "params.yaml").write_text(text.replace("{flips: none, shift", "{flips: both, shift"))
    found = probabilities_of(classify(root, [root / "source"]))
    ids = sorted(odd_images)
    averaged = evaluated(root, ids, test_time={"flips": "both", "shift": 0})["stack"]
    np.testing.assert_array_equal(found, averaged)
    assert np.abs(found - evaluated(root, ids)["stack"]).max() > 1e-4


@pytest.mark.parametrize("method", ["dense", "logistic", "greedy"])
@pytest.mark.parametrize("task", ["single", "multi"])
def test_the_bits_of_a_prediction_depend_on_no_other_image(project, task, method):
    classifier = Classifier.load(project(task, method=method))
    random = np.random.default_rng(1)
    pixels = random.integers(0, 256, (2 * BATCH_SIZE + 9, 16, 16, 3), np.uint8)
    whole = classifier.probabilities(pixels)
    order = random.permutation(len(pixels))
    np.testing.assert_array_equal(classifier.probabilities(pixels[order]), whole[order])
    for i in (0, 1, BATCH_SIZE + 5):
        np.testing.assert_array_equal(classifier.probabilities(pixels[i : i + 1])[0], whole[i])


def test_several_labels_are_those_above_the_threshold(project, odd_images):
    root = project("multi")
    ids = sorted(odd_images)
    pixels = load_pixels(root / "data/ingested", ids, size=16, resize="lanczos")
    members = [load_model(root / "models" / name) for name in ("flat", "deep")]
    logits = {
        name: evaluation.model_logits(model, pixels, device=CPU, **ONE_VIEW)
        for name, model in zip(("flat", "deep"), members, strict=True)
    }
    stacked = evaluation.stacked_logits(load_ensemble(root / "ensemble"), logits)
    for model, of_model, temperature in (("stack", stacked, 1.3), ("deep", logits["deep"], 1.7)):
        expected = probabilities(of_model, temperature=temperature, task="multi")
        threshold = float(np.median(expected))
        classifier = Classifier.load(root, model=model)
        classifier.decision["threshold"] = threshold
        predictions = list(classifier.predict([root / "source"]))
        np.testing.assert_array_equal(probabilities_of(predictions), expected)
        assert [p.labels for p in predictions] == [
            [name for name, p in zip(CLASSES, row, strict=True) if p > threshold]
            for row in expected
        ]
        assert sum(len(p.labels) for p in predictions) == expected.size / 2


def test_only_the_networks_that_are_needed_are_loaded_and_each_once(project, monkeypatch):
    root = project()
    loaded = []

    def load(folder):
        loaded.append(folder.name)
        return load_model(folder)

    monkeypatch.setattr(evaluation, "load_model", load)
    classify(root, [root / "source"], model="deep")
    assert loaded == ["deep"]
    classify(root, [root / "source"])
    assert loaded[1:] == load_ensemble(root / "ensemble").members


@pytest.mark.parametrize(
    ("name", "kind"),
    [("new.zip", "zip"), ("new.tar", "tar"), ("new.tgz", "tar.gz"), ("named like nothing", "tar")],
)
def test_archives_are_read_like_folders(project, odd_images, tmp_path, name, kind):
    root = project()
    path = pack(tmp_path / name, odd_images | {"cat/notes.md": b"no image"}, kind)
    predictions = classify(root, [path])
    expected = evaluated(root, sorted(odd_images))["stack"]
    np.testing.assert_array_equal(probabilities_of(predictions), expected)
    assert [p.image for p in predictions] == [f"{path}/{name}" for name in sorted(odd_images)]


def test_unlabeled_images_are_those_of_the_table(project):
    root = project()
    predictions = classify(root, ["unlabelled"], model="flat")
    assert [p.image for p in predictions] == UNLABELED
    np.testing.assert_array_equal(probabilities_of(predictions), evaluated(root, UNLABELED)["flat"])


def test_an_unreadable_image_keeps_its_place_and_has_a_reason(project, odd_images, tmp_path):
    root = project()
    photo = odd_images["cat/photo.jpg"]
    others = {"rubbish.jpg": b"rubbish", "notes.txt": b"no image"}
    write_files(tmp_path, {"photo.jpg": photo, "cut.jpg": photo[:400]} | others)
    os.mkfifo(tmp_path / "pipe.png")
    names = ("rubbish.jpg", "cut.jpg", "photo.jpg", "notes.txt", "pipe.png")
    predictions = classify(root, [tmp_path / name for name in names])
    reasons = ["supported format", "runcated", "None", "supported format", "not a file that can"]
    for prediction, reason in zip(predictions, reasons, strict=True):
        assert reason in str(prediction.reason)
        assert bool(prediction.probabilities) == (reason == "None")
    np.testing.assert_array_equal(
        probabilities_of(predictions[2:3]), evaluated(root, ["cat/photo.jpg"])["stack"]
    )


def test_links_and_climbing_names_of_archives_are_rows_with_reasons(project, odd_images, tmp_path):
    link = member("link.png", type=tarfile.SYMTYPE, linkname="/etc/passwd")
    gray = odd_images["dog/gray.png"]
    path = pack(tmp_path / "odd.tar", {"../climbs.png": gray, "ok.png": gray, link: b""}, "tar")
    predictions = {p.image: p.reason for p in classify(project(), [path])}
    assert predictions == {
        f"{path}/ok.png": None,
        f"{path}/../climbs.png": "its name is a path outside the archive",
        f"{path}/link.png": "a link; links of archives are not followed",
    }


def test_background_is_that_of_the_params(project, encode, tmp_path):
    root = project()
    clear, red = np.zeros((16, 16, 4), np.uint8), np.full((16, 16, 3), (250, 0, 0), np.uint8)
    write_files(tmp_path, {"clear.png": encode(clear), "red.png": encode(red)})
    apply_overrides(root / "params.yaml", ["ingest.background=[250, 0, 0]"])
    clear, plain = probabilities_of(classify(root, [tmp_path / "clear.png", tmp_path / "red.png"]))
    np.testing.assert_array_equal(clear, plain)


@pytest.mark.parametrize("n_processes", [1, 2])
def test_no_more_images_are_read_than_the_window_holds(
    project, odd_images, tmp_path, monkeypatch, n_processes
):
    monkeypatch.setattr(parallel, "MIN_ITEMS_FOR_PROCESSES", 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(n_processes), raising=False)
    root = project()
    n_images = 3 * N_IMAGES_AT_ONCE
    content = odd_images["dog/gray.png"]
    images = {f"{i:04}.png": content for i in range(n_images)}
    path = pack(tmp_path / "many.zip", images, "zip")
    n_read = 0
    read_image = new_images.read_image

    def counted(read, name):
        nonlocal n_read
        n_read += 1
        return read_image(read, name)

    monkeypatch.setattr(new_images, "read_image", counted)
    window = n_processes * chunks.CHUNKS_PER_WORKER * chunks.ITEMS_PER_CHUNK
    n_predicted = 0
    for prediction in Classifier.load(root, model="flat").predict([path]):
        # The images of one round were all read before its first prediction.
        assert n_read <= n_predicted - n_predicted % N_IMAGES_AT_ONCE + N_IMAGES_AT_ONCE + window
        assert prediction.labels
        n_predicted += 1
    assert n_predicted == n_read == n_images


def test_a_table_without_unlabeled_images_is_refused_with_a_remedy(project, odd_images):
    for name in UNLABELED:
        del odd_images[name]
    with pytest.raises(UserError, match=r"no image is unlabeled.*into a folder named"):
        classify(project(), ["unlabelled"])


STACK, DEEP = "ensemble/ensemble.json", "models/deep/model.json"


@pytest.mark.parametrize(
    ("file", "change", "model", "message"),
    [
        ("data/compared/decisions.json", None, "stack", r"decisions.json: no such.*'dvc repro'"),
        (STACK, None, "stack", r"there is no stack.*'dvc repro stack', .*--model \(flat, deep\)"),
        (
            "models/deep/weights.safetensors",
            None,
            "stack",
            r"deep: the model is incomp.*dvc repro'",
        ),
        (
            STACK,
            lambda of: of | {"members": ["flat", "gone"]},
            "stack",
            r"params.yaml no longer lists, got gone.*repro stack",
        ),
        (
            DEEP,
            lambda of: of | {"preprocessing": of["preprocessing"] | {"pack_size": 24}},
            "stack",
            r"flat, deep were trained on packs of different .*'dvc repro'",
        ),
        (DEEP, dict, "vgg", r"--model: .* no trained model vgg.* stack, flat, deep"),
        (DEEP, dict, "majority_baseline", r"majority_baseline \(it is the same for all images"),
    ],
    ids=[
        *("decisions", "stack", "weights", "member", "packs of another size"),
        *("model", "majority_baseline"),
    ],
)
def test_a_missing_model_is_reported_with_the_command_that_trains_it(
    project, file, change, model, message
):
    root = project()
    if change:
        write_json(root / file, change(read_json(root / file)))
    else:
        (root / file).unlink()
    with pytest.raises(UserError, match=message):
        Classifier.load(root, model=model)


def test_one_model_predicts_without_a_stack(project):
    root = project()
    (root / STACK).unlink()
    (root / "models/deep/weights.safetensors").unlink()
    assert len(classify(root, [root / "source"], model="flat")) == 8


def test_networks_of_another_folder_use_the_decisions_of_the_pipeline(project):
    root = project()
    before = classify(root, [root / "source"], model="flat")
    with pytest.raises(UserError, match=r"refit: there is no model flat.*'classifold refit flat'"):
        Classifier.load(root, model="flat", models=Path("refit"))
    (root / "models").rename(root / "refit")
    classifier = Classifier.load(root, model="flat", models=Path("refit"))
    assert list(classifier.predict([root / "source"])) == before


def test_rows_of_one_label_by_hand(tmp_path):
    probabilities = {"cat": 0.75, "owl": 0.2, "dog": 0.05}
    sets = {"0.8": ["cat"], "0.95": ["cat", "owl", "dog"]}
    predictions = [
        Prediction("a.png", ["cat"], probabilities, None, "clipped", sets=sets),
        Prediction("b.png", [], probabilities, None, sets=sets, abstained="too low"),
        Prediction("=1+1.png", [], {}, "not an image"),
    ]
    path = tmp_path / "new/predictions.csv"
    counts = write_predictions(path, predictions, task="single", top=2, levels=["0.8", "0.95"])
    assert counts == (1, 1, 1)
    assert path.read_text() == (
        "image,predicted,probability,class_1,probability_1,class_2,probability_2,"
        "set_0.8,set_0.95,reason,remark\n"
        "a.png,cat,0.75,cat,0.75,owl,0.2,cat,cat|owl|dog,,clipped\n"
        "b.png,,,cat,0.75,owl,0.2,cat,cat|owl|dog,too low,\n"
        "'=1+1.png,,,,,,,,,not an image,\n"
    )


def test_a_row_of_several_labels_by_hand(tmp_path):
    predictions = [
        Prediction("a.png", ["cat", "dog"], {"dog": 1 / 3, "cat": 0.25, "owl": 0.125}, None),
        Prediction("b.png", [], {"dog": 0.1, "cat": 0.0, "owl": 0.0}, None),
    ]
    write_predictions(tmp_path / "p.csv", predictions, task="multi", top=1)
    assert (tmp_path / "p.csv").read_text() == (
        "image,predicted,class_1,probability_1,reason,remark\n"
        "a.png,cat|dog,dog,0.3333333333333333,,\n"
        "b.png,,dog,0.1,,\n"
    )


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("the disk is full")])
def test_an_unfinished_file_never_appears(tmp_path, error):
    path = tmp_path / "predictions.csv"
    path.write_text("old")

    def fails():
        yield Prediction("a.png", ["cat"], {"cat": 1.0}, None)
        raise error

    with pytest.raises((KeyboardInterrupt, OSError)):
        write_predictions(path, fails(), task="single", top=1)
    assert [file.name for file in tmp_path.iterdir()] == ["predictions.csv"]
    assert path.read_text() == "old"


@pytest.fixture
def command(project, monkeypatch):
    """`classifold predict`, in the project's folder: exit code, output, errors."""
    root = project()
    monkeypatch.chdir(root)

    def run(*arguments):
        return classifold("predict", *arguments)

    return run


def test_the_command_writes_a_row_per_image_and_counts_unreadable_ones(command):
    Path("source/cat/rubbish.jpg").write_bytes(b"rubbish")
    output = output_of(command("source", "--out", "p.csv", "--top", "9"))
    assert "p.csv: predictions of the stack for 8 images" in output
    assert "1 of 9 images could not be read" in output
    rows = read_rows(Path("p.csv"))
    assert len(rows) == 9
    assert [row["image"] for row in rows if row["reason"]] == ["source/cat/rubbish.jpg"]
    expected = evaluated(Path(), ["owl/deep.png"])["stack"][0]
    (row,) = (row for row in rows if row["image"].endswith("deep.png"))
    assert {row[f"class_{i}"]: float(row[f"probability_{i}"]) for i in (1, 2, 3)} == dict(
        zip(CLASSES, expected, strict=True)
    )
    assert row["predicted"] == row["class_1"]
    assert row["probability"] == row["probability_1"]
    assert "class_4" not in row


def test_without_a_file_the_command_prints_a_table(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    Path("source/cat/rubbish [red].jpg").write_bytes(b"rubbish")
    before = sorted(Path().rglob("*"))
    output = output_of(command("source/owl/deep.png", "source/cat/rubbish [red].jpg"))
    expected = evaluated(Path(), ["owl/deep.png"])["stack"][0]
    ranked = sorted(zip(expected, CLASSES, strict=True), reverse=True)
    first, second, third = (f"{name} {p:.3f}" for p, name in ranked)
    row, remark = (line for line in output.splitlines() if "deep.png" in line)
    assert first in row and f"{second}, {third}" in row
    assert "a deep image" in remark and "a deep image" not in row
    (row,) = (line for line in output.splitlines() if "rubbish [red].jpg" in line)
    assert row.strip().endswith("  not an image in a supported format")
    assert "predictions of the stack for 1 image" in output
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize("out", [[], ["--out", "p.csv"]])
def test_from_a_subfolder_images_have_the_names_that_were_given(command, monkeypatch, out):
    monkeypatch.setenv("COLUMNS", "200")
    Path("dvc.yaml").touch()
    Path("stages").mkdir()
    root = Path.cwd()
    monkeypatch.chdir(root / "source/owl")
    pack(Path("more.zip"), {"in/1.png": Path("deep.png").read_bytes()}, "zip")
    done = command("deep.png", "more.zip", "../cat", *out)
    assert done.exit_code == 0, done.output
    cats = [f"../cat/{path.name}" for path in sorted((root / "source/cat").iterdir())]
    expected = ["deep.png", "more.zip/in/1.png", *cats]
    if out:
        rows = read_rows(root / "source/owl/p.csv")
        assert [row["image"] for row in rows] == expected
    else:
        shown = [line.strip().split("  ")[0] for line in done.stdout.splitlines()]
        assert shown[3 : 3 + len(expected)] == expected
    monkeypatch.chdir(root / "source/owl")
    done = command("deep.png", "--out", "deep.png")
    assert "deep.png is one of the images" in done.stderr


@pytest.mark.parametrize(
    ("labels", "cells"),
    [
        (["cat"], ["a.png", "cat 0.700", "owl 0.200"]),
        (["cat", "dog"], ["a.png", "cat 0.700, dog 0.100", "owl 0.200"]),  # several labels
        ([], ["a.png", "cat 0.700, owl 0.200"]),
    ],
)
def test_the_table_lists_each_class_once(capsys, monkeypatch, labels, cells):
    monkeypatch.setenv("COLUMNS", "200")
    probabilities = {"cat": 0.7, "owl": 0.2, "dog": 0.1}
    print_predictions([Prediction("a.png", labels, probabilities, reason=None)], top=2)
    header, _, row = (line for line in capsys.readouterr().out.splitlines() if line.strip())
    assert header.split("  ")[0].strip() == "image" and "other classes" in header
    assert "remark" not in header
    assert [cell.strip() for cell in row.split("  ") if cell.strip()] == cells


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize(
    "names",
    [
        ["cherry", "tomato", "strawberry"],
        ["Prunus avium (sweet cherry, ripe)", "Fragaria × ananassa", "x" * 90],
        ["x" * 90, "さくらんぼ", "トマト"],
    ],
)
def test_the_table_fits_the_terminal_and_has_the_whole_predicted_class(
    capsys, monkeypatch, width, names
):
    monkeypatch.setenv("COLUMNS", str(width))
    probabilities = dict(zip(names, (0.6, 0.3, 0.1), strict=True))
    prediction = Prediction("a.jpg", names[:1], probabilities, None, sets={"0.9": names})
    print_predictions([prediction], top=3)
    lines = capsys.readouterr().out.splitlines()
    start = next(line.index("predicted") for line in lines if "predicted" in line)
    first = next(number for number, line in enumerate(lines) if "a.jpg" in line)
    predicted = [re.split(r"\s{2,}", line[start:])[0] for line in lines[first:]]
    assert "".join("".join(predicted).split()) == f"{names[0]}0.600".replace(" ", "")
    images = ["夏休み/写真/木の写真その一.png", f"{'long/' * 9}IMG_1.jpg"]
    print_predictions(
        [prediction._replace(image=image, remark="…" * 99) for image in images], top=2
    )
    lines += capsys.readouterr().out.splitlines()
    assert max(map(cell_len, lines)) <= width
    assert sum("IMG_1.jpg" in line for line in lines) == 2  # with its prediction, and its remark


@pytest.mark.parametrize(
    ("text", "width", "short"),
    [
        ("cherry", 6, "cherry"),
        ("strawberry", 7, "str…rry"),
        ("さくらんぼ", 8, "さく…ぼ"),  # two cells each
        ("new/photos/IMG_1.jpg", 19, "…/photos/IMG_1.jpg"),
        ("new/photos/IMG_1.jpg", 12, "…/IMG_1.jpg"),
        ("new/photos/IMG_1.jpg", 9, "new/….jpg"),
        ("ab", 1, "…"),
    ],
)
def test_names_are_shortened_in_the_middle(text, width, short):
    assert shorten(text, width) == short
    assert cell_len(short) <= width


def set_thresholds(root, *, n_images=50, **thresholds):
    """Add thresholds to the decision of the stack."""
    path = root / "ensemble/decision.json"
    calibration = {"calibrated_on": "train", "n_calibration_images": n_images}
    write_json(path, read_json(path) | calibration | thresholds)


def test_sets_of_too_few_calibration_images_are_explained_once(command):
    set_thresholds(Path(), n_images=12, prediction_sets={"0.9": 0.2, "0.95": 0.0})
    assert "sets have all classes" not in command("unlabelled").stdout  # those of 90 % are shown
    *_, line = command("unlabelled", "--out", "p.csv").stdout.splitlines()
    assert line.replace("\u00a0", " ") == (
        "At a level of 95 %, prediction sets have all classes: the level needs at least 19 "
        "calibration images, got 12. Add images or remove 0.95 from "
        "evaluate.prediction_sets.levels; then run 'dvc repro'."
    )
    set_thresholds(Path(), n_images=8, prediction_sets={"0.9": 0.0, "0.95": 0.0})
    shown = command("unlabelled").stdout
    assert shown.count("sets have all classes") == 1 and "at least 9 calibration im" in shown


@pytest.mark.parametrize("task", ["single", "multi"])
def test_prediction_sets_hold_the_classes_above_the_thresholds_of_each_level(project, task):
    root = project(task)
    expected = evaluated(root, UNLABELED)["stack"]
    # Two classes of the first image; files have six places.
    threshold = float(np.floor(np.sort(expected[0])[1] * 1e6) / 1e6)
    set_thresholds(root, prediction_sets={"0.8": threshold, "0.95": 0.0})
    for prediction, row in zip(classify(root, ["unlabelled"]), expected, strict=True):
        ranked = [name for _, name in sorted(zip(-row, CLASSES, strict=True))]
        n_above = int((row >= threshold).sum())
        assert prediction.sets == {
            "0.8": ranked[: max(n_above, 1) if task == "single" else n_above],
            "0.95": ranked,
        }
    assert len(classify(root, ["unlabelled"])[0].sets["0.8"]) == 2


@pytest.mark.parametrize("task", ["single", "multi"])
def test_images_of_low_confidence_get_the_reason_and_no_prediction(project, task):
    root = project(task)
    before = classify(root, ["unlabelled", root / "source"])
    confidence = [
        np.prod([p if name in each.labels else 1 - p for name, p in each.probabilities.items()])
        if task == "multi"
        else max(each.probabilities.values())
        for each in before
    ]
    threshold = float(np.median(confidence))
    set_thresholds(root, abstention={"0.95": threshold, "0.5": 0.0})
    classifier = Classifier.load(root, abstain=0.95)
    for prediction, old, value in zip(
        classifier.predict(["unlabelled", root / "source"]), before, confidence, strict=True
    ):
        assert prediction.probabilities == old.probabilities
        if value >= threshold:
            assert (prediction.labels, prediction.abstained) == (old.labels, None)
        else:
            assert prediction.labels == []
            assert f"confidence {value:.3f} is below {threshold:.3f}" in prediction.abstained
            assert "0.95" in prediction.abstained
    assert sum(value < threshold for value in confidence) == len(confidence) / 2
    assert list(Classifier.load(root, abstain=0.5).predict(["unlabelled"])) == before[:2]


def test_the_command_abstains_and_counts(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    set_thresholds(Path(), prediction_sets={"0.9": 0.0}, abstention={"0.95": 1.0, "0.99": None})
    output = output_of(command("unlabelled", "--abstain", "0.95", "--out", "p.csv"))
    assert "p.csv: predictions of the stack for 0 images" in output
    assert "2 of 2 images have no prediction" in output and "0.95" in output
    for row in read_rows(Path("p.csv")):
        assert row["predicted"] == row["probability"] == ""
        assert "below 1.000" in row["reason"]
        assert sorted(row["set_0.9"].split("|")) == ["cat", "dog", "owl"]
        assert row["class_1"]
    shown = command("unlabelled", "--abstain", "0.95", "--top", "1").stdout
    assert "90 % set" in shown and "2 more" in shown and "below 1.000" in shown


@pytest.mark.parametrize(
    ("thresholds", "accuracy", "message"),
    [
        (
            {"0.95": 1.0},
            "0.9",
            r"--abstain: .*\(0.95\), got 0.9. .*add 0.9 to evaluate.abstention.acc",
        ),
        (
            {"0.95": 1.0, "0.99": None},
            "0.99",
            r"accuracy of 0.99 on the 50 training .*\(0.95\), or",
        ),
        ({}, "2", r"0<=x<=1|less than or equal to 1"),
        (None, "0.95", r"\(there are none\), got 0.95. Add 0.95.*dvc repro"),  # earlier version
    ],
)
def test_only_accuracies_with_a_threshold_can_be_wanted(command, thresholds, accuracy, message):
    if thresholds is not None:
        set_thresholds(Path(), abstention=thresholds)
    done = command("unlabelled", "--abstain", accuracy)
    assert done.exit_code
    assert re.search(message, " ".join(done.stderr.split()))


@pytest.mark.parametrize("out", [[], ["--out", "p.csv"]])
def test_if_nothing_can_be_read_the_exit_code_is_1(command, out):
    Path("rubbish.jpg").write_bytes(b"rubbish")
    done = command("rubbish.jpg", *out)
    assert done.exit_code == 1
    assert "none of 1 images could be read" in done.stderr
    shown = Path("p.csv").read_text() if out else done.stdout
    assert "not an image" in shown


PHOTO = "source/cat/photo.jpg"


@pytest.mark.parametrize(
    ("images", "out", "message"),
    [
        ("nowhere.png", ["p.csv"], "nowhere.png: no such file or folder"),
        ("source", ["source"], "--out: source is a folder"),
        ("source", ["new/p.csv"], "--out: new is not a folder"),
        (PHOTO, [PHOTO], f"--out: {PHOTO} is one of the images"),
        ("source", ["p.csv", "--model", "vgg"], "--model: there is no trained model vgg"),
    ],
)
def test_mistakes_are_one_message_and_leave_nothing(command, images, out, message):
    before = sorted(Path().rglob("*"))
    assert error_of(command(images, "--out", *out)).startswith(message)
    assert sorted(Path().rglob("*")) == before


def test_ctrl_c_leaves_no_file(command, monkeypatch):
    def stopped(model, pixels, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(predict, "model_logits", stopped)
    done = command("source", "--out", "p.csv")
    assert done.exit_code == 130
    assert done.stderr.strip() == "stopped by Ctrl-C; no unfinished file is left"
    assert not list(Path().glob("*p.csv*"))
    assert not list(Path().glob(".*"))
