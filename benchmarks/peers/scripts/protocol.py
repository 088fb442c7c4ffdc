"""What the script of a peer gets from the bench, and what it reports.

Lines of the scripts that only the bench needs end with `# bench`, and are not counted as those that
a user writes.
"""

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


class Bench:
    """The arguments of a script, and its report."""

    def __init__(self) -> None:
        data, out, budget, epochs = sys.argv[1:]
        self.data, self.out = Path(data), Path(out)
        self.budget = float(budget)  # seconds
        self.epochs = int(epochs)
        information = json.loads((self.data / "information.json").read_text())
        self.task: str = information["task"]  # "single" or "multi"
        self.classes: list[str] = information["classes"]
        self.n_train: int = information["n_train"]
        self.n_seen = 0  # training images in all epochs
        self.seconds = 0.0  # of training, validation included
        self._epoch_ends: list[float] = []

    @contextmanager
    def training(self) -> Iterator[None]:
        """Measure the time of training."""
        self._epoch_ends = [time.time()]
        yield
        self.seconds += time.time() - self._epoch_ends[0]

    def epoch(self, *_: object) -> None:
        """Record the end of an epoch."""
        self._epoch_ends.append(time.time())
        self.n_seen += self.n_train

    def labels(self, rows: Iterable[Iterable[object]]) -> list[list[str]]:
        """Turn rows with one value per class into the labels whose value is true."""
        return [[name for name, yes in zip(self.classes, row, strict=True) if yes] for row in rows]

    def report(
        self,
        files: Iterable[str | Path],
        labels: Iterable[Sequence[str]],
        *,
        weights: str,
        done: str,
        ready: float | None = None,
    ) -> None:
        """Write the predictions of the test images.

        Args:
            files: the images.
            labels: predicted for each.
            weights: from which weights the training began.
            done: what was trained, such as "3 epochs".
            ready: when the predictions were ready, in seconds since 1970; default: now.
        """
        ends = self._epoch_ends
        predicted = {Path(file).name: list(row) for file, row in zip(files, labels, strict=True)}
        report = {
            "predicted": predicted,
            "ready": ready or time.time(),
            "training_seconds": self.seconds,
            "epoch_seconds": ends[-1] - ends[-2] if len(ends) > 1 else None,
            "n_seen": self.n_seen,
            "weights": weights,
            "done": done,
        }
        (self.out / "report.json").write_text(json.dumps(report))
