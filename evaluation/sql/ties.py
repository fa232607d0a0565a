"""Which rows of an ordered gold tie, so that an answer may show them in either order.

A gold query goes in, the same query with what it orders by as further columns comes out; its rows
tell which neighbours are equal in these. Where no such query can be made the order is taken as it
stands.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlglot
from sqlglot import exp

from evaluation.sql.compare import same_row
from evaluation.sql.ddl import Backend
from evaluation.sql.outcome import Row
from evaluation.sql.tokens import tokens

DIALECTS: dict[Backend, str] = {"sqlite": "sqlite", "postgresql": "postgres"}


def is_ordered(query: str) -> bool:
    """Whether the rows' order is part of what `query` asks for: an ORDER BY outside parentheses."""
    depth, before = 0, ""
    for token in tokens(query):
        word = token.text.upper() if token.kind == "word" else token.text
        depth += {"(": 1, ")": -1}.get(word, 0)
        if word == "BY" and before == "ORDER" and depth == 0:
            return True
        before = word
    return False


def with_keys(query: str, backend: Backend) -> str | None:
    """`query` with one more column per term of its ORDER BY; None where that cannot be done."""
    dialect = DIALECTS[backend]
    try:
        tree = sqlglot.parse_one(query, read=dialect)
    except sqlglot.errors.SqlglotError:
        return None
    order = tree.args.get("order")
    if not isinstance(tree, exp.Select) or order is None or tree.is_star:
        return None
    shown = list(tree.expressions)
    named = {each.alias: each.this for each in shown if isinstance(each, exp.Alias)}
    for number, term in enumerate(order.expressions):
        key = _key(term.this, shown, named)
        if key is None:
            return None
        tree.select(exp.alias_(key, f"tie_key_{number}"), copy=False)
    return tree.sql(dialect=dialect)


def tied(gold: Sequence[Row], keyed: Sequence[Row]) -> list[int]:
    """The sizes of the groups of rows that tie; all 1 where `keyed` are not the gold's rows with
    keys behind them."""
    alone = [1] * len(gold)
    if not gold or len(gold) != len(keyed):
        return alone
    width = len(gold[0])
    keys = [row[width:] for row in keyed]
    groups: list[int] = []
    for place, row in enumerate(keyed):
        if not same_row(gold[place], row[:width]):
            return alone
        if place and same_row(keys[place - 1], keys[place]):
            groups[-1] += 1
        else:
            groups.append(1)
    return groups


def _key(term: exp.Expr, shown: Sequence[exp.Expr], named: dict[str, exp.Expr]) -> exp.Expr | None:
    """What a term of ORDER BY stands for: a place in the list, an alias, or an expression."""
    if isinstance(term, exp.Literal) and not term.is_string:
        place = int(term.name) - 1
        return shown[place].unalias().copy() if 0 <= place < len(shown) else None
    return term.copy().transform(
        lambda node: (
            named[node.name].copy()
            if isinstance(node, exp.Column) and not node.table and node.name in named
            else node
        )
    )
