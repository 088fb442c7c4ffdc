"""Files of the previous format are read; those of an unknown format are refused with a remedy."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from classifold.data.image_table import SCHEMA, iter_columns, write_table
from classifold.data.pack import new_pack, read_pack
from classifold.errors import UserError
from classifold.models.inference import predict_logits
from classifold.models.model_file import load_model
from classifold.stacking.ensemble import ensemble_logits, load_ensemble

FORMAT_1 = Path(__file__).parent / "data/format_1"  # written before there were versions


def test_a_model_of_the_previous_format_predicts_as_it_did():
    model = load_model(FORMAT_1 / "model")
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    logits = predict_logits(
        model.network, images, image_size=16, normalize="half", device=torch.device("cpu")
    )
    np.testing.assert_allclose(logits[0], [-0.11906583, -0.08367421, -0.35610798], atol=1e-6)
    np.testing.assert_allclose(logits[3], [-0.11697411, -0.08582666, -0.35615352], atol=1e-6)


def test_an_ensemble_of_the_previous_format_predicts_as_it_did():
    generator = np.random.default_rng(0)
    logits = {name: generator.normal(size=(30, 3))[:1] for name in "ab"}
    stacked = ensemble_logits(load_ensemble(FORMAT_1 / "ensemble"), logits)
    np.testing.assert_allclose(stacked, [[0.66550897, -0.10797101, -0.55753796]], atol=1e-6)


def test_a_pack_of_the_previous_format_is_read(tmp_path):
    edit(write_pack(tmp_path), lambda content: content.pop("format_version"))
    assert read_pack(tmp_path).ids == ["dog/1"]


def test_a_table_of_the_previous_format_is_read(tmp_path):
    write_shard(tmp_path, None)
    assert list(iter_columns(tmp_path, ["id"])) == [{"id": "dog/1"}]


@pytest.mark.parametrize("version", [3, 0, True, "2", None])
@pytest.mark.parametrize("kind", ["model", "ensemble", "pack"])
def test_an_unknown_format_is_refused(tmp_path, kind, version):
    if kind == "pack":
        folder, name, read = write_pack(tmp_path).parent, "pack.json", read_pack
    else:
        folder, name = tmp_path / kind, f"{kind}.json"
        shutil.copytree(FORMAT_1 / kind, folder)
        read = load_model if kind == "model" else load_ensemble
    edit(folder / name, lambda content: content.update(format_version=version))
    with pytest.raises(UserError, match=rf"{name}: must have format 1 or 2, got .*dvc repro"):
        read(folder)


@pytest.mark.parametrize("version", ["3", "new"])
def test_a_table_of_an_unknown_format_is_refused(tmp_path, version):
    write_shard(tmp_path, {"format_version": version})
    with pytest.raises(UserError, match=r"images-00000.parquet: must have format 1 or 2, got"):
        list(iter_columns(tmp_path, ["id"]))


def test_what_is_written_has_a_version(tmp_path):
    write_table(tmp_path, [])
    assert pq.read_schema(tmp_path / "images-00000.parquet").metadata[b"format_version"] == b"2"
    assert json.loads(write_pack(tmp_path).read_text())["format_version"] == 2


def write_pack(folder):
    with new_pack(folder, n_images=1, size=2, resize="box", classes=["dog"]) as pack:
        pack.put(0, np.zeros((1, 2, 2, 3), np.uint8))
        pack.describe(image_id="dog/1", variant=0, transformation="none", labels=["dog"])
    return folder / "pack.json"


def write_shard(folder, metadata):
    write_table(folder, [{"id": "dog/1", "image": {"bytes": b"", "path": "dog/1"}}])
    path = folder / "images-00000.parquet"
    table = pq.read_table(path).replace_schema_metadata(metadata)
    assert table.schema.equals(SCHEMA)
    pq.write_table(table, path, write_page_checksum=True)


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
