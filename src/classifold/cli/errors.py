"""How a command ends when something goes wrong: with one message and no traceback."""

import functools
import signal
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import typer

from classifold.plain_text import plain_text
from classifold.runtime.faults import describe_error

P = ParamSpec("P")
R = TypeVar("R")


def report_errors(
    *, kept: str = "no unfinished file is left"
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a command so that a user's mistake, or Ctrl-C, ends it with one message.

    Args:
        kept: what remains after Ctrl-C, for the message.
    """

    def decorate(command: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(command)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return command(*args, **kwargs)
            except KeyboardInterrupt:
                print(f"\nstopped by Ctrl-C; {kept}", file=sys.stderr)
                raise typer.Exit(128 + signal.SIGINT) from None
            except Exception as error:
                message = describe_error(error)
                if message is None:  # a mistake of ours: the traceback helps to find it
                    raise
                print(plain_text(message), file=sys.stderr)
                raise typer.Exit(1) from None

        return run

    return decorate
