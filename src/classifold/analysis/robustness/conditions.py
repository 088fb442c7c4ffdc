"""How test images are changed, and what models predict for them then."""

from typing import NamedTuple

import numpy as np

# A corruption and its severity, or an attack and its perturbation bound.
Condition = tuple[str, int]
CLEAN: Condition = ("clean", 0)

# Condition -> predictions for N images: int array (N,), or bool (N, n_classes).
Predicted = dict[Condition, np.ndarray]


class Corrupted(NamedTuple):
    """What models predict for clean and for corrupted images."""

    predictions: dict[str, Predicted]  # model -> its predictions, those for `CLEAN` first
    equal_to_stack: set[str]  # models with the probabilities and predictions of the stack
