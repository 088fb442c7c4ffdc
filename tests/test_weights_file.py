"""Weights come from the file that is meant, run no code, and fill all of a network or nothing."""

import hashlib
import io
import random

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from classifold.errors import UserError
from classifold.models.weights_file import read_weights
from evil_pickle import Evil

TENSORS = {"body.weight": torch.arange(6.0).view(2, 3), "head.bias": torch.tensor([7.0])}
SUFFIXES = [".safetensors", ".pth", ".pt", ".bin"]


def sha256_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read(path):
    return read_weights(path, sha256_of(path))


def is_same(some, others):
    return list(some) == list(others) and all(torch.equal(some[key], others[key]) for key in some)


def write(path, tensors):
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("make", [torch.clone, nn.Parameter])
def test_a_file_gives_back_the_tensors_it_was_written_with(tmp_path, suffix, make):
    tensors = {name: make(tensor) for name, tensor in TENSORS.items()}
    path = write(tmp_path / f"w{suffix}", tensors)
    assert is_same(read_weights(path, sha256_of(path).upper()), TENSORS)


def test_a_file_of_torchs_old_format_is_read_too(tmp_path):
    path = tmp_path / "w.pth"
    torch.save(TENSORS, path, _use_new_zipfile_serialization=False)
    assert is_same(read(path), TENSORS)


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": TENSORS, "epoch": 3},
        {"model": TENSORS, "optimizer": {"lr": 0.1}},
        {"model_state_dict": TENSORS},
        {f"module.{name}": tensor for name, tensor in TENSORS.items()},
        {f"_orig_mod.{name}": tensor for name, tensor in TENSORS.items()},
        {"state_dict": {f"model.{name}": tensor for name, tensor in TENSORS.items()}},
        {f"module.model.{name}": tensor for name, tensor in TENSORS.items()},
        {f"backbone.{name}": tensor for name, tensor in TENSORS.items()},
        {f"backbone.{n}": t for n, t in TENSORS.items()} | {"head.weight": torch.ones(2)},
    ],
    ids=" ".join,
)
def test_wrappers_of_training_scripts_are_removed(tmp_path, content):
    assert is_same(read(write(tmp_path / "w.pth", content)), TENSORS)


def test_a_prefix_that_some_names_lack_is_part_of_the_names(tmp_path):
    tensors = {"module.a": torch.ones(1), "b": torch.ones(1), "backbone.c": torch.ones(1)}
    assert is_same(read(write(tmp_path / "w.pth", tensors)), tensors)


@pytest.mark.promise("torch-weights", "named-weights")
def test_a_file_with_another_sha256_is_an_error_before_it_is_read(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(b"no weights at all")
    with pytest.raises(UserError) as error:
        read_weights(path, "0123")
    message = str(error.value)
    assert str(path) in message
    assert f"0123, got {sha256_of(path)}. Download" in message


@pytest.mark.parametrize("path", ["nowhere.pth", "."])
def test_a_missing_file_is_an_error_with_its_path(tmp_path, path):
    with pytest.raises(UserError, match=r"arguments.weights: no such file, got .*correct the path"):
        read_weights(tmp_path / path, "0")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>404</html>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 46830571\n",
        b"PK\x05\x06" + bytes(18),  # an empty zip
        b"\x80\x02}q\x00",  # a pickle that ends too early
        b"\xff" * 8 + b"{}",  # a header of safetensors of 2**64 - 1 bytes
        None,  # half of a file
    ],
    ids=["empty", "page", "pointer", "zip", "pickle", "header", "half"],
)
def test_a_file_without_weights_is_an_error(tmp_path, suffix, content):
    path = write(tmp_path / f"w{suffix}", TENSORS)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content is None else content)
    with pytest.raises(UserError, match=rf"w{suffix}: must .*Download it again"):
        read(path)


def test_damage_gives_tensors_or_an_error_of_ours(tmp_path):
    random_numbers = random.Random(0)
    refused = 0
    for number in range(150):
        suffix = SUFFIXES[number % 2]
        buffer = io.BytesIO()
        torch.save(TENSORS, buffer, _use_new_zipfile_serialization=number % 3 == 0)
        whole = write(tmp_path / f"whole{suffix}", TENSORS).read_bytes()
        damaged = bytearray(whole if suffix == ".safetensors" else buffer.getvalue())
        for _ in range(random_numbers.randint(1, 4)):
            damaged[random_numbers.randrange(len(damaged))] = random_numbers.randrange(256)
        path = tmp_path / f"{number}{suffix}"
        path.write_bytes(damaged)
        try:
            assert all(isinstance(tensor, torch.Tensor) for tensor in read(path).values())
        except UserError:
            refused += 1
    assert 20 < refused < 150


def test_a_file_with_another_suffix_is_an_error(tmp_path):
    path = tmp_path / "w.npz"
    path.write_bytes(b"")
    with pytest.raises(
        UserError, match=r"must be a .safetensors, .pth, .pt, .bin file, got .*w.npz"
    ):
        read(path)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.promise("torch-weights")
def test_code_in_a_file_is_named_and_not_run(tmp_path, zipped):
    path, mark = tmp_path / "w.pth", tmp_path / "mark"
    content = TENSORS | {"planted": Evil(mark)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"must hold only tensors, got posix.mkdir, .*not read"):
        read(path)
    assert not mark.exists()

    torch.load(path, weights_only=False)  # the plant would have done it
    assert mark.exists()


def test_a_pickled_network_is_an_error_with_the_name_of_its_class(tmp_path):
    path = tmp_path / "w.pth"
    torch.save(nn.Linear(2, 2), path)
    with pytest.raises(UserError, match=r"got torch.nn.modules.linear.Linear, .*state_dict"):
        read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(1)], "by their names, got list"),
        (torch.ones(1), "by their names, got Tensor"),
        ({}, "by their names, got nothing"),
        ({"model": {}}, "by their names, got nothing"),
        ({"weight": torch.ones(1), "epoch": 3}, "got int for 'epoch'"),
        ({"layer": {"weight": torch.ones(1)}}, "got dict for 'layer'"),
        ({5: torch.ones(1)}, "got another type of tensor for 5"),
        ({"weight": torch.ones(1, device="meta")}, "got another type of tensor for 'weight'"),
        ({"weight": torch.eye(2).to_sparse()}, "got another type of tensor for 'weight'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.promise("torch-weights")
def test_anything_but_tensors_by_their_names_is_an_error(tmp_path, content, message):
    with pytest.raises(UserError, match=f"must hold .*tensors .*{message}. Save .*safetensors"):
        read(write(tmp_path / "w.pth", content))
