"""Runs queries on a SQLite file inside the worker process: reading only, bounded, interruptible.

The file is opened read-only, an authorizer lets nothing but reading pass, a progress handler stops
a query at its deadline, and SQLite's own limits bound its memory. What none of these can stop (one
long step inside SQLite) the parent ends by killing the process.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from evaluation.sql.outcome import Failure, Limits, Outcome, plain, size

_STEPS = 2_000
_LONGEST_VALUE = 4_000_000
_MOST_CHARACTERS = 20_000
_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE}
# They reach outside the database, or show what is none of a query's business.
_DENIED = {"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer", "sqlite_log"}


class SqliteReader:
    """One database file, opened for reading.

    Args:
        path: the file; it must exist.
        limits: for every query.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        self._limits = limits
        self._deadline = 0.0
        self._database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        # Sorting and grouping stay in memory, of which there is only so much.
        self._database.execute("PRAGMA temp_store = MEMORY")
        self._database.execute(f"PRAGMA hard_heap_limit = {limits.megabytes * 1_000_000 // 4}")
        self._database.text_factory = lambda raw: raw.decode("utf-8", "replace")
        self._database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE)
        self._database.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, 4 * _MOST_CHARACTERS)
        self._database.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        self._database.set_authorizer(_authorise)
        self._database.set_progress_handler(self._is_late, _STEPS)

    def run(self, query: str) -> Outcome:
        """The rows of one statement, or why there are none; never raises for what a query does."""
        began = time.monotonic()
        self._deadline = began + self._limits.seconds
        try:
            cursor = self._database.execute(query)
            columns = tuple(each[0] for each in cursor.description or ())
            rows, characters = [], 0
            for found in cursor:
                row = tuple(plain(value) for value in found)
                characters += size(row)
                rows.append(row)
                if len(rows) > self._limits.rows or characters > self._limits.characters:
                    return _failed(Failure.TOO_LARGE, "It returns too much.", began)
                if time.monotonic() > self._deadline:
                    return _failed(Failure.TIMEOUT, "It was stopped at the time limit.", began)
        except (sqlite3.Error, sqlite3.Warning, OverflowError) as error:
            return _failed(*_named(error), began)
        except MemoryError:
            return _failed(Failure.TOO_LARGE, "It takes too much memory.", began)
        return Outcome(columns, tuple(rows), seconds=time.monotonic() - began)

    def _is_late(self) -> bool:
        return time.monotonic() > self._deadline


def _authorise(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    if action == sqlite3.SQLITE_FUNCTION:
        allowed = (second or "").lower() not in _DENIED
    else:
        allowed = action in _ALLOWED
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _named(error: Exception) -> tuple[Failure, str]:
    text = str(error)
    if text == "interrupted":
        return Failure.TIMEOUT, "It was stopped at the time limit."
    if "too big" in text or "out of memory" in text:
        return Failure.TOO_LARGE, text
    if "not authorized" in text or "prohibited" in text or "one statement" in text:
        return Failure.REFUSED, text
    if "readonly" in text:
        return Failure.REFUSED, text
    return Failure.ERROR, text


def _failed(failure: Failure, detail: str, began: float) -> Outcome:
    return Outcome(failure=failure, detail=detail, seconds=time.monotonic() - began)
