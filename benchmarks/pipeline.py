"""P6 and P12: what DVC and the start of processes add to the work of the stages."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from comparison import Benchmark, Options, Ratio
from synthetic import make_photos

ROUNDS = 1  # of the whole pipeline, which takes minutes


def pipeline_benchmarks(root: Path, options: Options) -> Iterator[Benchmark | Ratio]:
    """Run the pipeline of `classifold init`, and then again with nothing to do."""
    n_images, size = (60, 64) if options.tiny else (1200, 300)
    images = options.images or make_photos(root / "photos", n_images=n_images, size=size)
    project = root / "project"
    _run("classifold", "init", str(project), "--data", str(images.resolve()), at=root)
    seconds: tuple[list[float], list[float]] = ([], [])
    for number in range(1 if options.tiny else ROUNDS):
        shutil.rmtree(project / ".cache", ignore_errors=True)  # features of the last round
        start = time.perf_counter()
        _run("dvc", "repro", *["--force"] * bool(number), at=project)
        seconds[0].append(time.perf_counter() - start)
        timings = project.joinpath("timings").rglob("*.json")
        seconds[1].append(sum(json.loads(file.read_text())["seconds"] for file in timings))
    stages = _run("dvc", "stage", "list", "--name-only", at=project).split()
    trivial = make_trivial_project(root / "trivial", n_stages=len(stages))
    data = options.images.stem if options.images else f"{n_images:,} synthetic photos"
    no_op = Benchmark(
        f"P6 `dvc repro` of {len(stages)} stages, nothing to do",
        "as many trivial stages",
        "runs",
        1,
        lambda _: _run("dvc", "repro", at=project),
        lambda _: _run("dvc", "repro", at=trivial),
        target=1.3,
        of_times=True,
    )
    name = f"P12 `dvc repro` of {data}, preset quick"
    yield Ratio(no_op._replace(name=name, peer="the work of its stages", target=1.1), *seconds)
    yield no_op


def make_trivial_project(folder: Path, *, n_stages: int) -> Path:
    """Make a project of DVC whose stages copy a file, each that of the one before, and run it."""
    folder.mkdir()
    lines = ["stages:"]
    for number in range(n_stages):
        lines += [
            f"  stage{number}:",
            f"    cmd: cp {number} {number + 1}",
            f"    deps: ['{number}']",
            f"    outs: ['{number + 1}']",
        ]
    (folder / "dvc.yaml").write_text("\n".join(lines) + "\n")
    (folder / "0").write_text("0\n")
    for command in ("git init --quiet", "dvc init --quiet", "dvc repro --quiet"):
        _run(*command.split(), at=folder)
    return folder


def _run(*command: str, at: Path) -> str:
    """Run a command, with the programs of this Python's environment."""
    programs = str(Path(sys.executable).parent)
    environment = os.environ | {"PATH": os.pathsep.join([programs, os.environ["PATH"]])}
    done = subprocess.run(
        command, cwd=at, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout
