"""Pretrained tensors fill all of a network but its head, or change nothing."""

import pytest
import torch
from torch import nn

from classifold.errors import UserError
from classifold.models.filling import fill_network, renamed_in_order

TENSORS = {"body.weight": torch.arange(6.0).view(2, 3), "head.bias": torch.tensor([7.0])}


def is_same(some, others):
    return list(some) == list(others) and all(torch.equal(some[key], others[key]) for key in some)


def small_network(seed):
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3))
    network.append(nn.Linear(4, 2 + seed))
    return network


def fill(network, tensors):
    fill_network(network, tensors, source="w.pth", new=["3"])


def copy_of(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def without_tensors(tensors, *names):
    return {name: tensor for name, tensor in tensors.items() if name not in names}


def test_all_but_the_new_layers_are_filled():
    network, other = small_network(0), small_network(1)
    before = copy_of(network)
    published = other.state_dict() | {"1.num_batches_tracked": torch.tensor(9)}
    fill(network, published)
    after = network.state_dict()
    new = ("3.weight", "3.bias")
    assert is_same(without_tensors(after, *new), without_tensors(published, *new))
    assert all(torch.equal(after[name], before[name]) for name in new)


def test_a_new_layer_stays_even_where_the_file_has_one_that_would_fit():
    network, other = small_network(0), small_network(0)
    nn.init.zeros_(other[3].weight)
    fill(network, other.state_dict())
    assert network[3].weight.any()


def test_a_count_of_batches_may_be_missing_or_be_there_for_nothing():
    published = without_tensors(copy_of(small_network(1)), "1.num_batches_tracked")
    network = small_network(0)
    fill(network, published | {"0.num_batches_tracked": torch.tensor(4)})
    assert torch.equal(network[2].weight, published["2.weight"])


def test_halves_fill_floats():
    published, network = small_network(1).half().state_dict(), small_network(0)
    fill(network, published)
    assert torch.equal(network[0].weight, published["0.weight"].float())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: without_tensors(t, "0.bias"), r"8 of .* 9 tensors match, missing 1 \(0.bias\)"),
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
    ids=["missing", "of another shape", "of another type", "unexpected"],
)
def test_weights_that_match_partly_are_an_error_and_change_nothing(change, message):
    network = small_network(0)
    before = copy_of(network)
    message = rf"\(w.pth\): must match .*{message}.*arguments of the network"
    with pytest.raises(UserError, match=message):
        fill(network, change(copy_of(small_network(1))))
    assert is_same(network.state_dict(), before)


@pytest.mark.parametrize("tensors", [TENSORS, {"3.weight": torch.ones(3, 4)}])
def test_an_error_for_weights_of_another_network_recommends_other_weights(tensors):
    message = r"0 of .* 9 tensors match, missing 8 \(.* and 5 others\).*Use weights of th"
    with pytest.raises(UserError, match=message):
        fill(small_network(0), tensors)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_with_nan_or_infinity_are_an_error(value):
    published = copy_of(small_network(1))
    published["2.bias"][1] = value
    network = small_network(0)
    before = copy_of(network)
    with pytest.raises(UserError, match=r"must be finite, got .* 1 tensors \(2.bias\)"):
        fill(network, published)
    assert is_same(network.state_dict(), before)


def test_tensors_in_the_same_order_get_the_names_of_the_network():
    theirs = without_tensors(small_network(1).state_dict(), "1.num_batches_tracked")
    theirs = {f"_layer_{name}": tensor for name, tensor in theirs.items()}
    body = [name for name in small_network(0).state_dict() if not name.startswith("3.")]
    renamed = renamed_in_order(theirs, body)
    assert list(renamed)[-2:] == ["_layer_3.weight", "_layer_3.bias"]  # the head's
    network = small_network(0)
    fill_network(network, renamed, source="w.pth", new=["3"], unused=["_layer_3"])
    assert torch.equal(network[2].weight, theirs["_layer_2.weight"])
    assert torch.equal(network[1].running_var, theirs["_layer_1.running_var"])
