"""Runs queries on PostgreSQL inside the worker process, as a role that may only read.

Every query has a connection of its own: a read-only transaction with a statement timeout, a cursor
declared over the query (which PostgreSQL does for one SELECT, VALUES or WITH that writes nothing,
and for no other statement), one FETCH, a rollback. The protocol's extended form, which takes one
statement only, is used throughout.
"""

from __future__ import annotations

import time

import psycopg
from psycopg import sql

from evaluation.sql.outcome import Failure, Limits, Outcome, Row, plain, size

# PostgreSQL's error classes "insufficient resources" and "program limit exceeded".
_TOO_MUCH = ("53", "54")


class PostgresReader:
    """One database as the reading role sees it.

    Args:
        conninfo: how that role connects.
        limits: for every query.
    """

    def __init__(self, conninfo: str, limits: Limits) -> None:
        self._conninfo = conninfo
        self._limits = limits

    def run(self, query: str) -> Outcome:
        """The rows of one statement, or why there are none; never raises for what a query does."""
        began = time.monotonic()
        try:
            columns, rows = self._fetched(query)
        except psycopg.Error as error:
            failure, detail = _named(error)
            return Outcome(failure=failure, detail=detail, seconds=time.monotonic() - began)
        except MemoryError:
            failure = Failure.TOO_LARGE
            return Outcome(failure=failure, detail="It takes too much memory.")
        seconds = time.monotonic() - began
        characters = sum(size(row) for row in rows)
        if len(rows) > self._limits.rows or characters > self._limits.characters:
            detail = "It returns too much."
            return Outcome(failure=Failure.TOO_LARGE, detail=detail, seconds=seconds)
        return Outcome(columns, rows, seconds=seconds)

    def _fetched(self, query: str) -> tuple[tuple[str, ...], tuple[Row, ...]]:
        with psycopg.connect(self._conninfo, connect_timeout=10) as connection:
            connection.read_only = True
            timeout = sql.Literal(int(self._limits.seconds * 1000))
            connection.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(timeout))
            # What a model wrote runs as it is: bytes are taken without a look for placeholders.
            declared = f"DECLARE answer NO SCROLL CURSOR FOR {query}".encode()
            connection.execute(declared, prepare=True)
            fetch = sql.SQL("FETCH FORWARD {} FROM answer").format(self._limits.rows + 1)
            cursor = connection.execute(fetch, prepare=True)
            columns = tuple(each.name for each in cursor.description or ())
            rows = tuple(tuple(plain(value) for value in row) for row in cursor)
            connection.rollback()
        return columns, rows


def _named(error: psycopg.Error) -> tuple[Failure, str]:
    detail = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    match error:
        case psycopg.errors.QueryCanceled():
            return Failure.TIMEOUT, "It was stopped at the time limit."
        case psycopg.errors.InsufficientPrivilege() | psycopg.errors.ReadOnlySqlTransaction():
            return Failure.REFUSED, detail
        case psycopg.errors.InvalidCursorDefinition():
            return Failure.REFUSED, detail
    if error.sqlstate is not None and error.sqlstate[:2] in _TOO_MUCH:
        return Failure.TOO_LARGE, detail
    if error.sqlstate is None and isinstance(error, psycopg.OperationalError):
        return Failure.CRASHED, detail
    return Failure.ERROR, detail
