"""Stages of the pipeline, one after the other in one process."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from forked_python import forked_tools

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


def stages_of(*models: str) -> list[str]:
    """List the stages of the pipeline in their order."""
    each = [f"{stage} {model}" for stage in ("train", "folds") for model in models]
    before, after = "ingest filter split augment", "compare stack evaluate pca tsne novelty"
    return [*before.split(), *each, *after.split(), "robustness", "explain", "report"]


def run_stages(
    root: Path,
    stages: Sequence[str],
    *,
    python: str | None = None,
    environment: Mapping[str, str] | None = None,
    cores: int = 0,  # all
    umask: int = -1,  # the current one
    then: str = "",
) -> str:
    """Run stages, such as "train mlp", in a folder that holds `stages/` and `params.yaml`.

    The process is forked, unless an interpreter is given. `then` is Python code that runs at its
    end. Returns everything that was printed.
    """
    driven = ["-c", DRIVER, ",".join(stages), str(cores), then]
    place = {"cwd": root, "env": environment, "umask": umask}
    command = [python or forked_tools() / "python", *driven]
    done = subprocess.run(command, **place, capture_output=True, check=False)
    output = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, output
    return output
