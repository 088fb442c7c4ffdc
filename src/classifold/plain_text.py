"""Text from data or params that is safe to print: it cannot control a terminal or add lines."""

import re

# Control characters except tab and line feed, line separators that only some programs know,
# characters that change the direction of text, and surrogates, which cannot be printed.
UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def plain_text(text: str) -> str:
    r"""Replace characters that could control a terminal by Python escapes, such as `\x1b`."""
    return UNSAFE.sub(lambda match: _escape(match[0]), text)


def one_line(text: str, *, max_characters: int) -> str:
    """Put a text on one line, and shorten the middle if it has more than `max_characters`."""
    line = re.sub(r"[\t\n]", lambda match: _escape(match[0]), plain_text(text))
    if len(line) <= max_characters:
        return line
    n_last = max_characters // 3
    return f"{line[: max_characters - n_last - 3]} … {line[-n_last:]}"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
