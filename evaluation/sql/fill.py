"""Fills empty tables, so that equal results mean something where a schema brings no rows.

A schema and the queries that will run on it go in, a schema with rows comes out; equal input gives
equal rows on every machine. Keys are distinct, foreign keys point to rows that exist, and half of
the values are those that the queries compare a column with, so that conditions meet some rows and
miss others (the idea of test-suite accuracy, Zhong and others, arXiv 2010.02840).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import Any

import sqlglot
from sqlglot import exp

from common.hashing import fraction
from evaluation.sql.constants import stored
from evaluation.sql.schema import Column, Kind, Schema, Table

ROWS = 40
_NULLS = 0.08
_MET = 0.5

Hints = Mapping[str, tuple[str, ...]]


def fill_empty(
    schema: Schema,
    now: datetime,
    queries: Iterable[str] = (),
    *,
    rows: int = ROWS,
    dialect: str = "sqlite",
) -> Schema:
    """`schema` with `rows` rows in every table that has none; the others stay as they are.

    Args:
        schema: tables in reference order.
        now: dates lie within two years before it.
        queries: their literals are among the values; one that cannot be parsed gives none.
        rows: fewer where a key's values run out.
        dialect: the queries' dialect, as sqlglot names it.
    """
    hints = _hints(queries, dialect)
    done: dict[str, Table] = {}
    for table in schema.tables:
        if not table.rows:
            table = replace(table, rows=tuple(_rows(schema.name, table, done, hints, now, rows)))
        done[table.name.casefold()] = table
    return Schema(schema.name, tuple(done.values()))


def _rows(
    database: str, table: Table, done: Mapping[str, Table], hints: Hints, now: datetime, count: int
) -> Iterator[tuple[Any, ...]]:
    key = {name.casefold() for name in table.primary_key}
    single = [each for each in table.columns if each.unique or {each.name.casefold()} == key]
    seen: set[tuple[Any, ...]] = set()
    for number in range(count):
        row = tuple(
            _value(column, number, column in single, (database, table.name), done, hints, now)
            for column in table.columns
        )
        places = [i for i, each in enumerate(table.columns) if each.name.casefold() in key]
        identity = tuple(row[place] for place in places)
        if places and identity in seen:
            continue
        seen.add(identity)
        yield row


def _value(
    column: Column, number: int, distinct: bool, where: tuple[str, str],
    done: Mapping[str, Table], hints: Hints, now: datetime,
) -> Any:  # fmt: skip
    def drawn(purpose: str) -> float:
        return fraction(*where, column.name, number, purpose)

    if column.nullable and not distinct and drawn("null") < _NULLS:
        return None
    there = _referenced(column, done)
    if there:
        return there[number % len(there) if distinct else int(drawn("row") * len(there))]
    if distinct:
        return _numbered(column, number, now)
    met = hints.get(column.name.casefold(), ())
    if met and drawn("met") < _MET:
        try:
            return stored(met[int(drawn("which") * len(met))], column.kind)
        except ValueError:
            pass
    return _numbered(column, int(drawn("value") * ROWS), now)


def _referenced(column: Column, done: Mapping[str, Table]) -> list[Any]:
    """The values that a foreign key may take: those of the target column, in the rows' order."""
    if column.references is None:
        return []
    table = done.get(column.references[0].casefold())
    if table is None or not table.rows:
        return []
    wanted = (column.references[1] or "".join(table.primary_key[:1])).casefold()
    names = [each.name.casefold() for each in table.columns]
    if wanted not in names:
        return []
    place = names.index(wanted)
    return [row[place] for row in table.rows if row[place] is not None]


def _numbered(column: Column, number: int, now: datetime) -> Any:
    """The value of this column that belongs to a number."""
    moment = now.replace(microsecond=0) - timedelta(days=18 * number, hours=7 * number)
    match column.kind:
        case Kind.INTEGER:
            return number + 1
        case Kind.REAL:
            return number * 1.25
        case Kind.DECIMAL:
            return Decimal(number) * Decimal("12.5")
        case Kind.BOOLEAN:
            return number % 3 == 0
        case Kind.DATE:
            return moment.date()
        case Kind.TIME:
            return time(number % 24, (7 * number) % 60)
        case Kind.TIMESTAMP:
            return moment
        case Kind.BLOB:
            return f"{column.name} {number}".encode()
    return f"{column.name} {number}"


def _hints(queries: Iterable[str], dialect: str) -> Hints:
    """Which literals the queries compare with each column, by the column's name."""
    found: dict[str, dict[str, None]] = {}
    for query in queries:
        try:
            tree = sqlglot.parse_one(query, read=dialect)
        except sqlglot.errors.SqlglotError:
            continue
        for node in tree.find_all(exp.Predicate):
            columns = {each.name.casefold() for each in node.find_all(exp.Column)}
            for column in columns if len(columns) == 1 else ():
                for literal in node.find_all(exp.Literal):
                    found.setdefault(column, {})[literal.name.strip("%")] = None
    return {column: tuple(values) for column, values in found.items()}
