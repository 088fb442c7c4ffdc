"""`python`, `dvc` and `classifold` in processes forked from one that has imported the libraries.

Importing PyTorch and DVC takes most of the time of a short command. The commands in the folder that
`forked_tools` returns leave it out: each asks a server to fork, and the new process runs the same
code with the caller's arguments, folder, environment, umask, standard streams and exit status. The
package itself is never imported before: it is that of the caller's PYTHONPATH.

A forked process has another id, process group and parent than the command, and no resource limits
of the caller. Ctrl-C and SIGTERM reach it, and it is killed when the command is killed, but not
when the parent of the command is. Tests of these run the real commands. With REAL_COMMANDS=1 all
tests do. What a forked process starts as `sys.executable` or by multiprocessing is forked, too.
"""

import ast
import atexit
import contextlib
import functools
import gc
import importlib
import inspect
import io
import multiprocessing
import os
import random
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import uuid
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from filelock import FileLock

from parsed_once import parse_yaml_once

LIBRARIES = (  # and what dvc and pydantic import only when they need it
    *("PIL.JpegImagePlugin", "captum.attr", "cv2", "filelock", "jinja2", "lightning_fabric"),
    *("matplotlib.backends.backend_agg", "matplotlib.pyplot", "multiprocessing.spawn", "openTSNE"),
    *("optuna", "plotly.graph_objs._figure", "plotly.offline", "pyarrow.dataset", "pyarrow.json"),
    *("pyarrow.parquet", "pydantic.json_schema", "pydantic.main", "pydantic.networks"),
    *("pydantic.types", "rich.progress", "ruamel.yaml", "safetensors.torch", "scipy.stats"),
    *("scipy.cluster.hierarchy", "sklearn.decomposition", "sklearn.linear_model", "torch"),
    *("torch.distributed.elastic.agent.server.local_elastic_agent", "torch.distributed.launcher"),
    *("sklearn.manifold", "skmultilearn.model_selection", "torchvision.models", "typer"),
    *("configobj", "dulwich.porcelain", "dvc.cachemgr", "dvc.cli.parser", "dvc.data_cloud"),
    *("dvc.dirs", "dvc.repo.artifacts", "dvc.repo.datasets", "dvc.repo.experiments.brancher"),
    *("dvc.repo.experiments.queue.celery", "dvc.repo.experiments.queue.workspace"),
    *("dvc.repo.experiments.run", "dvc.repo.experiments.show", "dvc.repo.graph"),
    *("dvc.repo.metrics.diff", "dvc.repo.open_repo", "dvc.repo.params.diff", "dvc.repo.push"),
    *("dvc.repo.plots.diff", "dvc.repo.reproduce", "dvc.repo.stage", "dvc.render.convert"),
    *("dvc.render.match", "dvc.utils.hydra", "dvc.utils.strictyaml", "dvc_data.hashfile.db.local"),
    *("dvc_data.hashfile.status", "dvc_task.app.filesystem", "fsspec.implementations.memory"),
    *("hydra", "kombu.transport.filesystem", "networkx", "pygit2", "requests"),
)
PASSED_ON = (int(signal.SIGINT), int(signal.SIGTERM))
COMMAND = '''#!/bin/sh
"""exec" "{python}" -IS "$0" "$@" # whose path may have spaces
"""
import _signal, _socket, os, sys  # signal, socket and json are slow to import
name, *arguments = os.path.basename(sys.argv[0]), *sys.argv[1:]
if name == "python" and arguments[:1] == ["-u"]:
    os.environ["PYTHONUNBUFFERED"] = arguments.pop(0)
of_code = arguments and (arguments[0] in ("-c", "-m") or arguments[0][0] != "-")
if name == "python" and not of_code:
    os.execv({python!r}, [{python!r}, *arguments])
os.umask(umask := os.umask(0))
opened = os.listdir("/dev/fd")  # and the folder itself, whose number the socket takes
server = _socket.socket(_socket.AF_UNIX)
server.connect({address!r})
numbers = [number for number in map(int, opened) if os.get_inheritable(number)]
command = ascii([name, arguments, os.getcwd(), dict(os.environ), umask, numbers]).encode()
files = b"".join(number.to_bytes(4, sys.byteorder) for number in numbers)
rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, files)
server.sendmsg([len(command).to_bytes(4, "big")], [rights])
server.sendall(command)
for number in {passed!r}:
    if _signal.getsignal(number) != _signal.SIG_IGN:
        _signal.signal(number, lambda number, _: server.send(bytes([number])))
status = int(server.recv(16))
if status < 0:
    if -status in {passed!r}:
        _signal.signal(-status, _signal.SIG_DFL)
    os.kill(os.getpid(), -status)
sys.exit(status)
'''


@functools.cache
def forked_tools() -> Path:
    """Return the folder of the commands of a server, which all processes of a test run share.

    It ends with the last of them, and removes the folder.
    """
    if os.environ.get("REAL_COMMANDS") or not hasattr(os, "fork"):
        return Path(sys.executable).parent
    test_run = os.environ.get("PYTEST_XDIST_TESTRUNUID", uuid.uuid4().hex)
    folder = Path(tempfile.gettempdir()) / f"forked-{test_run}"
    folder.mkdir(mode=0o700, exist_ok=True)
    users = folder / "users"
    with FileLock(folder / "lock"):
        if not users.exists():
            start_server(folder)
        os.open(users, os.O_WRONLY)  # until this process ends
    return folder


def start_server(folder: Path) -> None:
    address = str(folder / "socket")
    command = COMMAND.format(python=sys.executable, address=address, passed=PASSED_ON)
    for name in ("python", "dvc", "classifold"):
        (folder / name).write_text(command)
        (folder / name).chmod(0o755)
    subprocess.run(  # until it is ready
        [sys.executable, __file__, address],
        env=os.environ | {"PYTHONUTF8": "1", "OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # what ends a group of processes does not end it first
        check=True,
    )


def serve(address: str) -> None:
    outside = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [path for path in sys.path[1:] if path not in outside]
    for library in LIBRARIES:
        importlib.import_module(library)
    importlib.import_module("pydantic").create_model("Any")  # searches for its plugins
    write_lock_faster(parse_yaml_once(Path(address).parent))
    leave_out_ends_of_libraries()
    gc.freeze()  # so that garbage collection does not copy memory
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    ended, wake = socket.socketpair()
    wake.setblocking(False)
    users_left = open_to_users(Path(address).with_name("users"))
    signal.set_wakeup_fd(wake.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    commands: dict[int, socket.socket] = {}
    waiting = (users_left, listener, ended)
    while users_left not in (ready := select.select([*waiting, *commands.values()], [], [])[0]):
        for process, command in commands.items():
            if command in ready:
                os.kill(process, ord(command.recv(1) or bytes([signal.SIGKILL])))
        if ended in ready:
            ended.recv(1024)
            for process in list(commands):
                done, status = os.waitpid(process, os.WNOHANG)
                if done:
                    with commands.pop(process) as command, contextlib.suppress(BrokenPipeError):
                        command.sendall(str(os.waitstatus_to_exitcode(status)).encode())
        if listener in ready:
            command, _ = listener.accept()
            length, files, _, _ = socket.recv_fds(command, 4, 250)
            message = command.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL)
            process = os.fork()
            if process == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                os.close(users_left)
                listener.close()
                command.close()
                sys.executable = str(Path(address).parent / "python")
                multiprocessing.set_executable(sys.executable)
                multiprocessing.util._args_from_interpreter_flags = list  # none
                signal.signal(signal.SIGINT, signal.default_int_handler)
                status = 1
                try:
                    status = answer(message.decode(), files)
                finally:
                    os._exit(status)
            commands[process] = command
            for file in files:
                os.close(file)


def open_to_users(path: Path, *, seconds: int = 60) -> int:
    """Go on in the background; return a pipe, which is at its end when all users have ended.

    The first one opens the pipe, unless it was killed.
    """
    os.mkfifo(path)
    users = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if os.fork():
        os._exit(0)  # the server is ready
    for _ in range(100 * seconds):
        try:
            os.read(users, 1)  # nothing, before it is opened
        except BlockingIOError:
            return users
        time.sleep(0.01)
    sys.exit("the server has no user")


def leave_out_ends_of_libraries() -> None:
    """A forked process leaves out what libraries do at their end, half of a short command's time.

    PyTorch sums up its compilations and removes its operators; matplotlib removes a folder, if
    there is no home folder.
    """
    atexit.unregister(shutil.rmtree)
    atexit.unregister(importlib.import_module("torch._dynamo.utils").dump_compile_times)
    weakref.finalize._registry.clear()  # type: ignore[attr-defined]
    # torchrun logs its callers several times a second, and would search all imported modules.
    inspect.stack = functools.partial(inspect.stack, 0)


def write_lock_faster(keep: Callable[[Any, str, Any], None]) -> None:
    """Let DVC update dvc.lock by libyaml, and not parse what it wrote."""
    dvcfile, serialize = map(importlib.import_module, ("dvc.dvcfile", "dvc.utils.serialize"))
    modify_slowly = dvcfile.modify_yaml

    @contextlib.contextmanager
    def modify(path: str, fs: Any = None) -> Iterator[Any]:
        lock = Path(path)
        if lock.name != "dvc.lock" or not lock.exists():
            with modify_slowly(path, fs=fs) as data:
                yield data
            return
        data = serialize.parse_yaml(lock.read_text(encoding="utf-8"), path)
        yield data
        yaml = importlib.import_module("ruamel.yaml").YAML(typ="safe")
        yaml.default_flow_style = False
        yaml.sort_base_mapping_type_on_output = False
        yaml.representer.add_representer(OrderedDict, type(yaml.representer).represent_dict)
        text = io.StringIO()
        yaml.dump(data, text)
        lock.write_text(text.getvalue(), encoding="utf-8")
        keep(yaml, text.getvalue(), data)

    dvcfile.modify_yaml = modify


def answer(message: str, files: list[int]) -> int:
    """Run what a command sends, in this forked process, and return the exit status."""
    name, arguments, folder, environment, umask, numbers = ast.literal_eval(message)
    above = max(numbers + files) + 1
    copies = [os.dup2(file, above + i) for i, file in enumerate(files)]
    for file in files:
        os.close(file)
    for copy, number in zip(copies, numbers, strict=True):
        os.dup2(copy, number)
        os.close(copy)
    sys.stdin = os.fdopen(0, closefd=False)
    lines = 1 if environment.get("PYTHONUNBUFFERED") else -1
    sys.stdout = os.fdopen(1, "w", buffering=lines, closefd=False)
    sys.stderr = os.fdopen(2, "w", errors="backslashreplace", buffering=1, closefd=False)
    os.chdir(folder)
    os.umask(umask)
    os.environ.clear()
    os.environ.update(environment)
    random.seed()  # as in a new process
    importlib.import_module("numpy").random.seed()
    importlib.import_module("torch").seed()
    sys.path[:0] = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    status = 0
    try:
        run(name, arguments)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # as the interpreter does
        traceback.print_exc()
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return status & 0xFF


def run(name: str, arguments: list[str]) -> None:
    match name, *arguments:
        case "dvc", *_:
            sys.argv = ["dvc", *arguments]
            sys.exit(importlib.import_module("dvc.cli").main())
        case "classifold", *_:
            sys.argv = ["classifold", *arguments]
            importlib.import_module("classifold.cli.app").app()
        case _, "-m", module, *_:
            sys.path.insert(0, str(Path.cwd()))
            sys.argv = arguments[1:]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case _, "-c", code, *_:
            sys.path.insert(0, "")
            sys.argv = ["-c", *arguments[2:]]
            sys.modules["__main__"] = ModuleType("__main__")
            exec(compile(code, "<string>", "exec"), vars(sys.modules["__main__"]))
        case _, script, *_:
            sys.path.insert(0, str(Path(script).resolve().parent))
            sys.argv = arguments
            runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    try:
        serve(sys.argv[1])
    finally:
        shutil.rmtree(Path(sys.argv[1]).parent, ignore_errors=True)
        os._exit(0)  # nothing was computed here
