"""One epoch of training, and the validation after it."""

import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from classifold.data.pack import Pack
from classifold.data.seeding import seed_torch
from classifold.errors import SettingError
from classifold.models.feature_cache import FeatureCache, NotCachedError
from classifold.runtime.progress import log, track
from classifold.training.batches import (
    Batch,
    count_batches,
    epoch_batches,
    micro_batches_per_process,
)
from classifold.training.config import TrainingConfig
from classifold.training.distributed_prediction import predict_distributed
from classifold.training.freezing import count_parameters, set_trainable, train_mode
from classifold.training.frozen_body import FrozenBody, TrainingFeatures
from classifold.training.images import TrainingImages
from classifold.training.losses import class_weights, make_loss
from classifold.training.machine import Machine
from classifold.training.phase import Phase
from classifold.training.scores import Score, count, score_logits, to_score

# Fetching a loss makes the device wait, so losses are checked only once in this many steps.
STEPS_BETWEEN_CHECKS = 50

# Losses of networks that learn are below ten, and those of untrained networks below some hundreds.
MAX_LOSS = 1e5


class Epochs:
    """The images and the loss of a training run; trains and validates one epoch at a time."""

    def __init__(
        self,
        train: Pack,
        *,
        config: TrainingConfig,
        policy: Mapping[str, Any],
        machine: Machine,
        cache: FeatureCache | None = None,
    ) -> None:
        """Make the loss.

        Args:
            train: the training pack.
            config: how to train.
            policy: policy of online augmentation, its steps and how borders are filled.
            machine: what computes.
            cache: files of the features of frozen bodies; without it they are computed in every
                epoch.
        """
        self.config, self.machine, self.task = config, machine, train.task
        self.pack, self.policy, self.cache = train, policy, cache
        self.features: TrainingFeatures | None = None  # features of the current phase
        self.n_images = len(train.labels)
        self.n_steps = count_batches(self.n_images, config.batch_size)
        weights = None
        if config.class_weights == "balanced":
            balanced = class_weights(
                train.labels, n_classes=len(train.classes), loss=config.loss["name"]
            )
            weights = torch.from_numpy(balanced).to(machine.device)
        self.loss = make_loss(task=train.task, weights=weights, **config.loss)

    @cached_property
    def images(self) -> TrainingImages:
        """The training images, loaded onto the device if they fit."""
        return TrainingImages(
            self.pack,
            policy=self.policy,
            image_size=max(self.config.training_sizes()),
            device=self.machine.device,
        )

    def begin(
        self,
        network: nn.Module,
        settings: Mapping[str, Any],
        *,
        title: str = "training",
        validation: Pack | None = None,
    ) -> Phase:
        """Prepare a phase: freeze layers, make optimizer and schedule.

        Args:
            network: on the machine's device; its weights change in place.
            settings: settings of the phase.
            title: the beginning of log lines.
            validation: the validation pack; features of its images too are computed once.
        """
        set_trainable(network, settings["trainable"])
        body = self.features = None
        if self.cache and settings["trainable"] in ("head", ["head"]):
            try:
                body = self._frozen_body(network, self.cache)
                if validation:
                    body.features(validation.images)
                self.features = TrainingFeatures(body, self.pack)
                log(f"  {title}: only the head is trained, on features that are computed once")
            except NotCachedError as reason:
                body = None
                log(f"  {title}: features are computed in every epoch, since {reason}")
        phase = Phase(
            network,
            settings,
            machine=self.machine,
            steps_per_epoch=self.n_steps,
            ema_decay=self.config.ema_decay,
            gradient_clip_norm=self.config.gradient_clip_norm,
            body=body,
        )
        trained, total = count_parameters(network, trainable=True), count_parameters(network)
        if trained < total:
            names = settings["trainable"]
            layers = names if isinstance(names, str) else ", ".join(names)
            norms = ", without batch norms" if settings.get("freeze_batch_norm") else ""
            log(f"  {title}: trains {trained:,} of {total:,} parameters: {layers}{norms}")
        return phase

    def _frozen_body(self, network: nn.Module, cache: FeatureCache) -> FrozenBody:
        config = self.config
        if self.policy["steps"]:
            raise NotCachedError("images are augmented on the fly")
        if set(config.training_sizes()) != {config.image_size}:
            raise NotCachedError("train_size differs from image_size")
        return FrozenBody(
            network,
            cache,
            machine=self.machine,
            image_size=config.image_size,
            normalize=config.normalize,
        )

    def train(self, phase: Phase, epoch: int, *, name: str) -> Score:
        """Train for one epoch.

        Args:
            phase: its network's weights change.
            epoch: counted from 1 over all phases.
            name: name of the phase, for messages.

        Returns:
            The training score: of the moving weights, on the images as they were trained on.

        Raises:
            UserError: if the loss explodes or is NaN.
        """
        config, fabric = self.config, self.machine.fabric
        # Processes drop out different units; the first one the same as a single process.
        others = [fabric.global_rank] if fabric.global_rank else []
        seed_torch(config.seed, "dropout", epoch, *others)
        train_mode(phase.network)
        # One row per step: the loss, and the counts of the score. Kept on the device.
        rows = torch.zeros(self.n_steps, 5, device=self.machine.device)
        step = 0
        sizes: list[int] = []
        n_micro_batches = self.n_steps * micro_batches_per_process(
            config.gradient_accumulation_steps, n_processes=self.machine.n_processes
        )
        for batch in track(
            self.batches(epoch), task=f"epoch {epoch}", total=n_micro_batches, unit="steps"
        ):
            logits = phase.module(batch.inputs)
            losses = self.loss(logits, batch.targets)
            loss = losses.sum() / batch.n_in_step
            # DDP averages the processes' gradients, and the gradient of the step is their sum.
            phase.backward(loss * fabric.world_size, ends_step=batch.ends_step)
            rows[step, 0] += loss.detach()
            rows[step, 1:] += count(logits.detach(), batch.labels)
            if batch.ends_step:
                sizes.append(batch.n_in_step)
                step += 1
                if step % STEPS_BETWEEN_CHECKS == 0 or step == self.n_steps:
                    self._check(rows[:step, 0], phase, epoch=epoch, name=name)
        phase.average_statistics()
        sums: Any = fabric.all_reduce(rows, reduce_op="sum")
        losses_, counts = np.split(sums.cpu().double().numpy(), [1], axis=1)
        return to_score(
            float(np.average(losses_[:, 0], weights=sizes)),
            counts.sum(0),
            n_images=self.n_images,
            task=self.task,
        )

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Iterate over this process's micro-batches of an epoch, which is counted from 1."""
        config, fabric = self.config, self.machine.fabric
        return epoch_batches(
            self.features or self.images,
            batch_size=config.batch_size,
            seed=config.seed,
            epoch=epoch,
            image_size=config.training_size(epoch),
            normalize=config.normalize,
            sampler=config.sampler,
            micro_batches=config.gradient_accumulation_steps,
            process=fabric.global_rank,
            n_processes=fabric.world_size,
        )

    def validate(self, phase: Phase, validation: Pack) -> Score:
        """Score a phase's network on the validation images, at the precision of training."""
        with self.machine.fabric.autocast():
            logits = predict_distributed(
                phase.averaged,
                validation,
                body=phase.body,
                machine=self.machine,
                image_size=self.config.image_size,
                normalize=self.config.normalize,
            )
        score = score_logits(logits, validation.labels, loss=self.config.loss)
        # That of the first process: the last bits may differ between processors, and processes
        # must stop after the same epoch.
        first: Any = self.machine.fabric.broadcast(score)
        return Score(*first)

    def _check(self, losses: Tensor, phase: Phase, *, epoch: int, name: str) -> None:
        """Raise a UserError if the loss of a step is NaN, infinite or too large to learn."""
        sound = (losses.abs() < MAX_LOSS).cpu()
        if sound.all():
            return
        step = int(sound.logical_not().nonzero()[0])
        value = losses[step].item()
        raise SettingError(
            f"phases.{name}.optimizer.lr: the loss in epoch {epoch}, step {step + 1} "
            f"{'is NaN' if math.isnan(value) else f'has grown to {value:.3g}'}, got a learning "
            f"rate of {phase.learning_rate:.3g}. Lower it to a tenth, or set the model's "
            "gradient_clip_norm to 1.0; 'classifold lr-find' suggests a learning rate."
        )
