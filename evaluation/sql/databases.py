"""Builds a benchmark's databases and opens boxes on them: SQLite files, or PostgreSQL databases.

Schemas go in, one `Box` per schema comes out. On PostgreSQL every schema becomes a database of its
own beside the one whose URL is given, owned by the role of that URL and read by a role that may do
nothing else; both are dropped at the end.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from evaluation.sql.boxes import Box
from evaluation.sql.ddl import create_table, insert, sqlite_value
from evaluation.sql.errors import SqlDatabaseError
from evaluation.sql.outcome import Limits
from evaluation.sql.schema import Schema


@contextlib.contextmanager
def sqlite_boxes(
    schemas: Sequence[Schema], folder: Path, limits: Limits | None = None
) -> Iterator[Mapping[str, Box]]:
    """A box per schema, on files in `folder` (`<name>.db`, made anew).

    Raises:
        SqlDatabaseError: rows break a key of their table.
    """
    with contextlib.ExitStack() as stack:
        boxes = {}
        for schema in schemas:
            path = folder / f"{schema.name}.db"
            build_sqlite(schema, path)
            boxes[schema.name] = stack.enter_context(Box("sqlite", str(path), limits))
        yield boxes


def build_sqlite(schema: Schema, path: Path) -> None:
    """Makes the SQLite file of `schema`, in the place of one that is there."""
    path.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(path)) as database, database:
            for table in schema.tables:
                database.execute(create_table(table, "sqlite"))
                rows = ([sqlite_value(value) for value in row] for row in table.rows)
                database.executemany(insert(table, "sqlite"), rows)
    except sqlite3.Error as error:
        raise not_built(schema, "SQLite", error) from error


@contextlib.contextmanager
def postgres_boxes(
    schemas: Sequence[Schema], url: str, limits: Limits | None = None
) -> Iterator[Mapping[str, Box]]:
    """A box per schema, in databases of the server at `url`; see `postgres_build`.

    Raises:
        SqlDatabaseError: the server does not answer, its role may not create databases and roles,
            or rows break a key of their table.
    """
    try:
        from evaluation.sql.postgres_build import PostgresBuild
    except ImportError as error:
        raise SqlDatabaseError(
            "PostgreSQL cannot be used.",
            cause=f"The driver is not installed ({error}).",
            solution="Install the extra `postgres`, or evaluate on SQLite.",
            command='pip install -e ".[postgres]"',
        ) from error
    with PostgresBuild(url, secrets.token_hex(4)) as build, contextlib.ExitStack() as stack:
        boxes = {}
        for schema in schemas:
            conninfo = build.build(schema)
            boxes[schema.name] = stack.enter_context(Box("postgresql", conninfo, limits))
        yield boxes


def not_built(schema: Schema, where: str, error: Exception) -> SqlDatabaseError:
    """The error of a build that the database refused."""
    return SqlDatabaseError(
        f"Database '{schema.name}' could not be built in {where}.",
        cause=str(error).strip().splitlines()[0],
        solution="Look at the schema's keys and rows: they have to fit each other.",
    )
