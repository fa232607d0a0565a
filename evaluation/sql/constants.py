"""The values of an INSERT: constants, and what PostgreSQL's date functions give at one moment.

A parsed expression and a moment go in, a Python value comes out. Schemas may fill their rows with
`CURRENT_DATE - INTERVAL '5 months'`; computing that once, here, gives every database the same rows.
"""

from __future__ import annotations

import calendar
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from sqlglot import exp

from evaluation.sql.schema import Kind

_UNITS = {"SECOND": 1, "SEC": 1, "MINUTE": 60, "MIN": 60, "HOUR": 3600, "DAY": 86400,
          "WEEK": 7 * 86400}  # fmt: skip
_MONTHS = {"MONTH": 1, "MON": 1, "QUARTER": 3, "YEAR": 12}
# Schemas carry MySQL's patterns into TO_CHAR, where they mean nothing; sqlglot made `%%u` of `%d`.
_MEANT = (("%%u", "%d"), ("%i", "%M"), ("%s", "%S"))


class NotConstant(ValueError):
    """An expression that is not understood here; the text names it."""


def constant(expression: exp.Expr, now: datetime) -> Any:
    """The value of `expression` at `now` (UTC, naive).

    Raises:
        NotConstant: the expression is none of those known here.
    """
    match expression:
        case exp.Null():
            return None
        case exp.Boolean():
            return bool(expression.this)
        case exp.Literal():
            return expression.this if expression.is_string else _number(expression.this)
        case exp.Paren() | exp.Cast():
            return constant(expression.this, now)
        case exp.Neg():
            return -_numeric(constant(expression.this, now), expression)
        case exp.CurrentDate():
            return now.date()
        case exp.CurrentTimestamp() | exp.CurrentDatetime():
            return now
        case exp.Add() | exp.Sub() | exp.Mul():
            return _arithmetic(expression, now)
        case exp.DateTrunc() | exp.TimestampTrunc():
            return _truncated(constant(expression.this, now), expression.text("unit").upper())
        case exp.Extract():
            moment = constant(expression.expression, now)
            return _part(moment, expression.this.name.upper(), expression)
        case exp.TimeToStr() | exp.ToChar():
            return _formatted(expression, now)
    raise NotConstant(expression.sql("postgres"))


def stored(value: Any, kind: Kind) -> Any:
    """`value` as a column of this kind holds it.

    INTEGER int, REAL float, DECIMAL Decimal, TEXT str, BOOLEAN bool, DATE date, TIME time,
    TIMESTAMP datetime (naive), BLOB bytes; None stays None.

    Raises:
        ValueError: the value does not fit the kind.
    """
    if value is None:
        return None
    try:
        return _STORED[kind](value)
    except (TypeError, InvalidOperation, KeyError) as error:
        raise ValueError(f"{value!r} is no {kind.value}") from error


def _number(text: str) -> int | Decimal:
    return int(text) if text.isdigit() else Decimal(text)


def _numeric(value: Any, expression: exp.Expr) -> int | Decimal:
    if isinstance(value, (int, Decimal)):
        return value
    raise NotConstant(expression.sql("postgres"))


def _arithmetic(expression: exp.Expr, now: datetime) -> Any:
    left = constant(expression.this, now)
    other = expression.expression
    if isinstance(other, exp.Interval) and isinstance(left, date):
        return _moved(left, other, -1 if isinstance(expression, exp.Sub) else 1)
    first, second = _numeric(left, expression), _numeric(constant(other, now), expression)
    if isinstance(expression, exp.Add):
        return first + second
    return first - second if isinstance(expression, exp.Sub) else first * second


def _moved(moment: date, interval: exp.Interval, sign: int) -> date:
    """`moment` and an interval, as PostgreSQL adds them: the day of a month is cut to its last."""
    unit = interval.text("unit").upper().removesuffix("S")
    try:
        number = sign * int(interval.this.name)
    except (ValueError, AttributeError) as error:
        raise NotConstant(interval.sql("postgres")) from error
    start = moment if isinstance(moment, datetime) else datetime.combine(moment, time())
    if unit in _MONTHS:
        months = start.year * 12 + start.month - 1 + number * _MONTHS[unit]
        year, month = divmod(months, 12)
        day = min(start.day, calendar.monthrange(year, month + 1)[1])
        return start.replace(year=year, month=month + 1, day=day)
    if unit in _UNITS:
        return start + timedelta(seconds=number * _UNITS[unit])
    raise NotConstant(interval.sql("postgres"))


def _truncated(moment: Any, unit: str) -> datetime:
    day = datetime.combine(moment, time())
    match unit:
        case "YEAR":
            return day.replace(month=1, day=1)
        case "MONTH":
            return day.replace(day=1)
        case "WEEK":
            return day - timedelta(days=day.weekday())
        case "DAY":
            return day
    raise NotConstant(f"DATE_TRUNC('{unit}', …)")


def _part(moment: Any, part: str, expression: exp.Expr) -> int | Decimal:
    if part in ("YEAR", "MONTH", "DAY", "HOUR", "MINUTE"):
        return int(getattr(moment, part.lower()))
    if part == "EPOCH":
        start = moment if isinstance(moment, datetime) else datetime.combine(moment, time())
        return int((start - datetime(1970, 1, 1)).total_seconds())
    raise NotConstant(expression.sql("postgres"))


def _formatted(expression: exp.Expr, now: datetime) -> str:
    pattern = expression.args["format"].name
    moment = constant(expression.this, now)
    if pattern == "Month":
        # PostgreSQL pads it to the longest name.
        return f"{moment:%B}".ljust(9)
    for written, meant in _MEANT:
        pattern = pattern.replace(written, meant)
    return str(moment.strftime(pattern))


def _truth(value: Any) -> bool:
    if isinstance(value, str):
        return {"t": True, "true": True, "1": True, "yes": True,
                "f": False, "false": False, "0": False, "no": False}[value.lower()]  # fmt: skip
    return bool(value)


def _day(value: Any) -> date:
    if isinstance(value, datetime):
        return value.date()
    return value if isinstance(value, date) else date.fromisoformat(str(value)[:10])


def _moment(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime.combine(value, time())
    return datetime.fromisoformat(str(value)).replace(tzinfo=None)


def _text(value: Any) -> str:
    return value.isoformat(" ") if isinstance(value, datetime) else str(value)


_STORED: dict[Kind, Callable[[Any], Any]] = {
    Kind.INTEGER: lambda value: int(Decimal(str(value)) if isinstance(value, str) else value),
    Kind.REAL: float,
    Kind.DECIMAL: lambda value: Decimal(str(value)),
    Kind.TEXT: _text,
    Kind.BOOLEAN: _truth,
    Kind.DATE: _day,
    Kind.TIME: lambda value: value if isinstance(value, time) else time.fromisoformat(str(value)),
    Kind.TIMESTAMP: _moment,
    Kind.BLOB: lambda value: value if isinstance(value, bytes) else str(value).encode(),
}
