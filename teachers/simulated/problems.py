"""Finds the one computation an instruction asks for, in English, Japanese or Chinese words.

In: `What is 15% of 240?`, `25と17の和`, `计算 45 除以 9`. Out: a `Problem` with its expression,
exact value and steps, or None where the text is a word problem, holds further numbers, or only
looks like a computation (a date, a range, a version).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, partial

from teachers.simulated.arithmetic import NotArithmetic, Step, evaluate, format_value, plain
from teachers.simulated.numerals import NUMBER_WORD, digits_for_english, read_han

MAX_OTHER_WORDS = 24


@dataclass(frozen=True, slots=True)
class Problem:
    """A computation in ASCII operators, its exact value, and the operations in order."""

    expression: str
    value: Fraction
    steps: tuple[Step, ...]

    def shown(self) -> str:
        """The expression as one would write it on paper."""
        shown = self.expression.replace("**", "^").replace("*", "×").replace("/", "÷")
        shown = re.sub(r" *([-+×÷^%]) *", r" \1 ", shown)
        return re.sub(r"(^|\(|[-+×÷^%] ) - ", r"\1-", shown).strip()


_HAN = "[零〇一二三四五六七八九十百千万两]+"
_A = rf"(?P<a>\d+(?:\.\d+)?|{_HAN})"
_B = rf"(?P<b>\d+(?:\.\d+)?|{_HAN})"
_N = r"(?P<{}>\d+(?:\.\d+)?)"
_EA, _EB = _N.format("a"), _N.format("b")

_Build = Callable[[Fraction, Fraction], str]


def _infix(symbol: str) -> _Build:
    return lambda a, b: f"({format_value(a)} {symbol} {format_value(b)})"


def _swapped(symbol: str) -> _Build:
    return lambda a, b: f"({format_value(b)} {symbol} {format_value(a)})"


def _distance(a: Fraction, b: Fraction) -> str:
    return f"({format_value(max(a, b))} - {format_value(min(a, b))})"


def _percent(a: Fraction, b: Fraction) -> str:
    return f"({format_value(b)} * {format_value(a)} / 100)"


def _share(a: Fraction, b: Fraction) -> str:
    return _percent(b, a)


def _tenths(a: Fraction, b: Fraction) -> str:
    return f"({format_value(a)} * {format_value(b)} / 10)"


def _compiled(
    phrases: tuple[tuple[str, _Build], ...],
) -> tuple[tuple[re.Pattern[str], _Build], ...]:
    return tuple((re.compile(pattern, re.IGNORECASE), build) for pattern, build in phrases)


# Whole phrases of two numbers. Order matters: the longer wording stands before the shorter.
_ENGLISH_PHRASES = _compiled(
    (
        (rf"{_EA}\s*(?:%|percent|per cent)\s+of\s+{_EB}", _percent),
        (rf"sum of\s+{_EA}\s+and\s+{_EB}", _infix("+")),
        (rf"difference (?:of|between)\s+{_EA}\s+and\s+{_EB}", _distance),
        (rf"product of\s+{_EA}\s+and\s+{_EB}", _infix("*")),
        (rf"quotient of\s+{_EA}\s+and\s+{_EB}", _infix("/")),
        (rf"add\s+{_EA}\s+(?:and|to)\s+{_EB}", _infix("+")),
        (rf"subtract\s+{_EA}\s+from\s+{_EB}", _swapped("-")),
        (rf"multiply\s+{_EA}\s+(?:by|and|with)\s+{_EB}", _infix("*")),
        (rf"divide\s+{_EA}\s+by\s+{_EB}", _infix("/")),
    )
)
_CJK_PHRASES = _compiled(
    (
        (rf"{_A}\s*の\s*{_B}\s*(?:%|パーセント)", _share),
        (rf"{_A}\s*の\s*{_B}\s*割(?![るりっ])", _tenths),
        (rf"{_A}\s*[とに]\s*{_B}\s*(?:の和|を(?:足|たし|加え|合わせ|合計))", _infix("+")),
        (rf"{_A}\s*と\s*{_B}\s*の差", _distance),
        (rf"{_A}\s*[とに]\s*{_B}\s*(?:の積|を(?:掛|かけ))", _infix("*")),
        (rf"{_A}\s*と\s*{_B}\s*の商", _infix("/")),
        (rf"{_A}\s*から\s*{_B}\s*を(?:引|ひ)", _infix("-")),
        (rf"{_A}\s*を\s*{_B}\s*で(?:割|わ)", _infix("/")),
        (rf"{_A}\s*的\s*(?:百分之\s*{_B}|{_B.replace('<b>', '<c>')}\s*%)", _share),
        (rf"{_A}\s*[和与與跟加]\s*{_B}\s*[的之]\s*和", _infix("+")),
        (rf"{_A}\s*[和与與跟减減]\s*{_B}\s*[的之]\s*差", _infix("-")),
        (rf"{_A}\s*[和与與跟乘]\s*{_B}\s*[的之]\s*乘?[积積]", _infix("*")),
        (rf"{_A}\s*[和与與跟除]\s*{_B}\s*[的之]\s*商", _infix("/")),
    )
)

_CJK = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
_COUNTS = re.compile(rf"\d|{_HAN}|{NUMBER_WORD}", re.IGNORECASE)
_FOLLOWS = rf"\s*(?=[\d(]|{_HAN})"
_WORDS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (
        re.compile(rf"(?<=[\d)%零〇一二三四五六七八九十百千万])\s*(?:{words}){_FOLLOWS}", re.I),
        f" {symbol} ",
    )
    for words, symbol in (
        (r"plus\b|added to\b|足す|たす|再?加上|再?加", "+"),
        (r"minus\b|引く|ひく|再?[减減]去?", "-"),
        (r"times\b|multiplied by\b|掛ける|かける|再?乘[以上]?|[×✕✖⋅·]|x(?=\s*\d)", "*"),
        (r"divided by\b|over\b|割る|わる|再?除以|[÷∕]", "/"),
        (r"to the power of\b|\^", "**"),
    )
)
_HAN_IN_EXPRESSION = re.compile(rf"(?<=[-+*/] ){_HAN}|{_HAN}(?= [-+*/])")
_MINUS = str.maketrans({"−": "-", "–": "-", "×": "*", "÷": "/"})
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%(?!\s*[\d(])")
_RUN = re.compile(r"[-(]*\d[\d \t.+\-*/()%]*")
_COMPACT = re.compile(r"\d+(?:[-/]\d+)+")
_CUE = re.compile(
    r"what|calculat|comput|evaluat|solve|work(?:ing)? out|find|how much|result|value|simplif|sum\b|"
    r"difference|product|quotient|\badd\b|subtract|multiply|divide|=|"
    r"計算|いくつ|いくら|求め|解い|解け|何|答え|教え|计算|多少|几|求|等于|等於|结果|結果|算|得数|和|差|積|积|商",
    re.IGNORECASE,
)
_ASKS_BEFORE = re.compile(
    r"(?:what is|what's|how much is|calculate|compute|evaluate|work out|the value of|solve|"
    r"simplify|計算|计算|算一下|求)\s*[:：]?\s*$",
    re.IGNORECASE,
)
_ASKS_AFTER = re.compile(
    r"\s*(?:=|はいくつ|は何|を計算|の答え|の値|的值|的结果|是多少|等于|等於)", re.IGNORECASE
)
_OPERATOR_BEFORE = re.compile(r"[-+*/×÷]\s*$")
_WORD = re.compile(r"[^\W\d_]+")


def find_problem(text: str) -> Problem | None:
    """The computation `text` asks for, when it is exactly one and all that the text is about."""
    if len(text) > 600 or text.count(" ") > 2 * MAX_OTHER_WORDS or not _COUNTS.search(text):
        return None
    return _find(text)


@lru_cache(maxsize=1024)
def _find(text: str) -> Problem | None:
    source = plain(text).translate(_MINUS)
    if not any(c.isdigit() for c in source):
        source = digits_for_english(source)
    for pattern, build in _CJK_PHRASES if _CJK.search(source) else _ENGLISH_PHRASES:
        source = pattern.sub(partial(_phrase, build=build), source)
    for pattern, symbol in _WORDS:
        source = pattern.sub(symbol, source)
    source = _HAN_IN_EXPRESSION.sub(lambda m: _han(m.group()), source)
    source = _PERCENT.sub(r"(\1 / 100)", source)
    candidates = [c for c in (_candidate(source, m) for m in _RUN.finditer(source)) if c]
    if len(candidates) != 1:
        return None
    expression, start, end = candidates[0]
    others = source[:start] + " " + source[end:]
    if any(c.isdigit() for c in others):
        return None
    if not _asked_for(others, expression, source[:start], source[end:]):
        return None
    return _solved(expression)


def _phrase(match: re.Match[str], build: _Build) -> str:
    if _OPERATOR_BEFORE.search(match.string[: match.start()]):
        return match.group()
    groups = [value for value in match.groups() if value is not None]
    values = [read_han(value) for value in groups]
    if len(values) != 2 or values[0] is None or values[1] is None:
        return match.group()
    return build(values[0], values[1])


def _han(text: str) -> str:
    value = read_han(text)
    return text if value is None else format_value(value)


def _candidate(source: str, match: re.Match[str]) -> tuple[str, int, int] | None:
    """The expression at `match` with its place, trimmed to balanced parentheses; None for none."""
    start, text = match.start(), match.group().rstrip(" \t.+-*/(")
    while text.count(")") > text.count("(") and text.endswith(")"):
        text = text[:-1].rstrip(" \t.")
    while text.count("(") > text.count(")") and text.startswith("("):
        text, start = text[1:], start + 1
    end = start + len(text)
    before, after = source[start - 1 : start], source[end : end + 1]
    # A letter or another sign at either end makes it algebra, a name or a version.
    if re.match(r"[A-Za-z_.^]", before) or re.match(r"[A-Za-z_^]", after):
        return None
    if not re.search(r"[\d)]\s*[-+*/%]", text):
        return None
    return text, start, end


def _asked_for(others: str, expression: str, before: str, after: str) -> bool:
    words = _WORD.findall(others)
    if not words:
        return True
    if sum(1 if word.isascii() else len(word) / 2 for word in words) > MAX_OTHER_WORDS:
        return False
    if _COMPACT.fullmatch(expression):
        return bool(_ASKS_BEFORE.search(before) or _ASKS_AFTER.match(after))
    return bool(_CUE.search(others)) or expression.startswith("(")


def _solved(expression: str) -> Problem | None:
    try:
        value, steps = evaluate(expression)
    except NotArithmetic:
        return None
    if expression.startswith("(") and expression.endswith(")"):
        inner = expression[1:-1]
        if "(" not in inner and ")" not in inner:
            expression = inner
    return Problem(expression, value, steps) if steps else None
