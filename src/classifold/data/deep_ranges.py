"""The ranges of deep images: which stored values become black and white.

A deep image has more than 8 bits per channel, or floats. `ranges.json` of the image table has one
range per sample type (`uint16`, `int16`, `float` …), since the same number means different things
in different types; `any` is a range that `ingest.range` sets for all of them. Packs, models and
exported files hold the ranges too, so that new images are converted like the training images.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from classifold.data.json_file import read_json

RANGES_FILE = "ranges.json"

# Sample type -> (value that becomes black, value that becomes white).
Ranges = Mapping[str, Sequence[float]]

# The sample type that stands for all others.
ANY = "any"

NO_RANGES: Ranges = MappingProxyType({})


def read_ranges(ingested: Path) -> dict[str, list[float]]:
    """Read the ranges of an image table; empty if no image is deep.

    Args:
        ingested: the folder of the image table.
    """
    described = read_json(ingested / RANGES_FILE)
    return {kind: [item["low"], item["high"]] for kind, item in described.items()}


def format_value(value: float) -> str:
    """Format a value of a deep image: 65,535 or -9,999 or 3.4e+38."""
    return f"{value:,.6g}" if abs(value) < 1e6 else f"{value:.6g}"
