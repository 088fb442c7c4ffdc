"""The result of a run in a few lines, for the terminal."""

from collections.abc import Iterator
from pathlib import Path

from classifold.data.predictions import MAJORITY, STACK
from classifold.evaluation.intervals import accuracy_interval
from classifold.pictures.glyphs import shorten
from classifold.reporting.facts import Facts
from classifold.reporting.formats import count, interval, percent
from classifold.reporting.sections.summary import format_baseline_classes

REPORT = Path("reports/index.html")
MAX_CHARACTERS = 60  # of the classes that the baseline predicts


def describe_verdict(facts: Facts, root: Path) -> Iterator[str]:
    """Describe score and baseline, the worst class, excluded images, and where the report is.

    Args:
        facts: of a finished run.
        root: the project, as a path that the user can follow.
    """
    yield _describe_score(facts)
    yield _describe_worst_class(facts)
    yield _describe_excluded(facts, root)
    yield from (f"WARNING: {lines[0]}; the report has the details" for lines in facts.warnings)
    yield f"report: {root / REPORT}"


def _describe_score(facts: Facts) -> str:
    metric, stack = facts.main_metric, facts.metrics["stack"]
    n_members = stack["n_members"]
    by = f"the stack of {n_members} models" if n_members > 1 else stack["best_member"]
    if not facts.n_test:
        n_images = stack["n_images"]
        score = metric.score(stack[f"validation_{metric.key}"], n_images=n_images)
        return (
            f"{metric.name} {score} on {count(n_images, 'validation image')}, by {by}; there are "
            "no test images (split.fractions.test), and validation images chose the epochs, so "
            "this score is optimistically biased"
        )
    test = facts.metrics["test"]
    scores, baseline = test[STACK], test[MAJORITY][metric.key]
    ends = metric.interval(scores[f"{metric.key}_ci95"], n_images=facts.n_test)
    constant = "best constant prediction" if facts.task == "multi" else "most frequent class"
    classes = format_baseline_classes(facts.metrics["models"][MAJORITY])
    return (
        f"{metric.name} {metric.score(scores[metric.key], n_images=facts.n_test)} (95 % interval: "
        f"{ends}) on {count(facts.n_test, 'test image')}, by {by}; the {constant}, "
        f"{shorten(classes, MAX_CHARACTERS)}, has "
        f"{metric.score(baseline, n_images=facts.n_test)}"
    )


def _describe_worst_class(facts: Facts) -> str:
    key = "f1" if facts.task == "multi" else "recall"
    rows = [row for row in facts.per_class if int(row["support"])]
    if not rows:
        return "worst class: not measured without test images"
    worst = min(rows, key=lambda row: (float(row[key]), -int(row["support"])))
    n_images, recall = int(worst["support"]), float(worst["recall"])
    ends = interval(accuracy_interval(round(recall * n_images), n_images))
    found = f"recall {percent(recall)} (95 % interval: {ends}) of {count(n_images, 'test image')}"
    f1 = f"F1 {float(worst['f1']):.3f}, " if facts.task == "multi" else ""
    return f"worst class: “{worst['class']}”, {f1}{found}"


def _describe_excluded(facts: Facts, root: Path) -> str:
    filtered, folders = facts.metrics["filter"], facts.folders
    reasons = {reason.replace("_", " "): n for reason, n in filtered["excluded"].items() if n}
    lists = [folders.filtered / "excluded.csv"] if reasons else []
    if n_unreadable := facts.metrics["ingest"]["n_unreadable"]:
        reasons["unreadable"] = n_unreadable
        lists.append(folders.ingested / "unreadable.csv")
    if not reasons:
        return f"excluded: none of {count(facts.metrics['ingest']['n_images'], 'image')}"
    counts = ", ".join(f"{n:,} {reason}" for reason, n in reasons.items())
    return f"excluded: {counts} ({', '.join(map(str, lists))})"
