"""Draw a picture that states why another one could not be drawn."""

import textwrap
from pathlib import Path

from matplotlib.figure import Figure

DPI = 100
CHARACTERS_PER_LINE = 80


def draw_reason(path: Path, reason: str) -> None:
    """Draw the reason as text, in a PNG; DVC's plots expect a file."""
    lines = textwrap.wrap(f"Nothing to show: {reason}.", CHARACTERS_PER_LINE)
    figure = Figure(figsize=(6.5, 0.4 + 0.2 * len(lines)), dpi=DPI)
    figure.text(0.02, 0.5, "\n".join(lines), va="center", fontsize=9, parse_math=False)
    # No software version in the file: the same reason gives the same bytes.
    figure.savefig(path, metadata={"Software": None})
