"""Stages of the pipeline, one after the other in one fresh process.

What takes time is importing the libraries, which so happens once.
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
        environment: all of it; by default that of the tests, where idle threads rest.
        cores: on how many, or 0 for all.
        umask: as the shell has it, or -1.
        then: Python code, run at the end in the same process.

    Returns:
        All that was printed.
    """
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, ",".join(stages), str(cores), then],
        cwd=root,
        env=environment or os.environ | {"OMP_WAIT_POLICY": "PASSIVE"},
        umask=umask,
        capture_output=True,
        check=False,
    )
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said
