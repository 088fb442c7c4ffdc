"""The stage `train`, which writes down how often an epoch has shown each image.

A line an epoch goes to the file WATCHED, once the epoch is done: its number, how many processes
trained together, the least and the most that an image was shown. HOLD=3 lets nothing of epoch 3
begin, so that a test has the time to end this process; HOLD=alone an epoch of one process after
another such epoch.
"""

import json
import os
import runpy
import sys
import time
from pathlib import Path

import numpy as np

from classifold.training.batches import TrainingImages
from classifold.training.epochs import Epochs

WATCHED = Path(os.environ["WATCHED"])
HOLD = os.environ.get("HOLD")
real_read, real_train = TrainingImages.read, Epochs.train
rows_read = []


def read(self, rows, slots, draws):
    rows_read.append(rows)
    return real_read(self, rows, slots, draws)


def train(self, phase, epoch, *, name):
    n_processes = self.machine.n_processes
    done = [json.loads(line) for line in WATCHED.read_text().splitlines()]
    alone_again = n_processes == 1 and [row["processes"] for row in done[-1:]] == [1]
    if str(epoch) == HOLD or (HOLD == "alone" and alone_again):
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
