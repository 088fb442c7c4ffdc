"""Train a generator against a discriminator: one step, and the state for a checkpoint."""

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

# Columns of the history: two losses, and the fractions of images that score above 0.
LOSS_COLUMNS = (
    "discriminator_loss",
    "generator_loss",
    "real_predicted_real",
    "fake_predicted_real",
)


class GanConfig(NamedTuple):
    """How a GAN is trained: settings of `train_gan` in params."""

    generator: Mapping[str, Any]  # noise, embedding, widths
    discriminator: Mapping[str, Any]  # widths, dense
    conditional: bool
    loss: str
    gradient_penalty: float  # weight of the gradient penalty; 0 for none
    optimizer: Mapping[str, Any]  # settings of Adam for both networks: lr, betas
    ema_decay: float  # decay per step of the moving average of the generator's weights
    batch_size: int
    epochs: int
    seed: int

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "GanConfig":
        """Take these settings from `train_gan` in params."""
        return cls(**{name: settings[name] for name in cls._fields})


def new_generator(config: GanConfig, *, n_classes: int, image_size: int) -> Generator:
    """Build a generator with its first weights, which depend on the seed alone."""
    seed_torch(config.seed, "generator")
    n_embedded = n_classes if config.conditional else 0
    generator = Generator(n_embedded, image_size=image_size, **config.generator)
    return generator.to(memory_format=torch.channels_last)


class GanTrainer:
    """Generator and discriminator, their optimizers, and the moving average of the generator."""

    def __init__(
        self, config: GanConfig, *, n_classes: int, image_size: int, machine: Machine
    ) -> None:
        """Build the networks, with their first weights, and their optimizers.

        Args:
            config: how to train.
            n_classes: number of classes of the images.
            image_size: in pixels.
            machine: device, precision and processes of the training run.

        Raises:
            UserError: if the networks cannot be built for images of this size.
        """
        self.loss, self.penalty_weight = LOSSES[config.loss], config.gradient_penalty
        self.fabric, self.device = machine.fabric, machine.device
        generator = new_generator(config, n_classes=n_classes, image_size=image_size)
        seed_torch(config.seed, "discriminator")
        discriminator = Discriminator(
            n_classes if config.conditional else 0, image_size=image_size, **config.discriminator
        ).to(memory_format=torch.channels_last)
        self.generator = generator.to(self.device)
        self.discriminator: Discriminator = discriminator.to(self.device)
        self._optimizers = {
            "generator": make_optimizer(self.generator, name="adam", **config.optimizer),
            "discriminator": make_optimizer(self.discriminator, name="adam", **config.optimizer),
        }
        self._average = AveragedModel(
            self.generator, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay), use_buffers=True
        )

    @property
    def averaged(self) -> Generator:
        """The generator with the moving average of its weights, which is saved."""
        averaged: Generator = self._average.module  # type: ignore[assignment]
        return averaged

    def step(self, images: Tensor, labels: Tensor, noise: Tensor, fake_labels: Tensor) -> Tensor:
        """Update the discriminator's weights, then the generator's.

        Args:
            images: real ones, float32 (N, 3, H, W) in [-1, 1].
            labels: their classes, int64 (N,).
            noise: float32 (M, noise).
            fake_labels: the classes to generate, int64 (M,).

        Returns:
            float32 (4,), on the device: the values of `LOSS_COLUMNS`.
        """
        with self.fabric.autocast():
            generated = self.generator(noise, fake_labels)

        self.discriminator.requires_grad_(True)
        images.requires_grad_(self.penalty_weight > 0)
        with self.fabric.autocast():
            real, fake = self._scores(images, labels, generated.detach(), fake_labels)
            discriminator_loss = self.loss.of_discriminator(real, fake)
            if self.penalty_weight > 0:
                penalized = self.penalty_weight * gradient_penalty(real, images)
                discriminator_loss = discriminator_loss + penalized
        self._minimize("discriminator", discriminator_loss)

        self.discriminator.requires_grad_(False)  # its gradients are not needed
        with self.fabric.autocast():
            _, rescored = self._scores(images.detach(), labels, generated, fake_labels)
            generator_loss = self.loss.of_generator(rescored)
        self._minimize("generator", generator_loss)
        self._average.update_parameters(self.generator)

        above_zero = [(scores > 0).float().mean() for scores in (real, fake)]
        return torch.stack([discriminator_loss.detach(), generator_loss.detach(), *above_zero])

    def train(self) -> None:
        """Set both networks to training mode."""
        self.generator.train()
        self.discriminator.train()

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state from `state_dict`."""
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

    def _scores(
        self, images: Tensor, labels: Tensor, generated: Tensor, fake_labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Score real and generated images in one batch.

        In separate batches, batch norm would remove differences in brightness and contrast
        between the two.
        """
        scores = self.discriminator(
            torch.cat([images, generated]), torch.cat([labels, fake_labels])
        ).float()
        real, fake = scores.split([len(images), len(generated)])
        return real, fake

    def _minimize(self, name: str, loss: Tensor) -> None:
        optimizer = self._optimizers[name]
        optimizer.zero_grad()
        self.fabric.backward(loss)
        optimizer.step()
