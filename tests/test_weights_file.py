"""Weights come from the file that is meant, run no code, and fill all of a network or nothing."""

import hashlib
import io
import os
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from classifold.errors import UserError
from classifold.models.weights_file import fill_network, find_weights, read_weights

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
def test_a_file_gives_back_the_tensors_it_was_written_with(tmp_path, suffix):
    assert is_same(read(write(tmp_path / f"w{suffix}", TENSORS)), TENSORS)


def test_a_file_of_torchs_old_format_is_read_too(tmp_path):
    path = tmp_path / "w.pth"
    torch.save(TENSORS, path, _use_new_zipfile_serialization=False)
    assert is_same(read(path), TENSORS)


def test_parameters_are_tensors_and_digits_of_the_sha256_may_be_capitals(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({name: nn.Parameter(tensor) for name, tensor in TENSORS.items()}, path)
    assert is_same(read_weights(path, sha256_of(path).upper()), TENSORS)


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
    ],
    ids=["empty", "page", "pointer", "zip", "pickle", "header"],
)
def test_a_file_without_weights_is_an_error(tmp_path, suffix, content):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"w{suffix}: must .*Download it again"):
        read(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_truncated_file_is_an_error(tmp_path, suffix):
    whole = write(tmp_path / f"w{suffix}", TENSORS).read_bytes()
    path = tmp_path / f"half{suffix}"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=rf"must be a {suffix} file of weights.*Download it again"):
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


class Planted:
    """Leaves a mark where a reader runs what a pickle says."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_named_and_not_run(tmp_path, zipped):
    path, mark = tmp_path / "w.pth", tmp_path / "mark"
    content = TENSORS | {"planted": Planted(mark)}
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
def test_anything_but_tensors_by_their_names_is_an_error(tmp_path, content, message):
    with pytest.raises(UserError, match=f"must hold .*tensors .*{message}. Save .*safetensors"):
        read(write(tmp_path / "w.pth", content))


@pytest.mark.parametrize(
    "weights",
    [
        {"file": "w.pth"},
        {"file": "w.pth", "sha256": 123},
        {"file": "w.pth", "sha256": "0", "url": "x"},
        ["w.pth"],
        True,
        {},
    ],
    ids=str,
)
def test_weights_that_are_neither_a_name_nor_a_file_are_an_error(weights):
    with pytest.raises(
        UserError, match=r"arguments.weights: must be null, a name .*, or a file as"
    ):
        find_weights(weights, classifier="resnet18")


def test_a_name_of_weights_is_an_error_for_a_network_without_published_weights():
    with pytest.raises(
        UserError, match=r"arguments.weights: must be null or a file as .* got 'DEFAULT'"
    ):
        find_weights("DEFAULT", classifier=None)


def test_weights_made_for_other_pixels_are_not_offered():
    with pytest.raises(UserError, match=r"one of IMAGENET1K_V1, DEFAULT for .* 'IMAGENET1K_F"):
        find_weights("IMAGENET1K_FEATURES", classifier="vgg16")


def test_a_file_is_found_from_the_folder_of_the_params(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("weights").mkdir()
    path = write(Path("weights/w.safetensors"), TENSORS)
    weights = {"file": "weights/w.safetensors", "sha256": sha256_of(path)}
    assert is_same(find_weights(weights, classifier=None), TENSORS)


def small(seed):
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3))
    network.append(nn.Linear(4, 2 + seed))
    return network


def fill(network, tensors):
    fill_network(network, tensors, weights={"file": "w.pth", "sha256": "0"}, new=["3"])


def copy_of(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def test_all_but_the_new_layers_are_filled():
    network, other = small(0), small(1)
    before = copy_of(network)
    published = other.state_dict() | {"1.num_batches_tracked": torch.tensor(9)}
    fill(network, published)
    after = network.state_dict()
    assert is_same(
        {name: after[name] for name in after if not name.startswith("3.")},
        {name: published[name] for name in published if not name.startswith("3.")},
    )
    assert torch.equal(after["3.weight"], before["3.weight"])
    assert torch.equal(after["3.bias"], before["3.bias"])


def test_a_new_layer_stays_even_where_the_file_has_one_that_would_fit():
    network, other = small(0), small(0)
    nn.init.zeros_(other[3].weight)
    fill(network, other.state_dict())
    assert network[3].weight.any()


def test_a_count_of_batches_may_be_missing_or_be_there_for_nothing():
    published = copy_of(small(1))
    del published["1.num_batches_tracked"]
    network = small(0)
    fill(network, published | {"0.num_batches_tracked": torch.tensor(4)})
    assert torch.equal(network[2].weight, published["2.weight"])


def test_halves_fill_floats():
    published = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in small(1).state_dict().items()
    }
    network = small(0)
    fill(network, published)
    assert torch.equal(network[0].weight, published["0.weight"].float())


def without(tensors, *names):
    return {name: tensor for name, tensor in tensors.items() if name not in names}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: without(t, "0.bias"), r"8 of .* 9 tensors match, missing 1 \(0.bias\)"),
        (
            lambda t: t | {"0.weight": torch.ones(4, 1, 3, 3)},
            r"8 of .* 9 tensors match, of another shape 1 "
            r"\(0.weight \(4, 1, 3, 3\) of floats for \(4, 3, 3, 3\) of floats\)",
        ),
        (
            lambda t: t | {"2.weight": torch.ones(4, 4, 3, 3, dtype=torch.int8)},
            r"8 of .* 9 tensors match, of another shape 1 \(2.weight \(4, 4, 3, 3\) of int8 for",
        ),
        (
            lambda t: t | {"4.weight": torch.ones(1), "30.bias": torch.ones(1)},
            r"9 of .* 9 tensors match, unexpected 2 \(4.weight, 30.bias\)",
        ),
    ],
    ids=["missing", "shape", "kind", "unknown"],
)
def test_weights_that_match_partly_are_an_error_and_change_nothing(change, message):
    network = small(0)
    before = copy_of(network)
    with pytest.raises(
        UserError, match=rf"\(w.pth\): must match .*{message}.*arguments of the network"
    ):
        fill(network, change(copy_of(small(1))))
    assert is_same(network.state_dict(), before)


@pytest.mark.parametrize("tensors", [TENSORS, {"3.weight": torch.ones(3, 4)}])
def test_an_error_for_weights_of_another_network_recommends_other_weights(tensors):
    with pytest.raises(
        UserError, match=r"0 of .* 9 tensors match, missing 8 \(.*…\).*Use weights of th"
    ):
        fill(small(0), tensors)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_with_nan_or_infinity_are_an_error(value):
    published = copy_of(small(1))
    published["2.bias"][1] = value
    network = small(0)
    before = copy_of(network)
    with pytest.raises(UserError, match=r"must be finite, got .* 1 tensors \(2.bias\)"):
        fill(network, published)
    assert is_same(network.state_dict(), before)
