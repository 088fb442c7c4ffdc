"""Commands in forked processes behave as the real ones do."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from forked_python import forked_tools

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(os.environ.get("REAL_COMMANDS")), reason="no command is forked"),
]

STATE = """
import os, sys, classifold
print(sys.argv, sys.stdin.read(), os.getcwd(), os.umask(0), os.environ.get("ONLY_HERE"))
print([entry for entry in sys.path if "forked" in entry or "tests" in entry], classifold.__path__)
print("an error", file=sys.stderr)
"""
OUTCOMES = {
    "ends": ("pass", 0),
    "exits": ("raise SystemExit(3)", 3),
    "complains": ("raise SystemExit('refused')", 1),
    "fails": ("1 / 0", 1),
    "is killed": ("import os; os.kill(os.getpid(), 9)", -9),
    "ends in a thread": (
        "import threading, time, os\n"
        "threading.Thread(target=lambda: (time.sleep(0.1), os._exit(5))).start()",
        5,
    ),
    "runs at its end": ("import atexit, os\natexit.register(lambda: print('the end'))", 0),
}


def run(python, *arguments, **options):
    return subprocess.run(
        [python, *arguments], capture_output=True, text=True, check=False, **options
    )


def test_a_forked_process_has_the_state_of_its_command(tmp_path):
    package = tmp_path / "src/classifold"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    options = {
        "cwd": tmp_path,
        "umask": 0o027,
        "input": "text\u00e9",
        "env": os.environ | {"ONLY_HERE": "1", "PYTHONPATH": str(package.parent)},
    }
    real = run(sys.executable, "-c", STATE, "a b", **options)
    forked = run(forked_tools() / "python", "-c", STATE, "a b", **options)
    assert str(package) in real.stdout
    assert (forked.stdout, forked.stderr) == (real.stdout, real.stderr)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_the_exit_status_and_the_output_are_those_of_the_code(outcome):
    code, status = OUTCOMES[outcome]
    forked, real = (
        run(python, "-c", code) for python in (forked_tools() / "python", sys.executable)
    )
    assert forked.returncode == status
    assert forked.stdout == real.stdout
    assert forked.stderr.splitlines()[-1:] == real.stderr.splitlines()[-1:] or status == 1


def test_no_two_processes_draw_the_same_numbers():
    code = "import random, numpy, torch; print(random.random(), numpy.random.rand(), torch.rand(1))"
    drawn = [run(forked_tools() / "python", "-c", code).stdout.split() for _ in range(2)]
    assert all(one != other for one, other in zip(*drawn, strict=True))


def test_a_module_a_script_and_an_option_of_python_run(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import sys; print(__name__, sys.argv, sys.path[0])")
    python = forked_tools() / "python"
    assert run(python, str(script), "x").stdout == f"__main__ ['{script}', 'x'] {tmp_path}\n"
    assert run(python, "-m", "script", cwd=tmp_path).stdout.startswith("__main__ ")
    assert run(python, "--version").stdout == f"Python {sys.version.split()[0]}\n"
    for name in ("dvc", "classifold"):
        assert run(forked_tools() / name, "--help").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_process_ends_with_its_command(number):
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = subprocess.Popen([forked_tools() / "python", "-c", code], text=True, **streams)
    process = int(command.stdout.readline())
    command.send_signal(number)
    _, errors = command.communicate()
    assert ("KeyboardInterrupt" in errors) == (number == signal.SIGINT)
    assert command.returncode == (1 if number == signal.SIGINT else -number)
    with pytest.raises(ProcessLookupError):
        for _ in range(1000):
            os.kill(process, 0)
            time.sleep(0.01)


STARTED = """
import multiprocessing, sys
who = "(sys := __import__('sys')).executable, 'torch' in sys.modules"
with multiprocessing.get_context("spawn").Pool(1) as pool:
    for found in eval(who), pool.apply(eval, [who]):
        print(found)
"""


def test_a_process_starts_forked_ones():
    python = forked_tools() / "python"
    started = run(python, "-c", STARTED)
    assert started.stdout == f"{(str(python), True)}\n" * 2


def test_a_lock_file_of_dvc_has_the_same_content_and_order(tmp_path):
    (tmp_path / "params.yaml").write_text("a: {b: null, z: [1.0e-07, .nan, yes], c: 'no é'}\n")
    for command in ("git init -q", "dvc init -q", "dvc stage add -n one -p a echo", "dvc repro -q"):
        run(*command.split(), cwd=tmp_path)
    texts = []
    for tools in (forked_tools(), Path(sys.executable).parent):
        run(tools / "dvc", "stage", "add", "-n", "two", "-f", "-p", "a", "echo", cwd=tmp_path)
        assert run(tools / "dvc", "repro", "-q", "-f", cwd=tmp_path).returncode == 0
        texts.append((tmp_path / "dvc.lock").read_text())
    yaml = YAML(typ="safe")
    contents = [repr(yaml.load(text)) for text in texts]
    assert contents[0] == contents[1] and list(yaml.load(texts[0])["stages"]) == ["one", "two"]
