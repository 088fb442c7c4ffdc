"""Two implementations of the same work in turn, and the table of their ratios."""

import re
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

ROUNDS = 3

BEGIN, END = "<!-- made by make bench -->\n", "<!-- end -->\n"


class Options(NamedTuple):
    """What the suites work on."""

    images: Path | None = None  # an archive of labeled images for the pipeline
    tiny: bool = False  # few images, one round: does everything still run?

    def few(self, n_items: int, *, least: int = 12) -> int:
        """Return a number of items, or that of the tiny form."""
        return max(n_items // 200, least) if self.tiny else n_items


class Benchmark(NamedTuple):
    """Two implementations of the same work; each gets an empty folder."""

    name: str  # begins with the number of its target, if it has one
    peer: str
    unit: str  # of the items, plural
    n_items: int
    ours: Callable[[Path], object]
    theirs: Callable[[Path], object]
    target: float | None = None  # for the ratio
    of_times: bool = False  # the ratio is that of our time to theirs, not of the speeds
    rounds: int = ROUNDS


class Ratio(NamedTuple):
    """What was measured."""

    benchmark: Benchmark
    ours: Sequence[float]  # seconds of each round
    theirs: Sequence[float]

    def __str__(self) -> str:
        """Format it as a line."""
        return (
            f"{self.benchmark.name}: {_speed(self.benchmark, self.ours)}, {self.benchmark.peer}: "
            f"{_speed(self.benchmark, self.theirs)}, ratio {self._ratio('-')}"
        )

    def row(self) -> str:
        """Format it as a row of the table."""
        benchmark, target = self.benchmark, "–"
        if benchmark.target is not None:
            target = f"at {'most' if benchmark.of_times else 'least'} {benchmark.target:g}"
        cells = [
            benchmark.name,
            benchmark.peer,
            f"{_speed(benchmark, self.ours)}; {_speed(benchmark, self.theirs)}",
            f"{'time' if benchmark.of_times else 'speed'} {self._ratio(' to ')}",
            target,
        ]
        return f"| {' | '.join(cells)} |"

    def _ratio(self, to: str) -> str:
        ratios = [theirs / ours for ours, theirs in zip(self.ours, self.theirs, strict=True)]
        if self.benchmark.of_times:
            ratios = [1 / ratio for ratio in ratios]
        return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}{to}{max(ratios):.2f})"


def compare(benchmark: Benchmark, root: Path) -> Ratio:
    """Run both implementations in turn, round after round."""
    seconds: tuple[list[float], list[float]] = ([], [])
    out = root / "out"
    for _ in range(benchmark.rounds):
        for work, of_work in zip((benchmark.ours, benchmark.theirs), seconds, strict=True):
            out.mkdir()
            start = time.perf_counter()
            work(out)
            of_work.append(time.perf_counter() - start)
            shutil.rmtree(out)
    return Ratio(benchmark, *seconds)


def table(ratios: Sequence[Ratio]) -> str:
    """Format ratios as a Markdown table."""
    head = "| work | compared with | both | ratio (lowest to highest) | target |"
    return "\n".join([head, "|---" * 5 + "|", *(one.row() for one in ratios)]) + "\n"


def replace_table(page: Path, text: str) -> None:
    """Replace what is between the two comments of a page."""
    pattern = f"(?<={re.escape(BEGIN)}).*(?={re.escape(END)})"
    old = page.read_text(encoding="utf-8")
    if not re.search(pattern, old, re.DOTALL):
        raise SystemExit(f"{page}: must have the line {BEGIN.strip()} and after it {END.strip()}.")
    page.write_text(re.sub(pattern, lambda _: f"\n{text}\n", old, flags=re.DOTALL), "utf-8")


def _speed(benchmark: Benchmark, seconds: Sequence[float]) -> str:
    """Format the median speed, or the time of a whole run."""
    median = statistics.median(seconds)
    if benchmark.n_items == 1:
        return f"{median:.2f} s"
    speed = benchmark.n_items / median
    return f"{speed:{',.0f' if speed >= 10 else '.2g'}} {benchmark.unit}/s"
