"""Entry point of all stages: validates params, reports errors and measures time."""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from threadpoolctl import threadpool_limits

from classifold.params.validation import check_params
from classifold.plain_text import plain_text
from classifold.runtime.atomic_files import new_file
from classifold.runtime.encoding import use_utf8
from classifold.runtime.faults import describe_error
from classifold.runtime.processes import exit_with_parent, stage_lock
from classifold.runtime.progress import is_rank_zero, log

INTERRUPTED = 130


def run_stage(main: Callable[..., None]) -> None:
    """Run a stage's `main` with the command line's arguments, and exit.

    The whole `params.yaml` is validated first, so that an error in the last section stops the
    first stage. Errors that the user can fix end as one message and exit code 1, and Ctrl-C as exit
    code 130, so that DVC does not cache the output of an unfinished stage. Only one process runs a
    stage at a time, and it ends with the DVC that started it. Time and memory are written to
    `timings/<stage>.json`, or to `timings/<stage>/<argument>.json`. With CLASSIFOLD_TRACEBACK=1 the
    traceback of an error is printed, too.
    """
    use_utf8()
    exit_with_parent()
    # With several threads, sums and thus results would depend on the number of cores. PyTorch's
    # number of threads is a parameter, and is set where PyTorch is used.
    threadpool_limits(1)
    name = "/".join([Path(sys.argv[0]).stem, *sys.argv[1:]])
    try:
        with stage_lock(name):
            start = time.perf_counter()
            check_params()
            main(*sys.argv[1:])
            if is_rank_zero():
                _write_timings(name, time.perf_counter() - start)
    except KeyboardInterrupt:
        print(
            f"\n{name}: stopped by Ctrl-C. No unfinished file is left; the next run continues.",
            file=sys.stderr,
        )
        sys.exit(INTERRUPTED)
    except Exception as error:
        message = describe_error(error)
        if message is None:
            raise
        if os.environ.get("CLASSIFOLD_TRACEBACK"):
            traceback.print_exc()
        print(plain_text(f"{name}: {message}"), file=sys.stderr)
        sys.exit(1)


def _write_timings(name: str, seconds: float) -> None:
    timings = {"seconds": round(seconds, 2), "peak_memory_mib": _peak_memory_mib()}
    with new_file(Path("timings") / f"{name}.json") as partial:
        partial.write_text(json.dumps(timings, indent=2) + "\n", encoding="utf-8")
    log(f"{name}: done in {seconds:.1f} s")


def _peak_memory_mib() -> int | None:
    """Return the peak memory in MiB of this process or of its largest child; None on Windows."""
    try:
        import resource  # noqa: PLC0415 - missing on Windows
    except ImportError:
        return None
    scale = 2**20 if sys.platform == "darwin" else 2**10  # bytes on macOS, KiB elsewhere
    usage = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return round(max(resource.getrusage(who).ru_maxrss for who in usage) / scale)
