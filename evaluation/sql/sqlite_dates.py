"""SQLite's date functions as PostgreSQL expressions.

`DATE`, `DATETIME`, `TIME`, `JULIANDAY`, `UNIXEPOCH` and `STRFTIME` with a time value and modifiers
go in as sqlglot's nodes, expressions over PostgreSQL timestamps come out (SQLite, "Date And Time
Functions"). One difference is kept: a month added to the 31st ends at the last day of the shorter
month here, in the month after it there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from sqlglot import exp

from evaluation.sql.errors import Untranslatable

_SHIFT = re.compile(r"([+-]?\d+(?:\.\d+)?)\s+(second|minute|hour|day|month|year)s?", re.IGNORECASE)
_START = re.compile(r"start of (day|month|year)", re.IGNORECASE)
_EPOCH_JULIAN_DAY = "2440587.5"
# The formats that give a whole number, and nothing else, as text.
_WHOLE = frozenset({"%Y", "%m", "%d", "%H", "%M", "%S", "%j", "%w", "%s"})


def translated_date(node: exp.Expr) -> exp.Expr | None:
    """The PostgreSQL expression for a date function of SQLite; None where `node` is none.

    Raises:
        Untranslatable: a modifier or a format that PostgreSQL has nothing for.
    """
    if isinstance(node, exp.TimeToStr):
        value = node.this
        inner = value.this if isinstance(value, exp.TsOrDsToTimestamp) else value
        return _formatted(node.args["format"].name, _moment(inner, ()))
    if isinstance(node, exp.Date) and node.this is not None:
        return _cast(_moment(node.this, node.expressions), "date")
    if not isinstance(node, exp.Anonymous):
        return None
    name, arguments = node.name.upper(), node.expressions
    if name == "STRFTIME" and len(arguments) > 1:
        return _formatted(arguments[0].name, _moment(arguments[1], arguments[2:]))
    if name not in _FUNCTIONS or not arguments:
        return None
    return _FUNCTIONS[name](_moment(arguments[0], arguments[1:]))


def is_whole_number(node: exp.Expr) -> bool:
    """Whether a text expression made here spells a whole number."""
    return bool(node.meta.get("whole_number"))


def _moment(value: exp.Expr, modifiers: Sequence[exp.Expr]) -> exp.Expr:
    rest = list(modifiers)
    moment: exp.Expr
    if _words(value) == "now":
        moment = exp.Var(this="LOCALTIMESTAMP")
    elif rest and _words(rest[0]) in ("unixepoch", "auto"):
        rest.pop(0)
        seconds = exp.func("TO_TIMESTAMP", _cast(value.copy(), "double"), dialect=None)
        moment = exp.AtTimeZone(this=seconds, zone=exp.Literal.string("UTC"))
    else:
        moment = _cast(value.copy(), "timestamp")
    for modifier in rest:
        moment = _modified(moment, modifier)
    return moment


def _modified(moment: exp.Expr, modifier: exp.Expr) -> exp.Expr:
    if not isinstance(modifier, exp.Literal):
        interval = _cast(exp.Paren(this=modifier.copy()), "interval")
        return exp.Paren(this=exp.Add(this=moment, expression=interval))
    words = _words(modifier)
    if match := _SHIFT.fullmatch(words):
        shift = exp.Interval(this=exp.Literal.string(match[1]), unit=exp.Var(this=match[2]))
        return exp.Paren(this=exp.Add(this=moment, expression=shift))
    if match := _START.fullmatch(words):
        return exp.TimestampTrunc(this=moment, unit=exp.Var(this=match[1].upper()))
    raise Untranslatable(
        f"The date modifier '{words}' has no translation to PostgreSQL.",
        cause="PostgreSQL has no such modifier, and no expression for it is known here.",
        solution="Give a PostgreSQL query for this row, or evaluate it on SQLite only.",
    )


def _formatted(pattern: str, moment: exp.Expr) -> exp.Expr:
    text: exp.Expr
    if pattern in ("%s", "%w"):
        part = exp.Var(this="EPOCH" if pattern == "%s" else "DOW")
        number = _cast(exp.Extract(this=part, expression=moment), "bigint")
        text = _cast(number, "text")
    else:
        text = exp.TimeToStr(this=moment, format=exp.Literal.string(pattern))
    text.meta["whole_number"] = pattern in _WHOLE
    return text


def _julian_day(moment: exp.Expr) -> exp.Expr:
    seconds = _cast(exp.Extract(this=exp.Var(this="EPOCH"), expression=moment), "double")
    day = exp.Literal.number("86400.0")
    days = exp.Div(this=seconds, expression=day, typed=True, safe=False)
    return exp.Paren(this=exp.Add(this=days, expression=exp.Literal.number(_EPOCH_JULIAN_DAY)))


def _seconds(moment: exp.Expr) -> exp.Expr:
    return _cast(exp.Extract(this=exp.Var(this="EPOCH"), expression=moment), "bigint")


def _cast(value: exp.Expr, to: str) -> exp.Expr:
    return exp.Cast(this=value.unnest(), to=exp.DataType.build(to))


def _words(value: exp.Expr) -> str:
    text = value.name if isinstance(value, exp.Literal) and value.is_string else ""
    return " ".join(text.lower().split())


_FUNCTIONS: dict[str, Callable[[exp.Expr], exp.Expr]] = {
    "DATE": lambda moment: _cast(moment, "date"),
    "DATETIME": lambda moment: moment,
    "TIME": lambda moment: _cast(moment, "time"),
    "JULIANDAY": _julian_day,
    "UNIXEPOCH": _seconds,
}
