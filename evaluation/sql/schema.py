"""A database's tables and rows in a form that belongs to no dialect.

`read_schema` makes it from DDL text, `fill` adds rows to empty tables, `ddl` writes it for SQLite
and PostgreSQL, so that both hold the same rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What a column holds."""

    INTEGER = "integer"
    REAL = "real"
    DECIMAL = "decimal"
    TEXT = "text"
    BOOLEAN = "boolean"
    DATE = "date"
    TIME = "time"
    TIMESTAMP = "timestamp"
    BLOB = "blob"


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    `references` is the (table, column) of a foreign key of one column; the column is empty where
    the DDL leaves it to the target's primary key. `note` is the comment beside it in the DDL, which
    tells a model what the column holds. `default` is what a row that leaves it out holds.
    """

    name: str
    kind: Kind
    nullable: bool = True
    unique: bool = False
    references: tuple[str, str] | None = None
    note: str | None = None
    default: Any = None


@dataclass(frozen=True, slots=True)
class Table:
    """One table and its rows, each with a value per column (see `values` for their types)."""

    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()

    def column(self, name: str) -> Column | None:
        """The column of this name, whatever the case."""
        wanted = name.casefold()
        return next((c for c in self.columns if c.name.casefold() == wanted), None)


@dataclass(frozen=True, slots=True)
class Schema:
    """A database: its name and tables, a table after those it references where that is possible."""

    name: str
    tables: tuple[Table, ...]

    def table(self, name: str) -> Table | None:
        """The table of this name, whatever the case."""
        wanted = name.casefold()
        return next((t for t in self.tables if t.name.casefold() == wanted), None)


def in_reference_order(tables: list[Table]) -> tuple[Table, ...]:
    """The tables, referenced ones first; those in a circle keep their order at the end."""
    placed: list[Table] = []
    waiting = list(tables)
    while waiting:
        known = {table.name.casefold() for table in placed}
        ready = [
            table
            for table in waiting
            if all(
                column.references is None
                or column.references[0].casefold() in known | {table.name.casefold()}
                for column in table.columns
            )
        ]
        if not ready:
            return (*placed, *waiting)
        placed += ready
        waiting = [table for table in waiting if table not in ready]
    return tuple(placed)
