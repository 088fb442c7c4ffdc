"""A stage in several processes: it starts torchrun by itself, where `train.launcher` says so.

Nothing of torch is imported before it is needed: it takes seconds, which a stage with nothing to
train must not cost.
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
from typing import Any, NoReturn

from classifold.errors import UserError
from classifold.runtime.orphans import LAUNCHED
from classifold.runtime.progress import is_first_process

# A share of fewer images is no work for a GPU, and too few for a batch norm to go by.
FEWEST_IMAGES_OF_EACH = 4

# In which torchrun ends a process whose failure is only that another one has failed.
SECONDS_FOR_THE_CAUSE = 5.0

LOST = (
    "another process of this training was ended, or its computer cannot be reached; if torchrun "
    "does not start it again, run again: training goes on after its last epoch"
)


def launch(settings: Mapping[str, Any], *, batch_size: int) -> None:
    """Run this very command in several processes, if params ask for them, and end with them.

    Comes back where the work is to be done: in each of those processes, or at once where one
    process is to do it, or torchrun was started by hand.

    Args:
        settings: `train` of params.
        batch_size: of the model, which the processes share.

    Raises:
        UserError: if the machine does not offer the device, or not to so many processes; if one
            of them was ended from outside.
    """
    if "WORLD_SIZE" in os.environ:
        return
    n_processes = count_processes(settings, batch_size=batch_size)
    if n_processes > 1:
        _torchrun(n_processes)


def count_processes(settings: Mapping[str, Any], *, batch_size: int) -> int:
    """How many processes of this machine train together.

    Raises:
        UserError: if the machine does not offer the device, or not to so many processes.
    """
    launcher = settings["launcher"]
    if launcher == "none":
        return 1

    import torch  # noqa: PLC0415

    from classifold.models.device import choose_device  # noqa: PLC0415

    device = choose_device(settings["device"]).type
    n_devices = torch.cuda.device_count() if device == "cuda" else 1
    if launcher == "auto":
        return max(1, min(n_devices, batch_size // FEWEST_IMAGES_OF_EACH))
    n_processes: int = launcher["torchrun"]
    if device != "cpu" and n_processes > n_devices:
        raise UserError(
            f"train.launcher asks for {n_processes} processes, and each needs a device of its own; "
            f"this machine has {n_devices} ({device}): lower it, or set it to auto"
        )
    return n_processes


@contextmanager
def one_voice() -> Iterator[None]:
    """Let one process tell of a failure that several share: of torchrun's, the one that was first.

    The message goes where torchrun looks for it. Who has only lost another process waits before it
    tells: torchrun ends it meanwhile, if that one has told.

    Raises:
        UserError: in the place of torch's errors, where another process was lost.
    """
    try:
        yield
    except Exception as error:
        if lost := _tells_of_a_lost_process(error):
            time.sleep(SECONDS_FOR_THE_CAUSE)
        told = UserError(f"{LOST} ({' '.join(str(error).split())[:200]})") if lost else error
        place = os.environ.get("TORCHELASTIC_ERROR_FILE")
        if place and isinstance(told, (UserError, OSError)):
            message = {"message": str(told), "timestamp": int(time.time())}
            Path(place).write_text(json.dumps(message), encoding="utf-8")
            if LAUNCHED in os.environ or not is_first_process():
                sys.stdout.flush()
                os._exit(1)  # at once, before others tell that this one is lost
        if told is error:
            raise
        raise told from None


def _tells_of_a_lost_process(error: Exception) -> bool:
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or not isinstance(error, RuntimeError):
        return False

    from torch import distributed  # noqa: PLC0415

    # Of NCCL and the store; those of gloo have no class of their own.
    return isinstance(error, distributed.DistError) or "gloo" in str(error).lower()


def _torchrun(n_processes: int) -> NoReturn:
    """Run this command in so many processes, and exit as they do; none of them stays behind.

    Raises:
        UserError: if one of them was ended from outside.
        KeyboardInterrupt: at Ctrl-C.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException  # noqa: PLC0415
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch  # noqa: PLC0415

    here = "127.0.0.1"  # a machine need not be able to look up its own name
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=n_processes,
        run_id=str(uuid.uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint=f"{here}:0",
        local_addr=here,
        max_restarts=0,  # a mistake would be told once each time
    )
    if hasattr(config, "signals_to_handle"):  # torch 2.10
        # Ctrl-C is Python's own here: torchrun then ends the processes without a word of theirs.
        config.signals_to_handle = "SIGTERM,SIGHUP,SIGQUIT"
    os.environ[LAUNCHED] = "1"
    logging.disable(logging.ERROR)  # what torchrun tells of failures is told here
    try:
        elastic_launch(config, sys.executable)("-u", *sys.argv)
    except ChildFailedError as failed:
        number, failure = failed.get_first_failure()
        if failure.exitcode < 0:
            raise UserError(
                f"process {number + 1} of {n_processes} was ended by {failure.signal_name()}, most "
                "often for want of memory; run again: training goes on after its last epoch"
            ) from None
        if failure.error_file_data.get("timestamp"):  # what `one_voice` has left
            raise UserError(failure.message) from None
        sys.exit(failure.exitcode)  # a traceback stands above
    except SignalException as ended:
        if ended.sigval == signal.SIGINT:
            raise KeyboardInterrupt from None
        sys.exit(128 + ended.sigval)
    sys.exit(0)  # what there was to write and to tell, the first of them has
