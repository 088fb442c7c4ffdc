"""Findings in plain words."""

from collections.abc import Mapping, Sequence
from typing import Any

from classifold.reporting.facts import MAJORITY, STACK, Facts
from classifold.reporting.measures import (
    Measure,
    count,
    first_upper,
    percent,
    probability_of_chance,
)

# A difference that chance alone brings about less often is told as one.
SIGNIFICANCE = 0.05

SLICES = {
    "brightness": "thirds of their mean brightness",
    "mode": "how their files came (L is grayscale, P palette)",
    "filter": "what the filter would have said of them, as it leaves an official test part alone",
    "duplicates": "whether a duplicate of them is among the images kept for training",
}


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


def limit_sentence(limit: Mapping[str, Any]) -> str | None:
    """What was cut short, of `limit` in params; None where nothing was."""
    images, epochs = limit["images_per_class"], limit["epochs"]
    cut = [
        images and f"{count(images, 'image')} a class",
        epochs and f"{count(epochs, 'epoch')} a phase",
    ]
    if not any(cut):
        return None
    return (
        f"Short form: about {' and '.join(filter(None, cut))} at most (limit in params.yaml). It "
        "shows that everything runs; no score here is that of the recipe."
    )


def verdict(facts: Facts) -> list[str]:
    """What the run comes to, in a few sentences."""
    best, measure = facts.best_on_test, facts.measure
    if best is None:
        stack = facts.metrics["stack"]
        n_images = stack["n_images"]
        score = measure.score(stack[f"validation_{measure.key}"], n_images=n_images)
        chosen = "epochs and temperatures" if facts.task == "single" else "epochs and thresholds"
        return [
            "There are no test images (split.fractions.test is 0), so nothing was measured on "
            "images that no choice was made with.",
            f"On {count(n_images, 'validation image')} {_the_stack(facts)} has a cross-fitted "
            f"{measure.words} of {score}. Validation images also chose {chosen}, so this is "
            "optimistic.",
        ]
    if facts.task == "single":
        return [_right_answers(facts), _beside_the_best(facts, best)]
    return [_labels_found(facts), _sets_found(facts), _beside_the_best(facts, best)]


def constant_answer(baseline: Mapping[str, Any]) -> str:
    """Name what the majority baseline always answers, of its entry in `metrics/models.json`."""
    answered = baseline.get("predicted_classes", [baseline.get("predicted_class")])
    return ", ".join(f"“{name}”" for name in answered)


def compare_answers(
    stack: Sequence[Mapping[str, Any]],
    other: Sequence[Mapping[str, Any]],
    *,
    name: str,
    p_value: float,
) -> str:
    """Whether the stack and a model differ by more than chance, on the same images.

    Args:
        stack: rows of predictions.parquet, with one label an image.
        other: rows of the other model, in the same order.
        name: of the other model.
        p_value: of McNemar's exact test.
    """
    pairs = list(zip(_hits(stack), _hits(other), strict=True))
    only_stack, only_other = pairs.count((True, False)), pairs.count((False, True))
    n_decisive = only_stack + only_other
    if n_decisive == 0:
        return f"The stack and {name} are right on exactly the same images."
    return (
        f"The two differ in {count(n_decisive, 'image')}: the stack alone is right on "
        f"{only_stack:,}, {name} alone on {only_other:,}. {_chance(p_value < SIGNIFICANCE)} "
        f"(exact McNemar test, {probability_of_chance(p_value)})."
    )


def compare_scores(versus: Mapping[str, Any], *, name: str, measure: Measure) -> str:
    """Whether the stack and a model differ by more than chance, by the difference's interval.

    Args:
        versus: `versus_stack` of the model in `metrics/test.json`.
        name: of the model.
        measure: of the scores.
    """
    less, (low, high) = versus["difference"], versus["difference_ci95"]
    if less == low == high == 0:
        return f"The stack scores the same as {name}."
    # Told from the stack's side, which turns the signs.
    return (
        f"The stack differs from it by {measure.difference(-less)} (95 % interval "
        f"{measure.differences([-high, -low])}). {_chance(low > 0 or high < 0)}."
    )


def gain_sentence(stack: Mapping[str, Any]) -> str:
    """Whether what the stack gains over its best member can be told from zero."""
    low, high = stack["gain_ci95"]
    best = stack["best_member"]
    if stack["n_members"] == 1:
        return (
            f"There is one member, {best}, so there is nothing to combine; list more models to "
            "gain something."
        )
    if stack["gain"] == low == high == 0:
        return (
            f"On these images the stack scores just as {best} does. Using that model alone would "
            "be simpler."
        )
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


def slices_sentence(kinds: Sequence[str]) -> str:
    """By what test images were put into groups: kinds of `slices.csv`."""
    return f"Test images by {'; by '.join(SLICES[kind] for kind in kinds)}."


def temperature_sentence(tested: Mapping[str, Any]) -> str:
    """What the temperature did to the calibration error of test images."""
    before, after = tested["calibration_error_uncalibrated"], tested["calibration_error"]
    if after == before:
        return "The temperature, fitted on validation images, changed nothing."
    change = "lowered" if after < before else "raised"
    return f"The temperature, fitted on validation images, {change} it here from {before:.3f}."


def _the_stack(facts: Facts) -> str:
    stack = facts.metrics["stack"]
    if stack["n_members"] == 1:
        return f"the stack of one model, {stack['best_member']},"
    return f"the stack of {stack['n_members']} models"


def _right_answers(facts: Facts) -> str:
    n_hits = sum(_hits(facts.answers[STACK]))
    baseline = facts.metrics["test"][MAJORITY]["accuracy"] * facts.n_test
    return (
        f"{first_upper(_the_stack(facts))} gets {n_hits:,} of "
        f"{count(facts.n_test, 'test image')} right; always answering "
        f"{constant_answer(facts.metrics['models'][MAJORITY])}, the most frequent class in "
        f"training, would get {round(baseline):,} right."
    )


def _labels_found(facts: Facts) -> str:
    """Micro F1 as what it is made of: how many labels were found, how many answers are right."""
    found, wrong, missed = (
        sum(int(row[f"{kind}s"]) for row in facts.per_class)
        for kind in ("true_positive", "false_positive", "false_negative")
    )
    return (
        f"{count(facts.n_test, 'test image')} bear {count(found + missed, 'label')}. "
        f"{first_upper(_the_stack(facts))} finds {found:,} of them and answers {wrong:,} that "
        "they do not bear."
    )


def _sets_found(facts: Facts) -> str:
    measure, test = facts.measure, facts.metrics["test"]
    stack, baseline = test[STACK], test[MAJORITY]
    return (
        f"It has all labels of an image right, and none too many, on "
        f"{percent(stack['subset_accuracy'], n_images=facts.n_test)} of the images. The best "
        f"constant answer, {constant_answer(facts.metrics['models'][MAJORITY])} for every image, "
        f"has a micro F1 of {measure.score(baseline[measure.key])}, and all labels right on "
        f"{percent(baseline['subset_accuracy'], n_images=facts.n_test)}."
    )


def _beside_the_best(facts: Facts, best: str) -> str:
    """How the stack compares with the listed model that is best on test images."""
    measure, tested = facts.measure, facts.metrics["test"][best]
    if facts.task == "single":
        compared = compare_answers(
            facts.answers[STACK],
            facts.answers[best],
            name=best,
            p_value=tested["versus_stack"]["p_value"],
        )
        told = f"{best}, gets {sum(_hits(facts.answers[best])):,} right. {compared}"
    else:
        compared = compare_scores(tested["versus_stack"], name=best, measure=measure)
        told = f"{best}, has a micro F1 of {measure.score(tested[measure.key])}. {compared}"
    if len(facts.models) == 1:
        return f"The only model, {told}"
    return f"The best single model on these images, {told} {_chosen_by_validation(facts, best)}"


def _chosen_by_validation(facts: Facts, best: str) -> str:
    """What test images say of the model that one had to choose without them."""
    member, measure = facts.metrics["stack"]["best_member"], facts.measure
    if member == best:
        return f"Validation images would have chosen {member} too."
    score = measure.score(facts.metrics["test"][member][measure.key], n_images=facts.n_test)
    return (
        f"Picked by looking at these very images, {best} is flattered; validation images would "
        f"have chosen {member}, which scores {score} here."
    )


def _chance(distinguishable: bool) -> str:
    if distinguishable:
        return "That is more than chance would do"
    return "Chance alone could do that"


def _hits(rows: Sequence[Mapping[str, Any]]) -> list[bool]:
    return [row["predicted"] == row["label"] for row in rows]
