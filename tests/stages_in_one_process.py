"""Stages of the pipeline, one after the other in one fresh process.

Importing the libraries takes most of the time, and happens once here.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

DRIVER = """
import os, runpy, sys
stages, cores, then = sys.argv[1:]
if int(cores) and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:int(cores)])
for stage in stages.split(","):
    name, *arguments = stage.split()
    sys.argv = [f"stages/{name}.py", *arguments]
    runpy.run_path(sys.argv[0], run_name="__main__")
exec(then)
"""


def run_stages(
    root: Path,
    stages: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    cores: int = 0,
    umask: int = -1,
    then: str = "",
) -> str:
    """Run stages, such as "train mlp", in a folder that holds `stages/` and `params.yaml`.

    Args:
        environment: complete; by default that of the tests, with passive idle threads.
        cores: number of cores, or 0 for all.
        umask: as in the shell, or -1 for the current one.
        then: Python code, run at the end in the same process.

    Returns:
        Everything that was printed.
    """
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, ",".join(stages), str(cores), then],
        cwd=root,
        env=environment or os.environ | {"OMP_WAIT_POLICY": "PASSIVE"},
        umask=umask,
        capture_output=True,
        check=False,
    )
    output = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, output
    return output
