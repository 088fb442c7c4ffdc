"""What `classifold init` finds in images, and the params that it chooses for them."""

from collections import Counter
from pathlib import Path

import pytest

from classifold.errors import UserError
from classifold.params.validation import check_params
from classifold.project import findings as looking
from classifold.project import new_project
from classifold.project.chosen_params import write_params
from classifold.project.findings import Findings, Sample, describe, find
from classifold.project.presets import Machine, Preset, epochs_of
from command_line import classifold, error_of, output_of
from synthetic_clone import CLASSES, draw, draw_data

CPU, GPU = Machine(2, None), Machine(16, "NVIDIA H200")
PHOTOS = Sample(
    n_images=1000,
    unreadable=[],
    sizes=Counter({(400, 300): 990, (300, 400): 10}),
    conversions=Counter(),
    n_turned=0,
    n_exact=4,
    n_near=6,
    largest_group=2,
)
FOUND = Findings(
    layout="folder",
    folders="auto",
    task="single",
    images_per_class={"cherry": 1500, "tomato": 1500},
    labels_per_image=Counter({1: 3000}),
    images_per_split=Counter({None: 3000}),
    n_unlabeled=0,
    remarks=[],
    sample=PHOTOS,
    failure=None,
)
MANY = {"labels_per_image": Counter({1: 50_000})}


def photos_of_size(side, **changes):
    return PHOTOS._replace(sizes=Counter({(side, side): 1000}), **changes)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "shapes"
    draw_data(folder)
    return folder


def test_a_folder_is_described(images):
    found = find(images)
    assert (found.layout, found.task, found.n_labeled) == ("folder", "single", 124)
    assert found.images_per_class == {"circle": 41, "cross": 41, "square": 42}
    sample = found.sample
    assert sample.n_images == 124
    assert [item.id for item in sample.unreadable] == ["square/cut.png"]
    assert sample.n_turned == 0
    assert found.failure is None
    assert sample.modal_size == ((24, 24), 122 / 123)
    assert sample.median_side == 24
    assert sample.conversions == {"grayscale": 1}
    assert sample.n_exact == 2
    assert sample.n_near >= 4  # the grayscale copy, too
    text = "\n".join(describe(found))
    assert "all images were decoded" in text
    for line in ("circle 41", "24 x 24 (122)", "grayscale 1", "unreadable: 1, such as 'square/cut"):
        assert line in text


def test_of_many_images_neighbors_are_sampled(images, monkeypatch):
    monkeypatch.setattr(looking, "SAMPLE", 20)
    found = find(images)
    assert found.n_labeled == 124
    assert found.sample.n_images == 20
    assert "20 images were decoded, a sample" in "\n".join(describe(found))


def test_several_labels_make_the_task_multi(tmp_path):
    for name in ("a", "b", "c"):
        draw(tmp_path / f"images/{name}.png", "circle", 1)
    (tmp_path / "labels.csv").write_text("path,label\na.png,x|y\nb.png,x\nc.png,y\n")
    found = find(tmp_path)
    assert (found.layout, found.task) == ("table", "multi")
    assert found.labels_per_image == {1: 2, 2: 1}


def test_images_that_cannot_be_read_are_an_error(tmp_path):
    for shape in CLASSES:
        draw(tmp_path / shape / "1.png", shape, 1)
        (tmp_path / shape / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UserError, match=r"dataset.path: no image can be read: 3 times 'begins "):
        find(tmp_path)


def test_a_sample_without_a_readable_image_is_an_error(images, monkeypatch):
    monkeypatch.setattr(looking, "SAMPLE", 4)  # fewer than ingest tolerates
    for path in images.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"no image can be read: 4 times 'an empty file'"):
        find(images)


@pytest.mark.parametrize(
    ("damaged", "failure", "is_over_limit"),
    [
        ([f"square/{number}" for number in range(6)], "ingest.max_unreadable: 6 of 23 files", True),
        (["circle/0"], "dataset.path: no image of class 'circle' can be read: 1 times", False),
    ],
)
def test_init_and_fit_know_before_they_copy_that_ingest_will_stop(
    tmp_path, monkeypatch, damaged, failure, is_over_limit
):
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "shapes/circle/0.png", "circle", 1)
    for number in range(22):
        draw(tmp_path / f"shapes/square/{number}.png", "square", number)
    for name in damaged:
        (tmp_path / f"shapes/{name}.png").write_bytes(b"")
    error = error_of(classifold("fit", "shapes"))
    assert error.startswith(failure)
    assert ("raise ingest.max_unreadable" in error) == is_over_limit
    assert list(tmp_path.iterdir()) == [tmp_path / "shapes"]
    output = output_of(classifold("init", "new", "--data", "shapes"))
    assert f"  WARNING: the stage ingest will stop\n    {failure}" in output
    assert ("raise ingest.max_unreadable" in output) == is_over_limit


DIGITS = {
    "images_per_class": dict.fromkeys("0123456789", 6000),
    "labels_per_image": Counter({1: 60_000}),
    "sample": photos_of_size(28, conversions=Counter(grayscale=1000)),
}
SCRATCH = ["fisher", "resnet"]
IMAGENET = {"layout": "tiny-imagenet", "sample": photos_of_size(64)}


@pytest.mark.parametrize(
    ("changes", "machine", "installed", "values"),
    [
        (
            {},
            CPU,
            True,
            {"models": ["lite0"], "augment.size": 256, "augment.flips": ["none"]}
            | {"filter.duplicates.near": "group", "train.threads": 2},
        ),
        # Without pretrained weights.
        ({}, GPU, False, {"models": ["resnet"], "train.threads": 8, "filter.size.rule": "none"}),
        (MANY, CPU, True, {"models": ["lite0"], "split.fractions.train": 0.8}),
        (MANY, GPU, True, {"models": ["lite0"]}),
        (
            {"task": "multi", "labels_per_image": Counter({0: 9, 1: 500, 2: 500})},
            CPU,
            False,
            {"models": SCRATCH, "dataset.task": "multi", "augment.size": 128},
        ),
        (
            {"task": "multi", "sample": photos_of_size(70)},
            CPU,
            False,
            {"augment.size": 64, "models.fisher.image_size": 256},
        ),
        ({"sample": photos_of_size(70)}, CPU, False, {"models": ["resnet"], "augment.size": 64}),
        (
            {"sample": photos_of_size(32)},
            CPU,
            True,
            {"augment.size": 32, "augment.flips": ["none", "horizontal"], "augment.warped": 7}
            | {"filter.duplicates.near": "group"},
        ),
        (
            DIGITS,
            CPU,
            True,
            {"augment.flips": ["none"], "augment.warped": 0, "filter.duplicates.near": "off"},
        ),
        (
            {"images_per_class": {"turn left": 9, "ahead": 9}, "sample": photos_of_size(40)},
            CPU,
            True,
            {"augment.flips": ["none"], "augment.size": 48},
        ),
        (
            # Frames of a video.
            {"sample": PHOTOS._replace(n_near=300, largest_group=200)},
            CPU,
            True,
            {"filter.duplicates.near": "off"},
        ),
        (IMAGENET, CPU, True, {"models": ["alphanet_a", "alphanet_c"]}),
        (IMAGENET, GPU, True, {"augment.size": 64, "split.fractions.test": 0.15}),
    ],
    ids=[
        *("photos", "without weights", "many images", "many images and a GPU", "several labels"),
        "several labels, 70 pixels",
        *("70 pixels", "32 pixels", "digits", "directions", "frames of a video"),
        *("ImageNet", "ImageNet and a GPU"),
    ],
)
@pytest.mark.promise("fit")
def test_params_suit_the_images(tmp_path, changes, machine, installed, values):
    found = FOUND._replace(**changes)
    file = tmp_path / "params.yaml"
    choices = write_params(
        file, Path("data/raw/x.zip"), found, machine, is_installed=lambda _: installed
    )
    params = check_params(file)
    assert params["dataset"]["path"] == "data/raw/x.zip"
    assert params["limit"] == {"images_per_class": None, "epochs": None}
    for key, expected in values.items():
        value = params
        for name in key.split("."):
            value = value[name]
        assert (list(value) if key == "models" else value) == pytest.approx(expected), key
    head = file.read_text().partition("\n\n")[0]
    keys = [choice.key for choice in choices]
    assert len(set(keys)) == len(keys)
    assert all(f"# {key}: " in head for key in keys)
    assert all(len(line) <= 100 for line in head.splitlines())


def test_near_duplicates_that_do_not_exist_do_not_stay_in_one_split(tmp_path):
    for n_near, expected in (
        (6, "6 images of the sample have near"),
        (0, "has no near duplicates"),
    ):
        found = FOUND._replace(sample=PHOTOS._replace(n_near=n_near))
        choices = write_params(tmp_path / "params.yaml", Path("x"), found, CPU)
        (why,) = (choice.reason for choice in choices if choice.key == "filter.duplicates.near")
        assert expected in why and ("they stay" in why) == (n_near > 0)


GOOD_PHOTOS = ["lite0_tuned", "lite2_tuned", "lite0", "lite1", "lite2"]
NETWORKS = ["mlp", "initial_cnn", "alphanet_a", "small_resnet"]
SMALL = {"sample": photos_of_size(28)}


@pytest.mark.parametrize(
    ("preset", "changes", "models", "expected"),
    [
        ("quick", {}, ["lite0"], {}),
        ("timed quick", {}, ["lite0", "lite1", "lite2"], {}),
        (
            "good",
            {},
            ["lite2_tuned", "lite1_tuned", "lite0_tuned", "lite2"],
            {"lite2_tuned": 10, "lite1_tuned": 10, "lite0_tuned": 3},
        ),
        (
            "best",
            {"task": "multi", "sample": photos_of_size(128)},
            GOOD_PHOTOS,
            {"lite0_tuned": 10, "lite2_tuned": 5, "folds": 5},
        ),
        ("good", MANY, ["lite2_tuned", "lite2"], {"lite2_tuned": 3}),
        (
            "timed good",
            MANY,
            ["lite2_tuned", "lite1_tuned", "lite0_tuned", "lite2"],
            {"lite0_tuned": 3},
        ),
        ("quick", SMALL, ["mlp", "small_resnet"], {"mlp": 5, "small_resnet": 3}),
        ("good", SMALL, NETWORKS, {"mlp": 15}),
        ("good", IMAGENET, ["resnet_1", "resnet_2"], {"resnet_2": 120}),
        ("best", SMALL, NETWORKS, {"mlp": 15, "folds": 5}),
    ],
    ids=[
        *("quick", "timed quick", "good", "best of several labels", "good for many images"),
        "timed good for many images",
        *("quick for small images", "good for small images", "good for ImageNet"),
        "best for small images",
    ],
)
@pytest.mark.promise("preset-good")
def test_a_preset_decides_on_models_epochs_and_folds(tmp_path, preset, changes, models, expected):
    found = FOUND._replace(**changes)
    file = tmp_path / "params.yaml"
    timed, _, name = preset.rpartition(" ")
    write_params(
        file, Path("x"), found, CPU, preset=Preset(name, bool(timed)), is_installed=lambda _: True
    )
    params = check_params(file)
    assert list(params["models"]) == models
    folds = params["stack"]["folds"]
    assert folds == 0 or params["stack"]["method"] != "mean"
    found_epochs = {name: epochs_of(params["models"][name]) for name in expected if name != "folds"}
    assert ({"folds": folds} if folds else {}) | found_epochs == expected
    losses = {model["loss"]["name"] for model in params["models"].values() if "loss" in model}
    assert losses <= {"binary_cross_entropy" if found.task == "multi" else "cross_entropy"}
    assert f"preset {name}" in file.read_text()


def test_with_a_gpu_many_images_get_all_networks_and_epochs_of_the_recipe(tmp_path):
    file, found = tmp_path / "params.yaml", FOUND._replace(**MANY)
    write_params(file, Path("x"), found, GPU, preset=Preset("good"), is_installed=lambda _: True)
    models = check_params(file)["models"]
    tuned = {name: epochs_of(model) for name, model in models.items() if "phases" in model}
    assert tuned == {"lite2_tuned": 10, "lite1_tuned": 10, "lite0_tuned": 3}
    assert list(models) == [*tuned, "lite2"]


@pytest.mark.parametrize("task", ["single", "multi"])
def test_no_policy_mirrors_characters(tmp_path, task):
    file = tmp_path / "params.yaml"
    found = FOUND._replace(images_per_class={"b": 9, "d": 9}, task=task)
    write_params(file, Path("x"), found, CPU, is_installed=lambda _: False)
    params = check_params(file)
    used = {model["online"] for model in params["models"].values()}
    steps = [step for name in used for step in params["policies"][name]["steps"]]
    assert steps
    assert not [step for step in steps if "flip" in step]
    fisher = [m for m in params["models"].values() if m["network"] == "fisher_vectors"]
    assert [model["arguments"]["mirrored"] for model in fisher] == [False] * (task == "multi")


@pytest.mark.parametrize("exists", [False, True])
def test_a_project_that_cannot_be_finished_leaves_nothing(tmp_path, monkeypatch, exists):
    def fail(folder, *command):
        (folder / ".git/HEAD").touch()
        raise UserError("git init: failed (no space left). Correct the cause.")

    monkeypatch.setattr(new_project, "run_program", fail)
    folder = tmp_path / "project"
    if exists:
        folder.mkdir()
    with pytest.raises(UserError, match="git init: failed"):
        new_project.write_project(folder, tmp_path / "x.zip", FOUND, CPU)
    assert list(tmp_path.rglob("*")) == ([folder] if exists else [])


def test_a_project_that_another_process_writes_is_not_deleted(tmp_path):
    (tmp_path / ".git").mkdir()
    with pytest.raises(UserError, match="another command is writing a project"):
        new_project.write_project(tmp_path, tmp_path / "x.zip", FOUND, CPU)
    assert (tmp_path / ".git").is_dir()


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("fruit.zip", "data/raw/fruit.zip"),
        ("my photos (1)", "data/raw/my_photos_1"),
        ("..hidden", "data/raw/hidden"),
        ("$(rm) ${x}", "data/raw/rm_x"),
        ("...", "data/raw/images"),
    ],
)
def test_the_path_of_the_images_has_no_special_characters(tmp_path, name, place):
    assert new_project.path_in_project(tmp_path / name) == Path(place)


@pytest.mark.parametrize(
    ("folder", "data", "message"),
    [
        ("new", "missing", "--data: no such file or folder, got"),
        ("full", "shapes", "DIR: must be a new or an empty folder, got"),
        ("shapes/new", "shapes", "DIR: must not be in the folder of the images, got"),
        ("repository/new", "shapes", "DIR: must not be in another Git repository"),
        ("new", "mixed", "dataset.folders: "),
    ],
)
@pytest.mark.usefixtures("images")
def test_init_refuses_and_changes_nothing(tmp_path, monkeypatch, folder, data, message):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").touch()
    (tmp_path / "repository/.git/objects").mkdir(parents=True)
    (tmp_path / "repository/.git/refs").mkdir()
    (tmp_path / "repository/.git/HEAD").write_text("ref: refs/heads/main\n")
    for name in ("docs/1.png", "cat/1.png", "dog/1.png"):
        draw(tmp_path / "mixed" / name, "circle", 1)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    error = error_of(classifold("init", folder, "--data", data))
    assert error.startswith(message)
    assert ("--folders" in error) == message.startswith("dataset.folders")
    assert sorted(tmp_path.rglob("*")) == before
