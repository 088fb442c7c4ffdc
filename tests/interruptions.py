"""Trainings that are interrupted and go on, and a comparison with those that were not."""

import itertools

import pytest

from classifold.training.checkpoints import Checkpoint


class Stopped(BaseException):
    """Stands for an interruption."""


class StoppingCheckpoint(Checkpoint):
    """Stops the training after this many saved epochs."""

    def __init__(self, path, key, *, after):
        super().__init__(path, key)
        self.left = after

    def save(self, state):
        super().save(state)
        self.left -= 1
        if self.left == 0:
            raise Stopped


def interrupted(train, folder, *, after):
    """What `train`, which takes a checkpoint, returns after an interruption and a second start."""
    path = folder / "interrupted.safetensors"
    with pytest.raises(Stopped):
        train(StoppingCheckpoint(path, "key", after=after))
    return train(Checkpoint(path, "key"))


def stopping_at_call(number, function):
    """The function, whose call of this number is an interruption."""
    numbers = itertools.count(1)

    def call(*arguments, **settings):
        if next(numbers) == number:
            raise Stopped
        return function(*arguments, **settings)

    return call


def bits_of(network):
    """The bytes of each tensor of a network, for comparisons."""
    return {name: value.numpy().tobytes() for name, value in network.state_dict().items()}
