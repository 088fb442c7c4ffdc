"""Text from data or params as it is shown: nothing in it commands a terminal or turns a line."""

import os
import re
import sys

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


def use_utf8() -> None:
    """Let names of files and what is printed be UTF-8, whatever the locale.

    Else a name that is not ASCII would be another one under a locale of another encoding. There
    the process starts anew, in Python's UTF-8 mode.
    """
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - no shell
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
