"""Parallel map over the nodes of a Ray cluster.

This file is not a dependency of any stage: `parallel.py` uses it if the environment selects a
cluster, and it does not change any output (`docs/RAY.md`).
"""

import logging
import os
import platform
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any, TypeVar

from classifold.errors import UserError
from classifold.runtime.chunks import (
    MAX_CRASHES,
    WORKER_KILLED,
    Chunk,
    Task,
    count_cores,
    is_full,
)
from classifold.runtime.progress import log
from classifold.runtime.source_code import hash_of_sources

Item = TypeVar("Item")
Result = TypeVar("Result")

# Retries of an item that is processed alone, before the crash is attributed to the item.
RETRIES_PER_ITEM = 1

MAX_SECONDS_TO_CONNECT = 5.0
MAX_SECONDS_FOR_STATUS = 15.0  # most of them are for the start of Python on a busy machine
OBJECT_STORE_BYTES = 2**30  # memory of a cluster that is started on this machine

# Packages that process images and predictions; another version may give other bytes.
PACKAGES = ("numpy", "opencv-python-headless", "pillow", "scipy", "torch")

QUIET = {
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}

REMEDY = (
    "Correct RAY_ADDRESS, start a cluster with 'ray start --head', or unset RAY_ADDRESS to use "
    "this machine alone."
)


def map_on_cluster(
    function: Callable[[Item], Result],
    chunks: Iterator[Chunk[Item]],
    *,
    on_crash: Callable[[Item], Result] | None,
    n_cores: int,
) -> Iterator[Result]:
    """Apply `function` to the items of chunks on a Ray cluster; see `ordered_map`.

    Without `RAY_ADDRESS`, a cluster of this machine is started, which ends with this process. Items
    and results pass through this process, so nodes need no shared folder. A chunk that is lost with
    its node is processed again on another node.

    Raises:
        UserError: if the cluster cannot be used, its nodes have another version of Classifold, or
            an item ended the process that processed it and `on_crash` is None.
    """
    ray = _connect()
    n_workers, n_cores = _count_workers(ray, n_cores)
    # A reference inside a list: Ray would resolve a bare one anew for each task.
    reference = [ray.put(function)]
    remote, code = ray.remote(_make_task()), code_version()

    def submit(items: list[Item], *, retries: int) -> Any:
        task = remote.options(num_cpus=n_cores, max_retries=retries)
        return task.remote(reference, items, code)

    result_of_crash = _Crashes(on_crash)
    pending: deque[Task[Item]] = deque()
    try:
        while True:
            while not is_full(pending, n_workers) and (chunk := next(chunks, None)):
                pending.append(Task(chunk, submit(chunk.items, retries=0)))
            if not pending:
                return
            done = pending.popleft()
            try:
                yield from _get_results(ray, done.handle)
                continue
            except _lost_errors(ray):
                single = [(i, submit([i], retries=RETRIES_PER_ITEM)) for i in done.chunk.items]
            for item, handle in single:
                yield _get_single(ray, item, handle, submit=submit, result_of_crash=result_of_crash)
    finally:
        for task in pending:
            ray.cancel(task.handle)


def apply_on_node(reference: list[Any], items: list[Any], code: str) -> list[Any]:
    """Apply the function to each item; runs on a node of the cluster.

    Raises:
        UserError: if the code of this node differs from the caller's.
    """
    if code_version() != code:
        raise UserError(
            f"the Ray node {platform.node()} has {code_version()}, and this machine {code}. "
            "Install the same version of Classifold and of its dependencies on all nodes "
            "(requirements.lock), since results could differ."
        )
    function = _get_function(reference[0])
    return [function(item) for item in items]


@lru_cache(maxsize=1)
def code_version() -> str:
    """Describe the code: a hash of the sources of Classifold, and versions of packages."""
    packages = [f"{name} {_version(name)}" for name in PACKAGES]
    return ", ".join([f"classifold {hash_of_sources()[:8]}", *packages])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


@lru_cache(maxsize=4)  # `predict` alternates between decoding and inference
def _get_function(reference: Any) -> Callable[[Any], Any]:
    """Fetch the function once per process, not once per task."""
    import ray  # noqa: PLC0415 - only processes of a cluster import it here

    function: Callable[[Any], Any] = ray.get(reference)
    return function


def _make_task() -> Callable[[list[Any], list[Any], str], list[Any] | str]:
    # A local function is sent by value, so that a node without Classifold can report this.
    def task(reference: list[Any], items: list[Any], code: str) -> list[Any] | str:
        import importlib  # noqa: PLC0415
        import platform  # noqa: PLC0415

        try:
            apply = importlib.import_module("classifold.runtime.ray_cluster").apply_on_node
        except (ImportError, AttributeError) as error:
            return f"{platform.node()} ({error})"
        results: list[Any] = apply(reference, items, code)
        return results

    return task


class _Crashes:
    """The results of items that end the process, up to a maximum number."""

    def __init__(self, on_crash: Callable[[Any], Any] | None) -> None:
        self._on_crash = on_crash
        self._n_crashes = 0

    def __call__(self, item: Any) -> Any:
        self._n_crashes += 1
        if self._on_crash is None or self._n_crashes > MAX_CRASHES:
            raise UserError(WORKER_KILLED) from None
        return self._on_crash(item)


def _get_single(
    ray: ModuleType,
    item: Any,
    handle: Any,
    *,
    submit: Callable[..., Any],
    result_of_crash: _Crashes,
) -> Any:
    """Get the result of one item; a crash counts, but the loss of a node does not."""
    for _ in range(MAX_CRASHES):
        try:
            (result,) = _get_results(ray, handle)
            return result
        except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError):
            return result_of_crash(item)
        except _lost_errors(ray):
            handle = submit([item], retries=RETRIES_PER_ITEM)
    raise UserError(WORKER_KILLED)


def _get_results(ray: ModuleType, handle: Any) -> Any:
    """Get the results of a task, or raise the error of the task itself.

    Raises:
        UserError: if Classifold is not installed on the node.
    """
    try:
        results = ray.get(handle)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, Exception):
            raise error.cause from None
        raise
    if isinstance(results, str):
        raise UserError(
            f"the Ray node {results} does not have this version of Classifold. Install the same "
            "version on all nodes, and start Ray from that environment."
        )
    return results


def _lost_errors(ray: ModuleType) -> tuple[type[Exception], ...]:
    """List what Ray raises if the process, the node or the results of a task are lost."""
    known = ray.exceptions
    return (
        known.WorkerCrashedError,
        known.NodeDiedError,
        known.ObjectLostError,
        known.OutOfMemoryError,
    )


def _count_workers(ray: ModuleType, n_cores: int) -> tuple[int, int]:
    """Count the calls that can run at once, and limit their cores to those of the largest node.

    Raises:
        UserError: if the cluster has no cores.
    """
    cores = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    if not any(cores):
        raise UserError(
            f"RAY_ADDRESS: the cluster at {os.environ.get('RAY_ADDRESS')} has no CPUs. Add a node "
            "with 'ray start --address=...', or unset RAY_ADDRESS."
        )
    n_cores = min(n_cores, max(cores))
    return sum(count // n_cores for count in cores), n_cores


def _connect() -> ModuleType:
    """Import Ray and connect to the cluster.

    Raises:
        UserError: if Ray is not installed, or there is no cluster at the address.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray  # noqa: PLC0415 - slow, and not needed on one machine
    except ImportError:
        raise UserError(
            "RAY_ADDRESS or CLASSIFOLD_ENGINE selects Ray, which is not installed. Install it with "
            "'pip install classifold[ray]', or unset them."
        ) from None
    if ray.is_initialized():
        return ray
    address = os.environ.get("RAY_ADDRESS")
    if address:
        _require_cluster(address)
    own: dict[str, Any] = {
        "num_cpus": count_cores(),
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
    }
    try:
        ray.init(
            address=address or "local",
            logging_level=logging.ERROR,
            log_to_driver=False,
            **({} if address else own),
        )
    except Exception as error:  # Ray raises bare exceptions, for example if a node starts slowly
        cluster = f"RAY_ADDRESS: the cluster at {address}" if address else "a local Ray cluster"
        raise UserError(f"{cluster} cannot be used ({error}). {REMEDY}") from None
    n_nodes = sum(node["Alive"] for node in ray.nodes())
    cores = ray.cluster_resources().get("CPU", 0)
    log(f"  on Ray at {address or 'this machine'}: {cores:.0f} cores, nodes: {n_nodes}")
    return ray


def _require_cluster(address: str) -> None:
    """Check that a cluster can be used; `ray.init` would retry for minutes and log warnings.

    Raises:
        UserError: if nothing or another program listens there, or a token is missing.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")  # "auto": Ray finds the cluster
    status = [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", address]
    try:
        if host:
            socket.create_connection((host.strip("[]"), port), MAX_SECONDS_TO_CONNECT).close()
        if not address.startswith("ray://"):
            subprocess.run(  # noqa: S603 - no shell
                status, check=True, capture_output=True, text=True, timeout=MAX_SECONDS_FOR_STATUS
            )
    except OSError as error:
        reason = str(error)
    except subprocess.CalledProcessError as error:
        if "AuthenticationError" in error.stderr:
            got = os.environ.get("RAY_AUTH_MODE", "no value")
            raise UserError(
                f"RAY_AUTH_MODE: the Ray cluster at {address} requires a token, got {got}. Set "
                "RAY_AUTH_MODE=token here and on every node, and put the cluster's token into "
                "~/.ray/auth_token or RAY_AUTH_TOKEN (docs/RAY.md)."
            ) from None
        reason = "'ray status' cannot connect to it"
    except subprocess.TimeoutExpired:
        reason = "'ray status' gets no response"
    else:
        return
    raise UserError(f"RAY_ADDRESS: no Ray cluster at {address} ({reason}). {REMEDY}")
