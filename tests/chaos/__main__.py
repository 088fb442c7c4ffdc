"""Kill the pipeline anywhere: `make chaos`.

The pipeline runs on small drawn images in a clone, once undisturbed. Then it runs from nothing
again and again, killed with SIGKILL at random moments of every stage, DVC alone or its whole
process group; the next `dvc repro` goes on at once. At the end of each run everything must be,
byte for byte, as after the undisturbed one.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from chaos.killing import (
    SAME,
    SECONDS_BETWEEN_LOOKS,
    START,
    Kill,
    Moment,
    Repro,
    differences,
    run_killed,
    state,
)
from synthetic_clone import Clone, make_clone, stages_run

UP_TO_DATE = "Data and pipelines are up to date."


def main() -> int:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--moments", type=int, default=50, help="how many (50)")
    parser.add_argument("--seed", type=int, default=2342, help="of what is drawn (2342)")
    parser.add_argument("--out", type=Path, default=Path(".cache/chaos.md"), help="the table")
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    drawn = random.Random(options.seed)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        pristine = make_clone(Path(folder) / "pristine")
        undisturbed = copy_of(pristine, Path(folder) / "undisturbed")
        lasted = time_stages(undisturbed)
        expected = state(undisturbed)
        print(f"undisturbed: {sum(lasted.values()):.0f} s, {len(expected)} files", flush=True)

        kills: list[Kill] = []
        while len(kills) < options.moments:
            moments = draw_moments(drawn, lasted, most=options.moments - len(kills))
            clone = copy_of(pristine, Path(folder) / "disturbed")
            found, _ = run_killed(clone, moments, order=list(lasted))
            wrong = differences(clone, expected)
            if not wrong and UP_TO_DATE not in (told := clone.repro(expect=None)):
                wrong = [f"not up to date: {', '.join(stages_run(told)) or told}"]
            if wrong:
                found = [kill._replace(outcome="; ".join(wrong[:3])) for kill in found]
            for kill in found:
                kills.append(kill)
                print(row(len(kills), kill), flush=True)
            minutes = (time.monotonic() - begin) / 60
            options.out.write_text(report(kills, list(lasted), seed=options.seed, minutes=minutes))
    print(options.out.read_text())
    return int(any(not kill.outcome.startswith(SAME) for kill in kills))


def copy_of(pristine: Clone, root: Path) -> Clone:
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(pristine.root, root, symlinks=True)
    return Clone(root)


def time_stages(clone: Clone) -> dict[str, float]:
    """Run undisturbed: seconds from the beginning of each stage to that of the next."""
    repro = Repro(clone, (), clone.root.parent / "undisturbed.log")
    begun = {START: repro.start}
    while not repro.ended():
        begun.setdefault(repro.stages()[-1], time.monotonic())
        time.sleep(SECONDS_BETWEEN_LOOKS)
    assert repro.process.returncode == 0, repro.output()
    ends = [*list(begun.values())[1:], time.monotonic()]
    return {stage: end - start for (stage, start), end in zip(begun.items(), ends, strict=True)}


def draw_moments(drawn: random.Random, lasted: dict[str, float], *, most: int) -> list[Moment]:
    """A moment of each stage, or of some of them, in their order."""
    stages = drawn.sample(list(lasted), k=min(most, len(lasted)))
    return [
        Moment(stage, drawn.random() * seconds, whole_group=drawn.random() < 0.5)
        for stage, seconds in lasted.items()
        if stage in stages
    ]


def report(kills: list[Kill], order: list[str], *, seed: int, minutes: float) -> str:
    """The table, with a summary a stage above it."""
    stages = [stage for stage in order if stage in {kill.stage for kill in kills}]
    outcomes = sorted({kill.outcome for kill in kills})
    lines = [
        f"# {len(kills)} moments, seed {seed}, {minutes:.0f} minutes",
        "",
        "| stage | killed | whole group | DVC alone | orphans gone after, at most | "
        + " | ".join(outcomes)
        + " |",
        "|---" * (5 + len(outcomes)) + "|",
    ]
    for stage in stages:
        of_stage = [kill for kill in kills if kill.stage == stage]
        whole = sum(kill.whole_group for kill in of_stage)
        alone = [kill.seconds_of_orphans for kill in of_stage if not kill.whole_group]
        count = Counter(kill.outcome for kill in of_stage)
        slowest = f"{max(alone):.2f} s" if alone else ""
        cells = [stage, len(of_stage), whole, len(alone), slowest]
        lines.append(row_of(*cells, *(count[outcome] for outcome in outcomes)))
    lines += [
        "",
        "| moment | stage | seconds into the repro | killed | orphans | gone after | outcome |",
        "|---" * 7 + "|",
        *(row(number, kill) for number, kill in enumerate(kills, start=1)),
    ]
    return "\n".join(lines) + "\n"


def row(number: int, kill: Kill) -> str:
    whom = "whole group" if kill.whole_group else "DVC alone"
    orphans = "" if kill.whole_group else kill.orphans
    gone = "" if kill.whole_group else f"{kill.seconds_of_orphans:.2f} s"
    return row_of(number, kill.stage, f"{kill.seconds:.1f}", whom, orphans, gone, kill.outcome)


def row_of(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


if __name__ == "__main__":
    sys.exit(main())
