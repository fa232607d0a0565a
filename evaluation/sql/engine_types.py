"""Makes types explicit that SQLite converts by itself, in a tree whose types were inferred.

The tree is changed in place, from the leaves up. What a rule needs to know is whether an operand is
a number, text, a truth value or a moment; where inference could not say, nothing is done.
"""

from __future__ import annotations

from sqlglot import exp

from evaluation.sql.errors import Untranslatable
from evaluation.sql.sqlite_dates import is_whole_number

_NUMBERS = exp.DataType.NUMERIC_TYPES
_WHOLE = exp.DataType.INTEGER_TYPES
_TEXTS = exp.DataType.TEXT_TYPES
_MOMENTS = exp.DataType.TEMPORAL_TYPES
_REAL = {exp.DType.FLOAT, exp.DType.DOUBLE}


def correct(tree: exp.Expr) -> None:
    """Makes `tree` mean in PostgreSQL what it meant in SQLite, as far as types go.

    Raises:
        Untranslatable: an operator that PostgreSQL has not.
    """
    for node in reversed(list(tree.walk())):
        match node:
            case exp.Glob():
                raise Untranslatable(
                    "GLOB has no translation to PostgreSQL.",
                    cause="PostgreSQL has no operator with GLOB's patterns.",
                    solution="Use LIKE, or evaluate this row on SQLite only.",
                )
            case exp.Cast():
                _cast(node)
            case exp.Add() | exp.Sub() | exp.Mul() | exp.Div() | exp.Mod():
                _operands_are_numbers(node)
                if isinstance(node, exp.Div) and _is_never_zero(node.expression):
                    node.set("safe", False)
            case exp.EQ() | exp.NEQ() | exp.GT() | exp.GTE() | exp.LT() | exp.LTE():
                _same_kind(node, "this", "expression")
            case exp.Between():
                _same_kind(node, "this", "low")
                _same_kind(node, "this", "high")
            case exp.Sum() | exp.Avg():
                _aggregated(node)
            case exp.Like():
                node.set("this", _as_text(node.this))
                node.replace(exp.ILike(**node.args))
            case exp.Where() | exp.Having() | exp.Not() | exp.And() | exp.Or() | exp.If():
                _conditions(node)


def _cast(node: exp.Cast) -> None:
    to = node.to.this
    if to == exp.DType.FLOAT:
        _retype(node, "double")
    if to in _WHOLE and _is(node.this, _NUMBERS) and not _is(node.this, _WHOLE):
        # SQLite cuts the fraction off, PostgreSQL rounds.
        node.set("this", exp.Trunc(this=node.this))
    if to in _WHOLE:
        _retype(node, "bigint")


def _retype(node: exp.Cast, to: str) -> None:
    node.set("to", exp.DataType.build(to))
    node.type = node.to


def _operands_are_numbers(node: exp.Expr) -> None:
    if _is(node.this, _MOMENTS):
        return
    for name in ("this", "expression"):
        operand = node.args[name]
        if _is(operand, _TEXTS):
            node.set(name, _number_in(operand))
        elif _is(operand, {exp.DType.BOOLEAN}):
            node.set(name, _typed(operand, "int"))
    if _is(node, _TEXTS):
        whole = _is(node.this, _WHOLE) and _is(node.expression, _WHOLE)
        node.type = exp.DataType.build("bigint" if whole else "double")
    if isinstance(node, exp.Mod) and _is(node.this, _REAL):
        node.set("this", _typed(exp.Trunc(this=node.this), "bigint"))


def _is_never_zero(divisor: exp.Expr) -> bool:
    """A number that is written out, or NULLIF(…, 0): needs no NULLIF of its own to give NULL."""
    plain = divisor.unnest()
    if isinstance(plain, exp.Literal):
        return not plain.is_string and float(plain.name) != 0
    return isinstance(plain, exp.Nullif) and plain.expression.name == "0"


def _same_kind(node: exp.Expr, first: str, second: str) -> None:
    for one, other in ((first, second), (second, first)):
        left, right = node.args[one], node.args[other]
        if isinstance(left, exp.Literal) and left.is_string:
            continue
        if _is(left, _TEXTS) and _is(right, _NUMBERS) and not isinstance(right, exp.Literal):
            node.set(one, _number_in(left))
        elif _is(left, _TEXTS) and _is(right, _NUMBERS):
            node.set(other, exp.Literal.string(right.name))
        elif _is(left, _TEXTS) and _is(right, _MOMENTS):
            node.set(other, _typed(right, "text"))
        elif _is(left, {exp.DType.BOOLEAN}) and _is(right, _NUMBERS):
            if right.name in ("0", "1") and isinstance(right, exp.Literal):
                node.set(other, exp.Boolean(this=right.name == "1"))
            else:
                node.set(one, _typed(left, "int"))


def _aggregated(node: exp.Expr) -> None:
    inner = node.this
    plain = inner.expressions[0] if isinstance(inner, exp.Distinct) else inner
    if _is(plain, _TEXTS):
        plain.replace(_number_in(plain.copy()))
    elif _is(plain, {exp.DType.BOOLEAN}):
        plain.replace(_typed(plain.copy(), "int"))
    whole = _is(plain, _WHOLE) or _is(plain, {exp.DType.BOOLEAN})
    if (
        isinstance(node, exp.Sum)
        and whole
        and not isinstance(node.parent, (exp.Window, exp.Filter))
    ):
        # PostgreSQL sums bigints to a numeric, which would not be divided as a whole number.
        copied = node.copy()
        node.replace(_typed(copied, "bigint"))


def _conditions(node: exp.Expr) -> None:
    names = ("this", "expression") if isinstance(node, exp.Connector) else ("this",)
    for name in names:
        operand = node.args.get(name)
        if operand is not None and _is(operand, _NUMBERS) and not isinstance(node.parent, exp.Div):
            zero = exp.Literal.number(0)
            node.set(name, exp.Paren(this=exp.NEQ(this=operand, expression=zero)))


def _as_text(operand: exp.Expr) -> exp.Expr:
    other = _is(operand, _NUMBERS) or _is(operand, _MOMENTS)
    return _typed(operand, "text") if other else operand


def _number_in(operand: exp.Expr) -> exp.Expr:
    """The number that a text spells: whole where it is known to be."""
    return _typed(operand, "bigint" if is_whole_number(operand) else "double")


def _typed(operand: exp.Expr, to: str) -> exp.Cast:
    made = exp.Cast(this=operand, to=exp.DataType.build(to))
    made.type = made.to
    return made


def _is(node: exp.Expr | None, types: object) -> bool:
    if node is None:
        return False
    inner = node.unnest()
    return inner.type is not None and inner.type.this in types  # type: ignore[operator]
