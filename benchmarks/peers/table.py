"""The results of a bench as a Markdown table."""

from collections.abc import Sequence
from typing import Any

HEAD = (
    "| library | {metric} (95 % interval) | first result | everything | processor time "
    "| training images/s | peak memory | lines you write | weights; trained |"
)


def table(results: Sequence[dict[str, Any]]) -> str:
    """Format the results of one archive and one budget."""
    scored = [result for result in results if result["end"] == "ok"]
    title = f"{results[0]['images']}, budget {results[0]['budget']:,} s"
    if scored:
        first = scored[0]
        title += (
            f": {first['n_test']:,} test images; the best constant prediction has "
            f"{_score(first['metric'], first['baseline'])}"
        )
    metric = scored[0]["metric"] if scored else "score"
    lines = [title, "", HEAD.format(metric=metric), "|---" * HEAD.count(" |") + "|"]
    lines += [_row(result) for result in results]
    return "\n".join(lines) + "\n"


def _row(result: dict[str, Any]) -> str:
    name = " ".join(filter(None, [result["peer"], result.get("version")]))
    if result["end"] == "unsupported":
        return f"| {name} | not possible: one label per image |" + " |" * 7
    if result["end"] != "ok":
        reason = "stopped, no result" if result["end"] == "stopped" else "failed"
        cost = f" | | {_time(result['seconds'])} | {_time(result['cpu_seconds'])} | "
        return f"| {name} | {reason}{cost}| {result['peak_gib']:.1f} GiB | {result['lines']} | |"
    low, high = (_score(result["metric"], value) for value in result["interval"])
    speed = result["images_per_second"]
    lines = "1 command" if result["commands"] else str(result["lines"])
    cells = [
        name,
        f"{_score(result['metric'], result['score'])} ({low.removesuffix(' %')} to {high})",
        _time(result["first_result_seconds"]),
        _time(result["seconds"]),
        _time(result["cpu_seconds"]),
        f"{speed:.0f}" if speed else "not reported",
        f"{result['peak_gib']:.1f} GiB",
        lines,
        f"{result['weights']}; {result['done']}",
    ]
    return f"| {' | '.join(cells)} |"


def _score(metric: str, value: float) -> str:
    return f"{value:.1%}".replace("%", " %") if metric == "accuracy" else f"{value:.3f}"


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
