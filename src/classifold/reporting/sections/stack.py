"""Section "Stack": the weights of its members, and its gain over the best of them."""

from collections.abc import Mapping
from typing import Any

from classifold.reporting.facts import Facts
from classifold.reporting.tables import Cell, Column, Table, percent_cell


def stack_section(facts: Facts) -> dict[str, Any]:
    """Collect what the template of this section shows."""
    stack = facts.metrics["stack"]
    return {"gain": describe_gain(stack), "weights": weights_table(stack)}


def describe_gain(stack: Mapping[str, Any]) -> str:
    """Describe whether the gain of the stack over its best member differs from zero.

    Args:
        stack: content of `metrics/stack.json`.
    """
    low, high = stack["gain_ci95"]
    best = stack["best_member"]
    if stack["n_members"] == 1:
        return (
            f"The stack has one member, {best}, so there is nothing to combine. List more models "
            "in params.yaml to stack them."
        )
    if stack["gain"] == low == high == 0:
        return (
            f"On these images the stack has the same score as {best}. Using {best} alone would be "
            "simpler."
        )
    if low > 0:
        return (
            f"The interval is above zero: the stack is significantly better than {best} on these "
            "images."
        )
    if high < 0:
        return (
            f"The interval is below zero: the stack is significantly worse than {best} on these "
            f"images. Using {best} alone would be simpler and no worse."
        )
    return (
        "The interval includes zero: on these images the gain is not statistically significant. "
        f"Using {best} alone would be simpler."
    )


def weights_table(stack: Mapping[str, Any]) -> Table:
    """Tabulate the weight of each member; empty for methods without one weight per member."""
    weights = stack.get("weights", {})
    if len(weights) == 1:
        weights = {}
    rows = [
        [Cell(name, name), percent_cell(weight)]
        for name, weight in sorted(weights.items(), key=lambda item: -item[1])
    ]
    columns = [Column("member"), Column("weight", numeric=True)]
    return Table("Weights of the members", columns, rows)
