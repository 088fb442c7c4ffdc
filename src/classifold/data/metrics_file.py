"""Write the metrics of a stage that may have nothing to compute."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from classifold.data.json_file import write_json
from classifold.runtime.progress import log


def write_metrics(path: Path, metrics: Mapping[str, Any], *, reason: str | None) -> None:
    """Write the metrics of a stage that had nothing to compute for a `reason`, or had (None).

    The reason is logged and becomes a key, which the report shows. Later stages run.
    """
    if reason:
        log(f"  nothing to show: {reason}")
        metrics = {**metrics, "reason": reason}
    write_json(path, metrics)
