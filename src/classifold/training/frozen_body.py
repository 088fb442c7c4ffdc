"""The training of a head on features of a frozen body, which are computed once."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from classifold.augmentation.online.policy import draw_plan
from classifold.data.image_arrays import apply_to_stored
from classifold.data.pack import Pack
from classifold.models.feature_cache import FeatureCache, NotCachedError
from classifold.models.inference import aligned_rows, predict_features
from classifold.models.preprocessing import Normalize
from classifold.training.freezing import train_mode
from classifold.training.images import Read, fits
from classifold.training.machine import Machine

ROWS = 4096  # number of rows of features that a head computes at once

NO_AUGMENTATION = {"steps": [], "fill": "reflect"}

Dropout = nn.modules.dropout._DropoutNd


class FrozenBody:
    """The features of a network whose head alone is trainable, and what comes after them."""

    def __init__(
        self,
        network: nn.Module,
        cache: FeatureCache | None,
        *,
        machine: Machine,
        image_size: int,
        normalize: Normalize,
    ) -> None:
        """Find out what follows the features.

        Args:
            network: on the machine's device, with a trainable head and all else frozen.
            cache: files of features; without it they are kept in memory.
            machine: device, precision and processes of the training run.
            image_size: input size of the network.
            normalize: normalization that the network expects.

        Raises:
            NotCachedError: if training and features computed once would not give the same result.
        """
        self.machine, self.device = machine, machine.device
        self.tail = find_tail(network, image_size=image_size, device=self.device)
        self._network, self._cache = network, cache
        self._settings: dict[str, Any] = {
            "image_size": image_size,
            "normalize": normalize,
            "device": self.device,
        }
        self._known: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # images and their features

    def features(self, images: np.ndarray) -> np.ndarray:
        """Return the features of images, (N, n_features), see `FeatureCache.features`.

        Raises:
            NotCachedError: if they cannot be kept.
        """
        return apply_to_stored(self._of_stored, images)

    def _of_stored(self, images: np.ndarray) -> np.ndarray:
        if id(images) not in self._known:
            compute = self._cache.features if self._cache else predict_features
            with self.machine.fabric.autocast():
                computed = compute(self._network, images, **self._settings)
            self._known[id(images)] = images, computed
        return self._known[id(images)][1]

    def logits(self, network: nn.Module, images: np.ndarray) -> np.ndarray:
        """Compute logits in evaluation mode, float32 (N, n_classes).

        Args:
            network: its head is used.
            images: uint8 array (N, H, W, 3).
        """
        features = self.features(images)
        head: Any = network.head
        with torch.inference_mode(), aligned_rows():
            logits = [
                head(self._tensor(features[start : start + ROWS])).float().cpu().numpy()
                for start in range(0, len(features), ROWS)
            ]
        return np.concatenate(logits)

    def _tensor(self, features: np.ndarray) -> Tensor:
        return torch.from_numpy(np.asarray(features, np.float32)).to(self.device)


class TrainingFeatures:
    """The features of the training images, for `epoch_batches`."""

    policy: Mapping[str, Any] = NO_AUGMENTATION

    def __init__(self, body: FrozenBody, pack: Pack) -> None:
        """Load the features onto the device, if they fit."""
        features = body.features(pack.images)
        self.pack, self.device = pack._replace(images=features), body.device
        self.stored: Tensor | None = None
        if fits(features.nbytes, body.device):
            self.stored = torch.from_numpy(np.array(features)).to(body.device)
        self.reads_ahead = False

    def read(self, rows: np.ndarray, slots: np.ndarray, draws: np.ndarray) -> Read:
        """Read the features of `rows`; nothing is drawn."""
        plan = draw_plan([], draws[slots], size=self.pack.size, n_in_pack=len(self.pack.labels))
        read = self.pack.images[rows] if self.stored is None else None
        return Read(rows, read, None, plan, None)

    def inputs(self, read: Read, *, image_size: int, normalize: Normalize) -> Tensor:
        """Make the tail's input, float32 (N, n_features); the settings are those of the body."""
        if self.stored is not None:
            return self.stored[torch.from_numpy(read.rows).to(self.device)].float()
        return torch.from_numpy(np.asarray(read.images, np.float32)).to(self.device)


def find_tail(network: nn.Module, *, image_size: int, device: torch.device) -> nn.Sequential:
    """Find what follows the features of a frozen body: layers of dropout, and the head.

    Args:
        network: on `device`, with a trainable head and all else frozen.
        image_size: input size of the network.
        device: device of the network.

    Returns:
        The layers; they are parts of the network.

    Raises:
        NotCachedError: if other layers follow, or if the features are random or differ between
            training and evaluation mode.
    """
    size = (2, 3, image_size, image_size)
    inputs = torch.linspace(-1, 1, 6 * image_size**2).view(size).to(device)
    was_training = network.training
    # Draws of dropout must not change those of the training.
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.no_grad():
        torch.manual_seed(0)
        train_mode(network)
        trained = _Trace(network, inputs)
        network.eval()
        evaluated = _Trace(network, inputs)
        network.train(was_training)
    last = trained.layers[-1] if trained.layers else None
    if last is None or last.layer is not network.head or last.output is not trained.output:
        raise NotCachedError("its head is not its last layer")
    tail, start = [last.layer], last
    earlier = trained.layers[:-1]
    while earlier and earlier[-1].output is start.input:
        start = earlier.pop()
        tail.insert(0, start.layer)
    if earlier:
        raise NotCachedError("dropout before other layers than its head changes its features")
    features, again = start.value, evaluated.layers[-1].value
    # NaN in both is an error of its own, where the features are used.
    if features.ndim != 2 or not torch.allclose(features, again, rtol=1e-4, equal_nan=True):
        raise NotCachedError("its features differ between training and evaluation mode")
    return nn.Sequential(*tail)


class _Call:
    """A layer's call in a forward pass."""

    def __init__(self, layer: nn.Module, layer_input: Tensor) -> None:
        self.layer, self.input = layer, layer_input
        self.value = layer_input.clone()  # dropout may work in place
        self.output: Tensor | None = None


class _Trace:
    """The calls of dropout, where it is active, and of the head in a forward pass."""

    def __init__(self, network: nn.Module, inputs: Tensor) -> None:
        self.layers: list[_Call] = []
        watched = [
            module
            for module in network.modules()
            if module is network.head
            or (isinstance(module, Dropout) and module.training and module.p > 0)
        ]
        hooks = [module.register_forward_pre_hook(self._before) for module in watched]
        hooks += [module.register_forward_hook(self._after) for module in watched]
        try:
            self.output = network(inputs)
        finally:
            for hook in hooks:
                hook.remove()

    def _before(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.layers.append(_Call(layer, inputs[0]))

    def _after(self, _: nn.Module, __: object, output: Tensor) -> None:
        self.layers[-1].output = output
