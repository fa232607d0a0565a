"""Equations stated in prose: finds `48/2 = 24 clips` and says whether each holds.

A text goes in; `Equation`s come out, each true, false, or None where a careful reader would not
judge: algebra, ranges, unit conversions, unusual notation, a statement the text itself calls wrong.
Rounding counts as written, and `20%` may mean a fifth, twenty points, or a fifth of what it is
added to. Wrongly calling an equation false costs a good answer, so doubt always gives None.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from agents.checks.expressions import Exact, NotArithmetic, Value, evaluate, left_to_right
from agents.checks.numbers import MEASURES

_CJK = "\u3040-\u30ff\u4e00-\u9fff"
_NUMBER = r"""(?:
    \d{1,3}[ \t]\d{1,2}/\d{1,2}(?![\d/.])
  | (?: \d{1,3}(?:,\d{3})++(?!\d) | \d++ ) (?:\.\d++)?+
  | \.\d++ )"""
_UNIT = rf"""(?:
    [ \t]?[-/]?
    (?! [xX](?![A-Za-z]) | (?:of|and|or|plus|minus|times|equals|is|so|because|then)\b )
    (?: [A-Za-z]{{2,}}+ | (?<=[ \t])a\b | (?<=[\d/ \t])[gmhslLJKWV](?![A-Za-z]) | [{_CJK}]{{1,8}} )
)"""
_OPERAND = rf"""
    [(\[]{{0,8}}+ [ \t]? (?:-(?=[$€£¥₹\d.]))? (?:[$€£¥₹][ \t]?)?
    {_NUMBER} (?:[ \t]?%)?+ {_UNIT}{{0,5}}+ [)\]]{{0,8}}+ {_UNIT}{{0,3}}+"""
_OPERATOR = r"""(?:
    [ \t]* (?: [-+*/×÷·⋅∗–^] | [xX](?=[\s\d(.$]) | (?<=[%\d][ \t])of(?=[ \t]) ) [ \t]*
  | (?<=[\d)])(?=\() )"""
# Every repetition is possessive or bounded, so that no text makes the search slow.
_SIDE = rf"(?> {_OPERAND} (?: {_OPERATOR} {_OPERAND} ){{0,24}}+ )"
_CHAIN = re.compile(
    rf"""(?: (?<![A-Za-z\d_.,]) | (?=[$€£¥₹]) )
    {_SIDE} (?: \s* (?<![=<>!:+*/~])=(?![=>]) [ \t]* {_SIDE} ){{1,12}}+""",
    re.VERBOSE,
)
_READ_CHARS = 8000
_MAX_EQUATIONS = 60

_LIST_MARK = re.compile(r"(?:^|\n)[ \t]*(?:[-*•–]|\d+[.)])[ \t]+\Z")
_DOUBTFUL_BEFORE = re.compile(
    r"[-+*/×÷^<>≤≥≠±√!%–][ \t]*\Z|[A-Za-z]\Z|\d[ \t]*\Z|\d[:,.]\Z|"
    r"\b(?:plus|minus|times|than|half|halves|thirds?|quarters?|fourths?|fifths?|percent|twice|"
    r"double|triple|average|mean|mod|modulo|log|sqrt|root|base|add(?:ed|ing)?|to the|"
    r"(?:subtract|multipl|divid|tak)\w* (?:\w+ )?(?:from|by))"
    r"(?:[ \t]+(?:of|to|from|the))*[ \t]+\Z",
    re.IGNORECASE,
)
_DOUBTFUL_AFTER = re.compile(
    r"[A-Za-z_{\\]|[ \t]*[-+*/×÷^–][ \t]*[\w($.{\\]|[ \t]*[xyzXYZ](?![A-Za-z])|[.,:/][ \t]?\d|"
    r"!=?[ \t]*[=\d]|[ \t]*(?:\(?\s*mod|[rR]\.?\s?\d|\.\.\.|…)|(?<=\d)[ \t]+\d|\("
)
_FRACTION = re.compile(r"\d+/\d", re.ASCII)
_VARIABLE = re.compile(r"\d[ \t]?(?![xX][ \t]*[\d$(.]|a[ \t]+[a-z])[A-Za-z](?![A-Za-z])", re.ASCII)
_RANGE = re.compile(r"\d+[-–]\d+\D*\Z", re.ASCII)
_DISPUTED = re.compile(r"\b0x?\d|[/÷].*[\d)]\(", re.ASCII)
_SCALE = re.compile(
    r"thousand|million|billion|trillion|hundred|dozen|percent|score|[万萬億亿千百]|\d[kK]\b",
    re.IGNORECASE,
)
_DISOWNED = re.compile(
    r"\b(?:not|isn't|incorrect\w*|wrong\w*|mistake\w*|error\w*|false|instead|suppose|assum\w+|"
    r"claim\w*|rather than|typo|binary|modul\w+|mod)\b"
    r"|≠|不是|不等|错|錯|誤|間違|正しくない|ではな|假设|仮に",
    re.IGNORECASE,
)
_SENTENCE_EDGE = re.compile(r"[\n。！？]|[.!?]\s")
_FACTORS = frozenset(
    Fraction(n) for n in (2, 3, 4, 7, 10, 12, 16, 24, 30, 36, 52, 60, 100, 365, 1000, 3600, 5280)
)


@dataclass(frozen=True, slots=True)
class Equation:
    """One stated equation: how it was written, what its left side comes to, whether it holds."""

    written: str
    worth: Exact
    holds: bool | None


def stated_equations(text: str) -> Iterator[Equation]:
    """Every `a op b [op c …] = d` of tidied `text`, in order, at most sixty."""
    text = text[:_READ_CHARS]
    count = 0
    for match in _CHAIN.finditer(text):
        for equation in _of_chain(match, text):
            yield equation
            count += 1
        if count >= _MAX_EQUATIONS:
            return


def _of_chain(match: re.Match[str], text: str) -> Iterator[Equation]:
    sides = [side.strip() for side in match[0].split("=")]
    sides[0], sides[-1] = _unwrap(sides[0], "("), _unwrap(sides[-1], ")")
    last = len(sides) - 2
    for index, (left, right) in enumerate(pairwise(sides)):
        try:
            worth = evaluate(left)
            holds = _holds(left, right, worth, evaluate(right))
        except NotArithmetic:
            continue
        if not worth.operators and not holds:
            continue
        if holds is False and (
            (index == 0 and _doubtful_start(match, text))
            or (index == last and _DOUBTFUL_AFTER.match(text, match.end()))
            or _disowned(match, text)
        ):
            holds = None
        yield Equation(f"{left} = {right}", worth.exact, holds)


def _unwrap(side: str, bracket: str) -> str:
    """Drops the brackets of `(5 + 3 = 8)`, which belong to the sentence."""
    surplus = side.count("(") - side.count(")")
    if bracket == "(":
        while surplus > 0 and side.startswith("("):
            side, surplus = side[1:].strip(), surplus - 1
    elif surplus < 0:
        side = side[: _nth_last_close(side, -surplus)]
    return side


def _nth_last_close(side: str, count: int) -> int:
    place = len(side)
    for _ in range(count):
        place = side.rindex(")", 0, place)
    return place


def _holds(left: str, right: str, worth: Value, stated: Value) -> bool | None:
    if worth.exact == stated.exact or worth.exact == stated.operands[0][0]:
        return True
    if _close_enough(worth, stated):
        return True
    if stated.operators or not worth.operators:
        return None
    if worth.percents or stated.percents:
        return _percent_readings(left, right, worth)
    if left_to_right(left) == stated.exact or _SCALE.search(left) or _SCALE.search(right):
        return None
    if _VARIABLE.search(left) or _VARIABLE.search(right) or _read_otherwise(left, worth):
        return None
    # `… = 0` is an equation to solve, or a root that is being tried.
    if not stated.exact or _explained_by_rounding(worth, stated):
        return None
    if worth.exact and _converted(left, right, Fraction(worth.exact) / stated.exact):
        return None
    return False


def _close_enough(worth: Value, stated: Value) -> bool:
    """Rounding as written: a quotient may also be cut off or rounded up to the stated place."""
    places = stated.operands[0][1]
    distance = abs(Fraction(worth.exact) - stated.exact)
    if stated.operators or not worth.operators:
        return False
    if "/" in worth.operators or "^" in worth.operators:
        return distance < Fraction(1, 10**places)
    return places > 0 and distance <= Fraction(1, 2 * 10**places)


def _percent_readings(left: str, right: str, worth: Value) -> bool | None:
    """True where `%` as points, or as a share of what it is added to, makes the equation hold."""
    points = evaluate(left, Fraction(1))
    for stated in (evaluate(right), evaluate(right, Fraction(1))):
        if _close_enough(points, stated) or points.exact == stated.exact:
            return True
        if worth.exact == stated.exact * 100 or worth.exact * 100 == stated.exact:
            return True
        if len(worth.operands) == 2 and worth.operators in "+-" and worth.percents == 1:
            (base, _), (share, _) = worth.operands
            if base * (1 + share if worth.operators == "+" else 1 - share) == stated.exact:
                return True
    # A share of a number has no further reading; sums and quotients of shares may have.
    plain = worth.operators == "*" and not stated.percents and not _SCALE.search(left + right)
    return False if plain and not _explained_by_rounding(worth, stated) else None


def _read_otherwise(left: str, worth: Value) -> bool:
    """A range (`10-15`), a code with leading zeros, or `6 / 2(1+2)`, whose order is disputed."""
    return (worth.exact < 0 and _RANGE.match(left) is not None) or bool(_DISPUTED.search(left))


def _explained_by_rounding(worth: Value, stated: Value) -> bool:
    """Figures carried along with fewer digits: `33.33 * 3 = 100`, `0.2917 * 625 = 182.34`."""
    distance = abs(Fraction(worth.exact) - stated.exact)
    size = abs(Fraction(stated.exact))
    if not any(places for _, places in (*worth.operands, *stated.operands)):
        return False
    if any(_near_sixth(value, places) for value, places in worth.operands if places >= 2):
        return distance * 50 <= size
    whole = stated.exact.denominator == 1
    return distance * 200 <= size or (whole and distance < 1)


def _near_sixth(value: Exact, places: int) -> bool:
    """Whether a decimal is a third or a sixth, cut short."""
    sixth = Fraction(round(Fraction(value) * 6), 6)
    return value != sixth and abs(sixth - value) < Fraction(1, 10**places)


def _converted(left: str, right: str, ratio: Fraction) -> bool:
    """`3 * 20 minutes = 1 hour`: the sides' units differ by a known factor."""
    if ratio not in _FACTORS and 1 / ratio not in _FACTORS:
        return False
    units = [
        set(re.findall(rf"[a-z]+|[{_CJK}]+", side.lower())) & MEASURES for side in (left, right)
    ]
    signs = {"¢", "$"} & set(left + right)
    return bool(units[1] - units[0]) or bool(signs and units[0] | units[1])


def _doubtful_start(match: re.Match[str], text: str) -> bool:
    written = match[0].lstrip()
    start = match.end() - len(written)
    before = text[max(0, start - 40) : start]
    if written.startswith("-") and before.rstrip()[-1:].isalnum():
        return True
    if _FRACTION.match(written) and before.rstrip().endswith("and"):
        return True
    return not _LIST_MARK.search(before) and _DOUBTFUL_BEFORE.search(before) is not None


def _disowned(match: re.Match[str], text: str) -> bool:
    start, end = match.span()
    before = _SENTENCE_EDGE.split(text[max(0, start - 200) : start])[-1]
    after = _SENTENCE_EDGE.split(text[end : end + 200])[0]
    return _DISOWNED.search(before + " " + after) is not None
