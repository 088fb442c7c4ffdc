"""Describe the published weights that training started from."""

from collections.abc import Mapping
from typing import Any

from classifold.reporting.formats import NOT_AVAILABLE
from classifold.reporting.tables import Table, text_table


def weights_table(weights: Mapping[str, Mapping[str, Any] | None]) -> Table:
    """Tabulate the weights that each model started from; no row without published weights.

    Args:
        weights: model -> record of `model.json`; None for random weights.
    """
    titles = ["model", "initial weights", "trained on", "license", "SHA-256"]
    rows = [
        [
            name,
            describe_weights(record),
            record.get("trained_on") or NOT_AVAILABLE,
            record.get("license") or NOT_AVAILABLE,
            record["sha256"][:12],
        ]
        for name, record in weights.items()
        if record is not None
    ]
    return text_table("Weights that training started from", titles, rows)


def describe_weights(record: Mapping[str, Any]) -> str:
    """Name weights by their source: a library and its tag, a package, or a file."""
    match record["source"]:
        case "package":
            return f"package {record['package']} {record['version']}"
        case "file":
            return f"file {record['file']}"
        case library:
            return f"{library}, {record['tag']}"
