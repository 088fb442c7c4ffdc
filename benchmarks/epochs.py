"""P13: a training epoch of each recipe's network, and bare steps on ready tensors."""

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ruamel.yaml import YAML
from torch import nn

from classifold.augmentation.offline import write_packs
from classifold.data.model_settings import PROBE
from classifold.data.pack import read_pack
from classifold.training.epochs import Epochs
from classifold.training.freezing import train_mode
from classifold.training.optimizers import make_optimizer
from classifold.training.setup import prepare
from comparison import Benchmark, Options
from synthetic import make_photos

ROOT = Path(__file__).parents[1]
N_CLASSES = {"fruit": 3, "photos": 14, "digits": 10, "tiny-imagenet": 200, "tiny-imagenet-40": 40}

SECONDS = 0.5  # of an epoch, if its steps are short
MAX_STEPS = 40


def epoch_benchmarks(root: Path, options: Options) -> Iterator[Benchmark]:
    """Compare the epochs of all recipes; in the tiny form those of the default `params.yaml`."""
    photos = make_photos(root / "photos", n_images=64, size=128).rglob("*.jpg")
    encoded = [path.read_bytes() for path in photos]
    files = [] if options.tiny else sorted((ROOT / "recipes").glob("*.yaml"))
    for number, (title, params, model) in enumerate(_networks([*files, ROOT / "params.yaml"])):
        seconds = 0 if options.tiny else SECONDS
        yield _benchmark(title, params, model, encoded, root / f"{number}", seconds=seconds)


def _networks(files: list[Path]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield each network once per size, with random weights: title, params, model."""
    known = set()
    for file in files:
        params = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
        for model in params["models"].values():
            if model["network"] == PROBE or _last_phase(model)["trainable"] == "head":
                continue  # their features are computed once, see P9
            model["arguments"].pop("weights", None)
            if model["normalize"] == "pretrained":
                model["normalize"] = "half"
            sizes = model.get("train_size") or model.get("image_size") or params["augment"]["size"]
            size = model["train_size"] = np.max(sizes).item()  # of the last epoch, if it grows
            network = model["arguments"].get("name", model["network"])
            widths = model["arguments"].get("widths", "")
            key = (network, str(widths), size)
            if key not in known:
                known.add(key)
                title = f"{' '.join(filter(None, (network, str(widths))))}, {size} px"
                yield f"{title}, batches of {model['batch_size']} (`{file.stem}`)", params, model


def _benchmark(
    title: str,
    params: Mapping[str, Any],
    model: Mapping[str, Any],
    photos: list[bytes],
    folder: Path,
    *,
    seconds: float,
) -> Benchmark:
    """Compare an epoch of some steps with as many bare steps."""
    batch_size = model["batch_size"]
    _write_packs(folder / "few", params, photos, n_images=batch_size)
    training = prepare(params["train"], model, packs=folder / "few", root=folder)
    # A low constant rate, for labels that mean nothing.
    phase = _last_phase(model) | {"schedule": {"name": "constant"}}
    phase["optimizer"] = phase["optimizer"] | {"lr": 1e-5}
    parts = {"config": training.config, "machine": training.machine}
    parts["policy"] = params["policies"][model["online"]]
    few = Epochs(training.train, **parts)
    few.begin(training.network, phase)  # freezes layers
    steps = _bare_steps(few, training.network, phase)
    steps(1)
    start = time.perf_counter()
    steps(1)
    n_steps = int(np.clip(seconds / (time.perf_counter() - start), 1, MAX_STEPS))
    n_images = n_steps * batch_size
    _write_packs(folder / "many", params, photos, n_images=n_images)
    epochs = Epochs(read_pack(folder / "many/train"), **parts)
    begun = epochs.begin(training.network, phase)
    epochs.train(begun, 1, name="warm-up")
    return Benchmark(
        f"P13 epoch of {title}, {training.precision}",
        "bare steps",
        "images",
        n_images,
        lambda _: epochs.train(begun, 2, name="measured"),
        lambda _: steps(n_steps),
        target=1.05,
        of_times=True,
    )


def _bare_steps(
    epochs: Epochs, network: nn.Module, phase: Mapping[str, Any]
) -> Callable[[int], None]:
    """Make a function that trains a network by some steps on the same ready tensors."""
    batch = next(iter(epochs.batches(1)))
    optimizer = make_optimizer(network, **phase["optimizer"])

    def steps(n_steps: int) -> None:
        train_mode(network)
        for _ in range(n_steps):
            optimizer.zero_grad()
            with epochs.machine.fabric.autocast():
                logits = network(batch.inputs)
            epochs.loss(logits.float(), batch.targets).mean().backward()
            optimizer.step()
        if batch.inputs.is_cuda:
            torch.cuda.synchronize()

    return steps


def _last_phase(model: Mapping[str, Any]) -> dict[str, Any]:
    *_, phase = model["phases"].values()
    return dict(phase)


def _write_packs(
    folder: Path, params: Mapping[str, Any], photos: list[bytes], *, n_images: int
) -> None:
    """Write packs of the recipe's size and storage; the validation images have all classes."""
    task = params["dataset"]["task"]
    classes = [f"class {i}" for i in range(N_CLASSES[Path(params["dataset"]["path"]).stem])]
    images, labels = {}, {}
    for split, n_of_split in (("train", n_images), ("validation", len(classes))):
        numbered = enumerate(islice(cycle(photos), n_of_split))
        images[split] = [(f"{split} {i}", photo) for i, photo in numbered]
        labels[split] = {
            name: [classes[i % len(classes)]] for i, (name, _) in enumerate(images[split])
        }
    settings = params["augment"] | {"flips": ["none"], "warped": 0}
    write_packs(images, labels, folder, task=task, **settings)
