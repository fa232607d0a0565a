"""Check of a SQL query: on small random databases, does it return what the reference returns?

An instruction that holds its tables' definitions, a response and a reference query go in. Tables
are filled with rows that the literals of both queries can tell apart (as in test-suite accuracy,
Zhong and others, arXiv 2010.02840), in memory, several times over. A query runs alone, may only
read, and is stopped after a fixed number of steps, so that it can do no harm and a check takes
milliseconds. Equal results everywhere settle that it is right, other rows that it is wrong; where
ties, limits or another dialect leave a doubt the answer is None.
"""

from __future__ import annotations

import random
import re
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from typing import Any

from agents.checks.result import CheckResult

_ROWS = (250, 100, 25, *(8, 6, 4, 3) * 12, 0)
"""Of every table, one database after another. Many rows tell most queries apart; a highest value or
a sum that many rows reach by either query needs few, and several times: of 1,836 queries with a
condition dropped or a bound off by 1 or 10, five databases let 119 pass, these none."""
_STEPS = 2_000_000
_STEPS_AT_ONCE = 10_000
_MOST_ROWS = 50_000
_MAX_CHARS = 4000
_DIGITS = 10
"""To how many significant digits numbers with a fraction are compared."""

_TABLE = re.compile(r"CREATE\s+TABLE\s[^;]*\)", re.IGNORECASE)
_FENCE = re.compile(r"```[ \t]*(?:sql\w*)?[ \t]*\n(.*?)```", re.DOTALL | re.IGNORECASE)
_QUERY = re.compile(r"(?:^|\n)\s*((?:SELECT|WITH)\b.*)", re.DOTALL | re.IGNORECASE)
_STRING = re.compile(r"'((?:[^']|'')*)'")
_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.])")
_ORDERED = re.compile(r"\bORDER\s+BY\b(?![^()]*\))", re.IGNORECASE)
_LIMITED = re.compile(r"\bLIMIT\b", re.IGNORECASE)
_UNKNOWN = re.compile(r"no such (?:column|table)")
_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE}
# They take memory or time by one step, or reach outside.
_DENIED_FUNCTIONS = {"load_extension", "randomblob", "zeroblob", "readfile", "writefile", "edit"}

Rows = list[tuple[Any, ...]]


def check_sql_result(asked: str, response: str, reference: str | None) -> CheckResult | None:
    """Whether the response's query returns what `reference` does, on tables that `asked` defines.

    None where there are no tables, no reference query or no query, and where it cannot be certain.
    """
    wanted = _query(reference or "")
    if wanted is None or not (tables := _TABLE.findall(asked)):
        return None
    given = _query(response)
    if given is None:
        return None
    if _settled(given) == _settled(wanted):
        return CheckResult("sql_result", "pass", True, {"same_text": True})
    found_rows = 0
    for number, count in enumerate(_ROWS):
        with closing(sqlite3.connect(":memory:")) as database:
            if not _fill(database, tables, f"{wanted}\n{given}", count, number):
                return None
            _lock(database)
            try:
                right = _rows(database, wanted)
            except sqlite3.Error:
                return None
            try:
                rows = _rows(database, given)
            except sqlite3.Error as error:
                return _refused(str(error))
        found_rows += len(right)
        if rows != right and not (_unordered(wanted) and Counter(rows) == Counter(right)):
            return _differs(wanted, rows, right)
    if not found_rows:
        return None
    return CheckResult("sql_result", "pass", True, {"databases": len(_ROWS), "rows": found_rows})


def _query(text: str) -> str | None:
    """The one query of `text`, without its semicolon."""
    text = text.rpartition("</think>")[2]
    if len(text) > _MAX_CHARS:
        return None
    fenced = _FENCE.findall(text)
    if len(fenced) > 1:
        return None
    match = _QUERY.search(fenced[0] if fenced else text)
    return match[1].strip().rstrip(";").rstrip() if match else None


def _settled(query: str) -> str:
    return " ".join(query.split())


def _unordered(query: str) -> bool:
    return not _ORDERED.search(query)


def _fill(
    database: sqlite3.Connection, tables: list[str], queries: str, count: int, number: int
) -> bool:
    """Makes the tables and `count` rows of each; False where SQLite does not know such tables."""
    numbers = random.Random(number)
    quoted = {each.replace("''", "'") for each in _STRING.findall(queries)}
    strings = [*sorted(quoted), "x", "y"]
    known = {float(each) for each in _NUMBER.findall(_STRING.sub("''", queries))}
    values = sorted({each + by for each in known for by in (-1, 0, 1)} | {0.0, 1.0, 2.0, 50.0})
    try:
        for table in tables:
            database.execute(table)
        names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (name,) in names:
            columns = database.execute("SELECT type FROM pragma_table_info(?)", (name,)).fetchall()
            marks = ", ".join("?" * len(columns))
            insert = (
                f'INSERT OR IGNORE INTO "{name.replace(chr(34), chr(34) * 2)}" VALUES ({marks})'
            )
            rows = (
                [_value(kind, strings, values, numbers) for (kind,) in columns]
                for _ in range(count)
            )
            database.executemany(insert, rows)
    except sqlite3.Error:
        return False
    return bool(names)


def _value(
    kind: str, strings: list[str], values: list[float], numbers: random.Random
) -> str | int | float | None:
    """A value of a column of this declared type (SQLite's rules of affinity), or NULL.

    Two in three are such as the queries speak of, so that conditions and joins meet some; the
    others let them miss.
    """
    if numbers.random() < 0.1:
        return None
    met = numbers.random() < 2 / 3
    if any(part in kind.upper() for part in ("CHAR", "CLOB", "TEXT", "DATE", "TIME", "BLOB")):
        return numbers.choice(strings) if met else f"t{numbers.randrange(40)}"
    value = numbers.choice(values) if met else float(numbers.randrange(100))
    return int(value) if value.is_integer() or "INT" in kind.upper() else value


def _lock(database: sqlite3.Connection) -> None:
    """From here on the connection only reads its own tables, and only so much."""
    database.commit()
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 100_000)
    database.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, 2 * _MAX_CHARS)
    database.set_authorizer(_authorise)


def _authorise(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    if action == sqlite3.SQLITE_FUNCTION:
        allowed = (second or "").lower() not in _DENIED_FUNCTIONS
    else:
        allowed = action in _ALLOWED
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _rows(database: sqlite3.Connection, query: str) -> Rows:
    """What a query returns; stopped with an error after `_STEPS` of SQLite's machine."""
    database.set_progress_handler(_countdown(), _STEPS_AT_ONCE)
    rows = database.execute(query).fetchmany(_MOST_ROWS + 1)
    if len(rows) > _MOST_ROWS:
        raise sqlite3.OperationalError("too many rows")
    return [tuple(_rounded(value) for value in row) for row in rows]


def _rounded(value: Any) -> Any:
    """Sums of the same numbers in another order differ in their last digits."""
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value


def _countdown() -> Callable[[], bool]:
    left = _STEPS // _STEPS_AT_ONCE

    def spent() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    return spent


def _refused(problem: str) -> CheckResult | None:
    if _UNKNOWN.search(problem) or "not authorized" in problem:
        return CheckResult("sql_result", "fail", True, {"problem": problem})
    return None


def _differs(wanted: str, rows: Rows, right: Rows) -> CheckResult | None:
    """Certain, unless only the order differs, or a limit could have cut ties either way."""
    if Counter(rows) == Counter(right) or _LIMITED.search(wanted):
        return None
    return CheckResult(
        "sql_result", "fail", True, {"rows": len(rows), "wanted": len(right), "same_rows": False}
    )
