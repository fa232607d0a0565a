"""Writes a `Schema` for a backend: the statements that make it, and the text a model reads.

PostgreSQL folds simple names to small letters, so they are made and shown in small letters there;
names that need quotes are kept as they are. Foreign keys are shown but not enforced: nothing is
ever written after the build, and published rows break their own keys now and then.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Literal

from evaluation.sql.schema import Column, Kind, Schema, Table

Backend = Literal["sqlite", "postgresql"]
BACKENDS: tuple[Backend, ...] = ("sqlite", "postgresql")

_SIMPLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# PostgreSQL's appendix C ("reserved", also those that may name a type), and what SQLite adds.
_RESERVED = frozenset(
    [
        "ALL",
        "ANALYSE",
        "ANALYZE",
        "AND",
        "ANY",
        "ARRAY",
        "AS",
        "ASC",
        "ASYMMETRIC",
        "AUTHORIZATION",
        "BINARY",
        "BOTH",
        "CASE",
        "CAST",
        "CHECK",
        "COLLATE",
        "COLLATION",
        "COLUMN",
        "CONCURRENTLY",
        "CONSTRAINT",
        "CREATE",
        "CROSS",
        "CURRENT_CATALOG",
        "CURRENT_DATE",
        "CURRENT_ROLE",
        "CURRENT_SCHEMA",
        "CURRENT_TIME",
        "CURRENT_TIMESTAMP",
        "CURRENT_USER",
        "DEFAULT",
        "DEFERRABLE",
        "DESC",
        "DISTINCT",
        "DO",
        "ELSE",
        "END",
        "EXCEPT",
        "FALSE",
        "FETCH",
        "FOR",
        "FOREIGN",
        "FREEZE",
        "FROM",
        "FULL",
        "GRANT",
        "GROUP",
        "HAVING",
        "ILIKE",
        "IN",
        "INITIALLY",
        "INNER",
        "INTERSECT",
        "INTO",
        "IS",
        "ISNULL",
        "JOIN",
        "LATERAL",
        "LEADING",
        "LEFT",
        "LIKE",
        "LIMIT",
        "LOCALTIME",
        "LOCALTIMESTAMP",
        "NATURAL",
        "NOT",
        "NOTNULL",
        "NULL",
        "OFFSET",
        "ON",
        "ONLY",
        "OR",
        "ORDER",
        "OUTER",
        "OVERLAPS",
        "PLACING",
        "PRIMARY",
        "REFERENCES",
        "RETURNING",
        "RIGHT",
        "SELECT",
        "SESSION_USER",
        "SIMILAR",
        "SOME",
        "SYMMETRIC",
        "TABLE",
        "TABLESAMPLE",
        "THEN",
        "TO",
        "TRAILING",
        "TRUE",
        "UNION",
        "UNIQUE",
        "USER",
        "USING",
        "VARIADIC",
        "VERBOSE",
        "WHEN",
        "WHERE",
        "WINDOW",
        "WITH",
        "ADD",
        "ALTER",
        "AUTOINCREMENT",
        "BETWEEN",
        "COMMIT",
        "DELETE",
        "DROP",
        "ESCAPE",
        "EXISTS",
        "IF",
        "INDEX",
        "INDEXED",
        "INSERT",
        "NOTHING",
        "REGEXP",
        "ROLLBACK",
        "SET",
        "TRANSACTION",
        "UPDATE",
        "VALUES",
    ]
)
# SQLite: DECIMAL's own affinity would store 15000.00 as an integer and divide it as one.
_TYPES: dict[Backend, dict[Kind, str]] = {
    "sqlite": {
        Kind.INTEGER: "INTEGER", Kind.REAL: "REAL", Kind.DECIMAL: "REAL", Kind.TEXT: "TEXT",
        Kind.BOOLEAN: "BOOLEAN", Kind.DATE: "DATE", Kind.TIME: "TIME",
        Kind.TIMESTAMP: "TIMESTAMP", Kind.BLOB: "BLOB",
    },
    "postgresql": {
        Kind.INTEGER: "bigint", Kind.REAL: "double precision", Kind.DECIMAL: "numeric",
        Kind.TEXT: "text", Kind.BOOLEAN: "boolean", Kind.DATE: "date", Kind.TIME: "time",
        Kind.TIMESTAMP: "timestamp", Kind.BLOB: "bytea",
    },
}  # fmt: skip


def name_in(name: str, backend: Backend) -> str:
    """A table's or column's name as a query on `backend` writes it, quoted where it must be."""
    if _SIMPLE.fullmatch(name):
        folded = name.lower() if backend == "postgresql" else name
        return f'"{folded}"' if name.upper() in _RESERVED else folded
    return '"' + name.replace('"', '""') + '"'


def create_table(table: Table, backend: Backend, *, shown: bool = False) -> str:
    """The CREATE TABLE statement; `shown` adds foreign keys and the columns' notes, for reading."""
    lines = [_column(column, backend, shown) for column in table.columns]
    if table.primary_key:
        names = ", ".join(name_in(each, backend) for each in table.primary_key)
        lines.append((f"PRIMARY KEY ({names})", None))
    last = len(lines) - 1
    body = "\n".join(
        f"  {text}{',' if place < last else ''}{f' -- {note}' if note else ''}"
        for place, (text, note) in enumerate(lines)
    )
    return f"CREATE TABLE {name_in(table.name, backend)} (\n{body}\n)"


def shown_schema(schema: Schema, backend: Backend) -> str:
    """All tables as a model reads them."""
    made = (f"{create_table(table, backend, shown=True)};" for table in schema.tables)
    return "\n\n".join(made)


def insert(table: Table, backend: Backend) -> str:
    """The INSERT statement with a mark per column: `?` for SQLite, `%s` for PostgreSQL."""
    mark = "?" if backend == "sqlite" else "%s"
    marks = ", ".join([mark] * len(table.columns))
    return f"INSERT INTO {name_in(table.name, backend)} VALUES ({marks})"


def sqlite_value(value: Any) -> Any:
    """A value as SQLite's own functions expect it: dates as ISO text, truth as 0 and 1."""
    match value:
        case bool():
            return int(value)
        case Decimal():
            return float(value)
        case datetime():
            return value.isoformat(" ")
        case date() | time():
            return value.isoformat()
    return value


def _column(column: Column, backend: Backend, shown: bool) -> tuple[str, str | None]:
    parts = [name_in(column.name, backend), _TYPES[backend][column.kind]]
    if not column.nullable:
        parts.append("NOT NULL")
    if column.unique:
        parts.append("UNIQUE")
    if shown and column.references:
        table, target = column.references
        place = f" ({name_in(target, backend)})" if target else ""
        parts.append(f"REFERENCES {name_in(table, backend)}{place}")
    return " ".join(parts), column.note if shown else None
