"""Write the model card of a refitted model: its training images, and the score to quote."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from classifold.data.json_file import read_json
from classifold.reporting.formats import MAIN_METRICS
from classifold.reporting.markdown import render_markdown
from classifold.runtime.atomic_files import new_file


def write_refit_card(
    path: Path,
    name: str,
    params: Mapping[str, Any],
    *,
    n_train: int,
    n_validation: int,
    n_epochs: int,
    metrics: Path,
) -> None:
    """Write the model card, in Markdown.

    Args:
        path: file to write.
        name: name of the model.
        params: the whole of `params.yaml`.
        n_train: number of training images, with their augmented variants.
        n_validation: number of validation images.
        n_epochs: number of epochs that the model was trained for.
        metrics: the metrics of `evaluate`, which may be missing.

    Raises:
        UserError: if the metrics are damaged.
    """
    tested = read_json(metrics) if metrics.is_file() else {}
    card = render_markdown(
        "refit_card.md",
        name=name,
        limits={key: value for key, value in params["limit"].items() if value is not None},
        n_train=n_train,
        n_validation=n_validation,
        n_epochs=n_epochs,
        metric=MAIN_METRICS[params["dataset"]["task"]],
        tested=tested.get(name, {}),
    )
    with new_file(path) as partial:
        partial.write_text(card, encoding="utf-8")
