"""Plain arithmetic: one expression, as people write it, to its exact value.

A text such as `12 cookies x (3 + 4.5)` goes in; a `Value` comes out: what it is worth and how it
was written (operators, decimals, percent). A small recursive parser over a handful of tokens;
nothing is ever handed to Python's own evaluation, and size, depth and powers are bounded. Words are
units and are skipped. What is not plain arithmetic raises `NotArithmetic`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

_TOKEN = re.compile(
    r"(?P<mixed>\d{1,3}[ \t]\d{1,2}/\d{1,2}(?![\d/.]))"
    r"|(?P<number>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?P<percent>\s?%)?"
    r"|(?P<times>[×*·⋅∗]|[xX](?=[\s\d(.$])|\bof\b)"
    r"|(?P<over>[/÷](?![A-Za-z]))|(?P<plus>\+)|(?P<minus>[-–](?![A-Za-z]))|(?P<power>\^)"
    r"|(?P<open>[(\[])|(?P<close>[)\]])"
    r"|(?P<skip>[\s$€£¥₹]+|(?<=[\w)%\s])[-/]?[A-Za-z\u3040-\u30ff\u4e00-\u9fff][A-Za-z\u3040-\u30ff"
    r"\u4e00-\u9fff']*)",
    re.ASCII,
)
_MAX_TOKENS = 80
_MAX_DEPTH = 20
_MAX_DIGITS = 30
_MAX_POWER = 64
_MAX_BITS = 4096


Exact = Fraction | int
_NAMES = {
    "times": "*",
    "over": "/",
    "plus": "+",
    "minus": "-",
    "power": "^",
    "open": "(",
    "close": ")",
}
_ONE_NUMBER = re.compile(r"[$€£¥₹]? ?(\d{1,12})(?:[ \t][A-Za-z \t]+)?", re.ASCII)
_TWO_NUMBERS = re.compile(r"\$?(\d{1,12})[ \t]?([-+*/])[ \t]?\$?(\d{1,12})", re.ASCII)


class NotArithmetic(ValueError):
    """The text is not one plain arithmetic expression; internal, never a user's error."""


@dataclass(frozen=True, slots=True)
class Value:
    """What an expression is worth, exactly, and how it was written.

    `operators` are those between two operands, in order; `operands` its numbers, each with the
    decimals it was written with; `percents` counts the `%` signs.
    """

    exact: Exact
    operators: str
    operands: tuple[tuple[Exact, int], ...]
    percents: int


def evaluate(text: str, percent: Fraction = Fraction(1, 100)) -> Value:
    """The value of tidied `text`; `percent` is what `%` multiplies by.

    Raises:
        NotArithmetic: unknown characters, unbalanced brackets, division by zero, or too large.
    """
    # The two commonest shapes, several times faster than the parser.
    if one := _ONE_NUMBER.fullmatch(text):
        value = int(one[1])
        return Value(value, "", ((value, 0),), 0)
    if two := _TWO_NUMBERS.fullmatch(text):
        left, right = int(two[1]), int(two[3])
        return Value(_apply(two[2], left, right), two[2], ((left, 0), (right, 0)), 0)
    parser = _Parser(text, percent)
    exact = parser.whole()
    return Value(exact, parser.operators(), tuple(parser.operands), parser.percents)


def left_to_right(text: str) -> Exact | None:
    """What a pocket calculator without precedence makes of `text`; None where brackets decide."""
    tokens = _Parser(text, Fraction(1, 100)).tokens
    kinds = [kind for kind, _ in tokens]
    if set(kinds[1::2]) - set("+-*/") or set(kinds[::2]) != {"n"}:
        return None
    value = tokens[0][1]
    for operator, (_, operand) in zip(kinds[1::2], tokens[2::2], strict=False):
        value = _apply(operator, value, operand)
    return value


class _Parser:
    def __init__(self, text: str, percent: Fraction) -> None:
        self.percent = percent
        self.percents = 0
        self.operands: list[tuple[Exact, int]] = []
        self.tokens = self._tokens(text)
        self.place = 0
        self.depth = 0

    def _tokens(self, text: str) -> list[tuple[str, Exact]]:
        tokens: list[tuple[str, Exact]] = []
        place = 0
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None or len(tokens) > _MAX_TOKENS:
                raise NotArithmetic(text)
            place = match.end()
            kind = match.lastgroup
            if kind == "skip":
                continue
            if kind == "mixed":
                tokens.append(("n", self._mixed(match["mixed"])))
            elif kind in ("number", "percent"):
                tokens.append(("n", self._number(match["number"], bool(match["percent"]))))
            else:
                tokens.append((_NAMES[str(kind)], 0))
        if not self.operands:
            raise NotArithmetic(text)
        return tokens

    def _number(self, written: str, percent: bool) -> Exact:
        if len(written) > _MAX_DIGITS:
            raise NotArithmetic(written)
        written = written.replace(",", "")
        value: Exact = Fraction(written) if "." in written else int(written)
        if percent:
            self.percents += 1
            value *= self.percent
        self.operands.append((value, len(written.partition(".")[2])))
        return value

    def _mixed(self, written: str) -> Exact:
        whole, above, below = (int(part) for part in re.findall(r"\d+", written))
        if below == 0:
            raise NotArithmetic(written)
        self.operands.append((whole + Fraction(above, below), 0))
        return self.operands[-1][0]

    def whole(self) -> Exact:
        value = self._sum()
        if self.place != len(self.tokens):
            raise NotArithmetic("left over")
        return value

    def operators(self) -> str:
        """The operators between two operands, in order; a sign is none."""
        kinds = [kind for kind, _ in self.tokens]
        return "".join(
            "*" if kind == "(" else kind
            for before, kind in pairwise(kinds)
            if before in "n)" and kind in "+-*/^("
        )

    def _peek(self) -> str:
        return self.tokens[self.place][0] if self.place < len(self.tokens) else ""

    def _sum(self) -> Exact:
        value = self._product()
        while self._peek() in ("+", "-"):
            operator = self._peek()
            self.place += 1
            value = _apply(operator, value, self._product())
        return value

    def _product(self) -> Exact:
        value = self._signed()
        while self._peek() in ("*", "/", "("):
            operator = self._peek()
            if operator != "(":
                self.place += 1
            value = _apply("*" if operator == "(" else operator, value, self._signed())
        return value

    def _signed(self) -> Exact:
        if self._peek() == "-":
            self.place += 1
            return -self._power()
        return self._power()

    def _power(self) -> Exact:
        base = self._atom()
        if self._peek() != "^":
            return base
        self.place += 1
        exponent = self._signed()
        if exponent.denominator != 1 or not -_MAX_POWER <= exponent <= _MAX_POWER:
            raise NotArithmetic("power")
        if base == 0 and exponent < 0:
            raise NotArithmetic("division by zero")
        return _bounded(Fraction(base) ** int(exponent))

    def _atom(self) -> Exact:
        kind = self._peek()
        if kind == "n":
            value = self.tokens[self.place][1]
            self.place += 1
            return value
        if kind != "(" or self.depth >= _MAX_DEPTH:
            raise NotArithmetic("operand")
        self.place += 1
        self.depth += 1
        value = self._sum()
        self.depth -= 1
        if self._peek() != ")":
            raise NotArithmetic("bracket")
        self.place += 1
        return value


def _apply(operator: str, left: Exact, right: Exact) -> Exact:
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    if operator == "*":
        return _bounded(left * right)
    if right == 0:
        raise NotArithmetic("division by zero")
    return _bounded(Fraction(left) / right)


def _bounded(value: Exact) -> Exact:
    if value.numerator.bit_length() + value.denominator.bit_length() > _MAX_BITS:
        raise NotArithmetic("too large")
    return value
