"""Kill the pipeline at random moments: `make chaos`.

The pipeline runs on small synthetic images in a clone, once without interruption. Then it runs
from the beginning several times, and is killed with SIGKILL at random moments of every stage: only
DVC, or its whole process group. The next `dvc repro` starts immediately. At the end of each run all
outputs must equal those of the uninterrupted run, byte for byte.
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
    POLL_SECONDS,
    SAME,
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
    parser.add_argument("--moments", type=int, default=50, help="number of kills (50)")
    parser.add_argument("--seed", type=int, default=2342, help="random seed (2342)")
    parser.add_argument("--out", type=Path, default=Path(".cache/chaos.md"), help="output file")
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    generator = random.Random(options.seed)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        pristine = make_clone(Path(folder) / "pristine")
        uninterrupted = copy_of(pristine, Path(folder) / "uninterrupted")
        durations = time_stages(uninterrupted)
        expected = state(uninterrupted)
        print(f"uninterrupted: {sum(durations.values()):.0f} s, {len(expected)} files", flush=True)

        kills: list[Kill] = []
        while len(kills) < options.moments:
            moments = sample_moments(generator, durations, max_moments=options.moments - len(kills))
            clone = copy_of(pristine, Path(folder) / "interrupted")
            found, _ = run_killed(clone, moments, order=list(durations))
            wrong = differences(clone, expected)
            if not wrong and UP_TO_DATE not in (output := clone.repro(expect=None)):
                wrong = [f"not up to date: {', '.join(stages_run(output)) or output}"]
            if wrong:
                found = [kill._replace(outcome="; ".join(wrong[:3])) for kill in found]
            for kill in found:
                kills.append(kill)
                print(row(len(kills), kill), flush=True)
            minutes = (time.monotonic() - begin) / 60
            text = report(kills, list(durations), seed=options.seed, minutes=minutes)
            options.out.write_text(text)
    print(options.out.read_text())
    return int(any(not kill.outcome.startswith(SAME) for kill in kills))


def copy_of(pristine: Clone, root: Path) -> Clone:
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(pristine.root, root, symlinks=True)
    return Clone(root)


def time_stages(clone: Clone) -> dict[str, float]:
    """Run without interruption: seconds from the start of each stage to that of the next."""
    repro = Repro(clone, (), clone.root.parent / "uninterrupted.log")
    begun = {START: repro.start}
    while not repro.ended():
        begun.setdefault(repro.stages()[-1], time.monotonic())
        time.sleep(POLL_SECONDS)
    assert repro.process.returncode == 0, repro.output()
    ends = [*list(begun.values())[1:], time.monotonic()]
    return {stage: end - start for (stage, start), end in zip(begun.items(), ends, strict=True)}


def sample_moments(
    generator: random.Random, durations: dict[str, float], *, max_moments: int
) -> list[Moment]:
    """Sample one moment in each stage, or in some of them, in their order."""
    stages = generator.sample(list(durations), k=min(max_moments, len(durations)))
    return [
        Moment(stage, generator.random() * seconds, whole_group=generator.random() < 0.5)
        for stage, seconds in durations.items()
        if stage in stages
    ]


def report(kills: list[Kill], order: list[str], *, seed: int, minutes: float) -> str:
    """Format all kills as a table, below a summary per stage."""
    stages = [stage for stage in order if stage in {kill.stage for kill in kills}]
    outcomes = sorted({kill.outcome for kill in kills})
    columns = ("stage", "killed", "whole group", "only DVC", "maximum time until orphans end")
    lines = [f"# {len(kills)} moments, seed {seed}, {minutes:.0f} minutes", ""]
    lines += [row_of(*columns, *outcomes), "|---" * (5 + len(outcomes)) + "|"]
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
        "| moment | stage | seconds | killed | orphans | time until they end | outcome |",
        "|---" * 7 + "|",
        *(row(number, kill) for number, kill in enumerate(kills, start=1)),
    ]
    return "\n".join(lines) + "\n"


def row(number: int, kill: Kill) -> str:
    killed = "whole group" if kill.whole_group else "only DVC"
    orphans = "" if kill.whole_group else kill.orphans
    gone = "" if kill.whole_group else f"{kill.seconds_of_orphans:.2f} s"
    return row_of(number, kill.stage, f"{kill.seconds:.1f}", killed, orphans, gone, kill.outcome)


def row_of(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


if __name__ == "__main__":
    sys.exit(main())
