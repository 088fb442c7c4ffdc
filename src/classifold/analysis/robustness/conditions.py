"""How test images are changed, and what models predict for them then."""

import numpy as np

# A corruption and its severity, or an attack and its largest change.
Condition = tuple[str, int]
CLEAN: Condition = ("clean", 0)

# Condition -> predictions for N images: int array (N,), or bool (N, n_classes).
Predicted = dict[Condition, np.ndarray]
