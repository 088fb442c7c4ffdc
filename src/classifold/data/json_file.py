"""Read and write JSON files: metrics, decisions, descriptions."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from classifold.errors import UserError
from classifold.runtime.atomic_files import new_file
from classifold.runtime.faults import explain_damage

DECIMAL_PLACES = 6
SMALL, PLACES_OF_SMALL = 1e-3, 10
# Metrics of 100,000 classes have some megabytes.
MAX_BYTES = 64 * 2**20
DIGITS_OF_TINY = 5  # at least; learning rates go down to 1e-7, pixels of some cameras to 1e-15


def write_json(path: Path, content: Any) -> None:
    """Write JSON: floats as `rounded` returns them; the order of keys is kept.

    The file appears whole or not at all. A float that is not finite becomes null, since
    strict readers refuse NaN.
    """
    text = json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    with new_file(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read what `write_json` wrote.

    Raises:
        UserError: if the file is damaged or too large; a missing one is a FileNotFoundError.
    """
    with explain_damage(path, kind="a JSON file"):
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise UserError(f"{path}: must have at most {MAX_BYTES:,} bytes, got more. Replace it.")
        return json.loads(
            content.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse
        )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key occurs twice")
    return content


def _refuse(number: str) -> NoReturn:
    raise ValueError(f"{number} is not a number of JSON")


def _plain(value: Any) -> Any:
    """Convert mappings, sequences, NumPy scalars and arrays to types that JSON has."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return rounded(value)
    return value


def rounded(value: float) -> float:
    """Round to six decimal places; small values to ten, and tiny ones to five digits."""
    if abs(value) >= SMALL or value == 0:
        return round(value, DECIMAL_PLACES)
    places = DIGITS_OF_TINY - 1 - math.floor(math.log10(abs(value)))
    return round(value, max(PLACES_OF_SMALL, places))
