"""The stage `train`, which writes down how often an epoch has shown each image.

A line an epoch goes to the file WATCHED, once the epoch is done: its number, how many processes
trained together, the least and the most that an image was shown. HOLD=2,2 lets no epoch of two
processes begin after two such epochs, so that a test has the time to end this process.
"""

import json
import os
import runpy
import sys
import time
from pathlib import Path

import numpy as np

from classifold.training.epochs import Epochs
from classifold.training.images import TrainingImages

WATCHED = Path(os.environ["WATCHED"])
HOLD = [int(number) for number in os.environ.get("HOLD", "0").split(",")]
real_read, real_train = TrainingImages.read, Epochs.train
rows_read = []


def read(self, rows, slots, draws):
    rows_read.append(rows)
    return real_read(self, rows, slots, draws)


def train(self, phase, epoch, *, name):
    n_processes = self.machine.n_processes
    before = [json.loads(line)["processes"] for line in WATCHED.read_text().splitlines()]
    if n_processes == HOLD[-1] and before[-len(HOLD) :] == HOLD:
        time.sleep(600)
    rows_read.clear()
    score = real_train(self, phase, epoch, name=name)
    shown = self.machine.sum(np.bincount(np.concatenate(rows_read), minlength=self.n_images))
    if self.machine.fabric.is_global_zero:
        row = {"epoch": epoch, "processes": n_processes, "least": shown.min(), "most": shown.max()}
        with WATCHED.open("a") as file:
            file.write(json.dumps(row, default=int) + "\n")
    return score


TrainingImages.read, Epochs.train = read, train
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
