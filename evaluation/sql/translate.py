"""Translates a SQLite query to PostgreSQL, with the database's types at hand.

sqlglot parses, qualifies names and infers types; this corrects what the two engines mean
differently: SQLite compares and computes across types, divides and casts in its own way, compares
text with LIKE whatever the case, lets ORDER BY compute with aliases and lets a grouped query show
columns that it does not group by (one row's value; here the group's smallest).
"""

from __future__ import annotations

import re
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.optimizer.annotate_types import annotate_types
from sqlglot.optimizer.qualify import qualify
from sqlglot.schema import MappingSchema

from evaluation.sql import engine_types
from evaluation.sql.ddl import name_in
from evaluation.sql.errors import Untranslatable
from evaluation.sql.schema import Kind, Schema
from evaluation.sql.sqlite_dates import translated_date
from evaluation.sql.tokens import tokens

_TYPES = {
    Kind.INTEGER: "bigint", Kind.REAL: "double", Kind.DECIMAL: "decimal", Kind.TEXT: "text",
    Kind.BOOLEAN: "boolean", Kind.DATE: "date", Kind.TIME: "time", Kind.TIMESTAMP: "timestamp",
    Kind.BLOB: "blob",
}  # fmt: skip
_SIMPLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def to_postgres(query: str, schema: Schema) -> str:
    """`query`, one SELECT in SQLite's dialect on `schema`, as PostgreSQL reads it.

    Raises:
        Untranslatable: it cannot be parsed, or uses what has no counterpart.
    """
    types = MappingSchema(_mapping(schema), dialect="sqlite")
    try:
        tree: Any = sqlglot.parse_one(_limit_in_parentheses(query), read="sqlite")
        tree = qualify(
            tree, schema=types, dialect="sqlite", quote_identifiers=False, identify=False,
            validate_qualify_columns=False,
        )  # fmt: skip
        for node in reversed(list(tree.walk())):
            if (made := translated_date(node)) is not None:
                node.replace(made)
        tree = annotate_types(tree, schema=types, dialect="sqlite")
        engine_types.correct(tree)
        for select in list(tree.find_all(exp.Select)):
            _expand_aliases_in_order(select)
            _aggregate_bare_columns(select, schema)
        _write_as_typed(tree)
        return str(tree.sql(dialect="postgres"))
    except sqlglot.errors.SqlglotError as error:
        raise Untranslatable(
            "A query has no translation to PostgreSQL.",
            cause=str(error).splitlines()[0],
            solution="Give a PostgreSQL query for this row, or evaluate it on SQLite only.",
        ) from error


def _mapping(schema: Schema) -> dict[str, object]:
    return {
        table.name: {column.name: _TYPES[column.kind] for column in table.columns}
        for table in schema.tables
    }


def _limit_in_parentheses(query: str) -> str:
    """LIMIT and OFFSET with a computed number get parentheses, without which sqlglot takes a `%`
    in them for PERCENT."""
    depth, start, pieces, last = 0, None, [], 0
    opened_at = 0
    for token in [*tokens(query), None]:
        text = token.text.upper() if token else ";"
        at = token.start if token else len(query)
        ends = text in (")", "OFFSET", ",", ";") and depth == opened_at
        if start is not None and ends:
            inside = query[start:at].strip()
            if not inside.startswith("(") and len(tokens(inside)) > 1:
                pieces.append(f"{query[last:start]} ({inside}) ")
                last = at
            start = None
        depth += {"(": 1, ")": -1}.get(text, 0)
        if token and text in ("LIMIT", "OFFSET"):
            start, opened_at = token.end, depth
    return "".join(pieces) + query[last:]


def _expand_aliases_in_order(select: exp.Select) -> None:
    """PostgreSQL takes an alias in ORDER BY alone, not inside an expression."""
    order = select.args.get("order")
    if order is None:
        return
    named = {each.alias: each.this for each in select.expressions if isinstance(each, exp.Alias)}
    for term in order.expressions:
        if isinstance(term.this, exp.Column):
            continue
        for column in list(term.find_all(exp.Column)):
            if not column.table and column.name in named:
                column.replace(exp.Paren(this=named[column.name].copy()))


def _aggregate_bare_columns(select: exp.Select, schema: Schema) -> None:
    group = select.args.get("group")
    if group is None or not group.expressions:
        return
    grouped = {each.sql() for each in group.expressions}
    keyed = _tables_grouped_by_key(select, group, schema)
    aliases = {each.alias for each in select.expressions if isinstance(each, exp.Alias)}
    places = [*select.expressions, select.args.get("having"), select.args.get("order")]
    for place in places:
        for column in _bare(place, grouped):
            own = not column.table and column.name in aliases
            if not own and column.table not in keyed:
                column.replace(exp.Min(this=column.copy()))


def _bare(node: exp.Expr | None, grouped: set[str]) -> list[exp.Column]:
    """Columns outside aggregates, subqueries and grouped expressions."""
    if node is None or node.sql() in grouped or isinstance(node, (exp.AggFunc, exp.Query)):
        return []
    if isinstance(node, exp.Window):
        return []
    if isinstance(node, exp.Column):
        return [node]
    return [found for child in node.iter_expressions() for found in _bare(child, grouped)]


def _tables_grouped_by_key(select: exp.Select, group: exp.Group, schema: Schema) -> set[str]:
    """The tables, by alias, whose whole primary key is grouped by: their columns are settled."""
    names = {(each.table, each.name) for each in group.expressions if isinstance(each, exp.Column)}
    settled = set()
    for source in select.find_all(exp.Table):
        table = schema.table(source.name)
        key = {each.casefold() for each in table.primary_key} if table else set()
        if key and all((source.alias_or_name, each) in names for each in key):
            settled.add(source.alias_or_name)
    return settled


def _write_as_typed(tree: exp.Expr) -> None:
    """Takes out what qualifying put in and nobody would type, and quotes where it must be."""
    for table in tree.find_all(exp.Table):
        if table.alias == table.name:
            table.set("alias", None)
    if isinstance(tree, exp.Select):
        for each in list(tree.expressions):
            made_up = isinstance(each, exp.Alias) and (
                each.alias.startswith("_col_")
                or (isinstance(each.this, exp.Column) and each.this.name == each.alias)
            )
            if made_up:
                each.replace(each.this)
    for identifier in tree.find_all(exp.Identifier):
        quoted = name_in(identifier.name, "postgresql").startswith('"')
        identifier.set("quoted", quoted)
