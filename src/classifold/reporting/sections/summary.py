"""Section "Summary": the result of a run in a few sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

from classifold.data.predictions import MAJORITY, STACK
from classifold.reporting.facts import Facts
from classifold.reporting.formats import (
    MainMetric,
    capitalize_first,
    count,
    format_p_value,
    percent,
)

SIGNIFICANCE_LEVEL = 0.05


def describe_limit(limit: Mapping[str, Any]) -> str | None:
    """Describe how `limit` of params.yaml shortened the run; None where it did not."""
    images, epochs = limit["images_per_class"], limit["epochs"]
    limits = [
        images and f"{count(images, 'image')} per class",
        epochs and f"{count(epochs, 'epoch')} per phase",
    ]
    if not any(limits):
        return None
    return (
        f"Short form: about {' and '.join(filter(None, limits))} at most (limit in params.yaml). "
        "It shows that the whole pipeline runs; the scores here are not those of the full recipe."
    )


def summarize(facts: Facts) -> list[str]:
    """Summarize the result of a run in a few sentences."""
    best, metric = facts.best_on_test, facts.main_metric
    if best is None:
        stack = facts.metrics["stack"]
        n_images = stack["n_images"]
        score = metric.score(stack[f"validation_{metric.key}"], n_images=n_images)
        chosen = "epochs and temperatures" if facts.task == "single" else "epochs and thresholds"
        return [
            "There are no test images (split.fractions.test is 0), so there is no unbiased score.",
            f"On {count(n_images, 'validation image')}, {_name_stack(facts)} has a cross-fitted "
            f"{metric.name} of {score}. The same images chose {chosen}, so this score is "
            "optimistically biased.",
        ]
    if facts.task == "single":
        return [_describe_accuracy(facts), _compare_with_best_model(facts, best)]
    return [
        _describe_label_counts(facts),
        _describe_subset_accuracy(facts),
        _compare_with_best_model(facts, best),
    ]


def format_baseline_classes(baseline: Mapping[str, Any]) -> str:
    """Name what the majority baseline predicts, from its entry in `metrics/models.json`."""
    predicted = baseline.get("predicted_classes", [baseline.get("predicted_class")])
    return ", ".join(f"“{name}”" for name in predicted)


def describe_mcnemar_test(
    stack: Sequence[Mapping[str, Any]],
    other: Sequence[Mapping[str, Any]],
    *,
    name: str,
    p_value: float,
) -> str:
    """Describe whether the stack and a model differ significantly on the same images.

    Args:
        stack: rows of predictions.parquet, with one label per image.
        other: rows of the model, in the same order.
        name: name of the model.
        p_value: p-value of McNemar's exact test.
    """
    pairs = list(zip(_are_correct(stack), _are_correct(other), strict=True))
    only_stack, only_other = pairs.count((True, False)), pairs.count((False, True))
    n_discordant = only_stack + only_other
    if n_discordant == 0:
        return f"The stack and {name} are correct on exactly the same images."
    return (
        f"The two differ in {count(n_discordant, 'image')}: only the stack is correct on "
        f"{only_stack:,}, only {name} on {only_other:,}. "
        f"{describe_significance(p_value < SIGNIFICANCE_LEVEL)} "
        f"(exact McNemar test, {format_p_value(p_value)})."
    )


def describe_difference(versus: Mapping[str, Any], *, name: str, metric: MainMetric) -> str:
    """Describe whether the stack and a model differ significantly, by the interval.

    Args:
        versus: `versus_stack` of the model in `metrics/test.json`.
        name: name of the model.
        metric: main metric of the scores.
    """
    difference, (low, high) = versus["difference"], versus["difference_ci95"]
    if difference == low == high == 0:
        return f"The stack has the same score as {name}."
    # The file holds the model's score minus the stack's; the sentence has the stack as subject.
    return (
        f"The stack differs from it by {metric.difference(-difference)} (95 % interval "
        f"{metric.differences([-high, -low])}). {describe_significance(low > 0 or high < 0)}."
    )


def describe_significance(significant: bool) -> str:
    """Describe whether a difference is significant, without the final period."""
    return f"The difference is {'' if significant else 'not '}statistically significant"


def _name_stack(facts: Facts) -> str:
    stack = facts.metrics["stack"]
    if stack["n_members"] == 1:
        return f"the stack of one model, {stack['best_member']},"
    return f"the stack of {stack['n_members']} models"


def _describe_accuracy(facts: Facts) -> str:
    n_correct = sum(_are_correct(facts.predictions[STACK]))
    baseline = facts.metrics["test"][MAJORITY]["accuracy"] * facts.n_test
    return (
        f"{capitalize_first(_name_stack(facts))} classifies {n_correct:,} of "
        f"{count(facts.n_test, 'test image')} correctly. Always predicting "
        f"{format_baseline_classes(facts.metrics['models'][MAJORITY])}, the most frequent class "
        f"in training, would classify {round(baseline):,} correctly."
    )


def _describe_label_counts(facts: Facts) -> str:
    """Describe the counts that micro F1 is computed from."""
    true_positives, false_positives, false_negatives = (
        sum(int(row[key]) for row in facts.per_class)
        for key in ("true_positives", "false_positives", "false_negatives")
    )
    n_labels = true_positives + false_negatives
    return (
        f"{count(facts.n_test, 'test image')} have {count(n_labels, 'label')}. "
        f"{capitalize_first(_name_stack(facts))} predicts {true_positives:,} of them, and "
        f"{count(false_positives, 'label')} that the images do not have."
    )


def _describe_subset_accuracy(facts: Facts) -> str:
    metric, test = facts.main_metric, facts.metrics["test"]
    stack, baseline = test[STACK], test[MAJORITY]
    return (
        f"It predicts exactly the labels of an image on "
        f"{percent(stack['subset_accuracy'], n_images=facts.n_test)} of the images. The best "
        "constant prediction, "
        f"{format_baseline_classes(facts.metrics['models'][MAJORITY])} for every image, "
        f"has a micro F1 of {metric.score(baseline[metric.key])} and predicts exactly the labels "
        f"of {percent(baseline['subset_accuracy'], n_images=facts.n_test)} of the images."
    )


def _compare_with_best_model(facts: Facts, best: str) -> str:
    """Compare the stack with the listed model that has the best score on test images."""
    metric, tested = facts.main_metric, facts.metrics["test"][best]
    if facts.task == "single":
        comparison = describe_mcnemar_test(
            facts.predictions[STACK],
            facts.predictions[best],
            name=best,
            p_value=tested["versus_stack"]["p_value"],
        )
        n_correct = sum(_are_correct(facts.predictions[best]))
        description = f"{best}, classifies {n_correct:,} correctly. {comparison}"
    else:
        comparison = describe_difference(tested["versus_stack"], name=best, metric=metric)
        score = metric.score(tested[metric.key])
        description = f"{best}, has a micro F1 of {score}. {comparison}"
    if len(facts.models) == 1:
        return f"The only model, {description}"
    selection = _describe_selection_on_validation(facts, best)
    return f"The best single model on these images, {description} {selection}"


def _describe_selection_on_validation(facts: Facts, best: str) -> str:
    """Compare the best model on test images with the one that validation images select."""
    member, metric = facts.metrics["stack"]["best_member"], facts.main_metric
    if member == best:
        return f"Validation images select {member} too."
    score = metric.score(facts.metrics["test"][member][metric.key], n_images=facts.n_test)
    return (
        f"The score of {best} is optimistically biased, because {best} was selected on these very "
        f"images. Validation images select {member}, which has {score} here."
    )


def _are_correct(rows: Sequence[Mapping[str, Any]]) -> list[bool]:
    return [row["predicted"] == row["label"] for row in rows]
