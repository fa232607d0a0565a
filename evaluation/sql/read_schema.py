"""Reads CREATE TABLE and INSERT statements into a `Schema`, in any dialect that sqlglot knows.

DDL text and a moment go in (what `CURRENT_DATE` means in its rows), tables with typed rows come
out. Schema qualifiers (`public.`, `consumer_div.`) are dropped: every benchmark database is one
namespace, on SQLite as on PostgreSQL, and the prompt shows it so.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import sqlglot
from sqlglot import exp

from evaluation.sql.constants import NotConstant, constant, stored
from evaluation.sql.errors import SqlBenchmarkError
from evaluation.sql.schema import Column, Kind, Schema, Table, in_reference_order

_T = exp.DataType.Type
_KINDS: dict[Kind, set[Any]] = {
    Kind.INTEGER: {*exp.DataType.INTEGER_TYPES, _T.SERIAL, _T.BIGSERIAL, _T.SMALLSERIAL},
    Kind.REAL: {_T.FLOAT, _T.DOUBLE},
    Kind.DECIMAL: {_T.DECIMAL, _T.MONEY},
    Kind.BOOLEAN: {_T.BOOLEAN},
    Kind.DATE: {_T.DATE},
    Kind.TIME: {_T.TIME},
    Kind.TIMESTAMP: {_T.TIMESTAMP, _T.TIMESTAMPTZ, _T.TIMESTAMPNTZ, _T.DATETIME},
    Kind.BLOB: {_T.BINARY, _T.VARBINARY, _T.BLOB},
}  # fmt: skip


def read_schema(name: str, ddl: str, now: datetime, dialect: str = "postgres") -> Schema:
    """The tables of `ddl` with the rows of its INSERTs, at `now` (UTC, naive).

    Raises:
        SqlBenchmarkError: a statement cannot be read, or a row does not fit its table.
    """
    try:
        parsed = [each for each in sqlglot.parse(ddl, read=dialect) if each is not None]
    except sqlglot.errors.SqlglotError as error:
        raise _unreadable(name, str(error).splitlines()[0]) from error
    tables: dict[str, Table] = {}
    rows: dict[str, list[tuple[Any, ...]]] = {}
    for statement in parsed:
        if isinstance(statement, exp.Create) and isinstance(statement.this, exp.Schema):
            table = _table(statement.this, now)
            if table.name.casefold() in tables:
                raise _unreadable(name, f"Table {table.name} is there twice.")
            tables[table.name.casefold()] = table
        elif isinstance(statement, exp.Insert):
            target, new = _inserted(name, statement, tables, now)
            rows.setdefault(target, []).extend(new)
        elif not _is_harmless(statement):
            raise _unreadable(name, f"{statement.key.upper()} is not understood in a schema.")
    if not tables:
        raise _unreadable(name, "It creates no table.")
    filled = [
        Table(t.name, t.columns, t.primary_key, tuple(rows.get(key, ())))
        for key, t in tables.items()
    ]
    return Schema(name, in_reference_order(filled))


def _is_harmless(statement: exp.Expr) -> bool:
    """Statements that say nothing about tables: CREATE SCHEMA, CREATE INDEX, SET, comments."""
    if isinstance(statement, exp.Create):
        return statement.kind in ("SCHEMA", "INDEX")
    return isinstance(statement, (exp.Set, exp.Semicolon))


def _table(made: exp.Schema, now: datetime) -> Table:
    columns: list[exp.ColumnDef] = []
    key: list[str] = []
    references: dict[str, tuple[str, str]] = {}
    for part in made.expressions:
        for inner in part.find_all(exp.PrimaryKey):
            key += [each.name for each in inner.expressions]
        for inner in part.find_all(exp.ForeignKey):
            references |= _foreign_key(inner)
        if isinstance(part, exp.ColumnDef):
            columns.append(part)
            if part.find(exp.PrimaryKeyColumnConstraint):
                key.append(part.name)
    names = {each.casefold() for each in key}
    return Table(
        made.this.name,
        tuple(_column(each, names, references, now) for each in columns),
        tuple(key),
    )


def _foreign_key(key: exp.ForeignKey) -> dict[str, tuple[str, str]]:
    target = key.find(exp.Reference)
    if target is None or len(key.expressions) != 1:
        return {}
    return {key.expressions[0].name.casefold(): _target(target)}


def _target(reference: exp.Reference) -> tuple[str, str]:
    made = reference.this
    if isinstance(made, exp.Schema) and made.expressions:
        return made.this.name, made.expressions[0].name
    return made.name, ""


def _column(
    column: exp.ColumnDef,
    key: set[str],
    references: dict[str, tuple[str, str]],
    now: datetime,
) -> Column:
    inline = column.find(exp.Reference)
    comments = [text for each in column.walk() for text in each.comments or ()]
    required = column.find(exp.NotNullColumnConstraint)
    is_key = column.name.casefold() in key
    return Column(
        name=column.name,
        kind=_kind(column.kind),
        nullable=not is_key and (required is None or bool(required.args.get("allow_null"))),
        unique=column.find(exp.UniqueColumnConstraint) is not None,
        references=_target(inline) if inline else references.get(column.name.casefold()),
        note=" ".join(" ".join(comments).split()) or None,
        default=_default(column, now),
    )


def _default(column: exp.ColumnDef, now: datetime) -> Any:
    """What a row without this column holds; None where the default is no constant (a sequence)."""
    given = column.find(exp.DefaultColumnConstraint)
    try:
        return None if given is None else stored(constant(given.this, now), _kind(column.kind))
    except (NotConstant, ValueError):
        return None


def _kind(data_type: exp.DataType | None) -> Kind:
    """TEXT where the type is unknown: SQLite holds anything in it, and PostgreSQL its words."""
    if data_type is None:
        return Kind.TEXT
    return next((kind for kind, types in _KINDS.items() if data_type.this in types), Kind.TEXT)


def _inserted(
    name: str, insert: exp.Insert, tables: dict[str, Table], now: datetime
) -> tuple[str, list[tuple[Any, ...]]]:
    target = insert.this
    named = [each.name for each in target.expressions] if isinstance(target, exp.Schema) else []
    table_name = (target.this if isinstance(target, exp.Schema) else target).name
    table = tables.get(table_name.casefold())
    if table is None:
        raise _unreadable(name, f"Rows go into {table_name}, which no statement before creates.")
    order = named or [column.name for column in table.columns]
    places = {column.casefold(): place for place, column in enumerate(order)}
    if not isinstance(insert.expression, exp.Values):
        raise _unreadable(name, f"Rows of table {table.name} come from a query.")
    rows = []
    for number, values in enumerate(_tuples(insert.expression), 1):
        try:
            if len(values) != len(order):
                raise ValueError(f"{len(values)} values for {len(order)} columns")
            rows.append(tuple(_value(column, values, places, now) for column in table.columns))
        except (NotConstant, ValueError) as error:
            raise _unreadable(name, f"Row {number} of table {table.name}: {error}.") from error
    return table.name.casefold(), rows


def _tuples(values: exp.Values) -> Iterator[list[exp.Expr]]:
    for row in values.expressions:
        yield row.expressions if isinstance(row, exp.Tuple) else [row]


def _value(column: Column, values: list[exp.Expr], places: dict[str, int], now: datetime) -> Any:
    place = places.get(column.name.casefold())
    if place is None or _is_default(values[place]):
        return column.default
    return stored(constant(values[place], now), column.kind)


def _is_default(value: exp.Expr) -> bool:
    return isinstance(value, (exp.Column, exp.Var)) and value.name.upper() == "DEFAULT"


def _unreadable(name: str, cause: str) -> SqlBenchmarkError:
    return SqlBenchmarkError(
        f"The schema of database '{name}' cannot be read.",
        cause=cause,
        solution="Give CREATE TABLE and INSERT … VALUES statements with constant values, and name "
        "the dialect they are written in.",
    )
