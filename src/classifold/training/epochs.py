"""One epoch of training, and the validation after it."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from classifold.data.pack import Pack
from classifold.data.seeding import seed_torch
from classifold.errors import UserError
from classifold.runtime.progress import track
from classifold.training.batches import (
    Batch,
    TrainingImages,
    count_batches,
    epoch_batches,
    pieces_of_each,
)
from classifold.training.distributed_prediction import predict_distributed
from classifold.training.freezing import train_mode
from classifold.training.losses import class_weights, make_loss
from classifold.training.machine import Machine
from classifold.training.phase import Phase
from classifold.training.recipe import Recipe
from classifold.training.scores import Score, count, score_logits, to_score

# Fetching a loss makes the device wait: it is looked at once in so many steps.
STEPS_BETWEEN_LOOKS = 50

# Losses of networks that learn lie below ten, and of those that do not yet, below some hundreds.
EXPLODED = 1e5


class Epochs:
    """The images and the loss of a training, and how an epoch goes through them."""

    def __init__(
        self,
        train: Pack,
        *,
        recipe: Recipe,
        policy: Mapping[str, Any],
        machine: Machine,
    ) -> None:
        """Take the images to where they are needed, and make the loss."""
        self.recipe, self.machine, self.task = recipe, machine, train.task
        self.train_size = recipe.train_size or recipe.image_size
        self.images = TrainingImages(
            train, policy=policy, image_size=self.train_size, device=machine.device
        )
        self.n_images = len(train.labels)
        self.n_steps = count_batches(self.n_images, recipe.batch_size)
        weights = None
        if recipe.class_weights == "balanced":
            balanced = class_weights(
                train.labels, n_classes=len(train.classes), loss=recipe.loss["name"]
            )
            weights = torch.from_numpy(balanced).to(machine.device)
        self.loss = make_loss(task=train.task, weights=weights, **recipe.loss)

    def begin(self, network: nn.Module, settings: Mapping[str, Any]) -> Phase:
        """Begin a phase: freeze what does not train, make optimizer and schedule.

        Args:
            network: on the machine's device; its weights will change in place.
            settings: of the phase.
        """
        return Phase(
            network,
            settings,
            machine=self.machine,
            steps_per_epoch=self.n_steps,
            ema_decay=self.recipe.ema_decay,
            gradient_clip_norm=self.recipe.gradient_clip_norm,
        )

    def train(self, phase: Phase, epoch: int, *, name: str) -> Score:
        """Go once through the training images.

        Args:
            phase: whose weights change.
            epoch: counted from 1 over all phases.
            name: of the phase, for messages.

        Returns:
            The score of the moving weights on the images as they were trained on.

        Raises:
            UserError: if the loss explodes or is no number.
        """
        recipe, fabric = self.recipe, self.machine.fabric
        # Each process drops out other units; the first does as if it were alone.
        others = [fabric.global_rank] if fabric.global_rank else []
        seed_torch(recipe.seed, "dropout", epoch, *others)
        train_mode(phase.network)
        # A row a step: the loss, and what the score is made of. Kept on the device.
        told = torch.zeros(self.n_steps, 5, device=self.machine.device)
        step = 0
        sizes: list[int] = []
        n_pieces = self.n_steps * pieces_of_each(
            recipe.gradient_accumulation_steps, n_processes=self.machine.n_processes
        )
        for batch in track(
            self.batches(epoch), task=f"epoch {epoch}", total=n_pieces, unit="steps"
        ):
            logits = phase.module(batch.inputs)
            losses = self.loss(logits, batch.targets)
            share = losses.sum() / batch.n_in_step
            # Processes average their gradients: each must count as many times.
            phase.backward(share * fabric.world_size, ends_step=batch.ends_step)
            told[step, 0] += share.detach()
            told[step, 1:] += count(logits.detach(), batch.labels)
            if batch.ends_step:
                sizes.append(batch.n_in_step)
                step += 1
                if step % STEPS_BETWEEN_LOOKS == 0 or step == self.n_steps:
                    self._look(told[:step, 0], phase, epoch=epoch, name=name)
        phase.share_statistics()
        sums: Any = fabric.all_reduce(told, reduce_op="sum")
        losses_, counts = np.split(sums.cpu().double().numpy(), [1], axis=1)
        return to_score(
            float(np.average(losses_[:, 0], weights=sizes)),
            counts.sum(0),
            n_images=self.n_images,
            task=self.task,
        )

    def batches(self, epoch: int) -> Iterator[Batch]:
        """This process's share of the steps of an epoch, which is counted from 1."""
        recipe, fabric = self.recipe, self.machine.fabric
        return epoch_batches(
            self.images,
            batch_size=recipe.batch_size,
            seed=recipe.seed,
            epoch=epoch,
            image_size=self.train_size,
            normalize=recipe.normalize,
            sampler=recipe.sampler,
            pieces=recipe.gradient_accumulation_steps,
            process=fabric.global_rank,
            n_processes=fabric.world_size,
        )

    def validate(self, network: nn.Module, validation: Pack) -> Score:
        """Measure a network on other images, at the precision of training."""
        with self.machine.fabric.autocast():
            logits = predict_distributed(
                network,
                validation,
                machine=self.machine,
                image_size=self.recipe.image_size,
                normalize=self.recipe.normalize,
            )
        score = score_logits(logits, validation.labels, loss=self.recipe.loss)
        # The first process's: on another processor the last bits may differ, and with them the end.
        told: Any = self.machine.fabric.broadcast(score)
        return Score(*told)

    def _look(self, losses: Tensor, phase: Phase, *, epoch: int, name: str) -> None:
        """Stop if the loss of a step is no number, or far above all that still learns."""
        sound = (losses.abs() < EXPLODED).cpu()
        if sound.all():
            return
        step = int(sound.logical_not().nonzero()[0])
        value = losses[step].item()
        raise UserError(
            f"phase {name}, epoch {epoch}, step {step + 1}: the loss "
            f"{'has grown to ' + format(value, '.3g') if math.isfinite(value) else 'is no number'} "
            f"(learning rate {phase.learning_rate:.3g}); lower phases.{name}.optimizer.lr, to a "
            "tenth say, or set gradient_clip_norm: 1.0; 'classifold lr-find' shows which "
            "rates learn"
        )
