"""Numbers and findings in plain words."""

from collections.abc import Mapping, Sequence
from typing import Any

from classifold.intervals import mcnemar
from classifold.reporting.facts import MAJORITY, STACK, Facts

# From so many images on, a second decimal of a percentage is worth reading.
MANY_IMAGES = 10_000
MOST_DECIMALS = 6

# A difference that chance alone brings about less often is told as one.
SIGNIFICANCE = 0.05

NOTHING = "–"
SPACE = "\u00a0"  # keeps a number and its unit on one line


def percent(share: float | None, *, n_images: int = 0) -> str:
    """A fraction in per cent; never rounded to a whole 0 or 100 % that it is not."""
    if share is None:
        return NOTHING
    decimals = 2 if n_images >= MANY_IMAGES else 1
    while (
        decimals < MOST_DECIMALS and 0 < share < 1 and float(f"{share:.{decimals + 2}f}") in (0, 1)
    ):
        decimals += 1
    return f"{share * 100:.{decimals}f}{SPACE}%"


def points(difference: float) -> str:
    """A difference of two fractions in percentage points, signed."""
    sign = "+" if difference > 0 else "−" if difference < 0 else ""
    return f"{sign}{abs(difference) * 100:.1f}"


def interval(ends: Sequence[float], *, n_images: int = 0) -> str:
    """A 95 % interval of a fraction."""
    low, high = (percent(end, n_images=n_images) for end in ends)
    return f"{low.removesuffix(SPACE + '%')} to {high}"


def decimal(value: float | None) -> str:
    """A score that is no percentage, to three places."""
    return NOTHING if value is None else f"{value:.3f}"


def count(number: int, noun: str, *, plural: str = "") -> str:
    """A number of things: "1 image", "1,797 images"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def duration(seconds: float | None) -> str:
    """A time in the units a person would say it in."""
    if seconds is None:
        return NOTHING
    if seconds < 60:
        return f"{seconds:.1f}{SPACE}s"
    minutes, left = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{SPACE}min {left}{SPACE}s"
    return f"{minutes // 60}{SPACE}h {minutes % 60}{SPACE}min"


def balance_sentence(filtered: Mapping[str, Any]) -> str:
    """How unequal classes are, before the filter and after it.

    Args:
        filtered: content of `metrics/filter.json`.
    """
    kept = filtered["kept_per_class"]
    before = {name: kept[name] + filtered["excluded_per_class"][name] for name in kept}
    told = f"The largest class has {_imbalance(before)} times as many images as the smallest"
    if filtered["n_excluded"]:
        return f"{told} before the filter, and {_imbalance(kept)} times after it."
    return f"{told}; the filter left no image out."


def _imbalance(counts: Mapping[str, int]) -> str:
    return f"{max(counts.values()) / min(counts.values()):,.2f}"


def verdict(facts: Facts) -> list[str]:
    """What the run comes to, in a few sentences."""
    members = count(facts.metrics["stack"]["n_members"], "model")
    best = facts.best_on_test
    if best is None:
        stack = facts.metrics["stack"]
        n_images = stack["n_images"]
        return [
            "There are no test images (split.shares.test is 0), so nothing was measured on images "
            "that no choice was made with.",
            f"On {count(n_images, 'validation image')} the stack of {members} scores "
            f"{percent(stack['validation_accuracy'], n_images=n_images)}, cross-fitted. Validation "
            "images also chose epochs and temperatures, so this is optimistic.",
        ]
    hits = {name: sum(_hits(rows)) for name, rows in facts.answers.items()}
    baseline = facts.metrics["test"][MAJORITY]["accuracy"] * facts.n_test
    most_frequent = facts.metrics["models"][MAJORITY]["predicted_class"]
    return [
        f"The stack of {members} gets {hits[STACK]:,} of {count(facts.n_test, 'test image')} "
        f"right; always answering “{most_frequent}”, the most frequent class in training, would "
        f"get {round(baseline):,} right.",
        f"The best single model on these images, {best}, gets {hits[best]:,} right. "
        + compare_answers(facts.answers[STACK], facts.answers[best], name=best),
        _chosen_by_validation(facts),
    ]


def compare_answers(
    stack: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]], *, name: str
) -> str:
    """Whether the stack and a model differ by more than chance, on the same images.

    Args:
        stack: rows of predictions.parquet.
        other: rows of the other model, in the same order.
        name: of the other model.
    """
    pairs = list(zip(_hits(stack), _hits(other), strict=True))
    only_stack, only_other = pairs.count((True, False)), pairs.count((False, True))
    n_decisive = only_stack + only_other
    if n_decisive == 0:
        return f"The stack and {name} are right on exactly the same images."
    p_value = mcnemar(only_stack, only_other)
    told = (
        f"The two differ in {count(n_decisive, 'image')}: the stack alone is right on "
        f"{only_stack:,}, {name} alone on {only_other:,}. "
    )
    p_text = "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"
    if p_value >= SIGNIFICANCE:
        return f"{told}Chance alone could do that (exact McNemar test, {p_text})."
    return f"{told}That is more than chance would do (exact McNemar test, {p_text})."


def gain_sentence(stack: Mapping[str, Any]) -> str:
    """Whether what the stack gains over its best member can be told from zero."""
    low, high = stack["gain_ci95"]
    best = stack["best_member"]
    if low > 0:
        return (
            f"The interval lies above zero: on these images the stack is better than {best} by "
            "more than chance explains."
        )
    if high < 0:
        return (
            f"The interval lies below zero: on these images the stack is worse than {best} by "
            "more than chance explains. Using that model alone would be simpler and no worse."
        )
    return (
        "The interval includes zero: on these images the gain is not distinguishable from zero. "
        f"Using {best} alone would be simpler."
    )


def _chosen_by_validation(facts: Facts) -> str:
    """What test images say of the model that one had to choose without them."""
    member, best = facts.metrics["stack"]["best_member"], facts.best_on_test
    if member == best:
        return f"Validation images would have chosen {member} too."
    accuracy = facts.metrics["test"][member]["accuracy"]
    return (
        f"Picked by looking at these very images, {best} is flattered; validation images would "
        f"have chosen {member}, which scores {percent(accuracy, n_images=facts.n_test)} here."
    )


def _hits(rows: Sequence[Mapping[str, Any]]) -> list[bool]:
    return [row["predicted"] == row["label"] for row in rows]
