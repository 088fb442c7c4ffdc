"""No content of an untrusted file is run, wherever the file lies: pickles and archives."""

import io
import json
import os
import pickle
import runpy
import shutil
import stat
import struct
import sys
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from archives import entry, member, pack, rewrite, write_files
from classifold.data.csv_file import read_rows
from classifold.data.json_file import read_json, write_json
from classifold.data.logits_file import load_logits
from classifold.data.pack import read_pack
from classifold.errors import UserError
from classifold.ingest.detection import open_source
from classifold.models.model_file import build_network, load_model
from classifold.serving.predict import Classifier
from classifold.stacking.ensemble import Ensemble, load_ensemble, save_ensemble
from classifold.training.checkpoints import Checkpoint
from command_line import classifold, error_of, output_of
from evil_pickle import Evil
from image_scene import pillow
from tiny_model import MODEL, write_params

ROOT = Path(__file__).parents[1]


@pytest.fixture
def mark(tmp_path):
    """What an unpickled `Evil` leaves."""
    return tmp_path / "unpickled"


@pytest.fixture
def pickles(mark):
    """Files that run something where a careless reader opens them."""
    evil, array, arrays, saved = Evil(mark), io.BytesIO(), io.BytesIO(), io.BytesIO()
    objects = np.array([evil] * 3, dtype=object)
    np.save(array, objects, allow_pickle=True)
    np.savez(arrays, ids=objects, labels=objects, logits=objects)
    torch.save({"weight": evil}, saved)
    return {
        "npy": array.getvalue(),
        "npz": arrays.getvalue(),
        "pt": saved.getvalue(),
        "pkl": pickle.dumps(evil),
    }


@pytest.mark.parametrize("kind", ["npy", "npz", "pt", "pkl"])
def test_the_pickles_of_these_tests_do_run_where_a_reader_is_careless(
    tmp_path, pickles, mark, kind
):
    path = tmp_path / f"careless.{kind}"
    path.write_bytes(pickles[kind])
    match kind:
        case "pt":
            torch.load(path, weights_only=False)
        case "npz":
            with np.load(path, allow_pickle=True) as arrays:
                assert len(arrays["ids"]) == 3
        case _:
            np.load(path, allow_pickle=True)
    assert mark.exists()


@pytest.mark.parametrize("kind", ["npy", "npz", "pkl"])
@pytest.mark.promise("no-pickle")
def test_a_pack_is_no_pickle(write_packs, tmp_path, pickles, mark, kind):
    write_packs(tmp_path, train=3)
    (tmp_path / "train/images.npy").write_bytes(pickles[kind])
    with pytest.raises(UserError, match=r"images\.npy: "):
        read_pack(tmp_path / "train")
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["npy", "npz", "pt", "pkl"])
@pytest.mark.promise("no-pickle")
def test_logits_are_no_pickle(tmp_path, pickles, mark, kind):
    path = tmp_path / "mlp.npz"
    path.write_bytes(pickles[kind])
    with pytest.raises(UserError, match=r"mlp\.npz: "):
        load_logits(path)
    assert not mark.exists()


def test_logits_that_unpack_to_any_size_are_refused(tmp_path):
    path = tmp_path / "mlp.npz"
    np.savez_compressed(path, ids=np.array(["a"]), labels=np.zeros(1), logits=np.zeros((1, 2)))
    with pytest.raises(UserError, match=r"mlp\.npz: .*compressed arrays"):
        load_logits(path)


@pytest.mark.parametrize("kind", ["npy", "npz", "pt", "pkl"])
@pytest.mark.promise("no-pickle", "formats")
def test_a_checkpoint_is_no_pickle(tmp_path, pickles, mark, capsys, kind):
    path = tmp_path / "mlp.safetensors"
    path.write_bytes(pickles[kind])
    assert Checkpoint(path, "key").load() is None
    assert "not readable" in capsys.readouterr().out
    assert not mark.exists()


@pytest.fixture
def predict(project, monkeypatch):
    """`classifold predict` in a project, after a file of it was replaced."""
    root = project()
    monkeypatch.chdir(root)

    def run(name, content):
        write_files(root, {name: content})
        return classifold("predict", "source/cat", "--out", "p.csv")

    return run


@pytest.mark.parametrize("kind", ["npz", "pt", "pkl"])
@pytest.mark.parametrize("folder", ["models/deep", "ensemble"])
@pytest.mark.promise("no-pickle", "formats", "predict-runs-nothing")
def test_weights_are_no_pickle(predict, pickles, mark, folder, kind):
    assert folder in error_of(predict(f"{folder}/weights.safetensors", pickles[kind]))
    assert not mark.exists()


@pytest.mark.promise("no-pickle")
def test_pickles_that_lie_beside_other_files_are_left_alone(predict, pickles, mark):
    for folder in ("models", "models/deep", "ensemble", "data/compared", "source/cat"):
        for kind, content in pickles.items():
            Path(f"{folder}/beside.{kind}").write_bytes(content)
    output_of(predict("models/beside.pkl", pickles["pkl"]))
    assert not mark.exists()


DESCRIPTION = {
    "network": "mlp",
    "arguments": {"hidden": [3]},
    "classes": ["a", "b"],
    "preprocessing": {"pack_size": 8, "resize": "box", "image_size": 8, "normalize": "half"},
    "threads": 1,
}


def preprocessed(**changes):
    """A change of some settings of the preprocessing."""
    return {"preprocessing": DESCRIPTION["preprocessing"] | changes}


RESNET = {"network": "small_resnet"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": "../../evil"}, "network: "),
        ({"network": "os"}, "network: os cannot be built"),
        ({"network": "torchvision.models"}, "network: "),
        ({"network": ["mlp"]}, "network: "),
        ({"network": "torchvision", "arguments": {"name": "os.system"}}, "one of torchvision's"),
        ({"network": "torchvision", "arguments": {"name": "resnet18"}}, "the weights of network"),
        ({"arguments": {"hidden": [3], "shell": "id"}}, "network: mlp cannot be built"),
        ({"arguments": {"hidden": "id"}}, "network: mlp cannot be built"),
        ({"arguments": {"hidden": [10**7, 10**7]}}, "the weights of network mlp"),  # 400 TB
        ({"arguments": ["hidden"]}, "arguments: "),
        ({"classes": "ab"}, "classes: "),
        ({"classes": []}, "classes: "),
        ({"classes": [str(i) for i in range(100_000)]}, "the weights of network mlp"),
        ({"preprocessing": {}}, "preprocessing.pack_size: missing"),
        (preprocessed(image_size=10**6), "image_size: "),
        (preprocessed(ranges={"uint17": [0, 1]}), "uint17: must be 'uint8', 'uint16'"),
        (preprocessed(ranges={"float": [-1e308, 1e308]}), "ranges.float: must be .*finite differ"),
        (preprocessed(resize="eval"), "resize: "),
        (preprocessed(pack_size=1e999), "pack_size: "),
        ({"classes": ["a", "a"]}, "classes: must be different names"),
        ({"classes": ["a", 1]}, "classes.1: "),
        ({"threads": "many"}, "threads: "),
        ({"threads": 10**9}, "threads: .*1024"),
        ({"threads": 0}, "threads: "),
        ({"threads": None}, "threads: "),
        ({"arguments": {"hidden": [1] * 100_000}}, "arguments: must have at most 1,000 values"),
        ({"arguments": {"hidden": [[1] * 40] * 40}}, "arguments: must have at most 1,000 values"),
        ({"arguments": {"hidden": [10**9]}}, "more than 67,108,864 numbers per image"),
        ({"arguments": {"hidden": [10**30]}}, "network: mlp cannot be built"),
        ({"arguments": {"hidden": [-1]}}, "network: mlp cannot be built"),
        (RESNET | {"arguments": {"depth": 100_000}}, "more than 10,000 tensors of weights"),
        (
            RESNET | {"arguments": {"widths": [64]}} | preprocessed(image_size=2048),
            "computes more than 67,108,864 numbers per image",
        ),
    ],
)
@pytest.mark.promise("no-imports", "limit-network", "predict-runs-nothing")
def test_the_description_of_an_untrusted_model_is_checked_before_it_is_used(
    tmp_path, change, message
):
    tensors = {"anything": np.zeros((2, 2), np.float32)}
    (tmp_path / "weights.safetensors").write_bytes(save_tensors(tensors))
    write_json(tmp_path / "model.json", DESCRIPTION | change)
    with pytest.raises(UserError, match=message):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "must be a JSON file"),
        ('{"a": ' * 100_000, "must be a JSON file"),
        ('{"threads": 1, "threads": 2}', "a key occurs twice"),
        ('{"threads": NaN}', "NaN is not a number"),
        ('{"threads": 1' + "0" * 5000 + "}", "must be a JSON file"),
        ("[]", "not a valid description"),
        ("null", "not a valid description"),
        ("\ufeff{}", "must be a JSON file"),  # a byte order mark
    ],
    ids=lambda value: value[:12],
)
@pytest.mark.promise("limit-json")
def test_a_description_that_is_no_plain_json_is_refused(tmp_path, text, message):
    write_model(tmp_path)
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(UserError, match=message):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("model.json", 2**40, r"model\.json: must have at most 67,108,864 bytes"),
        ("weights.safetensors", 2**43, "at most half of this machine's memory"),
    ],
)
@pytest.mark.promise("limit-json", "limit-weights")
def test_a_file_of_a_model_that_is_too_large_is_refused(tmp_path, name, size, message):
    write_model(tmp_path)
    with (tmp_path / name).open("r+b") as file:
        file.truncate(size)
    with pytest.raises(UserError, match=message):
        load_model(tmp_path)


def write_model(folder, change=lambda name, tensor: tensor):
    """A model that is whole but for what `change` does to its tensors."""
    network = build_network("mlp", n_classes=2, image_size=8, arguments={"hidden": [3]})
    state = {name: change(name, tensor.numpy()) for name, tensor in network.state_dict().items()}
    (folder / "weights.safetensors").write_bytes(save_tensors(state))
    write_json(folder / "model.json", DESCRIPTION)


def test_the_model_of_these_tests_is_whole(tmp_path):
    write_model(tmp_path)
    assert load_model(tmp_path).classes == ["a", "b"]


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 1e300])  # infinity in 32 bits
@pytest.mark.promise("limit-weights")
def test_weights_that_are_not_finite_are_refused(tmp_path, number):
    def spoil(name, tensor):
        tensor = tensor.astype(np.float64)
        if name == "head.weight":
            tensor[1, 2] = number
        return tensor

    write_model(tmp_path, spoil)
    with pytest.raises(UserError, match=r"finite numbers, got NaN or infinity in head\.weight"):
        load_model(tmp_path)


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors"])
@pytest.mark.parametrize("replace", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")],
                         ids=["pipe", "device"])  # fmt: skip
@pytest.mark.promise("limit-pipes")
def test_files_of_a_model_that_never_end_are_refused(tmp_path, name, replace):
    write_model(tmp_path)
    (tmp_path / name).unlink()
    replace(tmp_path / name)
    with pytest.raises(UserError, match=rf"{name}: must be .*, got a pipe or a device"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("data/compared/decisions.json", {"task": "both"}, "task: "),
        ("data/compared/decisions.json", {"classes": ["cat", "cat"]}, "classes: "),
        ("data/compared/decisions.json", {"models": {"../deep": {"temperature": 1}}}, "models"),
        ("data/compared/decisions.json", {"models": {"deep": {"temperature": 0}}}, "temperature: "),
        ("ensemble/decision.json", {"prediction_sets": {"0.9": "all"}}, "prediction_sets.0.9"),
        ("ensemble/decision.json", {"prediction_sets": {"=1": 0.5}}, "prediction_sets.=1"),
        ("ensemble/decision.json", {"abstention": {"0.9": 2}}, "abstention.0.9"),
        ("ensemble/decision.json", {"temperature": -1}, "temperature: "),
        ("ensemble/decision.json", {"temperature": 1e-320}, "temperature: "),
        ("ensemble/decision.json", {"temperature": "1"}, "temperature: "),
        ("ensemble/decision.json", {"threshold": 2}, "threshold: "),
        ("models/deep/model.json", {"threads": 10**9}, "threads: "),
    ],
)
def test_predict_refuses_invalid_fitted_files_of_others(predict, file, change, message):
    content = json.dumps(read_json(Path(file)) | change).encode()
    error = error_of(predict(file, content))
    assert file in error.replace("\\", "/")
    assert message in error


def test_predict_refuses_a_model_whose_predictions_are_not_finite(predict):
    file = "models/deep/weights.safetensors"
    tensors = load_tensors(Path(file).read_bytes())
    huge = {
        name: np.full_like(values, 3e38) if name.startswith("head.") else values
        for name, values in tensors.items()
    }
    error = error_of(predict(file, save_tensors(huge)))
    assert "model deep: must predict finite numbers" in error
    assert not Path("p.csv").exists()


@pytest.mark.filterwarnings("ignore:invalid value encountered in log")  # of some NumPy versions
def test_predict_refuses_a_stack_whose_predictions_are_not_finite(project):
    root = project(method="weighted")
    file = root / "ensemble/weights.safetensors"
    file.write_bytes(save_tensors({"member_weights": np.array([-1.0, -1.0])}))
    classifier = Classifier.load(root)
    with pytest.raises(UserError, match="model stack: must predict finite numbers"):
        list(classifier.predict([root / "source/cat"]))


@pytest.mark.parametrize(
    ("method", "temperatures"),
    [
        ("weighted", [1.0, 0.0]),
        ("weighted", [1.0, -1.0]),
        ("weighted", [1.0, 1e-320]),
        ("greedy", [1.0]),
        ("greedy", [[1.0], [1.0]]),
        ("mean", [1.0, 1.0]),
    ],
)
def test_a_stack_with_invalid_temperatures_is_refused(tmp_path, method, temperatures):
    weights = {"member_weights": np.full(2, 0.5), "temperatures": np.array(temperatures)}
    save_ensemble(tmp_path, Ensemble(method, "multi", ["a", "b"], 3, {"hidden": []}, weights))
    with pytest.raises(UserError, match=r"must describe the weights beside it \(temperatures"):
        load_ensemble(tmp_path)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_stack_that_is_not_finite_is_refused(project, number):
    folder = project() / "ensemble"
    tensors = load_tensors((folder / "weights.safetensors").read_bytes())
    name = min(tensors)
    tensors[name] = np.full_like(tensors[name], number)
    (folder / "weights.safetensors").write_bytes(save_tensors(tensors))
    with pytest.raises(UserError, match=f"finite numbers, got NaN or infinity in {name}"):
        load_ensemble(folder)


HEADER = b'{"w":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4]}}'


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 2**31) + b"{}",
        struct.pack("<Q", len(HEADER)) + HEADER + bytes(4),
        struct.pack("<Q", 2) + b"{}",
        b"",
    ],
    ids=["endless header", "header beyond the file", "shape beyond the data", "nothing", "empty"],
)
def test_weights_that_lie_about_their_size_are_refused(tmp_path, content):
    (tmp_path / "weights.safetensors").write_bytes(content)
    write_json(tmp_path / "model.json", DESCRIPTION)
    with pytest.raises(UserError, match=r"weights\.safetensors.* must .*delete it"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"method": "os.system"},
        {"n_classes": 10**12},
        {"n_classes": "3"},
        {"members": ["flat"]},
        {"members": 5},
        {"n_classes": 10**6},
        {"members": ["../flat", "deep"]},
        {"members": []},
        {"settings": {"hidden": [10**7, 10**7]}},
        {"settings": {"hidden": [10**6, 10**6]}},
        {"settings": {"hidden": [1] * 100_000}},
        {"settings": {"shell": "id"}},
        {"surprise": 1},
    ],
)
@pytest.mark.promise("predict-runs-nothing")
def test_an_untrusted_stack_is_run_once_before_it_is_used(project, change):
    folder = project() / "ensemble"
    assert load_ensemble(folder).method == "dense"
    write_json(folder / "ensemble.json", read_json(folder / "ensemble.json") | change)
    with pytest.raises(UserError, match=r"ensemble\.json must describe"):
        load_ensemble(folder)


@pytest.mark.promise("no-pickle")
def test_a_parquet_table_with_pickled_types_is_read_as_plain_columns(tmp_path, mark):
    columns = {"path": ["1.png", "2.png"], "label": ["a", "b"]}
    evil = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Evil(mark)),
    }
    fields = [pa.field(name, pa.string(), metadata=evil) for name in columns]
    table = pa.table(list(columns.values()), schema=pa.schema(fields))
    source = tmp_path / "source"
    write_files(source, dict.fromkeys(columns["path"], picture()))
    pq.write_table(table, source / "t.parquet")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with open_source(str(source), layout="table", task="single", scratch=tmp_path) as opened:
            labels = {image.id: image.labels for image in opened[1].images}
    assert labels == {"1.png": ("a",), "2.png": ("b",)}
    assert not mark.exists()


@pytest.fixture
def stage(tmp_path, monkeypatch, capsys):
    """Run a stage with our params in a project of its own: its output."""
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.chdir(root)

    def run(name, *, expect=0, **dataset):
        dataset = {"layout": "auto", "task": "single"} | dataset
        unreadable = {"max_unreadable": {"fraction": 1.0, "count": 0}}
        write_params(Path(), MODEL, dataset=dataset, ingest=unreadable)
        script = str(ROOT / f"stages/{name}.py")
        monkeypatch.setattr(sys, "argv", [script])
        code = 0
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as stopped:
            code = stopped.code
        output = "".join(capsys.readouterr())
        assert code == expect, output
        return output

    return run


@pytest.fixture
def ingest(stage):
    """Run the stage `ingest` on a source: its output, and the listed files with their reasons."""

    def run(source):
        output = stage("ingest", path=str(source))
        rows = read_rows(Path("data/ingested/unreadable.csv"))
        return output, {row["id"]: row["reason"] for row in rows}

    return run


def picture():
    return pillow(np.zeros((8, 8, 3), np.uint8))


LINK = "a link; links of archives are not followed"
OUTSIDE = "its name is a path outside the archive"
LONG = f"cat/{'x' * 60_000}.png"


def files_around(folder):
    """What lies in a folder but for the project."""
    return {path for path in folder.rglob("*") if "project" not in path.parts}


TO_PASSWORDS = {"linkname": "/etc/passwd"}
ENTRIES_OF_ONE_KIND = {  # entries of one kind of archive alone, and why they are refused
    "zip": (
        {
            entry("cat/link.png", external_attr=(stat.S_IFLNK | 0o777) << 16): b"/etc/passwd",
            "cat/bomb.png": bytes(300 * 2**20),
        },
        {"cat/link.png": LINK, "cat/bomb.png": "314,572,800 bytes; the maximum is 268,435,456"},
    ),
    "tar.gz": (
        {
            member("cat/soft.png", type=tarfile.SYMTYPE, **TO_PASSWORDS): b"",
            member("cat/hard.png", type=tarfile.LNKTYPE, **TO_PASSWORDS): b"",
            member("cat/disk.png", type=tarfile.BLKTYPE, devmajor=8): b"",
        },
        {"cat/soft.png": LINK, "cat/hard.png": LINK, "cat/disk.png": "not a regular file"},
    ),
}


@pytest.mark.parametrize("kind", ENTRIES_OF_ONE_KIND)
@pytest.mark.promise("not-extracted", "refused-entries", "limit-files")
def test_an_archive_that_would_break_out_is_read_completely_but_not_written(
    tmp_path, ingest, pickles, kind
):
    images = ["cat/1.png", "cat/CON.png", "cat/aux", "dog/nul.png", "dog/=cmd().png"]
    outside = ["../evil.png", "cat/../../evil.png", "/evil.png", "C:\\evil.png"]
    odd, reasons = ENTRIES_OF_ONE_KIND[kind]
    files = dict.fromkeys([*images, *outside, LONG], picture()) | odd
    files["cat/pickle.png"] = pickles["pkl"]
    files |= {f"cat/beside.{suffix}": content for suffix, content in pickles.items()}
    path = pack(tmp_path / f"evil.{kind}", files, kind)
    before = files_around(tmp_path)
    output, listed = ingest(path)
    assert files_around(tmp_path) == before
    assert read_json(Path("metrics/ingest.json"))["images_per_class"] == {"cat": 3, "dog": 2}
    assert listed == reasons | {
        **dict.fromkeys(outside, OUTSIDE),
        LONG[:1024]: "its name has more than 1,024 characters",
        "cat/pickle.png": "not an image in a supported format",
    }
    assert "\x1b" not in output


@pytest.fixture
def lying_zip(tmp_path):
    """An entry that unpacks to 50 MB, not 500 bytes, and one with an invalid name; 4 are whole."""
    whole = dict.fromkeys(["cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"], picture())
    files = {"cat/bomb.png": bytes(50 * 10**6), "cat/é.png": picture()} | whole
    path = pack(tmp_path / "lying.zip", files, "zip")
    rewrite(path, 24, struct.pack("<I", 500))
    rewrite(path, 50, b"\xff\xfe", nth=1)
    return path


LIES = {
    "cat/bomb.png": "it unpacks to more bytes than the 500 that it claims",
    r"cat/\xff\xfe.png": "its name is not in UTF-8, although it claims to be",
}


@pytest.mark.promise("limit-entry")
def test_ingest_lists_and_counts_entries_of_a_zip_that_lie(ingest, lying_zip):
    _, listed = ingest(lying_zip)
    assert listed == LIES
    counts = read_json(Path("metrics/ingest.json"))
    assert counts["images_per_class"] == {"cat": 2, "dog": 2}
    assert (counts["n_files"], counts["n_unreadable"]) == (6, 2)


def test_predict_lists_entries_of_a_zip_that_lie(project, monkeypatch, lying_zip):
    monkeypatch.chdir(project())
    output = output_of(classifold("predict", str(lying_zip), "--out", "p.csv"))
    assert "2 of 6 images could not be read" in output
    reasons = {row["image"]: row["reason"] for row in read_rows(Path("p.csv")) if row["reason"]}
    assert reasons == {f"{lying_zip}/{name}": reason for name, reason in LIES.items()}


@pytest.mark.promise("limit-shared")
def test_entries_that_share_bytes_are_refused(tmp_path, ingest):
    """A bomb of kilobytes that unpacks to petabytes has thousands of names for one content."""
    names = ("cat/1.png", "dog/0.png", "dog/1.png", "dog/2.png", "dog/3.png")
    path = pack(tmp_path / "evil.zip", dict.fromkeys(names, picture()), "zip")
    third = path.read_bytes().index(b"PK\3\4", path.read_bytes().index(b"dog/0.png"))
    for number in (3, 4):  # both begin where the third does
        rewrite(path, 42, struct.pack("<I", third), nth=number)
    _, listed = ingest(path)
    reason = "it shares bytes with another entry, as in an archive made to exhaust resources"
    assert [listed[name] for name in ("dog/1.png", "dog/2.png")] == [reason] * 2


@pytest.mark.promise("limit-files")
def test_names_of_classes_and_groups_have_an_end(tmp_path, stage):
    source = tmp_path / "source"
    table = f"path,label\n1.png,a\n2.png,{'b' * 100_000}\n"
    write_files(source, {"1.png": picture(), "2.png": picture(), "t.csv": table.encode()})
    output = stage("ingest", path=str(source), expect=1)
    assert "at most 255 characters, got 100,000: 'bbbb" in output
    assert len(output) < 500
    assert "Traceback" not in output


@pytest.mark.promise("escaped-terminal")
def test_untrusted_names_in_log_lines_control_no_terminal(tmp_path, stage):
    source = tmp_path / "source"
    names = ("cat/1.png", "dog/1.png", "\x1b[31mred\u202e/1.png", "\x1b]0;title\x07.png")
    write_files(source, dict.fromkeys(names, picture()))
    output = stage("ingest", path=str(source), expect=1)
    assert "are in no class folder" in output
    assert not {"\x1b", "\x07", "\u202e"} & set(output)
    shutil.rmtree(source / "\x1b[31mred\u202e")


def test_a_stage_names_a_file_that_is_a_pickle(stage, write_packs, pickles, mark):
    write_packs(Path("data/augmented"), train=3, validation=3)
    Path("data/augmented/train/images.npy").write_bytes(pickles["npy"])
    assert "images.npy" in stage("pca", expect=1)
    assert not mark.exists()
    assert not Path("data/pca").exists()
