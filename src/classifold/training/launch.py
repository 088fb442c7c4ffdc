"""Run a stage in several processes: start torchrun, depending on `train.launcher`.

torch is imported only where it is needed: its import takes seconds, also in a stage that has
nothing to train.
"""

import json
import logging
import os
import signal
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

from classifold.errors import UserError
from classifold.runtime.processes import LAUNCHED
from classifold.runtime.progress import is_rank_zero

# With fewer images per step a GPU is idle, and the statistics of a batch norm are too noisy.
MIN_IMAGES_PER_PROCESS = 4

# Time for torchrun to end a process that failed only because another one has failed.
SECONDS_FOR_THE_CAUSE = 5.0

LOST = (
    "torchrun: another process of this training run ended, or its computer is not reachable, got "
    "'{error}'. If torchrun does not start the processes again, run the same command again; "
    "training continues after the last epoch."
)


def launch(settings: Mapping[str, Any], *, batch_size: int) -> None:
    """Run this command again in several processes, if params require them, and exit with them.

    Returns where the work is to be done: in each of these processes, or immediately if one
    process is enough or torchrun was started by the user.

    Args:
        settings: `train` of params.
        batch_size: batch size of the model; batches are split between the processes.

    Raises:
        UserError: if the device is not available, or not for this many processes; if a process
            was killed.
    """
    if "WORLD_SIZE" in os.environ:
        return
    n_processes = count_processes(settings, batch_size=batch_size)
    if n_processes > 1:
        _torchrun(n_processes)


def count_processes(settings: Mapping[str, Any], *, batch_size: int) -> int:
    """Count the processes of this machine that train together.

    Raises:
        UserError: if the device is not available, or not for this many processes.
    """
    launcher = settings["launcher"]
    if launcher == "none":
        return 1

    import torch  # noqa: PLC0415

    from classifold.models.device import choose_device  # noqa: PLC0415

    device = choose_device(settings["device"]).type
    n_devices = torch.cuda.device_count() if device == "cuda" else 1
    if launcher == "auto":
        return max(1, min(n_devices, batch_size // MIN_IMAGES_PER_PROCESS))
    n_processes: int = launcher["torchrun"]
    if device != "cpu" and n_processes > n_devices:
        raise UserError(
            "train.launcher.torchrun: each process needs its own device, and this machine has "
            f"{n_devices} ({device}), got {n_processes}. Lower it, or set train.launcher to auto."
        )
    return n_processes


@contextmanager
def report_first_failure() -> Iterator[None]:
    """Report a failure of several processes once: the first one, which is the cause.

    The message is written to torchrun's error file. A process that failed because it lost another
    one waits first, so that torchrun can end it after the other one has reported.

    Raises:
        UserError: in the place of torch's errors, if another process was lost.
    """
    try:
        yield
    except Exception as error:
        if lost := _is_lost_process(error):
            time.sleep(SECONDS_FOR_THE_CAUSE)
        cause = " ".join(str(error).split())[:200]
        reported = UserError(LOST.format(error=cause)) if lost else error
        place = os.environ.get("TORCHELASTIC_ERROR_FILE")
        if place and isinstance(reported, (UserError, OSError)):
            message = {"message": str(reported), "timestamp": int(time.time())}
            Path(place).write_text(json.dumps(message), encoding="utf-8")
            if LAUNCHED in os.environ or not is_rank_zero():
                sys.stdout.flush()
                os._exit(1)  # immediately, before others report this process as lost
        if reported is error:
            raise
        raise reported from None


def _is_lost_process(error: Exception) -> bool:
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or not isinstance(error, RuntimeError):
        return False

    from torch import distributed  # noqa: PLC0415

    # Errors of NCCL and the store; those of gloo have no class of their own.
    return isinstance(error, distributed.DistError) or "gloo" in str(error).lower()


def _torchrun(n_processes: int) -> NoReturn:
    """Run this command in several processes, and exit with their exit status.

    Raises:
        UserError: if a process was killed.
        KeyboardInterrupt: after Ctrl-C.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException  # noqa: PLC0415
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415
    from torch.distributed.launcher.api import elastic_launch  # noqa: PLC0415

    os.environ[LAUNCHED] = "1"
    logging.disable(logging.ERROR)  # failures are reported below
    try:
        # torchrun leaves a folder of its own behind, in which its processes may still write.
        with TemporaryDirectory(ignore_cleanup_errors=True) as logs:
            config = _configuration(n_processes, logs=logs)
            elastic_launch(config, sys.executable)("-u", *sys.argv)
    except ChildFailedError as failed:
        number, failure = failed.get_first_failure()
        if failure.exitcode < 0:
            raise UserError(
                f"process {number + 1} of {n_processes} was killed by {failure.signal_name()}, "
                "most often because the machine is out of memory. Run the command again: training "
                "continues after the last epoch."
            ) from None
        if failure.error_file_data.get("timestamp"):  # written by `report_first_failure`
            raise UserError(failure.message) from None
        sys.exit(failure.exitcode)  # its traceback is printed above
    except SignalException as ended:
        if ended.sigval == signal.SIGINT:
            raise KeyboardInterrupt from None
        sys.exit(128 + ended.sigval)
    sys.exit(0)  # the first process has written and logged everything


def _configuration(n_processes: int, *, logs: str) -> Any:
    """Configure torchrun for processes of this machine, which write errors to the folder `logs`."""
    from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs  # noqa: PLC0415
    from torch.distributed.launcher.api import LaunchConfig  # noqa: PLC0415

    here = "127.0.0.1"  # some machines cannot resolve their own name
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=n_processes,
        logs_specs=DefaultLogsSpecs(log_dir=logs),
        run_id=str(uuid.uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint=f"{here}:0",
        local_addr=here,
        max_restarts=0,  # an error would be reported once per restart
    )
    if hasattr(config, "signals_to_handle"):  # torch 2.10
        # Python handles Ctrl-C: torchrun then ends the processes without messages of theirs.
        config.signals_to_handle = "SIGTERM,SIGHUP,SIGQUIT"
    return config
