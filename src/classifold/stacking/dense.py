"""Dense layers over the members' logits, which are initialized as the members' plain mean.

Source: report 000, section 6 (AlphaStack): the raw outputs of frozen members are concatenated and
pass through several dense layers. Here the output of the layers is added to the mean of the
members' log-probabilities (log-odds with several labels) and is initially zero. With few
validation images early stopping then ends near the mean, and the stack is not much worse.
"""

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from classifold.data.seeding import generator, seed_torch

BATCH_SIZE = 64
HELD_OUT_FRACTION = 0.2

# From this number of weights on, one pass over them instead of ten saves a quarter of a step. It
# rounds differently, so stacks of few classes keep their bits.
MIN_FUSED = 2**16


class DenseStack(nn.Module):
    """Members' log-probabilities or -odds (N, n_members, n_classes) -> logits (N, n_classes)."""

    def __init__(
        self, n_members: int, n_classes: int, *, hidden: Sequence[int], dropout: float
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        width = n_members * n_classes
        for n_units in hidden:
            layers += [nn.Linear(width, n_units), nn.ReLU(), nn.Dropout(dropout)]
            width = n_units
        head = nn.Linear(width, n_classes)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        self.dense = nn.Sequential(*layers, head)

    def forward(self, members: Tensor) -> Tensor:
        """Add the dense layers' correction to the mean."""
        return self.correct(*self.prepare(members))

    @staticmethod
    def prepare(members: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the mean (N, n_classes), and the inputs of the dense layers."""
        # Confident networks reach -30; asinh compresses the values so that no member dominates.
        return members.mean(1), torch.asinh(members)

    def correct(self, mean: Tensor, inputs: Tensor) -> Tensor:
        """Add the dense layers' correction to what `prepare` computed."""
        return mean + self.dense(inputs)


def fit_dense(
    members: np.ndarray,
    labels: np.ndarray,
    *,
    hidden: Sequence[int],
    dropout: float,
    lr: float,
    weight_decay: float,
    epochs: int,
    patience: int | None,
    seed: int,
) -> tuple[DenseStack, int]:
    """Fit dense layers with AdamW and early stopping by the log loss on a held-out fifth.

    Args:
        members: float array (N, n_members, n_classes), as `members.join` returns it.
        labels: int array (N,), or 0 and 1 in (N, n_classes).
        hidden: units of each hidden layer.
        dropout: probability after each hidden layer.
        lr: learning rate.
        weight_decay: weight decay of AdamW.
        epochs: the maximum number of epochs; the exact number where `patience` is None.
        patience: epochs without a lower loss before stopping; None holds out no images.
        seed: seed of weights, order, dropout and the choice of held-out images.

    Returns:
        The layers of the best epoch in evaluation mode, and that epoch; 0 is the plain mean, as
        with a single image, which leaves none to fit on.
    """
    # Layers this small are slower on two threads, and one keeps weights reproducible.
    torch.set_num_threads(1)
    seed_torch(seed, "stack")
    n_members, n_classes = members.shape[1:]
    stack = DenseStack(n_members, n_classes, hidden=hidden, dropout=dropout)
    fused = sum(weights.numel() for weights in stack.parameters()) >= MIN_FUSED
    optimizer = torch.optim.AdamW(stack.parameters(), lr=lr, weight_decay=weight_decay, fused=fused)
    # Once for all epochs: it takes a quarter of a step.
    mean, inputs = stack.prepare(torch.from_numpy(members.astype(np.float32, copy=False)))
    single = labels.ndim == 1
    targets = torch.from_numpy(labels if single else labels.astype(np.float32))
    log_loss = F.cross_entropy if single else F.binary_cross_entropy_with_logits
    fitted, held_out = _hold_out(labels, seed) if patience else (np.arange(len(labels)), None)
    if not len(fitted):
        return stack.eval(), 0

    best_epoch, best_loss, best_state = 0, np.inf, copy.deepcopy(stack.state_dict())
    for epoch in range(epochs + 1):
        if epoch > 0:  # epoch 0 is the plain mean
            stack.train()
            order = generator(seed, "stack", epoch).permutation(fitted)
            for rows in np.array_split(order, -(-len(order) // BATCH_SIZE)):
                # Half the time of indexing with an array, which takes 8 % of a step.
                chosen = torch.from_numpy(rows)
                of_mean, of_inputs, of_targets = (
                    tensor.index_select(0, chosen) for tensor in (mean, inputs, targets)
                )
                optimizer.zero_grad()
                log_loss(stack.correct(of_mean, of_inputs), of_targets).backward()
                optimizer.step()
        if held_out is None:
            best_epoch, best_state = epoch, stack.state_dict()
            continue
        stack.eval()
        with torch.inference_mode():
            loss = log_loss(
                stack.correct(mean[held_out], inputs[held_out]), targets[held_out]
            ).item()
        if loss < best_loss:
            best_epoch, best_loss, best_state = epoch, loss, copy.deepcopy(stack.state_dict())
        elif patience and epoch - best_epoch >= patience:
            break
    stack.load_state_dict(best_state)
    return stack.eval(), best_epoch


def with_weights(
    weights: Mapping[str, np.ndarray], n_members: int, n_classes: int, *, hidden: Sequence[int]
) -> DenseStack:
    """Build fitted layers, in evaluation mode.

    Args:
        weights: by the names of the layers' parameters.
        n_members: number of members.
        n_classes: number of classes.
        hidden: units of each hidden layer.
    """
    # Weights that do not fit raise an error before memory is allocated for the layers.
    with torch.device("meta"):
        stack = DenseStack(n_members, n_classes, hidden=hidden, dropout=0)
    tensors = {name: torch.from_numpy(values) for name, values in weights.items()}
    stack.load_state_dict(tensors, assign=True)
    return stack.eval()


def apply_dense(stack: DenseStack, members: np.ndarray) -> np.ndarray:
    """Compute logits, float64 (N, n_classes), from float32 (N, n_members, n_classes)."""
    with torch.inference_mode():
        logits: np.ndarray = stack(torch.from_numpy(members)).double().numpy()
    return logits


def _hold_out(labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to fit on, and a held-out fifth: stratified where each class has two rows."""
    random_state = int(generator(seed, "held out").integers(2**31))
    n_held_out = max(round(len(labels) * HELD_OUT_FRACTION), 1)
    if labels.ndim == 1:
        counts = np.bincount(labels)
        if counts[counts > 0].min() >= 2 and n_held_out >= np.count_nonzero(counts):
            # Slow to import, and not needed to apply a fitted stack.
            from sklearn.model_selection import StratifiedShuffleSplit  # noqa: PLC0415

            splitter = StratifiedShuffleSplit(1, test_size=n_held_out, random_state=random_state)
            return next(splitter.split(labels, labels))
    order = generator(seed, "held out").permutation(len(labels))
    return order[n_held_out:], order[:n_held_out]
