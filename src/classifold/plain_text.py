"""Text from data or params as it is shown: nothing in it commands a terminal or turns a line."""

import re

# Control characters but for the tab and the line feed, ends of lines that only some programs know,
# what turns the direction of all that follows, and halves of characters, which cannot be printed.
COMMANDS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def plain_text(text: str) -> str:
    r"""Write what would command a terminal or a page as Python's escape of it, such as `\x1b`."""
    return COMMANDS.sub(lambda found: _escape(found[0]), text)


def one_line(text: str, *, most: int) -> str:
    """Write a text on one line of at most `most` letters; a longer one loses its middle."""
    line = re.sub(r"[\t\n]", lambda found: _escape(found[0]), plain_text(text))
    if len(line) <= most:
        return line
    n_last = most // 3
    return f"{line[: most - n_last - 3]} … {line[-n_last:]}"


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
