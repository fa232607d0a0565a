"""Opens a corpus database: SQLite by path or URL, PostgreSQL by URL; checks its schema version.

In: what the user wrote after `--db`. Out: a `Database` whose engine is set up for many readers and
one writer (SQLite: WAL, busy timeout, foreign keys). A new database gets the newest schema; an
existing one of another version is refused, never changed behind the user's back. A SQLite file that
may not be written to is read as it is; one that is replaced while it is open is noticed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, Engine, create_engine, event, exc, inspect
from sqlalchemy.engine import URL, make_url

from storage.errors import (
    DatabaseReadOnly,
    DatabaseReplaced,
    DatabaseUnreadable,
    SchemaMismatch,
    StorageError,
    StorageFull,
)
from storage.locking import RunLock, shown_url
from storage.read_only import is_read_only, read_only_url
from storage.schema import SCHEMA_VERSION, create_schema, schema_version

DEFAULT_DATABASE = "stillhouse.db"


def parse_url(db: str) -> URL:
    """A SQLAlchemy URL from a file path, `sqlite:///…` or `postgresql://…` (driver psycopg 3)."""
    if "://" not in db:
        return URL.create("sqlite", database=str(Path(db).expanduser()))
    try:
        url = make_url(db)
    except (exc.ArgumentError, ValueError) as error:
        raise DatabaseUnreadable(
            "The database URL cannot be read.",
            cause="It is not of the form that URLs have; in a password, special characters are "
            "written as %40 (@), %3A (:) and %2F (/).",
            solution="Give a file path, sqlite:///path or postgresql://user@host/name.",
        ) from error
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise DatabaseUnreadable(
            f"Stillhouse does not know the database kind '{url.get_backend_name()}'.",
            cause="Only SQLite and PostgreSQL are tested.",
            solution="Give a file path, sqlite:///path or postgresql://user@host/name.",
        )
    return url


def _dumps(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()


def _make_engine(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        try:
            return create_engine(
                url, json_serializer=_dumps, json_deserializer=orjson.loads, pool_pre_ping=True
            )
        except ModuleNotFoundError as error:
            raise DatabaseUnreadable(
                "PostgreSQL was asked for, but its driver is not installed.",
                cause=f"Python module '{error.name}' is missing.",
                solution="Install the extra `postgres`.",
                command="pip install -c constraints.txt -e '.[postgres]'",
            ) from error
    engine = create_engine(
        url,
        json_serializer=_dumps,
        json_deserializer=orjson.loads,
        connect_args={"timeout": 30, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _set_pragmas(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    # The driver's own implicit BEGIN leaves DDL outside the transaction; a process killed while it
    # makes a new corpus would then leave half a schema behind.
    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))

    return engine


@contextmanager
def translated_errors(name: str) -> Iterator[None]:
    """Turns the driver's exceptions into errors that say what to do."""
    try:
        yield
    except (exc.StatementError, sqlite3.Error) as error:
        text = str(error.orig if isinstance(error, exc.StatementError) else error)
        lowered = text.lower()
        if "disk is full" in lowered or "no space left" in lowered or "disk i/o error" in lowered:
            raise StorageFull(
                f"The corpus database '{name}' cannot grow.",
                cause=f"The database says: {text}",
                solution="Free some disk space and run the same command again; it resumes, and "
                "everything that was committed is kept.",
                command="df -h",
            ) from error
        if "not a database" in lowered or "malformed" in lowered:
            raise DatabaseUnreadable(
                f"'{name}' is not a readable corpus database.",
                cause=f"The database says: {text}",
                solution="Give another --db; to look into a damaged SQLite file, use its .recover.",
            ) from error
        if isinstance(error, (exc.OperationalError, sqlite3.OperationalError)):
            raise DatabaseUnreadable(
                f"The corpus database '{name}' cannot be used.",
                cause=f"The database says: {text.splitlines()[0] if text else 'nothing'}",
                solution="Check that the path or server exists, that you may write to it, and that "
                "nothing else holds it.",
            ) from error
        raise StorageError(
            f"The corpus database '{name}' refused a statement.",
            cause=f"The database says: {text}",
            solution="Run `stillhouse doctor`; if it is green, please report this.",
            command="stillhouse doctor",
        ) from error


def _check_path(path: str, *, create: bool) -> None:
    if path in ("", ":memory:"):
        raise DatabaseUnreadable(
            "A corpus cannot live in memory.",
            cause="A run writes and reads through several connections, and each would see a "
            "database of its own.",
            solution="Give a file; on Linux one under /dev/shm is in memory too.",
        )
    if not create and not Path(path).exists():
        raise DatabaseUnreadable(
            f"There is no corpus database at '{path}'.",
            cause="The file does not exist.",
            solution="Give the right --db, or make a corpus first.",
            command=f"stillhouse run RECIPE --db {path}",
        )
    if create:
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatabaseUnreadable(
                f"The folder for the corpus database '{path}' cannot be made.",
                cause=f"The system says: {error.strerror} ({error.filename}).",
                solution="Give a --db in a folder that you may write to.",
            ) from error


def other_version(name: str, found: str) -> SchemaMismatch:
    """The error for a corpus whose schema version is not this program's."""
    what = f"'{name}' has schema version {found}; this Stillhouse reads {SCHEMA_VERSION}."
    from storage.migrate import known_revisions  # Alembic, which only an upgrade needs

    if found in known_revisions():
        return SchemaMismatch(
            what,
            cause="It was made by an older version of Stillhouse.",
            solution="Upgrade it; a SQLite file is copied first, of a PostgreSQL database make a "
            "dump yourself.",
            command="stillhouse db upgrade --db DB",
        )
    return SchemaMismatch(
        what,
        cause="It was made by a newer version of Stillhouse, or by a fork of it.",
        solution="Update this program; it cannot bring a newer database down to its own version.",
    )


def _identity(path: str | None) -> tuple[int, int]:
    found = Path(str(path)).stat()
    return found.st_dev, found.st_ino


class Database:
    """An open corpus database. Use `Database.open`; `close` when done."""

    def __init__(self, url: URL, engine: Engine, *, read_only: bool = False) -> None:
        self.url = url
        self.engine = engine
        self.read_only = read_only
        self._file: tuple[int, int] | None = None
        self.name = shown_url(url)

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the embedded default."""
        return self.url.get_backend_name() == "sqlite"

    @classmethod
    def open(cls, db: str = DEFAULT_DATABASE, *, create: bool = False) -> Database:
        """Opens `db`; with `create`, a missing or empty database gets the newest schema."""
        database = cls._connect(db, create=create)
        database._note_file()
        try:
            with translated_errors(str(database.name)):
                found = database._schema_version(may_be_empty=create)
                if found is None:
                    create_schema(database.engine)
                    database._note_file()
                elif found != SCHEMA_VERSION:
                    raise other_version(str(database.name), found)
                database._use_wal()
        except StorageError:
            database.close()
            raise
        return database

    @classmethod
    def open_any_version(cls, db: str) -> tuple[Database, str]:
        """Opens a corpus of whichever schema version, to upgrade it; says which version it has."""
        database = cls._connect(db, create=False)
        try:
            with translated_errors(str(database.name)):
                found = database._schema_version(may_be_empty=False)
            assert found is not None, "an empty database was refused"
        except StorageError:
            database.close()
            raise
        return database, found

    def _use_wal(self) -> None:
        """The file remembers it, so it is said only to one that is known to be ours."""
        if self.is_sqlite and not self.read_only:
            connection = self.engine.raw_connection()
            connection.cursor().execute("PRAGMA journal_mode=WAL")
            connection.close()

    @classmethod
    def _connect(cls, db: str, *, create: bool) -> Database:
        url = parse_url(db)
        if url.get_backend_name() == "sqlite":
            path = url.database or ""
            _check_path(path, create=create)
            if not create and is_read_only(path):
                return cls(url, _make_engine(read_only_url(path)), read_only=True)
        return cls(url, _make_engine(url))

    def _note_file(self) -> None:
        """Remembers which file was opened: one that is moved to its name later is another corpus,
        while connections that are open go on with the old one."""
        with suppress(OSError):
            self._file = _identity(self.url.database) if self.is_sqlite else None

    def _check_file(self) -> None:
        if self._file is None:
            return
        try:
            now = _identity(self.url.database)
        except FileNotFoundError:
            now = None
        if now != self._file:
            raise DatabaseReplaced(
                f"The file '{self.name}' was {'replaced' if now else 'taken away'}.",
                cause="It is another file than the one that was opened; what is written to that "
                "one now would be lost.",
                solution="End this command and start it again.",
            )

    def _schema_version(self, *, may_be_empty: bool) -> str | None:
        """The schema version of a corpus; None for an empty database, where there may be one."""
        with self.engine.connect() as connection:
            tables = set(inspect(connection).get_table_names())
            found = schema_version(connection, tables)
        if found is not None:
            return found
        if not tables:
            if may_be_empty:
                return None
            raise DatabaseUnreadable(
                f"'{self.name}' holds no corpus.",
                cause="The database is empty.",
                solution="Give the right --db, or make a corpus first.",
                command="stillhouse run RECIPE --db DB",
            )
        raise SchemaMismatch(
            f"'{self.name}' holds tables that are not Stillhouse's.",
            cause=f"It has tables ({', '.join(sorted(tables)[:4])}, …) and no schema version.",
            solution="Give Stillhouse a database of its own.",
        )

    def run_lock(self) -> RunLock:
        """The lock that one run at a time holds on this database."""
        return RunLock(self.url, self.engine)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for questions; its errors are Stillhouse's."""
        self._check_file()
        with translated_errors(str(self.name)), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A connection whose questions all see the same moment, whatever is written meanwhile."""
        self._check_file()
        # A SQLite transaction in WAL mode is a snapshot anyway.
        level = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        with (
            translated_errors(str(self.name)),
            self.engine.connect().execution_options(**level) as connection,
        ):
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction outside a run (a review, an export's manifest)."""
        self._check_file()
        if self.read_only:
            raise DatabaseReadOnly(
                f"The corpus database '{self.name}' can only be read here.",
                cause="Its file, or the folder around it, may not be written to by this program.",
                solution="Ask for the permission, or work on a copy in a folder of your own.",
            )
        with (
            translated_errors(str(self.name)),
            self.engine.connect().execution_options(begin="BEGIN IMMEDIATE") as connection,
            connection.begin(),
        ):
            yield connection

    def close(self) -> None:
        """Closes every connection."""
        self.engine.dispose()
