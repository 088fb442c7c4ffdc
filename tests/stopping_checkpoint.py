"""A checkpoint that interrupts the training when it is saved."""

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
