"""Date arithmetic in a year that is no leap year: so many days after or before a date. Category qa.

Facts: day of the year (from 1), days, whether they are counted back. Level 1 stays within the
month, level 2 goes into the next one, level 3 goes there or back by up to 30 days.
"""

from __future__ import annotations

import random
from datetime import date, timedelta
from typing import Any

from benchmarks.proving_ground.world.family import Language
from benchmarks.proving_ground.world.law import worded

_YEAR = date(2023, 1, 1)
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_OPENINGS: dict[Language, tuple[str, ...]] = {
    "en": (
        "Today is {date}.",
        "It is {date}.",
        "The calendar says {date}.",
        "We start on {date}.",
        "A letter was sent on {date}.",
    ),
    "ja": (
        "今日は{date}です。",
        "暦は{date}です。",
        "{date}に始めます。",
        "{date}とします。",
        "{date}に手紙を出しました。",
    ),
}
_QUESTIONS: dict[Language, tuple[str, ...]] = {
    "en": (
        "What date is {n} days {way}?",
        "Which day is {n} days {way}?",
        "Give the date {n} days {way}.",
        "Name the date that is {n} days {way}.",
    ),
    "ja": (
        "{n}日{way}は何月何日ですか。",
        "{n}日{way}の日付は何ですか。",
        "{n}日{way}の日付を答えてください。",
        "{n}日{way}の日付を書いてください。",
    ),
}
_WAYS: dict[Language, tuple[str, str]] = {"en": ("later", "earlier"), "ja": ("後", "前")}


def _said(day: date, language: Language) -> str:
    if language == "ja":
        return f"{day.month}月{day.day}日"
    return f"{_MONTHS[day.month - 1]} {day.day}"


class Dates:
    """See the module."""

    name, category = "dates", "qa"
    openings, questions = len(_OPENINGS["en"]), len(_QUESTIONS["en"])

    def draw(self, numbers: random.Random, level: int) -> tuple[Any, ...]:
        while True:
            start = _YEAR + timedelta(numbers.randrange(365))
            days = numbers.randint(2, (9, 14, 30)[level - 1])
            back = level == 3 and numbers.random() < 0.5
            end = start + timedelta(-days if back else days)
            months = (end.year - start.year) * 12 + end.month - start.month
            if end.year == start.year and (level == 3 or months == level - 1):
                return (start - _YEAR).days + 1, days, back

    def content(self, facts: tuple[Any, ...]) -> tuple[Any, ...]:
        return facts

    def _ends(self, facts: tuple[Any, ...]) -> tuple[date, date]:
        day, days, back = facts
        start = _YEAR + timedelta(day - 1)
        return start, start + timedelta(-days if back else days)

    def ask(self, facts: tuple[Any, ...], language: Language, a: int, b: int) -> tuple[str, str]:
        _, days, back = facts
        gap = "" if language == "ja" else " "
        text = _OPENINGS[language][a] + gap + _QUESTIONS[language][b]
        start, _ = self._ends(facts)
        return text.format(date=_said(start, language), n=days, way=_WAYS[language][back]), ""

    def reference(self, facts: tuple[Any, ...], language: Language) -> str:
        return _said(self._ends(facts)[1], language)

    def answer(self, facts: tuple[Any, ...], language: Language, numbers: random.Random) -> str:
        start, end = self._ends(facts)
        _, days, back = facts
        day, month = start.day, start.month
        sign = "-" if back else "+"
        now = day - days if back else day + days
        steps = [f"{day} {sign} {days} = {now}"]
        while month < end.month:
            length = _LENGTHS[month - 1]
            steps.append(f"{now} - {length} = {now - length}")
            now, month = now - length, month + 1
        while month > end.month:
            length = _LENGTHS[month - 2]
            steps.append(f"{now} + {length} = {now + length}")
            now, month = now + length, month - 1
        return worded(self.reference(facts, language), steps, language, numbers)
