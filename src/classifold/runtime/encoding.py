"""The encoding of file names and of what is printed."""

import os
import sys


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
