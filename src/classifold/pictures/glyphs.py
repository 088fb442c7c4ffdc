"""Text in pictures: shortened, without characters that the fonts of matplotlib lack."""

from functools import cache

from matplotlib.font_manager import findfont
from matplotlib.ft2font import FT2Font

# A monospaced font, so that line lengths can be counted. Both fonts come with matplotlib: a
# picture is the same on every machine.
FONTS = ("DejaVu Sans Mono", "DejaVu Sans")


def printable(text: str) -> str:
    """Replace characters that the fonts lack, such as a line feed, with their Python escapes."""
    return "".join(
        character if ord(character) in _glyphs() and character.isprintable() else _escape(character)
        for character in text
    )


def shorten(text: str, max_characters: int) -> str:
    """Cut a text that is too long, and mark the cut."""
    return text if len(text) <= max_characters else f"{text[: max_characters - 1]}…"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


@cache
def _glyphs() -> frozenset[int]:
    return frozenset().union(*(FT2Font(findfont(name)).get_charmap() for name in FONTS))
