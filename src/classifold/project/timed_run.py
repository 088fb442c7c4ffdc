"""Run the pipeline of a project in a given time, by models and epochs that fit into it."""

import copy
import hashlib
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from dvc.utils.serialize import modify_yaml

from classifold.data.json_file import read_json, write_json
from classifold.data.model_settings import WITHOUT_EPOCHS, by_seed
from classifold.errors import UserError
from classifold.params.reader import PARAMS_FILE
from classifold.params.validation import check_params
from classifold.project.budget import (
    Candidate,
    Costs,
    Speed,
    choose_epochs,
    seconds_of_the_rest,
    shortest_plan,
)
from classifold.project.choices import Choice, replace_choices
from classifold.project.pipeline_run import repro
from classifold.project.presets import epochs_of, reduce_analyses, set_epochs
from classifold.reporting.formats import count, duration
from classifold.runtime.progress import log

STATE = Path(".cache/fit.json")  # what an interrupted run has to know when it continues
FIRST = ("check", "ingest", "filter", "split", "augment")

MIN_START = 1.0  # seconds of starting a stage; DVC has not run all of them in an interrupted run
TOLERANCE = 0.03  # of the time: an epoch that exceeds it by less is still trained
TOO_SHORT = 0.1  # of the time: models that exceed it by more are refused
MIN_SAVED = 0.1  # of the time: explanations, maps and robustness are reduced if it saves more


class TimedRun:
    """A run that is planned while it runs.

    The images are prepared first, and speeds are measured on them. Then one model after another is
    trained, probes first. Before each one, the epochs of those that are left are chosen again.
    """

    def __init__(
        self,
        root: Path,
        *,
        minutes: float,
        started: float,
        clock: Callable[[], float] = time.monotonic,
        repro: Callable[..., None] = repro,
        measure: Callable[[Path], Mapping[str, Speed]] | None = None,
    ) -> None:
        """Read what an interrupted run left.

        Args:
            root: the project.
            minutes: for the whole run, with what an interrupted one took.
            started: when the run began, by the clock.
            clock: returns seconds.
            repro: runs DVC.
            measure: measures the models of a project.
        """
        self.root, self.seconds, self.started = root, 60 * minutes, started
        self._clock, self._repro, self._measure = clock, repro, measure or measure_speeds
        known = read_json(root / STATE) if (root / STATE).is_file() else {}
        self.before = float(known.get("seconds", 0))
        self.trained = list(known.get("trained", []))
        self.current = known.get("current")  # the model whose training may be unfinished
        self.planned = dict(known.get("planned", {}))  # model -> epochs of the recipe
        self.start = float(known.get("start", 0))
        self.params = known.get("params")  # hash of the file that was written
        self.pace = 1.0  # seconds that the last network took, in units of the prediction

    def run(self) -> None:
        """Run the pipeline.

        Raises:
            UserError: if the time is too short, or a stage fails.
            KeyboardInterrupt: after Ctrl-C.
        """
        try:
            if self.params not in (None, self._hash_of_params()):
                log(f"{PARAMS_FILE}: you changed it, so --minutes changes no epochs")
            elif not self.planned or self._names_left(self._read_params()):
                self._train()
            self._repro(self.root)
        finally:
            self._write_state()

    def elapsed(self) -> float:
        """Return the seconds since the first run began, without those between runs."""
        return self.before + self._clock() - self.started

    def _train(self) -> None:
        self._prepare_images()
        params = self._read_params()
        self.planned = self.planned or {
            name: 0 if model["network"] in WITHOUT_EPOCHS else epochs_of(model)
            for name, model in params["models"].items()
        }
        speeds = self._measure(self.root)
        if not (self.trained or self.current):
            self._begin(params, speeds)
        if self.current:  # with other epochs it would begin again
            self._train_model(self.current)
        while left := self._names_left(params := self._read_params()):
            candidates = self._candidates(left, params, speeds)
            costs = self._costs(params, speeds)
            seconds = self._seconds_left(params, costs)
            plan = self._choose_epochs(candidates, costs, seconds=seconds)
            name = min(plan, key=lambda name: self.planned[name] > 0)  # probes first
            self._write_plan(plan, first=name)
            taken = self._train_model(name)
            if self.planned[name]:
                measured = candidates[name]._replace(speed=speeds[name])
                self.pace = taken / costs.training(measured, plan[name])

    def _read_params(self) -> dict[str, Any]:
        return check_params(self.root / PARAMS_FILE)

    def _names_left(self, params: Mapping[str, Any]) -> list[str]:
        return [name for name in params["models"] if name not in self.trained]

    def _candidates(
        self, names: Iterable[str], params: Mapping[str, Any], speeds: Mapping[str, Speed]
    ) -> dict[str, Candidate]:
        return {
            name: Candidate(
                speeds[name].scaled(self.pace) if self.planned[name] else speeds[name],
                self.planned[name],
                n_seeds=len(by_seed(params["models"][name])),
            )
            for name in names
        }

    def _seconds_left(self, params: Mapping[str, Any], costs: Costs) -> float:
        """Predict the seconds that are left for models that are not trained."""
        evaluations = sum(map(costs.evaluation, costs.trained.values()))
        rest = seconds_of_the_rest(self.start, n_maps=2 * len(params["tsne"]["perplexities"]))
        return self.seconds - self.elapsed() - rest - evaluations

    def _costs(self, params: Mapping[str, Any], speeds: Mapping[str, Speed]) -> Costs:
        return Costs(
            self.start,
            n_folds=params["stack"]["folds"],
            n_test=read_json(self.root / "metrics/split.json")["n_test"],
            n_rows=read_json(self.root / "metrics/augment.json")["n_images"],
            explain=params["explain"],
            trained=self._candidates(self.trained, params, speeds),
            robustness=params["robustness"],
        )

    def _choose_epochs(
        self, candidates: Mapping[str, Candidate], costs: Costs, *, seconds: float
    ) -> dict[str, int]:
        tolerance = TOLERANCE * self.seconds
        return choose_epochs(candidates, costs, seconds=seconds, tolerance=tolerance)

    def _begin(self, params: Mapping[str, Any], speeds: Mapping[str, Speed]) -> None:
        """Check the time, and reduce explanations, maps and robustness where they take much of it.

        Raises:
            UserError: if no model fits into the time.
        """
        candidates = self._candidates(params["models"], params, speeds)
        reduced = copy.deepcopy(dict(params))
        list(reduce_analyses(reduced, reason=""))
        costs = self._costs(reduced, speeds)
        seconds = self._seconds_left(reduced, costs)
        self._check_minutes(candidates, costs, seconds=seconds)
        plan = self._choose_epochs(candidates, costs, seconds=seconds)

        def left(settings: Mapping[str, Any]) -> float:
            costs = self._costs(settings, speeds)
            return self._seconds_left(settings, costs) - costs.total(candidates, plan)

        unused = left(reduced)
        saved = unused - left(params)
        if saved > MIN_SAVED * self.seconds:
            self._reduce_analyses(f"this leaves {duration(saved)} more for training")
        else:
            unused -= saved
        longest = (candidates[name].longest for name in plan)
        if unused > TOO_SHORT * self.seconds and list(longest) == list(plan.values()):
            log(
                f"--minutes: about {(self.seconds - unused) / 60:.1f} of {self.seconds / 60:g} "
                "minutes are useful with these models, so the run ends earlier"
            )

    def _check_minutes(
        self, candidates: Mapping[str, Candidate], costs: Costs, *, seconds: float
    ) -> None:
        """Refuse a time that no model fits into."""
        lacking = costs.total(candidates, shortest_plan(candidates, costs)) - seconds
        if lacking > TOO_SHORT * self.seconds:
            at_least = math.ceil((self.seconds + lacking) / 30) / 2
            raise UserError(
                f"--minutes: must be at least {at_least:g} for these images on this machine, got "
                f"{self.seconds / 60:g}. Run the same command with more minutes; the images are "
                "prepared, and are not read again."
            )

    def _reduce_analyses(self, reason: str) -> None:
        file = self.root / PARAMS_FILE
        with modify_yaml(str(file)) as params:
            choices = list(reduce_analyses(params, reason=reason))
        file.write_text(replace_choices(file.read_text(encoding="utf-8"), choices), "utf-8")
        log(
            "--minutes: explanations and t-SNE maps are as few as in the preset quick, and "
            f"robustness is not measured: {reason}"
        )

    def _write_plan(self, plan: Mapping[str, int], *, first: str) -> None:
        """Write the epochs to `params.yaml`, and delete the models that do not fit."""
        file = self.root / PARAMS_FILE
        described = ", ".join(
            f"{name} {count(n, 'epoch')}" if n else f"{name} (no epochs)"
            for name, n in plan.items()
        )
        with modify_yaml(str(file)) as params:
            dropped = set(params["models"]) - {*plan, *self.trained}
            for name in dropped:
                del params["models"][name]
            for name, epochs in plan.items():
                if epochs:
                    set_epochs(params["models"][name], epochs, fixed=True)
            kept = list(params["models"])
        minutes = f"{self.seconds / 60:g}"
        choices = [
            Choice("models", ", ".join(kept), f"they fit into {minutes} minutes"),
            *(
                Choice(
                    f"models.{name}",
                    count(n, "epoch"),
                    f"they fit into {minutes} minutes, by the speed "
                    f"of this machine; the recipe has {self.planned[name]}",
                )
                for name, n in plan.items()
                if n
            ),
        ]
        text = replace_choices(
            file.read_text(encoding="utf-8"),
            choices,
            removed=[f"models.{name}" for name in dropped],
        )
        file.write_text(text, encoding="utf-8")
        self.params, self.current = self._hash_of_params(), first
        self._write_state()
        log(f"--minutes: {self.elapsed() / 60:.1f} of {minutes} minutes used; next: {described}")

    def _train_model(self, name: str) -> float:
        """Train a model, and return the seconds that it took."""
        before = self._clock()
        self._repro(self.root, "--single-item", f"train@{name}", f"folds@{name}")
        self.trained.append(name)
        self.current = None
        return self._clock() - before

    def _prepare_images(self) -> None:
        before = self._clock()
        self._repro(self.root, FIRST[-1])
        if self.start:
            return
        worked = sum(
            float(read_json(self.root / f"timings/{stage}.json")["seconds"]) for stage in FIRST
        )
        self.start = max((self._clock() - before - worked) / len(FIRST), MIN_START)

    def _hash_of_params(self) -> str:
        return hashlib.sha256((self.root / PARAMS_FILE).read_bytes()).hexdigest()

    def _write_state(self) -> None:
        state = {
            "seconds": self.elapsed(),
            "start": self.start,
            "params": self.params,
            "planned": self.planned,
            "trained": self.trained,
            "current": self.current,
        }
        write_json(self.root / STATE, state)


def measure_speeds(root: Path) -> dict[str, Speed]:
    """Measure the models of a project, in a process of its own.

    Args:
        root: the project, whose images are packed.

    Raises:
        UserError: if a model cannot be trained.
    """
    done = subprocess.run(
        [sys.executable, "-m", "classifold.project.speed"],
        cwd=root,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UserError(f"speed of the models: cannot be measured ({done.stderr.strip()[-500:]}).")
    measured = json.loads(done.stdout.splitlines()[-1])
    return {name: Speed(*seconds) for name, seconds in measured.items()}
