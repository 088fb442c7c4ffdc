"""Fill in the settings of a model that `params.yaml` may omit, since others determine them."""

from collections.abc import Mapping
from typing import Any

# A network whose body is frozen; its head is fitted, not trained by epochs.
PROBE = "probe"

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
