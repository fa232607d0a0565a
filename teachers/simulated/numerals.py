"""Numbers written in words: English (`twenty-five`) and Han (`三百二十一`).

In: words. Out: digits or fractions. Han numerals serve Japanese and Chinese alike.
"""

from __future__ import annotations

import re
from fractions import Fraction

_ONES = re.findall(
    r"\w+",
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen",
)
_TENS = re.findall(r"\w+", "twenty thirty forty fifty sixty seventy eighty ninety")
_VALUES = {word: n for n, word in enumerate(_ONES)} | {
    word: 10 * n for n, word in enumerate(_TENS, start=2)
}
_UNIT = "|".join((*_ONES, *_TENS))
NUMBER_WORD = rf"\b(?:{_UNIT})\b"
_ENGLISH = re.compile(
    rf"\b(?:{_UNIT})(?:[ -](?:{_UNIT}|hundred|thousand)|[ -]and[ -](?={_UNIT})(?:{_UNIT}))*\b",
    re.IGNORECASE,
)
# "One" alone is a pronoun as often as a number; an operator word beside it makes it a number.
_ARITHMETIC = re.compile(
    r"\b(?:plus|minus|times|multiplied|divided|sum|product|difference|add|subtract|multiply|divide)\b",
    re.IGNORECASE,
)

_HAN_DIGITS = {c: n for n, c in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_HAN_UNITS = {"十": 10, "百": 100, "千": 1000}


def digits_for_english(text: str) -> str:
    """English number words replaced by digits, where the text speaks of arithmetic."""
    if not _ARITHMETIC.search(text):
        return text
    return _ENGLISH.sub(_english, text)


def _english(match: re.Match[str]) -> str:
    # "five and seven" is two numbers; only "hundred and seven" joins.
    text = match.group().lower()
    if " and " in text and "hundred" not in text and "thousand" not in text:
        return " and ".join(str(_english_value(part)) for part in text.split(" and "))
    return str(_english_value(text))


def _english_value(text: str) -> int:
    total = current = 0
    for word in re.split(r"[ -]+", text):
        if word == "hundred":
            current = max(current, 1) * 100
        elif word == "thousand":
            total, current = total + max(current, 1) * 1000, 0
        elif word != "and":
            current += _VALUES[word]
    return total + current


def read_han(text: str) -> Fraction | None:
    """The value of digits or of a Han numeral; None where the characters form no number."""
    if text[:1].isdigit() and text.isascii():
        return Fraction(text)
    if not any(c in _HAN_UNITS or c == "万" for c in text):
        if any(c not in _HAN_DIGITS for c in text):
            return None
        return Fraction(int("".join(str(_HAN_DIGITS[c]) for c in text)))
    total = section = digit = 0
    for character in text:
        if character in _HAN_DIGITS:
            digit = _HAN_DIGITS[character]
        elif character in _HAN_UNITS:
            section += (digit or 1) * _HAN_UNITS[character]
            digit = 0
        elif character == "万":
            total, section, digit = total + (section + digit or 1) * 10_000, 0, 0
        else:
            return None
    return Fraction(total + section + digit)
