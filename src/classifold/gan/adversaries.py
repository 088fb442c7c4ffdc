"""Generator and discriminator in training: their optimizers, a step, their state."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from classifold.data.seeding import seed_torch
from classifold.gan.discriminator import Discriminator
from classifold.gan.generator import Generator
from classifold.gan.losses import LOSSES, gradient_penalty
from classifold.training.machine import Machine
from classifold.training.optimizers import make_optimizer, match_memory_layout

# What a step tells, as columns of the history.
TOLD = ("discriminator_loss", "generator_loss", "real_taken_for_real", "fake_taken_for_real")


class GanRecipe(NamedTuple):
    """How a GAN is trained: what `train_gan` in params says of it."""

    generator: Mapping[str, Any]  # noise, embedding, widths
    discriminator: Mapping[str, Any]  # widths, dense
    conditional: bool
    loss: str
    penalty: float  # weight of the gradient penalty; 0 for none
    optimizer: Mapping[str, Any]  # of both: lr, betas
    ema_decay: float  # decay of the moving average of the generator's weights, a step
    batch_size: int
    epochs: int
    seed: int

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "GanRecipe":
        """Take what there is to take of `train_gan` in params."""
        return cls(**{name: settings[name] for name in cls._fields})


def new_generator(recipe: GanRecipe, *, n_classes: int, image_size: int) -> Generator:
    """Build a generator with its first weights, which depend on the seed alone."""
    seed_torch(recipe.seed, "generator")
    asked = n_classes if recipe.conditional else 0
    generator = Generator(asked, image_size=image_size, **recipe.generator)
    return generator.to(memory_format=torch.channels_last)


class Adversaries:
    """Two networks that train against each other, and the state that this adds to them."""

    def __init__(
        self, recipe: GanRecipe, *, n_classes: int, image_size: int, machine: Machine
    ) -> None:
        """Build the networks, with their first weights, and their optimizers.

        Args:
            recipe: how to train.
            n_classes: of the images.
            image_size: in pixels.
            machine: what computes.

        Raises:
            UserError: if the networks cannot be built for images of this size.
        """
        self.loss, self.penalty = LOSSES[recipe.loss], recipe.penalty
        self.fabric, self.device = machine.fabric, machine.device
        generator = new_generator(recipe, n_classes=n_classes, image_size=image_size)
        seed_torch(recipe.seed, "discriminator")
        discriminator = Discriminator(
            n_classes if recipe.conditional else 0, image_size=image_size, **recipe.discriminator
        ).to(memory_format=torch.channels_last)
        self.generator = generator.to(self.device)
        self.discriminator: Discriminator = discriminator.to(self.device)
        self._optimizers = {
            "generator": make_optimizer(self.generator, name="adam", **recipe.optimizer),
            "discriminator": make_optimizer(self.discriminator, name="adam", **recipe.optimizer),
        }
        self._average = AveragedModel(
            self.generator, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay), use_buffers=True
        )

    @property
    def averaged(self) -> Generator:
        """The generator that is kept: the moving average of the weights."""
        averaged: Generator = self._average.module  # type: ignore[assignment]
        return averaged

    def step(self, images: Tensor, labels: Tensor, noise: Tensor, asked: Tensor) -> Tensor:
        """Change the discriminator's weights, then the generator's.

        Args:
            images: real ones, float32 (N, 3, H, W) in [-1, 1].
            labels: their classes, int64 (N,).
            noise: float32 (M, noise).
            asked: classes that are to be made of it, int64 (M,).

        Returns:
            float32 (4,), on the device: what `TOLD` names.
        """
        with self.fabric.autocast():
            made = self.generator(noise, asked)

        self.discriminator.requires_grad_(True)
        images.requires_grad_(self.penalty > 0)
        with self.fabric.autocast():
            real, fake = self._judge(images, labels, made.detach(), asked)
            discriminator_loss = self.loss.of_discriminator(real, fake)
            if self.penalty > 0:
                penalised = self.penalty * gradient_penalty(real, images)
                discriminator_loss = discriminator_loss + penalised
        self._descend("discriminator", discriminator_loss)

        self.discriminator.requires_grad_(False)  # its gradients would be computed in vain
        with self.fabric.autocast():
            _, again = self._judge(images.detach(), labels, made, asked)
            generator_loss = self.loss.of_generator(again)
        self._descend("generator", generator_loss)
        self._average.update_parameters(self.generator)

        taken = [(scores > 0).float().mean() for scores in (real, fake)]
        return torch.stack([discriminator_loss.detach(), generator_loss.detach(), *taken])

    def train(self) -> None:
        """Put what trains into training mode."""
        self.generator.train()
        self.discriminator.train()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold."""
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was asked."""
        for name, part in self._parts().items():
            if isinstance(part, torch.optim.Optimizer):
                part.load_state_dict(match_memory_layout(state[name], part))
            else:
                part.load_state_dict(state[name])

    def _parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        optimizers = {f"{name}_optimizer": part for name, part in self._optimizers.items()}
        return {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "average": self._average,
            **optimizers,
        }

    def _judge(
        self, images: Tensor, labels: Tensor, made: Tensor, asked: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Scores of real and of generated images, in one batch.

        In batches of their own, batch norm would make the two equally bright and rich in
        contrast, and the discriminator could not see whether they are.
        """
        scores = self.discriminator(torch.cat([images, made]), torch.cat([labels, asked])).float()
        real, fake = scores.split([len(images), len(made)])
        return real, fake

    def _descend(self, name: str, loss: Tensor) -> None:
        optimizer = self._optimizers[name]
        optimizer.zero_grad()
        self.fabric.backward(loss)
        optimizer.step()
