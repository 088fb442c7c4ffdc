"""Copy pretrained tensors into a network."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from classifold.errors import SettingError, list_names

# Batch norm's counter of batches: missing in old files, and no result depends on it.
COUNTER = "num_batches_tracked"


def fill_network(
    network: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    source: str,
    new: Iterable[str] = (),
    unused: Iterable[str] = (),
) -> None:
    """Copy tensors into all layers of a network except the new ones.

    Args:
        network: changed in place.
        tensors: by the names of `network.state_dict()`, of the same shapes.
        source: source of the tensors, for messages.
        new: the network's modules that are not changed; their tensors in `tensors` are ignored.
        unused: prefixes of names of other tensors that are ignored.

    Raises:
        UserError: if a layer that is not new has no tensor, or a tensor has no layer: the weights
            are of another network. Nothing is copied then.
    """
    new, unused = tuple(new), tuple(unused)
    own = {name: own for name, own in network.state_dict().items() if not is_under(name, new)}
    given = {
        name: tensor for name, tensor in tensors.items() if not is_under(name, (*new, *unused))
    }
    fitting = [name for name in own if name in given and _fits(given[name], own[name])]
    wrong = [
        f"{name} {tuple(given[name].shape)} of {_kind(given[name])} for "
        f"{tuple(own[name].shape)} of {_kind(own[name])}"
        for name in own
        if name in given and name not in fitting
    ]
    missing = [name for name in own if name not in given and not name.endswith(COUNTER)]
    unknown = [name for name in given if name not in own and not name.endswith(COUNTER)]
    if wrong or missing or unknown:
        found = [
            f"{what} {len(names)} ({list_names(names)})"
            for what, names in [
                ("missing", missing),
                ("of another shape", wrong),
                ("unexpected", unknown),
            ]
            if names
        ]
        advice = (
            "Use weights of this network, or null for random weights."
            if len(fitting) < len(own) / 2
            else "Set the name, image_size and arguments of the network from which the weights are."
        )
        raise SettingError(
            f"arguments.weights ({source}): must match all layers except the head; "
            f"{len(fitting)} of the network's {len(own)} tensors match, {', '.join(found)}. "
            f"{advice}"
        )
    broken = [name for name in fitting if not bool(torch.isfinite(given[name]).all())]
    if broken:
        raise SettingError(
            f"arguments.weights ({source}): must be finite, got NaN or infinity in "
            f"{len(broken)} tensors ({list_names(broken)}). Use other weights."
        )
    for name in fitting:
        own[name].copy_(given[name])


def is_under(name: str, modules: Iterable[str]) -> bool:
    """Return whether a tensor belongs to one of the modules or their children."""
    return any(f"{name}.".startswith(f"{module}.") for module in modules)


def _fits(given: Tensor, own: Tensor) -> bool:
    return given.shape == own.shape and _kind(given) == _kind(own)


def _kind(tensor: Tensor) -> str:
    """The kind of a tensor's numbers; all floating-point types are one kind."""
    return "floats" if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.")


def renamed_in_order(tensors: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """Rename tensors of a library that lists the same tensors in the same order.

    Args:
        tensors: in the order of the file.
        names: names of the network's tensors, in its order; counters of batch norms are skipped.
            Further tensors, those of the head, keep their names.
    """
    given = [name for name in tensors if not name.endswith(COUNTER)]
    own = [name for name in names if not name.endswith(COUNTER)]
    new_names = [*own, *given[len(own) :]]
    return {new: tensors[old] for new, old in zip(new_names, given, strict=True)}
