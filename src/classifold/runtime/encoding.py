"""The encoding of file names and of printed text."""

import os
import sys


def use_utf8() -> None:
    """Use UTF-8 for file names and printed text, whatever the locale.

    If the locale has another encoding, the process restarts in Python's UTF-8 mode: names that are
    not ASCII would otherwise be decoded differently.
    """
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - no shell
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
