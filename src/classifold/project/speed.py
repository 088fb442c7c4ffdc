"""Measure how fast this machine trains the models of a project, on some of its packed images.

Run as a process of its own in a project (`python -m classifold.project.speed`); it prints JSON. So
its start is measured, too, and its memory is free again when the stages run.
"""

import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from classifold.errors import UserError
from classifold.models.fitted_head import FittedBody
from classifold.models.folding import fold_batch_norms
from classifold.models.inference import batch_size_of, predict_features, predict_logits
from classifold.models.preprocessing import to_input
from classifold.params.validation import check_params
from classifold.project.budget import Speed
from classifold.project.prerequisites import PACKS
from classifold.training.batches import Batch
from classifold.training.epochs import Epochs
from classifold.training.freezing import train_mode
from classifold.training.losses import one_hot
from classifold.training.probe import MAX_IMAGES_FOR_BODY, batches_for_body
from classifold.training.setup import Training, prepare

SECONDS = 1.5  # of each measurement
MAX_CALLS = 30

# Of a logistic regression, for all values of c: each fit begins where the last one ended.
ITERATIONS = 250
TRIED_ITERATIONS = 5
TRIED_ROWS = 2000

TRIED_IMAGES = 50  # that a body is fitted on


def main() -> None:
    """Print the seconds that each model of `params.yaml` takes."""
    params = check_params()
    measured = {
        name: _measure(
            prepare(params["train"], model, packs=PACKS), params["policies"][model["online"]]
        )
        for name, model in params["models"].items()
    }
    print(json.dumps(measured))


def _measure(training: Training, policy: Mapping[str, Any]) -> Speed:
    train, validation = training.train, training.validation
    n_images, n_originals = len(train.labels), len(set(train.ids))
    n_validation = len(validation.labels)
    if training.config.head:
        body = _fit_body(training)
        image, features = _predict(training, folded=True)
        of_images = (n_images + n_validation) * image
        head = _fit(training, features.shape[1])
        # Each fold has a fitted body of its own; those of others have the same features.
        once, each = (0.0, body + of_images + head) if body else (of_images, head)
        return Speed(
            once=once,
            each=each,
            epoch=0.0,
            image=_predict(training)[0],
        )
    image, _ = _predict(training)
    config = training.config.at_middle_size()
    epochs = Epochs(train, config=config, policy=policy, machine=training.machine)
    seconds = {
        name: epochs.n_steps * _step(epochs, training, settings) + n_validation * image
        for name, settings in training.config.phases.items()
    }
    last = seconds.pop(max(seconds))
    each = sum(training.config.phases[name]["epochs"] * seconds[name] for name in seconds)
    return Speed(0.0, each + (n_originals + n_validation) * image, last, image)


def _predict(training: Training, *, folded: bool = False) -> tuple[float, np.ndarray]:
    """Measure the prediction of an image, or its features; return those, too."""
    config, device = training.config, training.machine.device
    settings: dict[str, Any] = {
        "image_size": config.image_size,
        "normalize": config.normalize,
        "device": device,
    }
    images = np.array(training.train.images[: batch_size_of(config.image_size, device)])
    network = training.network
    predict: Callable[..., np.ndarray] = predict_logits
    if folded:
        network, predict = (
            fold_batch_norms(network, to_input(images[:1], **settings)),
            predict_features,
        )
    outputs = predict(network, images, **settings)
    return _seconds(lambda: predict(network, images, **settings)) / len(images), outputs


def _step(epochs: Epochs, training: Training, settings: Mapping[str, Any]) -> float:
    """Measure a step of a phase; this changes the weights."""
    phase = epochs.begin(training.network, settings)
    train_mode(phase.network)
    batches = _batches(epochs)

    def step() -> None:
        for batch in batches:
            losses = epochs.loss(phase.module(batch.inputs), batch.targets)
            phase.backward(losses.sum() / batch.n_in_step, ends_step=batch.ends_step)
            if batch.ends_step:
                float(losses.detach().sum())  # waits for the device
                return

    step()
    return _seconds(step)


def _batches(epochs: Epochs) -> Iterator[Batch]:
    for epoch in count(1):
        yield from epochs.batches(epoch)


def _fit_body(training: Training) -> float:
    """Measure the fit of a body on some images; 0 for a body that is not fitted."""
    network, train = training.network, training.train
    if not isinstance(network, FittedBody):
        return 0.0
    n_images = min(len(set(train.ids)), MAX_IMAGES_FOR_BODY)
    n_tried = min(n_images, TRIED_IMAGES)
    batches = batches_for_body(
        train, config=training.config, machine=training.machine, max_images=n_tried
    )
    start = time.perf_counter()
    network.fit_body(batches, seed=training.config.seed)
    return (time.perf_counter() - start) / n_tried * n_images


def _fit(training: Training, n_features: int) -> float:
    """Measure some iterations of the logistic regressions of a probe, on features like its own."""
    if training.config.candidates()[0] == "k":
        return 0.0
    train = training.train
    rows = np.arange(min(TRIED_ROWS, len(train.labels)))
    # Of more features than images their coordinates, at most one per image.
    n_regressors = min(n_features, len(train.labels))
    noise = np.random.default_rng(1).normal(0, 1, (len(rows), n_regressors))
    targets = (
        [train.labels[rows]]
        if train.task == "single"
        else list(one_hot(train.labels[rows], len(train.classes)).T.astype(np.int64))
    )
    target = max(targets, key=lambda labels: len(np.unique(labels)))
    if len(np.unique(target)) == 1:
        return 0.0
    model = LogisticRegression(C=0.001, max_iter=TRIED_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        seconds = _seconds(lambda: model.fit(noise.astype(np.float32), target))
    per_iteration = seconds / TRIED_ITERATIONS / len(rows)
    return per_iteration * len(train.labels) * len(targets) * ITERATIONS


def _seconds(call: Callable[[], Any]) -> float:
    """Measure a call: the median of several."""
    taken: list[float] = []
    start = time.perf_counter()
    for _ in range(MAX_CALLS):
        before = time.perf_counter()
        call()
        taken.append(time.perf_counter() - before)
        if time.perf_counter() - start > SECONDS:
            break
    return float(np.median(taken))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
