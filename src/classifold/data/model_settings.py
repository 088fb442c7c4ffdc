"""Fill in the settings of a model that `params.yaml` may omit, since others determine them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Networks that are not trained by epochs: a head is fitted on the features of their body.
PROBE = "probe"
WITHOUT_EPOCHS = ("fisher_vectors", PROBE)

LOSSES = {"single": "cross_entropy", "multi": "binary_cross_entropy"}


def with_defaults(model: Mapping[str, Any], *, size: int, task: str) -> dict[str, Any]:
    """Copy a model of params, with its image size and loss.

    A stage that trains takes both from the packs, which have `augment.size` and `dataset.task`:
    DVC tracks the packs, so that a change of either trains the model again.

    Args:
        model: its section of params.
        size: width and height of the packed images; `image_size` where the model has none.
        task: `single` or `multi`, which decides the loss where the model has none.
    """
    defaults = {"image_size": size, "loss": {"name": LOSSES[task]}}
    given = {key: value for key, value in model.items() if value is not None}
    return {**model, **defaults, **given}


def by_seed(model: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Copy a model of params for each of its `seeds`: seed -> settings, without the key `seeds`.

    The first seed is that of the model itself; the others measure how much training varies.
    """
    settings = {key: value for key, value in model.items() if key != "seeds"}
    first = model["seed"]
    return {
        seed: {**settings, "seed": seed} for seed in range(first, first + (model.get("seeds") or 1))
    }


def other_seeds(model: Mapping[str, Any]) -> list[int]:
    """List the seeds of a model of params that only measure how much training varies."""
    return list(by_seed(model))[1:]


def seed_folder(model: Path, seed: int | str) -> Path:
    """Return the folder of another seed of a model, in the folder of the model."""
    return model / "seeds" / str(seed)
