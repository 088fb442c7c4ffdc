"""How a command ends when something goes wrong: with one message and no traceback."""

import functools
import signal
import sys
import traceback
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import typer

from classifold.plain_text import plain_text
from classifold.runtime.faults import describe_error

P = ParamSpec("P")
R = TypeVar("R")


def report_errors(
    *, kept: str = "no unfinished file is left", exit_code: int = 1
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a command so that a user's mistake, or Ctrl-C, ends it with one message.

    Args:
        kept: what remains after Ctrl-C, for the message.
        exit_code: of errors; a command may use 1 for another result.
    """

    def decorate(command: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(command)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return command(*args, **kwargs)
            except typer.Exit:  # the command's own exit code
                raise
            except KeyboardInterrupt:
                print(f"\nstopped by Ctrl-C; {kept}", file=sys.stderr)
                raise typer.Exit(128 + signal.SIGINT) from None
            except Exception as error:
                message = describe_error(error)
                if message is not None:
                    print(plain_text(message), file=sys.stderr)
                elif exit_code == 1:  # a mistake of ours: the traceback helps to find it
                    raise
                else:
                    traceback.print_exc()
                raise typer.Exit(exit_code) from None

        return run

    return decorate
