"""What letters pictures can show: those of the fonts that come with matplotlib."""

from functools import cache

from matplotlib.font_manager import findfont
from matplotlib.ft2font import FT2Font

# Letters of one width, so that what fits can be counted. Both fonts come with matplotlib, and no
# other is asked for: a picture is the same on every machine.
FONTS = ("DejaVu Sans Mono", "DejaVu Sans")


def printable(text: str) -> str:
    """Write what is no letter of the fonts, such as a line feed, as Python's escape of it."""
    return "".join(
        letter if ord(letter) in _glyphs() and letter.isprintable() else _escape(letter)
        for letter in text
    )


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


@cache
def _glyphs() -> frozenset[int]:
    return frozenset().union(*(FT2Font(findfont(name)).get_charmap() for name in FONTS))
