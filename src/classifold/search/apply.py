"""Write the values of the best trial of a search into `params.yaml`."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.representer import RoundTripRepresenter
from sqlalchemy import URL

from classifold.errors import UserError
from classifold.params.schema.params import Params
from classifold.params.validation import check_content
from classifold.runtime.atomic_files import new_file
from classifold.search.plan import Plan
from classifold.search.results import Row, best_of, read_rows_of
from classifold.search.space import place_of, values_of
from classifold.search.storage import open_search

MAX_LINE_WIDTH = 10_000  # longer lines are wrapped


def apply_best(path: Path, plan: Plan, *, url: URL) -> list[str]:
    """Set the values of the best trial so far in a params file, see `apply_trial`.

    Returns:
        Lines that describe what changed, and the trial.

    Raises:
        UserError: if no trial of this search is complete.
    """
    with open_search(plan, url) as opened:
        rows = read_rows_of(opened.study, plan)
    best = best_of(rows, plan.search)
    if best is None:
        raise UserError(
            f"{plan.name}: no trial with these params, images and code is complete. Run the search "
            "first."
        )
    changed = apply_trial(path, best, plan)
    return [
        *(changed or [f"{path}: has these values already"]),
        f"trial {best.trial} is the best of {len(rows)} trials that have ended (of "
        f"{plan.n_trials}): validation {plan.search.metric.replace('_', ' ')} {best.value:.4f}",
    ]


def apply_trial(path: Path, row: Row, plan: Plan) -> list[str]:
    """Set the values of a trial in a params file, except the search's number of epochs.

    Comments and order stay. The file is replaced atomically.

    Args:
        path: the params file.
        row: the trial.
        plan: its search.

    Returns:
        A line for each key that changed, such as "models.mlp.batch_size: 64 -> 32".

    Raises:
        UserError: if the new params are not valid.
    """
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.width = MAX_LINE_WIDTH
    yaml.preserve_quotes = True
    content = yaml.load(path.read_text(encoding="utf-8"))
    values = plan.search.fixed | values_of(row.sampled, plan.search)
    changed = []
    for place in sorted(values, key=lambda place: place.count(".")):
        parent, key = place_of(content, place)
        absent = isinstance(parent, dict) and key not in parent
        before = None if absent else parent[key]
        if absent or before != values[place]:
            changed.append(f"{place}: {'not set' if absent else _text(before)} -> {values[place]}")
            parent[key] = _as_written(values[place])
    buffer = io.StringIO()
    yaml.dump(content, buffer)
    plain = YAML(typ="safe", pure=True).load(buffer.getvalue())
    check_content(Params, plain, path=path)
    with new_file(path) as partial:
        partial.write_text(buffer.getvalue(), encoding="utf-8")
    return changed


class _Representer(RoundTripRepresenter):
    """Writes null as "null"; the default of ruamel.yaml is an empty value."""

    def represent_none(self, data: None) -> Any:
        return self.represent_scalar("tag:yaml.org,2002:null", "null")


_Representer.add_representer(type(None), _Representer.represent_none)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return str(dict(value))
    return str(list(value) if isinstance(value, list) else value)


def _as_written(value: Any) -> Any:
    """Format a value for the file: on one line, floats without an exponent.

    A YAML 1.1 reader reads 1e-05 as a string.
    """
    if isinstance(value, dict):
        mapping = CommentedMap({key: _as_written(item) for key, item in value.items()})
        mapping.fa.set_flow_style()
        return mapping
    if isinstance(value, list):
        sequence = CommentedSeq([_as_written(item) for item in value])
        sequence.fa.set_flow_style()
        return sequence
    if isinstance(value, float):
        return YAML().load(np.format_float_positional(value, trim="0"))
    return value
