"""Scripts of stages in processes of their own, which run to their end or are killed."""

import os
import socket
import subprocess
import time

from forked_python import forked_tools


def run_python(folder, *words, python=None, expect=0):
    """Run Python in a folder, by default forked; returns the process that has ended."""
    done = subprocess.run(
        [python or forked_tools() / "python", *words],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def free_port():
    """A port of this machine that no program uses."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def kill_when(begins, folder, *words):
    """Run Python in a folder, and kill it as soon as `begins()` is true."""
    process = subprocess.Popen(
        [forked_tools() / "python", *words], cwd=folder, stdout=subprocess.PIPE
    )
    while not begins():
        assert process.poll() is None, "the training ended before it could be killed"
        time.sleep(0.002)
    process.kill()
    process.communicate()  # until the forked process has ended


def assert_a_killed_stage_writes_the_same(outputs, begins, folder, *words):
    """Run a stage, then again until it is killed, and once more; returns what the last one prints.

    `outputs(folder)` has the bytes of each file that the stage makes.
    """
    run_python(folder, *words)
    expected = outputs(folder)
    assert expected
    for path in expected:
        path.unlink()
    kill_when(begins, folder, *words)
    assert outputs(folder) == {}
    output = run_python(folder, *words).stdout
    assert outputs(folder) == expected
    return output
