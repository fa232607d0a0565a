"""One run at a time on one database: a lock that the operating system or the server lets go of.

SQLite: an advisory `flock` on `<file>.lock`, which ends with the process, even after `kill -9`.
PostgreSQL: a session-level advisory lock, which ends with the connection.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from sqlalchemy import Connection, Engine, exc, text
from sqlalchemy.engine import URL

from storage.errors import DatabaseBusy

_GLANCE_S = 0.05
_ADVISORY_KEY = 0x5711_1405E
# How pg_locks shows a lock with one 64-bit key: its halves.
_ADVISORY_PARTS = {"high": _ADVISORY_KEY >> 32, "low": _ADVISORY_KEY & 0xFFFF_FFFF}
_HOLDERS = text(
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1 "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND classid = :high AND objid = :low"
)


def shown_url(url: URL) -> str:
    """What a database is called before people: a file's path, or a URL without password and without
    its query, which may hold one, too."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.set(query={}).render_as_string(hide_password=True)


def _take(descriptor: int) -> None:
    """Takes the lock. Whoever only looks whether it is held (`is_held`) has it for an instant."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(_GLANCE_S)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


class RunLock:
    """Context manager; entering it raises `DatabaseBusy` while another run holds the database."""

    def __init__(self, url: URL, engine: Engine) -> None:
        self._url = url
        self._engine = engine
        self._descriptor: int | None = None
        self._connection: Connection | None = None

    def __enter__(self) -> RunLock:
        if self._url.get_backend_name() == "sqlite":
            self._lock_file()
        else:
            self._lock_server()
        return self

    def is_held(self) -> bool:
        """Whether a run holds the database right now."""
        if self._url.get_backend_name() != "sqlite":
            with self._engine.connect() as connection:
                return bool(connection.execute(_HOLDERS, _ADVISORY_PARTS).scalar_one())
        try:
            descriptor = os.open(self._path, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    @property
    def _path(self) -> Path:
        # Two names of one file must meet at one lock.
        return Path(f"{Path(str(self._url.database)).resolve()}.lock")

    def _lock_file(self) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _take(descriptor)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise self._busy(f"process {holder}" if holder else "another process") from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def _lock_server(self) -> None:
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        got = connection.execute(
            text("SELECT pg_try_advisory_lock(:key)"), {"key": _ADVISORY_KEY}
        ).scalar_one()
        if not got:
            connection.close()
            raise self._busy("another session")
        self._connection = connection

    def _busy(self, holder: str) -> DatabaseBusy:
        return DatabaseBusy(
            f"Another run is writing to '{shown_url(self._url)}'.",
            cause=f"It is held by {holder}; one corpus takes one run at a time.",
            solution="Wait for it, stop it with Ctrl-C, or give this run another --db. "
            "`stillhouse status` may read meanwhile.",
            command="stillhouse status --db DB",
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        if self._connection is not None:
            # Where the session is gone, so is its lock.
            with suppress(exc.DBAPIError):
                self._connection.execute(
                    text("SELECT pg_advisory_unlock(:key)"), {"key": _ADVISORY_KEY}
                )
            self._connection.close()
            self._connection = None
