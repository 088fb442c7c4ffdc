"""Work shared out to the nodes of a Ray cluster.

No stage declares this file: `parallel.py` imports it by name where the environment asks for a
cluster, and it may change no byte of what a stage leaves (`docs/RAY.md`).
"""

import hashlib
import logging
import os
import platform
import socket
from collections import deque
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from classifold.errors import UserError
from classifold.runtime.bundles import ENDED, MOST_CRASHES, Bundle, Task, count_cores, is_full
from classifold.runtime.progress import log

Item = TypeVar("Item")
Result = TypeVar("Result")

# An item is blamed for the end of its process when it was alone, and after so many tries more.
RETRIES_OF_ITEMS = 1

SECONDS_TO_ANSWER = 5.0
BYTES_OF_OWN_STORE = 2**30

# What images and answers are made with; another version may give other bytes.
PACKAGES = ("numpy", "opencv-python-headless", "pillow", "scipy", "torch")

QUIET = {
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def map_on_cluster(
    function: Callable[[Item], Result],
    bundles: Iterator[Bundle[Item]],
    *,
    crashed: Callable[[Item], Result] | None,
    n_cores: int,
) -> Iterator[Result]:
    """Apply `function` to the items of bundles on a Ray cluster, as `ordered_map` has it.

    The cluster is that of `RAY_ADDRESS`; without it, one of this machine is started, which ends
    with this process. Items and results pass through this process, so nodes share no folder.
    A bundle that is lost with its node is done again on another.

    Raises:
        UserError: if there is no such cluster, it runs another Classifold, or an item ended
            the process that worked on it and `crashed` is None.
    """
    ray = _connected()
    n_workers, n_cores = _room(ray, n_cores)
    given = [ray.put(function)]  # in a list, or every call would unpack it anew
    remote, code = ray.remote(_make_task()), code_version()

    def submit(items: list[Item], *, retries: int) -> Any:
        task = remote.options(num_cpus=n_cores, max_retries=retries)
        return task.remote(given, items, code)

    blame = _Blame(crashed)
    waiting: deque[Task[Item]] = deque()
    try:
        while True:
            while not is_full(waiting, n_workers) and (bundle := next(bundles, None)):
                waiting.append(Task(bundle, submit(bundle.items, retries=0)))
            if not waiting:
                return
            done = waiting.popleft()
            try:
                yield from _received(ray, done.handle)
                continue
            except _lost(ray):
                alone = [(i, submit([i], retries=RETRIES_OF_ITEMS)) for i in done.bundle.items]
            for item, handle in alone:
                yield _received_alone(ray, item, handle, submit=submit, blame=blame)
    finally:
        for unwanted in waiting:
            ray.cancel(unwanted.handle)


def apply(given: list[Any], items: list[Any], code: str) -> list[Any]:
    """Runs on the cluster: the function's result for each item.

    Raises:
        UserError: if this node would compute with other code than who asks.
    """
    if code_version() != code:
        raise UserError(
            f"the Ray node {platform.node()} has {code_version()}, and this machine {code}; "
            "install the same version of Classifold and of what it needs on all nodes "
            "(requirements.lock), or results would differ"
        )
    function = _unpacked(given[0])
    return [function(item) for item in items]


@lru_cache(maxsize=1)
def code_version() -> str:
    """Classifold's sources, as a hash, and the versions of what images pass through."""
    sources = hashlib.sha256()
    root = Path(__file__).parents[1]
    for file in sorted(root.rglob("*.py")):
        sources.update(f"{file.relative_to(root).as_posix()}\n".encode() + file.read_bytes())
    packages = [f"{name} {_version(name)}" for name in PACKAGES]
    return ", ".join([f"classifold {sources.hexdigest()[:8]}", *packages])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


@lru_cache(maxsize=4)  # `predict` decodes and asks networks in turn
def _unpacked(given: Any) -> Callable[[Any], Any]:
    """The function, unpacked once in each process and not once in each task."""
    import ray  # noqa: PLC0415 - only a cluster's process comes here

    unpacked: Callable[[Any], Any] = ray.get(given)
    return unpacked


def _make_task() -> Callable[[list[Any], list[Any], str], list[Any] | str]:
    # Inside a function, so that it travels whole: a node without Classifold can then say so.
    def task(given: list[Any], items: list[Any], code: str) -> list[Any] | str:
        import importlib  # noqa: PLC0415
        import platform  # noqa: PLC0415

        try:
            apply = importlib.import_module("classifold.runtime.ray_cluster").apply
        except (ImportError, AttributeError) as error:
            return f"{platform.node()} ({error})"
        results: list[Any] = apply(given, items, code)
        return results

    return task


class _Blame:
    """What becomes of items that end the process that works on them."""

    def __init__(self, crashed: Callable[[Any], Any] | None) -> None:
        self._crashed = crashed
        self._n_crashes = 0

    def __call__(self, item: Any) -> Any:
        self._n_crashes += 1
        if self._crashed is None or self._n_crashes > MOST_CRASHES:
            raise UserError(ENDED) from None
        return self._crashed(item)


def _received_alone(
    ray: ModuleType, item: Any, handle: Any, *, submit: Callable[..., Any], blame: _Blame
) -> Any:
    """The result of one item, which is not to blame where its node was lost and not its process."""
    for _ in range(MOST_CRASHES):
        try:
            (result,) = _received(ray, handle)
            return result
        except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError):
            return blame(item)
        except _lost(ray):
            handle = submit([item], retries=RETRIES_OF_ITEMS)
    raise UserError(ENDED)


def _received(ray: ModuleType, handle: Any) -> Any:
    """The results of a task; what failed there arrives as it is.

    Raises:
        UserError: if the node has no Classifold.
    """
    try:
        results = ray.get(handle)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, Exception):
            raise error.cause from None
        raise
    if isinstance(results, str):
        raise UserError(
            f"the Ray node {results} has no such Classifold; install the same version of it on "
            "all nodes, and start Ray from that environment"
        )
    return results


def _lost(ray: ModuleType) -> tuple[type[Exception], ...]:
    """What Ray raises where the process, the node or the results of a task are gone."""
    known = ray.exceptions
    return (
        known.WorkerCrashedError,
        known.NodeDiedError,
        known.ObjectLostError,
        known.OutOfMemoryError,
    )


def _room(ray: ModuleType, n_cores: int) -> tuple[int, int]:
    """How many calls of so many cores the cluster does at once, and how many it can give one.

    Raises:
        UserError: if the cluster has no core for anybody.
    """
    cores = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    if not any(cores):
        raise UserError(
            f"the Ray cluster at {os.environ.get('RAY_ADDRESS')} has no CPU to work with; add a "
            "node with 'ray start --address=...', or unset RAY_ADDRESS"
        )
    n_cores = min(n_cores, max(cores))
    return sum(count // n_cores for count in cores), n_cores


def _connected() -> ModuleType:
    """Ray, connected.

    Raises:
        UserError: if Ray is not installed, or nothing answers.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray  # noqa: PLC0415 - heavy, and of no use to who has one machine
    except ImportError:
        raise UserError(
            "RAY_ADDRESS or CLASSIFOLD_ENGINE asks for Ray, which is not installed; install it "
            "with 'pip install classifold[ray]', or unset them"
        ) from None
    if _is_connected(ray):
        return ray
    address = os.environ.get("RAY_ADDRESS")
    if address:
        _require_answer(address)
    own: dict[str, Any] = {
        "num_cpus": count_cores(),
        "include_dashboard": False,
        "object_store_memory": BYTES_OF_OWN_STORE,
    }
    try:
        ray.init(
            address=address or "local",
            logging_level=logging.ERROR,
            log_to_driver=False,
            **({} if address else own),
        )
    except Exception as error:  # Ray raises bare ones, such as of a node that is slow to start
        where = f"the Ray cluster at {address}" if address else "a Ray cluster of this machine"
        raise UserError(f"{where} cannot be used ({error}); {CORRECT}") from None
    # Ray would tell of each process that ends, in twenty lines; a harmless wish where this is gone.
    ray._private.worker._worker_logs_enabled = False
    n_nodes = sum(node["Alive"] for node in ray.nodes())
    cores = ray.cluster_resources().get("CPU", 0)
    log(f"  on Ray at {address or 'this machine'}: {cores:.0f} cores, nodes: {n_nodes}")
    return ray


def _is_connected(ray: ModuleType) -> bool:
    return bool(ray.is_initialized())


CORRECT = "correct RAY_ADDRESS, start one with 'ray start --head', or unset it to work without"


def _require_answer(address: str) -> None:
    """Ray itself waits for minutes where another program listens, or nobody.

    Raises:
        UserError: if at `host:port` nobody speaks HTTP/2, as Ray's processes do.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host:
        return  # "auto", which Ray looks up
    try:
        with socket.create_connection((host.strip("[]"), port), SECONDS_TO_ANSWER) as connection:
            if os.environ.get("RAY_USE_TLS", "0") != "0":
                return
            connection.sendall(GREETING)
            if connection.recv(len(SETTINGS))[3:4] != SETTINGS[3:4]:
                raise OSError("another program listens")
    except OSError as error:
        raise UserError(
            f"RAY_ADDRESS is {address}, and no Ray cluster answers there ({error}); {CORRECT}"
        ) from None


# How a client begins (RFC 9113, section 3.4): the answer is a frame of the same type, 4.
SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SETTINGS
