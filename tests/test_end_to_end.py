"""The real pipeline through the `dvc` command, in a temporary clone, on synthetic images."""

import json
import re
import shutil
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from moto.server import ThreadedMotoServer
from ruamel.yaml import YAML

from chaos.killing import Repro
from classifold.data.csv_file import read_rows
from classifold.data.json_file import read_json
from classifold.data.logits_file import load_logits
from synthetic_clone import (
    CLASSES,
    MODELS,
    N_IMAGES,
    ROOT,
    Clone,
    draw,
    draw_data,
    finished_clone,
    stages_run,
)

pytestmark = pytest.mark.dvc

CONTRACT = {
    "ingest": "n_files n_images n_unreadable n_converted_to_rgb converted n_turned_upright "
    "n_classes images_per_class",
    "filter": "n_images n_kept n_excluded excluded modal_size kept_per_class excluded_per_class "
    "n_duplicate_groups",
    "split": "n_train n_validation n_test class_proportions max_proportion_gap n_groups "
    "n_groups_across_splits",
    "augment": "n_source n_images variants n_validation n_bytes",
    "train/mlp": "train_accuracy validation_accuracy validation_loss accuracy_gap best_epoch "
    "n_epochs n_parameters n_trainable_parameters phases",
    "models": "mlp resnet majority_baseline",
    "stack": "method members n_members validation_accuracy best_member best_member_accuracy "
    "mean_accuracy gain gain_ci95",
    "test": "mlp resnet stack majority_baseline",
    "pca": "red green blue",
    "tsne": "pixels features",
    "novelty": "n_compared threshold",
    "robustness": "n_images n_attacked_images models",
    "explain": "n_images novelty",
}


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Clone:
    return finished_clone(tmp_path_factory)


@pytest.mark.promise("interval-and-baseline")
def test_every_metric_of_the_contract_is_written(clone):
    for name, keys in CONTRACT.items():
        assert set(keys.split()) <= set(clone.metrics(name)), name
    scores = "accuracy accuracy_ci95 top3_accuracy top5_accuracy macro_f1 log_loss "
    scores += "calibration_error n_images macro_f1_ci95 calibration_error_uncalibrated "
    scores += "train_accuracy validation_accuracy train_test_gap validation_test_gap "
    scores += "accuracy_without_duplicates n_duplicates_of_train"
    for entry in clone.metrics("test").values():
        assert set(scores.split()) <= set(entry)


@pytest.mark.promise("reasons")
def test_every_image_is_counted_once(clone):
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


@pytest.mark.promise("second-repro")
def test_stages_that_are_up_to_date_do_not_run(clone):
    clone.repro()  # after another test the report may be stale, whose times of training differ
    output = clone.repro()
    assert "Data and pipelines are up to date." in output
    assert stages_run(output) == []


@pytest.mark.promise("affected-stages")
def test_a_parameter_of_one_model_reruns_that_model_and_what_depends_on_it(clone):
    output = clone.run("dvc", "exp", "run", "-S", "models.mlp.batch_size=20")
    ran = stages_run(output)
    assert ran.count("folds@mlp") == 1  # without folds it takes no time, and leaves the same
    ran.remove("folds@mlp")
    assert " ".join(ran) == "check train@mlp compare stack evaluate robustness explain report"
    clone.run("git", "checkout", "-q", ".")
    output = clone.repro()
    assert stages_run(output)[:-1] == []  # only the report may run: timings differ


def test_stack_folds_gives_out_of_fold_logits_of_every_training_image(clone):
    clone.change("  folds: 0", "  folds: 2")
    ran = stages_run(clone.repro("stack"))
    assert {"folds@mlp", "folds@resnet"} <= set(ran)
    assert not [stage for stage in ran if stage.startswith("train")]
    split = read_rows(clone.root / "data/split/train.csv")
    folders = [clone.root / "data/folds" / name for name in MODELS]
    for folder in folders:
        found = load_logits(folder / "logits.npz")
        assert sorted(found.ids) == sorted(row["id"] for row in split)
    first, second = (read_rows(folder / "folds.csv") for folder in folders)
    assert first == second

    # Trained again is what depends on what was changed.
    clone.change("dropout: 0.0", "dropout: 0.1")
    ran = stages_run(clone.repro("folds", "train"))
    assert [stage for stage in ran if stage.startswith("folds")] == ["folds@mlp"]
    clone.change("method: dense", "method: mean")
    ran = stages_run(clone.repro("stack"))
    assert not [stage for stage in ran if stage.startswith(("folds", "train"))]

    clone.run("git", "checkout", "-q", ".")
    ran = stages_run(clone.repro())
    assert not [stage for stage in ran if stage.startswith(("folds", "train"))]
    assert clone.metrics("folds/mlp") == {"n_folds": 0, "n_images": 0}


def test_the_gan_study_runs_only_when_named(clone):
    file = "studies/gan/params.yaml"
    small = {
        "train_gan": {"epochs": 2, "variants": True},
        "sample_gan": {"model": "resnet", "n_images": 40},
        "add_generated": {"model": "mlp", "folds": 3, "gan_epochs": 1},
    }
    yaml = YAML()
    params = yaml.load(clone.root / file)
    for stage, settings in small.items():
        params[stage] |= settings
    yaml.dump(params, clone.root / file)
    assert not [stage for stage in stages_run(clone.repro()) if "gan" in stage]
    study = ("sh", "-c", "cd studies/gan && dvc repro")
    ran = stages_run(clone.run(*study))
    # In either order: generated images are not judged by what they are added to.
    assert set(ran) == set(small)
    assert stages_run(clone.run(*study)) == []
    assert "up to date" in clone.run("dvc", "status")
    added = read_json(clone.root / "studies/gan/metrics/add_generated.json")
    assert added["n_images"] == clone.metrics("split")["n_train"] and "augmented" in added

    params["sample_gan"]["n_images"] = 30
    yaml.dump(params, clone.root / file)
    assert stages_run(clone.run(*study)) == ["sample_gan"]
    clone.run("git", "checkout", "-q", ".")


def test_removing_a_model_stacks_the_others_and_trains_none(clone):
    output = clone.run("dvc", "exp", "run", "-S", "~models.mlp", "evaluate")
    assert not [stage for stage in stages_run(output) if stage.startswith("train")]
    assert clone.metrics("stack")["members"] == ["resnet"]
    assert set(clone.metrics("test")) == {"resnet", "stack", "majority_baseline"}
    clone.restore()


def test_a_named_model_that_is_not_listed_is_refused_before_anything_is_deleted(clone):
    def content():
        """Results: `dvc exp run` removes the files of an unlisted model, which are in its cache."""
        found = clone.content()
        return {path: found[path] for path in found if "/mlp" not in path and "checked" not in path}

    before = content()
    assert "metrics/models.json" in before
    for setting, message in (
        ("explain.model=mlp", "explain.model: must be best or one of the models resnet, got 'mlp'"),
        ("stack.members=[mlp,resnet]", "stack.members: must be all or a list of resnet, got 'mlp'"),
    ):
        removed = ("-S", "~models.mlp", "-S", setting)
        for command in (("dvc", "exp", "run", *removed), ("dvc", "repro")):
            output = clone.run(*command, expect=255)
            assert message in output
            assert "Traceback" not in output
            assert stages_run(output) == ["check"]
            assert content() == before
        clone.run("git", "checkout", "-q", ".")
    assert set(stages_run(clone.repro())) <= {"report"}  # whose times of training may be missing


def test_a_short_form_runs_on_fewer_images_and_epochs(clone):
    clone.change("images_per_class: null, epochs: null", "images_per_class: 10, epochs: 1")
    ran = stages_run(clone.repro("evaluate"))
    assert "ingest" not in ran
    assert {"filter", "split", "train@mlp", "train@resnet"} <= set(ran)
    assert clone.metrics("filter")["kept_per_class"] == dict.fromkeys(CLASSES, 10)
    assert clone.metrics("train/mlp")["n_epochs"] == 1
    clone.restore()


def test_models_trained_again_in_sequence_have_the_same_bytes(clone):
    before = clone.content()
    assert stages_run(clone.repro("-f", "-s", "train")) == ["train@mlp", "train@resnet"]
    after = clone.content()
    assert {name for name in before | after if before.get(name) != after.get(name)} == set()


def test_a_training_killed_with_its_dvc_resumes_and_ends_with_the_same_bytes(clone, tmp_path):
    train = ("-s", "train@resnet")
    checkpoint = clone.root / ".cache/checkpoints/resnet.safetensors"
    clone.change("stem_stride: 2", "stem_stride: 1")  # what was trained before is not taken again
    repro = Repro(clone, train, tmp_path / "log")
    while not checkpoint.exists():
        assert not repro.ended(), "the training ended before it could be killed"
        time.sleep(0.001)
    repro.kill(whole_group=True)
    assert not (clone.root / "models/resnet").exists()
    assert "continues after epoch" in clone.repro(*train)
    assert not checkpoint.exists()
    resumed = clone.content()
    undisturbed = clone.repro("-f", *train)
    assert stages_run(undisturbed) == ["train@resnet"]
    assert "continues after epoch" not in undisturbed
    assert clone.content() == resumed
    clone.restore()


@pytest.fixture
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
        keys = {"access_key_id": "anybody", "secret_access_key": "anything"}
        place = {"url": "s3://bucket/classifold", "endpointurl": endpoint, "region": "us-east-1"}
        yield place | keys
    finally:
        server.stop()


@pytest.fixture
def colleague(clone, store, tmp_path):
    """A clone of what was committed and pushed to Git and to the store."""
    clone.restore()
    clone.use_store(store)
    clone.run("dvc", "push", "-q")
    origin = str(tmp_path / "origin.git")
    clone.run("git", "clone", "-q", "--bare", str(clone.root), origin)
    clone.run("git", "remote", "add", "-f", "origin", origin)
    colleague = Clone(tmp_path / "colleague")
    clone.run("git", "clone", "-q", origin, str(colleague.root))
    colleague.use_store(store)
    yield colleague
    clone.run("git", "remote", "remove", "origin")
    clone.restore()


@pytest.mark.parametrize("store", ["s3"], indirect=True)  # a folder: docs/SHARING.md, which is run
def test_a_colleague_gets_every_state_and_trains_nothing(clone, colleague):
    # What is committed: nothing runs.
    colleague.run("dvc", "pull", "-q")
    assert stages_run(colleague.repro()) == []
    assert colleague.content() == clone.content()

    # What is not: the same change brings the training back. (One that was run twice, by -f, has
    # two entries in the run-cache, with different clock times; DVC may choose one not pushed.)
    for one in (clone, colleague):
        one.change("depth: 1", "depth: 2")
    clone.repro("train")
    clone.run("dvc", "push", "-q", "--run-cache")
    assert stages_run(colleague.repro("--pull", "train")) == []
    assert colleague.content() == clone.content()

    # An experiment that was never committed.
    for one in (clone, colleague):
        one.run("git", "checkout", "-q", ".")
    clone.run("dvc", "exp", "run", "-n", "large-steps", "-S", "models.mlp.batch_size=16", "train")
    clone.run("dvc", "exp", "push", "origin", "large-steps")
    colleague.run("dvc", "exp", "pull", "origin", "large-steps")
    colleague.run("dvc", "exp", "apply", "large-steps")
    assert stages_run(colleague.repro("train")) == []
    assert colleague.content() == clone.content()


@pytest.mark.parametrize("store", ["folder"], indirect=True)
def test_ci_reports_the_scores_that_the_author_of_a_branch_has(clone, colleague):
    for one in (clone, colleague):
        one.change("dropout: 0.0", "dropout: 0.1")
    clone.repro()
    clone.run("dvc", "push", "-q", "--run-cache")
    branch = clone.run("git", "branch", "--show-current").strip()
    report = YAML(typ="safe").load((ROOT / "examples/ci/github/report.yml").read_text())
    scripts = {step.get("name"): step.get("run") for step in report["jobs"]["report"]["steps"]}
    outputs = {
        name: colleague.run("env", f"BASE=origin/{branch}", "bash", "-e", "-c", scripts[name])
        for name in ("Reproduce", "Compare")
    }
    ran = stages_run(outputs["Reproduce"])
    assert not [stage for stage in ran if stage.startswith(("train", "folds", "ingest"))]
    assert "compare" in ran  # its metrics are kept in Git
    assert colleague.content() == clone.content()
    comment = (colleague.root / "comment/metrics.md").read_text()
    assert re.match(r"On the same \d+ test images,? the stack", comment)
    assert "arguments.dropout | 0.0" in comment and "stack.log_loss" in comment
    assert (colleague.root / "page/report.html").is_file()


@pytest.mark.promise("pages-offline")
def test_plots_open_without_a_network(clone):
    clone.run("dvc", "plots", "show", "-o", "dvc_plots")
    page = (clone.root / "dvc_plots/index.html").read_text()
    assert "vegaEmbed" in page
    assert not re.search(r"<(script|link)[^>]+(src|href)=.?https?:", page)
    for title in ("Validation accuracy", "test images", "t-SNE", "Image sizes"):
        assert title in page


def test_editors_get_every_chart_and_metric(clone):
    # The commands that the DVC extension of VS Code calls, and what it reads of their output.
    plots = ("plots", "diff", "HEAD", "workspace", "-o", ".dvc/tmp/plots", "--split", "--json")
    output = json.loads(clone.run("dvc", *plots))
    listed = YAML(typ="safe", pure=True).load((clone.root / "dvc.yaml").read_text())["plots"]
    names = [plot if isinstance(plot, str) else next(iter(plot)) for plot in listed]
    assert list(output) == ["data"] and sorted(output["data"]) == sorted(names)
    for parts in output["data"].values():
        for part in parts:
            if part["type"] == "image":
                assert Path(part["url"]).is_file()
            else:
                filled = part["anchor_definitions"]
                anchors = set(re.findall("<DVC_METRIC_[A-Z_]+>", json.dumps(part["content"])))
                assert anchors <= set(filled) and filled["<DVC_METRIC_DATA>"]
                assert {row["rev"] for row in filled["<DVC_METRIC_DATA>"]} == {*part["revisions"]}
    (workspace, *_) = json.loads(clone.run("dvc", "exp", "show", "--json"))
    metrics = workspace["data"]["metrics"]
    assert all("data" in content for content in metrics.values())
    files = {f"metrics/{path.name}" for path in (clone.root / "metrics").glob("*.json")}
    assert files <= set(metrics)


@contextmanager
def nothing_lost(clone):
    clone.restore()
    before = clone.content()
    yield
    clone.restore()
    assert stages_run(clone.repro()) == []
    assert clone.content() == before


INVALID_DATA = [  # what is done to an empty folder
    (shutil.rmtree, "No such file or directory: "),
    (lambda folder: draw(folder / "circle/00.png", "circle", 0), "at least 2 classes, got 1"),
    (lambda folder: (draw_data(folder), draw(folder / "loose.png", "circle", 0)), "'loose.png'"),
]


def test_invalid_data_end_with_a_clear_message_and_lose_nothing(clone):
    folder = clone.root / "data/raw/invalid"
    with nothing_lost(clone):
        clone.change("path: data/raw/synthetic", "path: data/raw/invalid")
        for spoil, message in INVALID_DATA:
            folder.mkdir()
            spoil(folder)
            assert re.search(message, clone.refused())
            shutil.rmtree(folder, ignore_errors=True)


INVALID_PARAMS = [
    ("task: single", "task: sngle", "dataset.task: .*sngle"),
    ("warped: 1", "warped: .nan", "augment.warped: .*nan"),
    ("rounds: 50", "rounds: 50, rounds: 60", "rounds: written twice"),
    ("calibration_bins:", "calibration_bin:", "calibration_bin: unknown key.*calibration_bins"),
]


def test_an_invalid_param_stops_the_stage_before_any_work_and_loses_nothing(clone):
    with nothing_lost(clone):
        for right, wrong, message in INVALID_PARAMS:
            clone.change(right, wrong)
            output = clone.run("make", "repro", expect=2)
            assert re.search(message, output)
            assert not stages_run(output)
            stopped = clone.repro(expect=255)
            assert "ERROR: " in stopped and "Traceback" not in stopped
            assert stages_run(stopped) in ([], ["check"])
            clone.change(wrong, right)


@pytest.mark.promise("no-command")
def test_the_name_of_a_model_is_not_run_by_the_shell(clone):
    with nothing_lost(clone):
        clone.change("  mlp:\n", "  mlp;touch${IFS}pwned:\n")
        assert re.search(r"models\.mlp;touch.*letter", clone.refused())
        assert not list(clone.root.rglob("pwned*"))
