"""Numbers as people write them: read from text exactly, and compared as answers are compared.

Text goes in; `Number`s (a fraction, the decimals it was written with, its unit) come out. Reads
thousands separators, currency, percent, fractions and mixed numbers, full-width digits, scientific
notation, 万 and 億, LaTeX fractions. What can't be one number (times, ranges, ratios, variables,
roots) makes a text unreadable rather than wrongly read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_SYMBOLS: dict[int, str] = {
    0x3000: " ",
    0x00A0: " ",
    0x202F: " ",
    0xFFE5: "¥",
    0x2212: "-",
    0x2044: "/",
    0x00B2: "^2",
    0x00B3: "^3",
    0x00BD: " 1/2",
    0x00BC: " 1/4",
    0x00BE: " 3/4",
    0x2153: " 1/3",
    0x2154: " 2/3",
    0x215B: " 1/8",
}
_TABLE: dict[int, int | str] = {**_FULL_WIDTH, **_SYMBOLS}

_LATEX = (
    (re.compile(r"\\[dt]?frac\s*\{([^{}]+)\}\s*\{([^{}]+)\}"), r" (\1)/(\2)"),
    (re.compile(r"\\(?:times|cdot|ast)(?![A-Za-z])"), " × "),
    (re.compile(r"\\div(?![A-Za-z])"), " ÷ "),
    (re.compile(r"\\approx(?![A-Za-z])"), " ≈ "),
    (re.compile(r"\\(?:text|mathrm|mathbf|textbf|boxed)\s*\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\\(?:left|right|displaystyle|quad|qquad|[,;:! ])"), " "),
    (re.compile(r"\\([$%&#{}])"), r"\1"),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\[\[\]()]"), " "),
)
_PLAIN_FRACTION = re.compile(r"\((\d+)\)/\((\d+)\)")
_POWER = re.compile(r"(?<=[\d)])\*\*(?=[\d(])|(?<=[\d)] )\*\*(?= [\d(])")
_BOLD = re.compile(r"\*\*|(?<![\w*])__|__(?![\w*])")

_SCALES = {
    "百": 100,
    "千": 1000,
    "万": 10**4,
    "萬": 10**4,
    "百万": 10**6,
    "千万": 10**7,
    "億": 10**8,
    "亿": 10**8,
    "thousand": 1000,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}
_NUMBER = re.compile(
    r"(?P<sign>(?<![\w)\]])-\s?)?(?:(?:US)?[$€£¥₹]\s?(?P<sign2>-)?)?"
    r"(?P<whole>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<!\d)\.\d+)"
    r"(?:\s+(?P<mixed>\d{1,3}/\d{1,3})(?![\d/])|\s?/\s?(?P<under>\d+)(?![\d/.]))?"
    r"(?:\s?[x×*]\s?10\s?\^\s?\{?(?P<power>-?\d{1,3})\}?|[eE](?P<exponent>[-+]?\d{1,3})(?!\w))?"
    r"(?:\s?(?P<scale>百万|千万|[百千万萬億亿]|(?:thousand|million|billion|trillion)(?![a-z])))?"
    r"(?P<hundredths>\s?(?:%|¢|(?:percent|per cent|cents?|パーセント)(?![a-z])))?",
    re.ASCII | re.IGNORECASE,
)
_UNIT = re.compile(r"\s?([A-Za-z]+|[\u3040-\u30ff\u4e00-\u9fff]{1,4})")
_ODD_BEFORE = re.compile(r"[A-Za-z_./^√]$|\d[-–~〜～:]$|√\(?$", re.ASCII)
_ODD_AFTER = re.compile(
    r"(?:\s?[:：]\s?\d|\s?/\s?[\d(]|\s?[-–~〜～]\s?\d|,\d|\.\d|[xyzπ√^!]|[abcnkKMB](?![A-Za-z])|\s?[√π]|\s?\^)",
    re.ASCII,
)
_UNREADABLE = re.compile(r"√|\\sqrt|π|\\pi|∞|±")

# A number in one of these and a number in another may be the same amount.
MEASURES = frozenset(
    re.findall(
        r"\S+",
        "second seconds sec s minute minutes min mins hour hours hr hrs h day days week weeks "
        "month months year years mm cm m km inch inches foot feet ft yard yards mile miles g kg mg "
        "gram grams kilogram kilograms pound pounds lb lbs ounce ounces oz ton tons ml l liter "
        "liters litre litres cup cups pint pints quart quarts gallon gallons cent cents dollar "
        "dollars dozen dozens pair pairs percent 秒 分 分钟 分間 時間 小时 时 日 天 週間 周 "
        "ヶ月 月 年 円 元 角 毛 米 厘米 千米 公里 里 克 千克 公斤 斤 吨 升 毫升 メートル センチ "
        "キロ グラム リットル",
    )
)
_MAX_DIGITS = 40


@dataclass(frozen=True, slots=True)
class Number:
    """One number as written: its exact value, decimals (None for a fraction), unit and place."""

    value: Fraction
    decimals: int | None
    hundredths: bool
    unit: str | None
    start: int
    end: int

    @property
    def readings(self) -> tuple[Fraction, ...]:
        """`20%` can mean 20 or 1/5, `20 cents` 20 or 0.2: both are readings."""
        return (self.value, self.value / 100) if self.hundredths else (self.value,)


def tidy(text: str) -> str:
    """`text` with full-width characters, typographic signs, LaTeX and bold marks made plain."""
    if not text.isascii():
        text = text.translate(_TABLE)
    if "\\" in text:
        for pattern, plain in _LATEX:
            text = pattern.sub(plain, text)
        text = _PLAIN_FRACTION.sub(r"\1/\2", text)
    return _BOLD.sub("", _POWER.sub("^", text)) if "**" in text or "__" in text else text


def read_numbers(text: str) -> tuple[Number, ...] | None:
    """Every number in tidied `text`, or None where something in it is not a plain number."""
    if _UNREADABLE.search(text):
        return None
    found: list[Number] = []
    joinable = False
    for match in _NUMBER.finditer(text):
        number = _as_number(match, text)
        if number is None:
            return None
        joined = joinable and found[-1].end == number.start
        before = text[max(0, number.start - 2) : number.start]
        if (not joined and _ODD_BEFORE.search(before)) or _ODD_AFTER.match(text, number.end):
            return None
        if joined:
            first = found.pop()
            number = Number(
                first.value + number.value, 0, False, number.unit, first.start, number.end
            )
        # 3万5000 is one number, 3 million 5000 is not.
        joinable = bool(match["scale"]) and not match["scale"].isascii()
        found.append(number)
    return tuple(found)


def _as_number(match: re.Match[str], text: str) -> Number | None:
    whole, mixed, under = match["whole"], match["mixed"], match["under"]
    if len(match[0]) > _MAX_DIGITS:
        return None
    value = Fraction(whole.replace(",", ""))
    decimals: int | None = len(whole.partition(".")[2])
    if mixed or under:
        above, _, below = mixed.partition("/") if mixed else (whole, "/", under)
        if int(below) == 0 or "." in above or "," in above:
            return None
        part = Fraction(int(above), int(below))
        value, decimals = (value + part if mixed else part), None
    power = match["power"] or match["exponent"]
    if power:
        value, decimals = value * Fraction(10) ** int(power), None
    if match["scale"]:
        value, decimals = value * _SCALES[match["scale"].lower()], 0
    if match["sign"] or match["sign2"]:
        value = -value
    unit = match["hundredths"] or _unit_at(text, match.end())
    name = unit.strip().lower() if unit else None
    return Number(value, decimals, bool(match["hundredths"]), name, match.start(), match.end())


def _unit_at(text: str, place: int) -> str | None:
    match = _UNIT.match(text, place)
    if match is None:
        return None
    word = match[1]
    # Japanese and Chinese go on without a space: 1.5時間です.
    lengths = range(len(word), 0, -1) if not word.isascii() else ()
    return next((word[:n] for n in lengths if word[:n] in MEASURES), word)


Likeness = Literal["equal", "rounded", "near", "different"]


def compare(given: Number, wanted: Number) -> Likeness:
    """How `given` stands to `wanted`.

    `rounded`: the coarser one, as written with at least one decimal, is the other one rounded.
    `near`: they differ by less than one unit of the coarser one's last place (cut off instead of
    rounded, rounded to a whole number), or by a conversion between units.
    """
    best: Likeness = "different"
    for left in given.readings:
        for right in wanted.readings:
            if left == right:
                return "equal"
            coarse = _coarser(given, wanted, left, right)
            if coarse is None:
                continue
            distance = abs(left - right)
            if coarse >= 1 and distance <= Fraction(1, 2 * 10**coarse):
                return "rounded"
            if distance < Fraction(1, 10**coarse):
                best = "near"
    return "near" if _other_unit(given.unit, wanted.unit) else best


def _other_unit(given: str | None, wanted: str | None) -> bool:
    if given is None or wanted is None or given not in MEASURES or wanted not in MEASURES:
        return False
    return given.removesuffix("s") != wanted.removesuffix("s")


def _coarser(given: Number, wanted: Number, left: Fraction, right: Fraction) -> int | None:
    """Decimals of the coarser of two numbers; None where neither can be a rounding."""
    places = [
        number.decimals + (2 if number.hundredths and value != number.value else 0)
        for number, value in ((given, left), (wanted, right))
        if number.decimals is not None
    ]
    return min(places) if places else None
