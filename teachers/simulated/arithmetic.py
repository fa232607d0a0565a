"""Exact arithmetic on plain infix expressions: evaluation, worked steps, printing and reading.

In: text such as `17 * 23 + 5` or an answer that ends in a number. Out: fractions, never floats, so
that right and wrong are decided exactly. Expressions are read by Python's parser and walked node by
node; nothing is ever executed.
"""

from __future__ import annotations

import ast
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

MAX_LENGTH = 160
MAX_POWER = 64
MAX_DIGITS = 60


class NotArithmetic(ValueError):
    """The text is no expression that can be computed exactly."""


@dataclass(frozen=True, slots=True)
class Step:
    """One operation of a worked solution: `left symbol right = value`."""

    left: Fraction
    symbol: str
    right: Fraction
    value: Fraction

    def shown(self, value: Fraction | None = None) -> str:
        """The step as a line; another `value` shows a slip."""
        result = format_value(self.value if value is None else value)
        return f"{_operand(self.left)} {self.symbol} {_operand(self.right)} = {result}"


def _power(left: Fraction, right: Fraction) -> Fraction:
    if right.denominator != 1 or abs(right) > MAX_POWER or (left == 0 and right < 0):
        raise NotArithmetic("power")
    return Fraction(left**right.numerator)


_OPERATIONS: dict[type[ast.operator], tuple[str, Callable[[Fraction, Fraction], Fraction]]] = {
    ast.Add: ("+", lambda a, b: a + b),
    ast.Sub: ("−", lambda a, b: a - b),
    ast.Mult: ("×", lambda a, b: a * b),
    ast.Div: ("÷", lambda a, b: a / b),
    ast.Mod: ("mod", lambda a, b: a % b),
    ast.Pow: ("^", _power),
}


def evaluate(expression: str) -> tuple[Fraction, tuple[Step, ...]]:
    """The value of an infix expression in ASCII operators, and its operations in order.

    Raises:
        NotArithmetic: when it holds more than numbers, `+ - * / % **` and parentheses, or is too
            large.
    """
    if len(expression) > MAX_LENGTH:
        raise NotArithmetic("too long")
    source = expression.strip()
    try:
        tree = ast.parse(source, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise NotArithmetic("not an expression") from error
    steps: list[Step] = []
    value = _walk(tree.body, source, steps)
    return value, tuple(steps)


def _walk(node: ast.expr, source: str, steps: list[Step]) -> Fraction:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        # From the source and not from the parsed float, which would lose digits.
        text = source[node.col_offset : node.end_col_offset]
        if not re.fullmatch(r"\d+(?:\.\d*)?|\.\d+", text) or len(text) > MAX_DIGITS:
            raise NotArithmetic("number")
        return Fraction(text)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = _walk(node.operand, source, steps)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        left = _walk(node.left, source, steps)
        right = _walk(node.right, source, steps)
        symbol, operation = _OPERATIONS[type(node.op)]
        try:
            value = operation(left, right)
        except ZeroDivisionError as error:
            raise NotArithmetic("division by zero") from error
        if max(abs(value.numerator), value.denominator) > 10**MAX_DIGITS:
            raise NotArithmetic("too large")
        steps.append(Step(left, symbol, right, value))
        return value
    raise NotArithmetic("unknown operation")


def _operand(value: Fraction) -> str:
    text = format_value(value)
    return f"({text})" if value < 0 or "/" in text else text


def format_value(value: Fraction) -> str:
    """A whole number, a finite decimal of at most 6 places, or otherwise a reduced `a/b`."""
    if value.denominator == 1:
        return str(value.numerator)
    scaled = value * 10**6
    if scaled.denominator != 1:
        return f"{value.numerator}/{value.denominator}"
    digits = f"{abs(scaled.numerator):07d}"
    return f"{'-' if value < 0 else ''}{digits[:-6]}.{digits[-6:]}".rstrip("0")


_NUMBER = r"[-−]?\d+(?:\.\d+)?(?:/\d+(?:\.\d+)?)?"
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_LAST_NUMBER = re.compile(rf"(?<![\w.]){_NUMBER}|(?<=[^\x00-\x7f]){_NUMBER}")
_FINAL = re.compile(
    r"(?:final answer|最終的な答え|最终答案|最終答案|答え|答案)\s*(?:is|は|是)?\s*[:：]?\s*"
    rf"[^\d\n−-]{{0,12}}?({_NUMBER})",
    re.IGNORECASE,
)


def plain(text: str) -> str:
    """Full-width digits and signs made plain, thousands separators removed."""
    narrow = text if text.isascii() else unicodedata.normalize("NFKC", text)
    return _THOUSANDS.sub("", narrow) if "," in narrow else narrow


def read_value(text: str) -> Fraction | None:
    """A written number as a fraction, or None."""
    try:
        top, _, bottom = text.replace("−", "-").partition("/")
        return Fraction(top) / Fraction(bottom) if bottom else Fraction(top)
    except (ValueError, ZeroDivisionError):
        return None


def final_number(text: str) -> Fraction | None:
    """The number an answer ends with: after its last "final answer" mark, else the last number."""
    text = plain(text)
    marked = _FINAL.findall(text)
    numbers = marked or _LAST_NUMBER.findall(text)
    return read_value(numbers[-1]) if numbers else None


def numbers_in(text: str) -> list[Fraction]:
    """Every number of `text` in order."""
    values = (read_value(found) for found in _LAST_NUMBER.findall(plain(text)))
    return [value for value in values if value is not None]
