"""Where a search keeps its trials: SQLite or PostgreSQL, with a lock for every trial.

Whoever holds the lock of a trial runs it. A lock ends with the process that holds it, so that
a worker that is gone, by whatever, is told from one that is busy, at once and for certain.
"""

import contextlib
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import optuna
import sqlalchemy
from filelock import FileLock, Timeout
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.storages import RDBStorage
from sqlalchemy import URL, NullPool
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from classifold.errors import UserError
from classifold.search.plan import Plan

SECONDS_TO_WRITE = 60  # that SQLite waits for another process
DRIVER = "postgresql+psycopg"

# A machine that is gone without a word keeps its locks for as long: 30 + 3 * 10 seconds.
KEEPALIVES = "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"

KNOWN = (
    "sqlite:///<file> or postgresql://<user>:<password>@<host>:<port>/<database> (the password "
    "may stand in ~/.pgpass)"
)


class Locks(Protocol):
    """Locks with names that processes exclude one another by."""

    @contextmanager
    def take(self, name: str, *, wait: bool = False) -> Iterator[bool]:
        """Hold a lock, or tell that another process has it; with `wait`, wait for it."""


class Opened(NamedTuple):
    """A search in its storage."""

    study: optuna.Study
    locks: Locks


def storage_url(given: str | None, *, default: Path) -> URL:
    """Read the URL of a storage.

    Args:
        given: as it was given; None takes the file `default`.
        default: an SQLite file.

    Raises:
        UserError: if it is no URL of a known kind. The message never holds it: it may hold a
            password.
    """
    if given is None:
        return URL.create("sqlite", database=str(default))
    try:
        url = sqlalchemy.make_url(given)
    except (ArgumentError, ValueError):
        raise UserError(f"the storage must be a URL such as {KNOWN}") from None
    if url.drivername == "sqlite" and url.database not in {None, "", ":memory:"}:
        return url
    if url.drivername in {"postgresql", "postgres", DRIVER}:
        return url.set(drivername=DRIVER)
    raise UserError(f"the storage must be {KNOWN}, got one that begins with {url.drivername}:")


@contextmanager
def open_search(plan: Plan, url: URL) -> Iterator[Opened]:
    """Open the storage, and in it the search, which is begun if it was not yet.

    Raises:
        UserError: if the storage cannot be used.
    """
    # Nothing of a search is worth a line of Optuna's own.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with _told(url):
        name = f"{plan.name}-{plan.key[:12]}"
        locks = _locks(url, name)
        storage = None
        try:
            # Two that make tables, or the same study, at once stand in each other's way.
            with _locks(url, "storage").take("opening", wait=True):
                storage = RDBStorage(
                    url.render_as_string(hide_password=False), engine_kwargs=_engine(url)
                )
                study = optuna.create_study(
                    storage=storage,
                    study_name=name,
                    direction="minimize" if plan.search.metric == "loss" else "maximize",
                    pruner=_pruner(plan),
                    load_if_exists=True,
                )
            yield Opened(study, locks)
        finally:
            if storage is not None:
                storage.remove_session()
                storage.engine.dispose()


def _pruner(plan: Plan) -> BasePruner:
    pruner = plan.search.pruner
    settings = pruner.model_dump(exclude={"name"})
    if pruner.name == "median":
        return MedianPruner(**settings)
    if pruner.name == "hyperband":
        return HyperbandPruner(max_resource=plan.max_epochs, **settings)
    return NopPruner()


@contextmanager
def _told(url: URL) -> Iterator[None]:
    """Tell a fault of the storage as one message; the password is no part of it."""
    try:
        yield
    except ImportError as error:
        if url.drivername != DRIVER:
            raise
        raise UserError(
            f"a search in PostgreSQL needs psycopg ({error}): pip install 'psycopg[binary]'"
        ) from None
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        cause = error if isinstance(error, SQLAlchemyError) else error.__cause__ or error
        cause = getattr(cause, "orig", cause)  # without the statement
        shown = url.render_as_string(hide_password=True)
        raise UserError(
            f"the storage {shown} cannot be used ({' '.join(str(cause).split())}); start the "
            "search again once it can be: what was finished is kept"
        ) from None


def _engine(url: URL) -> dict[str, dict[str, object]]:
    if url.drivername == "sqlite":
        return {"connect_args": {"timeout": SECONDS_TO_WRITE}}
    return {"connect_args": {"options": KEEPALIVES}}


def _locks(url: URL, name: str) -> Locks:
    if url.drivername == "sqlite":
        file = Path(str(url.database))
        file.parent.mkdir(parents=True, exist_ok=True)
        return FileLocks(file.with_name(f"{file.name}.locks") / name)
    return PostgresLocks(url, name)


class FileLocks:
    """Locks of one machine, each on an empty file of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def take(self, name: str, *, wait: bool = False) -> Iterator[bool]:
        """Hold a lock, or tell that another process has it; with `wait`, wait for it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / name, fallback_to_soft=False)
        with contextlib.suppress(Timeout):
            lock.acquire(blocking=wait)
        try:
            yield lock.is_locked
        finally:
            lock.release()


class PostgresLocks:
    """Locks of a PostgreSQL server, each held by a connection of its own."""

    def __init__(self, url: URL, study: str) -> None:
        self.study = study
        self.engine = sqlalchemy.create_engine(
            url, poolclass=NullPool, isolation_level="AUTOCOMMIT", **_engine(url)
        )

    @contextmanager
    def take(self, name: str, *, wait: bool = False) -> Iterator[bool]:
        """Hold a lock, or tell that another process has it; with `wait`, wait for it."""
        digest = hashlib.sha256(f"{self.study}/{name}".encode()).digest()
        key = int.from_bytes(digest[:8], "big", signed=True)
        function = "pg_advisory_lock" if wait else "pg_try_advisory_lock"
        with self.engine.connect() as connection:  # closing it gives the lock back
            statement = sqlalchemy.text(f"SELECT {function}(:key)")
            answer = connection.scalar(statement, {"key": key})
            yield wait or bool(answer)
