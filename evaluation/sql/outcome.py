"""What running one query came to: rows, or why there are none. Plain values, for every backend."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

Value = None | int | float | str
Row = tuple[Value, ...]
_MOST_DIGITS = 300


class Failure(StrEnum):
    """Why a query gave no rows."""

    REFUSED = "refused"
    """It is not one query that only reads; nothing of it ran."""
    ERROR = "error"
    """The database said no: syntax, unknown names, a division by zero."""
    TIMEOUT = "timeout"
    """It was stopped at the time limit."""
    TOO_LARGE = "too_large"
    """More rows, or more memory, than the limits allow."""
    CRASHED = "crashed"
    """The process that ran it ended, or the server closed the connection."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Rows with their columns' names, or a failure with its detail in words.

    Values are None, int, float or str (see `plain`). `seconds` is what the query took.
    """

    columns: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    failure: Failure | None = None
    detail: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What one query may take. The process that runs it is killed `grace_s` after `seconds`, should
    the database not have stopped by itself; `megabytes` bounds that process's memory."""

    seconds: float = 5.0
    grace_s: float = 2.0
    rows: int = 50_000
    characters: int = 10_000_000
    megabytes: int = 1024


def size(row: Row) -> int:
    """What a row counts towards the limit of characters: eight for a number."""
    return sum(len(value) if isinstance(value, str) else 8 for value in row)


def plain(value: Any) -> Value:
    """A database's value as JSON and comparison know it.

    Truth becomes 0 or 1, whole decimals int and others float, moments ISO text with a blank
    (`2023-04-01 09:30:00`), durations seconds, bytes hexadecimal text, anything else its text; so
    does a decimal that no float holds.
    """
    match value:
        case None | str():
            return value
        case bool() | int():
            return int(value)
        case float():
            return value
        case Decimal() if not value.is_finite() or value.adjusted() > _MOST_DIGITS:
            return str(value)
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case datetime():
            return value.replace(tzinfo=None).isoformat(" ")
        case date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case bytes() | memoryview():
            return bytes(value).hex()
    return str(value)
