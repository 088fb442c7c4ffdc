"""The storage of a search, in SQLite or PostgreSQL, with a lock for every trial.

The process that holds the lock of a trial runs it. The system releases a lock when its process
ends, so a dead worker is distinguished from a slow one at once and without error.
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
from optuna.storages import RDBStorage
from sqlalchemy import URL, NullPool
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from classifold.errors import UserError
from classifold.search.plan import Plan
from classifold.search.samplers import pruner_of

SECONDS_TO_WRITE = 60  # SQLite waits this long for another process
DRIVER = "postgresql+psycopg"

# The server releases the locks of a machine that lost its connection after 30 + 3 * 10 seconds.
KEEPALIVES = "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"

URL_FORMS = (
    "sqlite:///<file> or postgresql://<user>:<password>@<host>:<port>/<database> (the password "
    "may be in ~/.pgpass instead)"
)


class Locks(Protocol):
    """Named locks between processes."""

    @contextmanager
    def take(self, name: str, *, wait: bool = False) -> Iterator[bool]:
        """Acquire a lock for the `with` block; yield False if another process holds it.

        With `wait`, wait until the lock is free.
        """


class Opened(NamedTuple):
    """An open search."""

    study: optuna.Study
    locks: Locks


def storage_url(given: str | None, *, default: Path) -> URL:
    """Read the URL of a storage.

    Args:
        given: the URL; None selects the file `default`.
        default: an SQLite file.

    Raises:
        UserError: if the URL is not valid. The message does not contain it, because it may
            contain a password.
    """
    if given is None:
        return URL.create("sqlite", database=str(default))
    try:
        url = sqlalchemy.make_url(given)
    except (ArgumentError, ValueError):
        raise UserError(f"--storage: not a URL. Write {URL_FORMS}.") from None
    if url.drivername == "sqlite" and url.database not in {None, "", ":memory:"}:
        return url.set(database=str(Path(url.database).expanduser()))
    if url.drivername in {"postgresql", "postgres", DRIVER}:
        return url.set(drivername=DRIVER)
    raise UserError(
        f"--storage: must be an SQLite file or a PostgreSQL database, got one that begins with "
        f"{url.drivername}:. Write {URL_FORMS}."
    )


@contextmanager
def open_search(plan: Plan, url: URL) -> Iterator[Opened]:
    """Open the search in its storage; create it if it does not exist.

    Raises:
        UserError: if the storage cannot be used.
    """
    # The log lines of Optuna would repeat ours.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with _readable_errors(url):
        name = f"{plan.name}-{plan.key[:12]}"
        locks = _locks(url, name)
        storage = None
        try:
            # Processes that create tables, or the same study, at the same time would fail.
            with _locks(url, "storage").take("opening", wait=True):
                storage = RDBStorage(
                    url.render_as_string(hide_password=False), engine_kwargs=_engine(url)
                )
                study = optuna.create_study(
                    storage=storage,
                    study_name=name,
                    direction="minimize" if plan.search.metric == "loss" else "maximize",
                    pruner=pruner_of(plan.search, max_epochs=plan.max_epochs),
                    load_if_exists=True,
                )
            yield Opened(study, locks)
        finally:
            if storage is not None:
                storage.remove_session()
                storage.engine.dispose()


@contextmanager
def _readable_errors(url: URL) -> Iterator[None]:
    """Turn errors of the storage into one message each, without the password."""
    try:
        yield
    except ImportError as error:
        if url.drivername != DRIVER:
            raise
        raise UserError(
            f"a search in PostgreSQL needs psycopg ({error}). Run "
            "\"pip install 'classifold[postgres]'\"."
        ) from None
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        cause = error if isinstance(error, SQLAlchemyError) else error.__cause__ or error
        cause = getattr(cause, "orig", cause)  # without the statement
        shown = url.render_as_string(hide_password=True)
        raise UserError(
            f"{shown}: cannot be used as storage ({' '.join(str(cause).split())}). Fix that and "
            "start the search again: trials that have ended are kept."
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
    """Locks between the processes of one machine, one empty file per lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def take(self, name: str, *, wait: bool = False) -> Iterator[bool]:
        """Acquire a lock for the `with` block; yield False if another process holds it.

        With `wait`, wait until the lock is free.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / name, fallback_to_soft=False)
        with contextlib.suppress(Timeout):
            lock.acquire(blocking=wait)
        try:
            yield lock.is_locked
        finally:
            lock.release()


class PostgresLocks:
    """Advisory locks of a PostgreSQL server, one connection per lock."""

    def __init__(self, url: URL, study: str) -> None:
        self.study = study
        self.engine = sqlalchemy.create_engine(
            url, poolclass=NullPool, isolation_level="AUTOCOMMIT", **_engine(url)
        )

    @contextmanager
    def take(self, name: str, *, wait: bool = False) -> Iterator[bool]:
        """Acquire a lock for the `with` block; yield False if another process holds it.

        With `wait`, wait until the lock is free.
        """
        digest = hashlib.sha256(f"{self.study}/{name}".encode()).digest()
        key = int.from_bytes(digest[:8], "big", signed=True)
        function = "pg_advisory_lock" if wait else "pg_try_advisory_lock"
        with self.engine.connect() as connection:  # closing it releases the lock
            statement = sqlalchemy.text(f"SELECT {function}(:key)")
            acquired = connection.scalar(statement, {"key": key})
            yield wait or bool(acquired)
