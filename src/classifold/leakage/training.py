"""Train the network of a study arm with several seeds."""

import copy
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from classifold.data.pack import Pack
from classifold.leakage.arms import Arm
from classifold.models.inference import predict_logits
from classifold.runtime.progress import log
from classifold.training.checkpoints import Checkpoint
from classifold.training.config import TrainingConfig
from classifold.training.loop import fit
from classifold.training.machine import Machine


def train_arm(
    name: str,
    arm: Arm,
    clean: Pack,
    *,
    network: nn.Module,
    config: TrainingConfig,
    machine: Machine,
    seeds: Sequence[int],
    checkpoints: Path,
    key: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Train once with each seed, from the same first weights; it can be interrupted and resumed.

    Args:
        name: the name of the arm.
        arm: its images and policy.
        clean: images that are neither trained on nor used to select an epoch.
        network: on the machine's device, with its first weights, which are restored at the end.
        config: how to train; its seed is replaced.
        machine: device, precision and processes of the training run.
        seeds: seeds of order, dropout and policies.
        checkpoints: folder; the caller removes it after all outputs are written.
        key: a hash of everything that the training runs depend on, see `training_key`.

    Returns:
        Bool arrays (n_seeds, n_images): correct predictions for validation and for clean images.
    """
    first_weights = copy.deepcopy(network.state_dict())
    correct: list[list[np.ndarray]] = []

    def compute(seed: int, running: Checkpoint) -> dict[str, Any]:
        network.load_state_dict(first_weights)
        fit(
            network,
            arm.train,
            arm.validation,
            config=config._replace(seed=seed),
            policy=arm.policy,
            machine=machine,
            checkpoint=running,
        )
        return {
            split: torch.from_numpy(_correct(network, pack, config, machine))
            for split, pack in (("validation", arm.validation), ("clean", clean))
        }

    for seed in seeds:
        title, stem = f"{name}, seed {seed}", f"{name.replace(' ', '_')}-{seed}"
        running = Checkpoint(checkpoints / f"{stem}.safetensors", key)
        done = Checkpoint(checkpoints / f"{stem}.done.safetensors", key)
        kept = done.load_or_compute(partial(compute, seed, running), machine, title=title)
        running.remove()
        correct.append([kept[split].numpy() for split in ("validation", "clean")])
        scores = [f"{each.mean():.4f} of {len(each):,}" for each in correct[-1]]
        log(f"  {title}: accuracy {scores[0]} validation, {scores[1]} clean images")
    network.load_state_dict(first_weights)
    on_validation, on_clean = (np.stack(split) for split in zip(*correct, strict=True))
    return on_validation, on_clean


def _correct(
    network: nn.Module, pack: Pack, config: TrainingConfig, machine: Machine
) -> np.ndarray:
    """Compute for each image whether its prediction is correct: bool array (N,)."""
    logits = predict_logits(
        network,
        pack.images,
        image_size=config.image_size,
        normalize=config.normalize,
        device=machine.device,
    )
    correct: np.ndarray = logits.argmax(1) == pack.labels
    return correct
