"""Damaged files, full disks and other external causes are reported in one message."""

import errno
import os
import re

import numpy as np
import pyarrow as pa
import pytest
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import empty, zeros

from classifold.data.csv_file import read_rows, write_rows
from classifold.data.image_table import iter_columns, iter_images, write_table
from classifold.data.json_file import read_json, write_json
from classifold.data.logits_file import Logits, load_logits, save_logits
from classifold.data.pack import read_pack
from classifold.data.predictions import SCHEMA, read_predictions
from classifold.errors import UserError
from classifold.models.model_file import load_model
from classifold.runtime.faults import describe_error, explain_damage
from classifold.stacking.ensemble import load_ensemble


def test_damage_is_an_error_with_the_file_and_a_remedy(tmp_path):
    with (
        pytest.raises(UserError, match=r"x\.csv: .*CSV file.*damaged \(ouch\).*dvc repro"),
        explain_damage(tmp_path / "x.csv", kind="a CSV file"),
    ):
        raise SyntaxError("ouch\nand more")


@pytest.mark.parametrize("error", [FileNotFoundError, PermissionError, UserError, MemoryError])
def test_other_errors_are_raised_unchanged(tmp_path, error):
    with pytest.raises(error), explain_damage(tmp_path, kind="a file"):
        raise error("as it is")


@pytest.fixture
def write(tmp_path, project, write_packs, encode):
    """Outputs of stages by name: the file, and a function that reads it."""

    def pack(file, storage="raw"):
        write_packs(tmp_path, pack=12, storage=storage)
        return tmp_path / "pack" / file, lambda: read_pack(tmp_path / "pack")

    def of_project(file, read):
        root = project()
        return root / file, lambda: read((root / file).parent)

    def table():
        noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
        image = {"bytes": encode(noise), "path": "a.png"}
        write_table(tmp_path, [{"id": "a", "image": image, "labels": ["x"]}])
        return tmp_path / "images-00000.parquet", lambda: list(iter_images(tmp_path, ["a"]))

    def columns():
        path, _ = table()
        return path, lambda: list(iter_columns(tmp_path, ["id"]))

    def metrics():
        write_json(tmp_path / "a.json", {"accuracy": 0.5})
        return tmp_path / "a.json", lambda: read_json(tmp_path / "a.json")

    def logits():
        save_logits(tmp_path / "a.npz", Logits(np.array(["a"]), np.zeros(1), np.zeros((1, 2))))
        return tmp_path / "a.npz", lambda: load_logits(tmp_path / "a.npz")

    def predictions():
        path = tmp_path / "a.parquet"
        pa.parquet.write_table(pa.table({name: [] for name in SCHEMA.names}, SCHEMA), path)
        return path, lambda: read_predictions(path, model="stack")

    return {
        "index of a pack": lambda: pack("index.parquet"),
        "raw pack": lambda: pack("images.npy"),
        "pack of JPEGs": lambda: pack("images.arrow", "jpeg"),
        "image table": table,
        "columns of the image table": columns,
        "metrics": metrics,
        "logits": logits,
        "predictions": predictions,
        "weights": lambda: of_project("models/flat/weights.safetensors", load_model),
        "model.json": lambda: of_project("models/flat/model.json", load_model),
        "stack": lambda: of_project("ensemble/weights.safetensors", load_ensemble),
    }


FILES = (
    *("index of a pack", "raw pack", "pack of JPEGs", "image table", "columns of the image table"),
    *("metrics", "logits", "predictions", "weights", "model.json", "stack"),
)


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.95])
@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_an_error_with_a_remedy(write, name, fraction):
    path, read = write[name]()
    read()
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(UserError) as error:
        read()
    assert str(path) in str(error.value)
    assert "damaged" in str(error.value)
    assert "dvc repro" in str(error.value)


def test_a_truncated_row_of_a_csv_is_an_error(tmp_path):
    path = tmp_path / "a.csv"
    write_rows(path, [{"id": "a", "n": 1}, {"id": "b", "n": 2}], columns=["id", "n"])
    path.write_text(path.read_text()[:-3])
    with pytest.raises(UserError, match=r"a\.csv: .*damaged \(.*row"):
        read_rows(path)


@pytest.mark.parametrize("fraction", [0.2, 0.5])
def test_one_flipped_bit_in_the_image_table_is_an_error(write, fraction):
    path, read = write["image table"]()
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + int(100 * fraction)] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"images-00000\.parquet: .*damaged \(.*CRC"):
        read()


def test_weights_of_another_network_are_an_error(write):
    path, read = write["weights"]()
    save_file({"other": zeros(3)}, path)
    with pytest.raises(UserError, match=r"network mlp.*another.*dvc repro"):
        read()


FULL = "No space left on device"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, FULL, "data/x"), "the disk is full .*data/x.*same command again"),
        (
            OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
            "the disk is full .*quota.*same command again",
        ),
        (OSError(errno.EFBIG, "File too large"), "the disk is full .*same command again"),
        (SafetensorError(f"{FULL} (os error 28)"), "the disk is full .*same command again"),
        (
            OSError(errno.EROFS, "Read-only file system", "data"),
            "^data: Read-only file system. Change",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "m"), "^m: Permission denied. Change"),
        (
            EOFError("marshal data too short"),
            r"compiled file of Python is damaged \(marshal.*__pycache__ in .*classifold",
        ),
        (MemoryError(), r"out of memory \(MemoryError\).*same command again"),
        (
            RuntimeError("can't allocate memory: 8 bytes\nat x"),
            r"out of memory \(.* 8 bytes\).*same command again",
        ),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.csv"), "^a.csv: no such.*dvc repro"),
        (
            OSError(errno.ENAMETOOLONG, "File name too long", "x.csv"),
            "^x.csv: File name too long",
        ),
        (OSError("no number"), "^no number$"),
        (
            IsADirectoryError(errno.EISDIR, "Is a directory", "x.partial", None, "x.csv"),
            "^x.csv: Is a directory.$",
        ),
        (UserError("as it is"), "^as it is$"),
    ],
)
def test_errors_that_the_user_can_fix_have_a_remedy(error, message):
    assert re.search(message, describe_error(error), re.DOTALL)


@pytest.mark.parametrize("error", [ValueError("ours"), RuntimeError("ours"), KeyError("ours")])
def test_other_errors_keep_their_traceback(error):
    assert describe_error(error) is None


def test_torch_out_of_memory_is_described():
    with pytest.raises(RuntimeError) as raised:
        empty(2**50)
    assert "out of memory" in describe_error(raised.value)
