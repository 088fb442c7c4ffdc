"""Every stage opens and writes exactly the files, and reads the params, that dvc.yaml declares."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ruamel.yaml import YAML

from classifold.project.pipeline_file import stage_code
from classifold.runtime.source_code import NO_DEPENDENCIES, PACKAGE, code_behind, file_of, imports
from synthetic_clone import CLASSES, MODELS, ROOT, draw, draw_data, shorten_analyses
from watched_files import AVAILABLE, WatchedFiles

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not AVAILABLE, reason="inotify exists on Linux alone"),
]

# All stages run in one process, where importing torch costs its seconds once. The modules of the
# package are imported again in each stage, from source, so that inotify reports them.
DRIVER = r"""
import json, runpy, sys

def note_connection(event, arguments):
    if event == "socket.getaddrinfo" or (
        event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple)
    ):  # the address of a local socket is no tuple
        with open("connections", "a") as file:  # that the stage does not declare
            file.write(event)

sys.addaudithook(note_connection)
for line in sys.stdin:
    for module in [module for module in sys.modules if module.split(".")[0] == "classifold"]:
        del sys.modules[module]
    import classifold.params.reader as reader
    import classifold.runtime.parallel as parallel

    def record(*keys, read=reader.read_params, **options):
        recorded.extend(keys)
        return read(*keys, **options)

    recorded, reader.read_params = [], record
    assert parallel.MIN_ITEMS_FOR_PROCESSES > 1
    parallel.MIN_ITEMS_FOR_PROCESSES = 1
    script, *arguments = line.split()
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")
    loaded = [module for module in sys.modules if module.startswith("classifold.networks.")]
    print("\0" + json.dumps([recorded, loaded]), flush=True)
"""

# Stages that break a promise: what each does, what it declares, and the complaints it must cause.
TEST = "data/split/test.csv"
NETWORK = "src/classifold/networks/mlp.py"
PLANTED = {
    "reads": (f"Path('{TEST}').read_text()", {}, f"opens {TEST}"),
    "reads_in_cpp": (f"import pyarrow.csv; pyarrow.csv.read_csv('{TEST}')", {}, f"opens {TEST}"),
    "reads_in_a_child": (
        "from classifold.runtime.parallel import ordered_map; "
        f"list(ordered_map(Path.read_bytes, [Path('{TEST}')] * 2, n_items=5000))",
        {},
        f"opens {TEST}",
    ),
    "lists": ("list(Path('data/split').iterdir())", {}, "opens data/split"),
    "writes": ("Path('data/more.csv').touch()", {}, "writes data/more.csv"),
    "overwrites": (f"Path('{TEST}').write_text('')", {"deps": [TEST]}, f"writes {TEST}"),
    "connects": (
        "import socket; socket.socket().connect_ex(('127.0.0.1', 9))",
        {},
        "writes connections",
    ),
    "imports": ("from classifold.gan import losses", {}, "opens src/classifold/gan/losses.py"),
    "loads_a_network": (
        "import importlib; importlib.import_module('classifold.networks.mlp')",
        {},
        f"opens {NETWORK}",
    ),
    "reads_a_param": (
        "from classifold.params.reader import read_params; read_params('pca')",
        {"deps": ["src/classifold/params/reader.py"]},
        "reads the param pca",
    ),
    "declares_too_much": (
        "pass",
        {"deps": ["data/ingested"], "params": ["pca"], "outs": ["data/nothing"]},
        "does not open data/ingested",
        "does not read the param pca",
        "does not write data/nothing",
    ),
}
SCRIPT = """from pathlib import Path

from classifold.runtime.stage import run_stage


def main():
    {code}


if __name__ == "__main__":
    run_stage(main)
"""


class Run(NamedTuple):
    """What a stage declares, and what it did."""

    declared: dict[str, Any]
    read: set[str]
    written: set[str]
    params: set[str]


def expand(stages: dict[str, Any], params: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Fill in what dvc.yaml takes from params, as DVC does."""
    for name, stage in stages.items():
        items = params[stage["foreach"][2:-1]] if "foreach" in stage else {"": None}
        for key, item in items.items():
            values = params | {"key": key, "item": item}

            def fill(match: re.Match[str], values: dict[str, Any] = values) -> str:
                value: Any = values
                for part in match[1].split("."):
                    value = value[part]
                return str(value)

            text = re.sub(r"\$\{([\w.]+)\}", fill, json.dumps(stage.get("do", stage)))
            yield f"{name}@{key}" if key else name, json.loads(text)


def names(entries: Iterable[Any]) -> list[str]:
    """Drop the options of entries such as `metrics/ingest.json: {cache: false}`."""
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def make_project(root: Path) -> dict[str, Any]:
    """The stages and the library in a folder of their own, with synthetic images; its stages."""
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for folder in ("stages", "src"):
        shutil.copytree(ROOT / folder, root / folder, ignore=ignored)
    yaml = YAML()
    params = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["dataset"]["path"] = "data/raw/synthetic"
    params["augment"] |= {"size": 16, "warped": 1}
    params["train"]["threads"] = 1
    params["split"]["fractions"] |= {"train": 0.55, "calibration": 0.15}
    params["models"] = MODELS | {"mlp": MODELS["mlp"] | {"seeds": 2}}
    params["stack"] |= {"folds": 2, "method": "logistic"}
    shorten_analyses(params)
    params["explain"]["model"] = "resnet"
    yaml.dump(params, root / "params.yaml")
    draw_data(root / "data/raw/synthetic/train")
    for shape in CLASSES:  # an official test split: `evaluate` reads more where there is one
        for number in range(5):
            draw(root / f"data/raw/synthetic/test/{shape}/{number}.png", shape, 100 + number)

    stages = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    declared = dict(expand(stages, params))
    for name, (code, more, *_) in PLANTED.items():
        script = f"stages/{name}.py"
        (root / script).write_text(SCRIPT.format(code=code))
        timings = [f"timings/{name}.json"]
        declared[name] = {
            "cmd": f"python {script}",
            "deps": [script, *more.get("deps", [])],
            "params": more.get("params", []),
            "outs": timings + more.get("outs", []),
        }
    return declared


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Run]:
    """Every stage of dvc.yaml, then every planted one, run once."""
    root = tmp_path_factory.mktemp("project")
    stages = make_project(root)
    watched = WatchedFiles(root)
    runs = {}
    environment = {"PYTHONPATH": str(root / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER],
        cwd=root,
        env=os.environ | environment | {"OMP_WAIT_POLICY": "PASSIVE"},
        text=True,
        **streams,
    ) as process:
        for name, stage in stages.items():
            (command,) = [line for line in commands(stage) if " stages/" in line]
            process.stdin.write(command.removeprefix("python ") + "\n")
            process.stdin.flush()
            printed = []
            for line in process.stdout:
                if line.startswith("\0"):
                    break
                printed.append(line)
            else:
                pytest.fail(f"{name}: {''.join(printed)}")
            touched = watched.take()
            params, networks = json.loads(line[1:])
            # The check of params.yaml reads the source of listed networks; it runs none.
            read = {path for path in touched.read if not path.startswith("src/classifold/networks")}
            read |= {f"src/{module.replace('.', '/')}.py" for module in networks}
            runs[name] = Run(stage, read, touched.written, set(params))
        process.stdin.close()
    watched.close()
    return runs


def commands(stage: dict[str, Any]) -> list[str]:
    return [stage["cmd"]] if isinstance(stage["cmd"], str) else stage["cmd"]


def code_without_effect() -> set[str]:
    """Code that changes no output, and what it imports: a stage need not declare it."""
    files = {
        file
        for file in PACKAGE.rglob("*.py")
        if file.relative_to(PACKAGE).as_posix().startswith(NO_DEPENDENCIES)
    }
    files |= {file_of(module) for file in files for module in imports(file)}
    return {f"src/classifold/{file.relative_to(PACKAGE).as_posix()}" for file in files}


NOT_DECLARED = {".", "params.yaml"} | code_without_effect()
ORDER = "data/checked.txt"  # a dependency that only makes stages wait for `check`
# `compare` removes what unlisted models left, and reads nothing of it.
CLEANED = {"compare": {"metrics/folds", "timings/folds", "timings/train"}}


def is_below(path: str, folders: Iterable[str]) -> bool:
    return any(Path(path).is_relative_to(folder) for folder in folders)


def is_temporary(path: str) -> bool:
    return ".partial" in path or is_below(path, [".cache"])


def is_folder_of_code(path: str) -> bool:
    """Python lists folders to find modules; `__init__.py` is empty by another test."""
    return is_below(path, ["src"]) and (path.endswith("__init__.py") or "." not in Path(path).name)


def complaints(stage: str, run: Run) -> set[str]:
    """How what a stage did differs from what it declares."""
    deps = run.declared["deps"]
    params = set(names(run.declared.get("params", [])))
    outs = names([*run.declared["outs"], *run.declared.get("metrics", [])])
    not_declared = NOT_DECLARED | CLEANED.get(stage, set())
    parents = {str(folder) for out in outs for folder in Path(out).parents}
    written = {path for path in run.written if not is_temporary(path)}
    read = {path for path in run.read - written if not is_temporary(path)}
    read = {path for path in read - not_declared if not is_folder_of_code(path)}
    found = {
        *(f"opens {path}" for path in read if not is_below(path, deps + outs)),
        *(f"writes {path}" for path in written - parents if not is_below(path, outs)),
        *(
            f"does not open {dep}"
            for dep in deps
            # That declared code is needed, test_pipeline.py shows: imports may depend on values.
            if not dep.startswith(("src/", ORDER))
            and not any(is_below(path, [dep]) for path in run.read)
        ),
        *(
            f"does not write {out}"
            for out in outs
            if not any(is_below(out, [path]) for path in run.written)
        ),
    }
    if "params.yaml" not in params:  # that is the whole file
        found |= {f"reads the param {key}" for key in run.params - params}
        found |= {f"does not read the param {key}" for key in params - run.params}
    return found


@pytest.mark.promise("affected-stages", "only-evaluate", "no-connection")
def test_stages_do_what_they_declare_and_nothing_else(runs):
    found = {name: complaints(name, run) for name, run in runs.items() if name not in PLANTED}
    assert len(found) > 12
    assert not {name: sorted(lines) for name, lines in found.items() if lines}


def test_the_hash_of_a_stages_code_covers_the_code_that_it_opened(runs):
    """A project depends on this hash instead of folders of code (`classifold init`)."""
    for name, run in runs.items():
        if name in PLANTED:
            continue
        hashed = stage_code(name.partition("@")[0])
        for network in run.declared["deps"]:
            if re.fullmatch(r"src/classifold/networks/\w+\.py", network):
                hashed |= code_behind(ROOT / network)
        covered = {file.relative_to(ROOT).as_posix() for file in hashed}
        opened = {path for path in run.read if path.startswith("src/") and Path(path).suffix}
        missed = opened - NOT_DECLARED - covered
        assert not [path for path in missed if not is_folder_of_code(path)], name
        assert len(opened & covered) > 1 or name == "check", name


@pytest.mark.parametrize("planted", PLANTED)
@pytest.mark.promise("only-evaluate", "no-connection")
def test_a_stage_that_does_otherwise_is_found(runs, planted):
    _, _, *expected = PLANTED[planted]
    found = complaints(planted, runs[planted])
    assert set(expected) <= found
    assert len(found) == len(expected)
