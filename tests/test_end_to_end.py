"""The real pipeline through the `dvc` command, in a temporary clone, on drawn images."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from PIL import Image, ImageDraw
from ruamel.yaml import YAML

from classifold.csv_file import read_rows
from classifold.out_of_fold import read_out_of_fold

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
CLASSES = ("circle", "cross", "square")
N_IMAGES = 40  # of each class
TINY_MODEL = {
    "network": "mlp",
    "arguments": {"hidden": [32], "dropout": 0.0},
    "image_size": 16,
    "normalize": "half",
    "online": "none",
    "batch_size": 32,
    "seed": 1,
    "loss": {"name": "cross_entropy"},
    "phases": {
        "p1": {
            "epochs": 3,
            "trainable": "all",
            "optimizer": {"name": "adam", "lr": 0.002},
            "schedule": {"name": "constant"},
        }
    },
}
MODELS = {
    "mlp": TINY_MODEL,
    "resnet": TINY_MODEL
    | {
        "network": "small_resnet",
        "arguments": {"widths": [8, 16], "depth": 1, "stem_stride": 2},
        "online": "crop_flip",
    },
}
CONTRACT = {
    "ingest": "n_files n_images n_unreadable n_converted_to_rgb converted n_turned_upright "
    "n_classes images_per_class",
    "filter": "n_images n_kept n_excluded excluded modal_size kept_per_class excluded_per_class "
    "n_copy_groups",
    "split": "n_train n_validation n_test class_shares max_share_gap n_groups "
    "n_groups_across_parts",
    "augment": "n_source n_images copies n_validation n_bytes",
    "train/mlp": "train_accuracy validation_accuracy validation_loss accuracy_gap best_epoch "
    "n_epochs n_parameters n_trainable_parameters phases",
    "models": "mlp resnet majority_baseline",
    "stack": "method members n_members validation_accuracy best_member best_member_accuracy "
    "mean_accuracy gain gain_ci95",
    "test": "mlp resnet stack majority_baseline",
    "pca": "red green blue",
    "tsne": "pixels features",
    "explain": "n_images",
}


class Clone:
    """A clone of the project with images of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def environment(self) -> dict[str, str]:
        """The project's own tools first, nothing of the user's."""
        return os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.root / "src"),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "COLUMNS": "200",
        }

    def run(self, *command: str, expect: int | None = 0) -> str:
        """Run a command there; everything it printed."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if expect is not None:
            assert done.returncode == expect, done.stdout
        return done.stdout

    def repro(self, *arguments: str, expect: int | None = 0) -> str:
        return self.run("dvc", "repro", *arguments, expect=expect)

    def refused(self) -> str:
        """What a repro says that must end in an error that a person can read."""
        output = self.repro(expect=None)
        assert "ERROR: failed to reproduce" in output
        assert "Traceback" not in output
        return output

    def use_store(self, settings: dict[str, str]) -> None:
        """Push to a DVC remote, and pull from it; the settings stay on this machine."""
        self.run("dvc", "remote", "add", "-d", "-f", "--local", "store", settings["url"])
        for key in settings.keys() - {"url"}:
            self.run("dvc", "remote", "modify", "--local", "store", key, settings[key])

    def commit(self) -> None:
        self.run("git", "add", "-A")
        identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
        self.run("git", *identity, "commit", "--allow-empty", "-qm", "A state")

    def metrics(self, name: str) -> dict:
        return json.loads((self.root / f"metrics/{name}.json").read_text())

    def change(self, text: str, replacement: str) -> None:
        """Change params.yaml, where `text` stands once."""
        path = self.root / "params.yaml"
        content = path.read_text()
        assert content.count(text) == 1
        path.write_text(content.replace(text, replacement))

    def content(self) -> dict[str, str]:
        """Hash of every file the pipeline made, but for those that may differ."""
        made = ("data", "models", "metrics", "ensemble")
        files = [path for folder in made for path in (self.root / folder).rglob("*")]
        return {
            str(path.relative_to(self.root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
            if path.is_file()
        }


def stages_run(output: str) -> list[str]:
    return re.findall(r"^Running stage '(.+?)':", output, flags=re.MULTILINE)


def draw(path: Path, shape: str, number: int, *, size: int = 24) -> None:
    draw_from = np.random.default_rng([CLASSES.index(shape), number])
    noise = draw_from.integers(0, 60, (size, size, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    pen = ImageDraw.Draw(image)
    x, y, r = (int(value) for value in draw_from.integers((8, 8, 4), (16, 16, 8)))
    colour = tuple(int(value) for value in draw_from.integers(120, 255, 3))
    match shape:
        case "circle":
            pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)
        case "square":
            pen.rectangle((x - r, y - r, x + r, y + r), fill=colour)
        case "cross":
            pen.line((x - r, y - r, x + r, y + r), fill=colour, width=3)
            pen.line((x - r, y + r, x + r, y - r), fill=colour, width=3)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def draw_data(folder: Path) -> None:
    """120 good images, and one each: of another size, gray, a copy, cut off, no image."""
    for shape in CLASSES:
        for number in range(N_IMAGES):
            draw(folder / shape / f"{number:02}.png", shape, number)
    draw(folder / "circle/large.png", "circle", 100, size=30)
    Image.open(folder / "cross/00.png").convert("L").save(folder / "cross/gray.png")
    shutil.copyfile(folder / "square/00.png", folder / "square/copy.png")
    whole = (folder / "square/01.png").read_bytes()
    (folder / "square/cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.txt").write_text("no image")


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Clone:
    root = tmp_path_factory.mktemp("clone") / "project"
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, root / name)
    (root / "dvc.lock").unlink(missing_ok=True)
    shutil.rmtree(root / "metrics", ignore_errors=True)

    yaml = YAML()
    params = yaml.load((root / "params.yaml").read_text())
    params["dataset"]["path"] = "data/raw/drawn"
    params["augment"] |= {"size": 16, "flips": ["none", "horizontal"], "warped": 1}
    params["models"] = MODELS
    params["explain"] |= {"model": "resnet", "images": 4, "smooth_samples": 2}
    params["tsne"] |= {"images_per_class": 15, "perplexities": [5]}
    params["pca"]["size"] = 12
    yaml.dump(params, root / "params.yaml")

    clone = Clone(root)
    clone.run("git", "init", "-q")
    clone.run(sys.executable, "-m", "classifold", "plots-page", ".dvc/plots_page.html")
    draw_data(root / "data/raw/drawn")
    clone.run("dvc", "add", "-q", "data/raw/drawn")
    clone.repro()
    clone.commit()
    return clone


def test_every_metric_of_the_contract_is_there(clone):
    for name, keys in CONTRACT.items():
        assert set(keys.split()) <= set(clone.metrics(name)), name
    scores = "accuracy accuracy_ci95 top3_accuracy top5_accuracy macro_f1 log_loss "
    scores += "calibration_error n_images macro_f1_ci95 calibration_error_untempered "
    scores += "train_accuracy validation_accuracy train_test_gap validation_test_gap "
    scores += "accuracy_without_copies n_copies_of_train"
    for entry in clone.metrics("test").values():
        assert set(scores.split()) <= set(entry)


def test_every_image_is_accounted_for(clone):
    ingest, filtered, split = (clone.metrics(n) for n in ("ingest", "filter", "split"))
    n_good = len(CLASSES) * N_IMAGES
    assert ingest["n_files"] == n_good + 5
    assert ingest["n_unreadable"] == 1
    assert "square/cut.png" in (clone.root / "data/ingested/unreadable.csv").read_text()
    assert ingest["converted"]["grayscale"] == ingest["n_converted_to_rgb"] == 1
    reasons = {"size": 1, "duplicate": 1, "conflicting_labels": 0, "limit": 0}
    assert filtered["excluded"] == reasons
    assert filtered["n_kept"] == n_good + 1  # the gray one
    assert split["n_train"] + split["n_validation"] + split["n_test"] == n_good + 1
    assert clone.metrics("augment")["n_images"] == 4 * split["n_train"]


def test_what_is_up_to_date_is_not_run_again(clone):
    output = clone.repro()
    assert "Data and pipelines are up to date." in output
    assert stages_run(output) == []


def test_one_number_of_one_model_reruns_that_model_and_what_follows(clone):
    output = clone.run("dvc", "exp", "run", "-S", "models.mlp.batch_size=16")
    ran = stages_run(output)
    assert ran.count("folds@mlp") == 1  # without folds it takes no time, and leaves the same
    ran.remove("folds@mlp")
    assert ran == ["train@mlp", "compare", "stack", "evaluate", "explain", "report"]
    clone.run("git", "checkout", "-q", ".")
    output = clone.repro()
    assert stages_run(output)[:-1] == []  # only the report may run: timings differ


def test_one_key_asks_each_model_about_every_training_image_out_of_fold(clone):
    ran = stages_run(clone.run("dvc", "exp", "run", "-S", "stack.folds=2"))
    assert {"folds@mlp", "folds@resnet"} <= set(ran)
    assert not [stage for stage in ran if stage.startswith("train")]
    split = read_rows(clone.root / "data/split/train.csv")
    folds = {}
    for name in MODELS:
        found = read_out_of_fold(clone.root / "data/folds" / name)
        assert sorted(found.logits.ids) == sorted(row["id"] for row in split)
        assert np.isfinite(found.logits.logits).all()
        folds[name] = found.folds.tolist()
        told = clone.metrics(f"folds/{name}")
        assert (told["n_folds"], told["n_images"]) == (2, clone.metrics("split")["n_train"])
    assert folds["mlp"] == folds["resnet"]

    # Trained again is what depends on what was changed.
    ran = stages_run(clone.run("dvc", "exp", "run", "-S", "models.mlp.batch_size=16"))
    assert [stage for stage in ran if stage.startswith("folds")] == ["folds@mlp"]
    ran = stages_run(clone.run("dvc", "exp", "run", "-S", "stack.method=mean"))
    assert not [stage for stage in ran if stage.startswith(("folds", "train"))]

    clone.run("git", "checkout", "-q", ".")
    ran = stages_run(clone.repro())
    assert not [stage for stage in ran if stage.startswith(("folds", "train"))]
    assert clone.metrics("folds/mlp") == {"n_folds": 0, "n_images": 0}


def test_the_study_of_generated_images_runs_by_its_name_alone(clone):
    file = "studies/gan/params.yaml"
    small = {
        "train_gan": {"epochs": 2, "copies": True},
        "sample_gan": {"model": "resnet", "images": 40},
        "add_generated": {"model": "mlp", "folds": 3, "gan_epochs": 1},
    }
    yaml = YAML()
    params = yaml.load((clone.root / file).read_text())
    for stage, settings in small.items():
        params[stage] |= settings
    yaml.dump(params, clone.root / file)

    assert not [stage for stage in stages_run(clone.repro()) if "gan" in stage]
    ran = stages_run(clone.repro("studies/gan/dvc.yaml"))
    # In either order: generated images are not judged by what they are added to.
    assert set(ran) == {f"studies/gan/dvc.yaml:{stage}" for stage in small}
    assert stages_run(clone.repro("studies/gan/dvc.yaml")) == []
    added = json.loads((clone.root / "studies/gan/metrics/add_generated.json").read_text())
    assert added["n_images"] == clone.metrics("split")["n_train"]
    assert {"repeated", "generated", "warped"} <= set(added)

    params["sample_gan"]["images"] = 30
    yaml.dump(params, clone.root / file)
    ran = stages_run(clone.repro("studies/gan/dvc.yaml"))
    assert ran == ["studies/gan/dvc.yaml:sample_gan"]
    clone.run("git", "checkout", "-q", ".")


def test_leaving_a_model_out_stacks_the_others_and_trains_none(clone):
    output = clone.run("dvc", "exp", "run", "-S", "~models.mlp")
    assert not [stage for stage in stages_run(output) if stage.startswith("train")]
    assert clone.metrics("stack")["members"] == ["resnet"]
    assert set(clone.metrics("test")) == {"resnet", "stack", "majority_baseline"}
    clone.run("git", "checkout", "-q", ".")
    clone.repro()


def test_a_short_form_runs_on_fewer_images_and_epochs_and_says_so(clone):
    short = ("-S", "limit.images_per_class=10", "-S", "limit.epochs=1")
    ran = stages_run(clone.run("dvc", "exp", "run", *short))
    assert "ingest" not in ran
    assert {"filter", "split", "train@mlp", "train@resnet"} <= set(ran)
    assert clone.metrics("filter")["kept_per_class"] == dict.fromkeys(CLASSES, 10)
    assert clone.metrics("train/mlp")["n_epochs"] == 1
    assert "no score here is that of the recipe" in (clone.root / "reports/index.html").read_text()
    clone.run("git", "checkout", "-q", ".")
    clone.repro()


def test_a_forced_run_leaves_the_same_bytes(clone):
    before = clone.content()
    clone.repro("-f")
    after = clone.content()
    assert {name for name in before | after if before.get(name) != after.get(name)} == set()


def test_a_training_killed_with_its_dvc_goes_on_and_ends_with_the_same_bytes(clone):
    train = ("-s", "train@resnet")
    checkpoint = clone.root / ".cache/checkpoints/resnet.safetensors"
    clone.change("stem_stride: 2", "stem_stride: 1")  # what was trained before is not taken again
    process = subprocess.Popen(
        ["dvc", "repro", *train],
        cwd=clone.root,
        env=clone.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not checkpoint.exists():
        assert process.poll() is None, "the training ended before it could be killed"
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (clone.root / "models/resnet").exists()
    assert "going on after epoch" in clone.repro(*train)
    assert not checkpoint.exists()
    resumed = clone.content()
    undisturbed = clone.repro("-f", *train)
    assert stages_run(undisturbed) == ["train@resnet"]
    assert "going on" not in undisturbed
    assert clone.content() == resumed
    clone.change("stem_stride: 1", "stem_stride: 2")
    assert not stages_run(clone.repro())  # everything is back, from the cache


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path):
    """The settings of a DVC remote: a folder, or a bucket of a server on the loopback."""
    if request.param == "folder":
        yield {"url": str(tmp_path / "store")}
        return
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        urlopen(Request(f"{endpoint}/bucket", method="PUT")).close()
        yield {
            "url": "s3://bucket/classifold",
            "endpointurl": endpoint,
            "region": "us-east-1",
            "access_key_id": "anybody",
            "secret_access_key": "anything",
        }
    finally:
        server.stop()


def test_a_colleague_gets_every_state_and_trains_nothing(clone, store, tmp_path):
    clone.run("git", "checkout", "-q", ".")
    clone.repro()
    clone.commit()
    clone.use_store(store)
    clone.run("dvc", "push", "-q")
    origin = str(tmp_path / "origin.git")
    clone.run("git", "clone", "-q", "--bare", str(clone.root), origin)
    clone.run("git", "remote", "add", "-f", "origin", origin)
    colleague = Clone(tmp_path / "colleague")
    clone.run("git", "clone", "-q", origin, str(colleague.root))
    colleague.use_store(store)

    # What is committed: nothing runs.
    assert stages_run(colleague.repro("--pull")) == []
    assert colleague.content() == clone.content()

    # What is not: the same change brings the trainings back.
    for one in (clone, colleague):
        one.change("stem_stride: 2", "stem_stride: 1")
    clone.repro()
    clone.run("dvc", "push", "-q", "--run-cache")
    ran = stages_run(colleague.repro("--pull"))
    assert not [stage for stage in ran if stage.startswith(("train", "folds", "ingest"))]
    assert "compare" in ran  # its metrics are kept in Git
    assert colleague.content() == clone.content()

    # What CI says of it.
    branch = clone.run("git", "branch", "--show-current").strip()
    report = YAML(typ="safe").load((ROOT / "examples/ci/github/report.yml").read_text())
    scripts = {step.get("name"): step.get("run") for step in report["jobs"]["report"]["steps"]}
    for name in ("Reproduce", "Compare"):
        colleague.run("env", f"BASE=origin/{branch}", "bash", "-e", "-c", scripts[name])
    comment = (colleague.root / "comment/metrics.md").read_text()
    assert re.match(r"On the same \d+ test images the stack", comment)
    assert "arguments.stem_stride | 2" in comment and "stack.log_loss" in comment
    assert (colleague.root / "page/report.html").is_file()

    # An experiment that was never committed.
    clone.run("git", "checkout", "-q", ".")
    clone.run("dvc", "exp", "run", "-n", "small-steps", "-S", "models.mlp.batch_size=16")
    clone.run("dvc", "exp", "push", "origin", "small-steps")
    colleague.run("git", "checkout", "-q", ".")
    colleague.run("dvc", "exp", "pull", "origin", "small-steps")
    colleague.run("dvc", "exp", "apply", "small-steps")
    assert stages_run(colleague.repro()) == []
    assert colleague.content() == clone.content()
    clone.run("git", "remote", "remove", "origin")
    clone.run("git", "checkout", "-q", ".")
    clone.repro()


def test_plots_open_without_a_network(clone):
    clone.run("dvc", "plots", "show", "-o", "dvc_plots")
    page = (clone.root / "dvc_plots/index.html").read_text()
    assert "vegaEmbed" in page
    assert not re.search(r"<(script|link)[^>]+(src|href)=.?https?:", page)
    for title in ("Validation accuracy", "test images", "t-SNE", "Image sizes"):
        assert title in page


def test_a_mistyped_key_stops_the_first_stage_and_loses_nothing(clone):
    before = clone.content()
    clone.change("calibration_bins", "calibration_bin")
    output = clone.run("classifold", "check", expect=1)
    assert "unknown key 'calibration_bin'; did you mean 'calibration_bins'?" in output
    clone.change("calibration_bin", "calibration_bins")
    assert stages_run(clone.repro()) == []
    assert clone.content() == before


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(shutil.rmtree, "No such file or directory: ", id="no folder"),
        pytest.param(lambda folder: None, "no image among them", id="empty folder"),
        pytest.param(
            lambda folder: draw(folder / "circle/00.png", "circle", 0),
            "needs at least 2; in the layout folder, each is a folder",
            id="one class",
        ),
        pytest.param(
            lambda folder: [
                draw(folder / shape / f"{number}.png", shape, number)
                for shape in ("circle", "cross")
                for number in range(1 if shape == "cross" else 5)
            ],
            "class 'cross' has 1 image",
            id="class with one image",
        ),
        pytest.param(
            lambda folder: (draw_data(folder), draw(folder / "loose.png", "circle", 0)),
            "'loose.png'",
            id="image in no class folder",
        ),
    ],
)
def test_rubbish_gets_a_clear_message_and_loses_nothing(clone, spoil, message):
    before = clone.content()
    folder = clone.root / "data/raw/rubbish"
    folder.mkdir()
    clone.change("path: data/raw/drawn", "path: data/raw/rubbish")
    try:
        spoil(folder)
        assert message in clone.refused()
    finally:
        clone.run("git", "checkout", "-q", "params.yaml", "dvc.lock")
        shutil.rmtree(folder, ignore_errors=True)
    clone.repro()
    assert clone.content() == before
