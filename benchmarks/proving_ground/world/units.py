"""Conversion of units: how many small ones a quantity comes to. Category math.

Facts: which pair of units, large ones, small ones, large ones more. Level 1 has large ones only,
level 2 both, level 3 adds a second quantity of large ones.
"""

from __future__ import annotations

import random
from typing import Any

from benchmarks.proving_ground.world.family import Language
from benchmarks.proving_ground.world.law import worded

_UNITS: dict[Language, tuple[tuple[str, str, int], ...]] = {
    "en": (
        ("km", "m", 1000), ("m", "cm", 100), ("kg", "g", 1000), ("hours", "minutes", 60),
        ("minutes", "seconds", 60), ("days", "hours", 24), ("weeks", "days", 7),
    ),
    "ja": (
        ("km", "m", 1000), ("m", "cm", 100), ("kg", "g", 1000), ("時間", "分", 60),
        ("分", "秒", 60), ("日", "時間", 24), ("週間", "日", 7),
    ),
}  # fmt: skip
_OPENINGS: dict[Language, tuple[str, ...]] = {
    "en": ("Take {q}.", "Here is {q}.", "Given: {q}.", "You have {q}.", "Think of {q}."),
    "ja": (
        "{q}とします。", "{q}があります。", "{q}を考えます。", "次の量です: {q}。",
        "量は{q}です。",
    ),
}  # fmt: skip
_QUESTIONS: dict[Language, tuple[str, ...]] = {
    "en": (
        "How many {small} is that?",
        "Convert it to {small}.",
        "Write it in {small}.",
        "What is it in {small}?",
    ),
    "ja": (
        "何{small}ですか。",
        "{small}に直してください。",
        "{small}で書いてください。",
        "{small}ではいくつですか。",
    ),
}
_AND: dict[Language, str] = {"en": " and ", "ja": "と"}


class Units:
    """See the module."""

    name, category = "units", "math"
    openings, questions = len(_OPENINGS["en"]), len(_QUESTIONS["en"])

    def draw(self, numbers: random.Random, level: int) -> tuple[Any, ...]:
        pair = numbers.randrange(len(_UNITS["en"]))
        factor = _UNITS["en"][pair][2]
        large = numbers.randint(2, 99 if factor >= 100 else 12)
        small = 0 if level == 1 else numbers.randint(1, min(factor - 1, 30))
        more = 0 if level < 3 else numbers.randint(2, 9)
        return pair, large, small, more

    def content(self, facts: tuple[Any, ...]) -> tuple[Any, ...]:
        return facts

    def ask(self, facts: tuple[Any, ...], language: Language, a: int, b: int) -> tuple[str, str]:
        pair, large, small, more = facts
        big, little, _ = _UNITS[language][pair]
        gap = "" if language == "ja" and not big.isascii() else " "
        quantity = f"{large}{gap}{big}"
        quantity += f" {small}{gap}{little}" if small else ""
        quantity += f"{_AND[language]}{more}{gap}{big}" if more else ""
        text = f"{_OPENINGS[language][a]} {_QUESTIONS[language][b]}"
        return text.format(q=quantity, small=little), ""

    def reference(self, facts: tuple[Any, ...], language: Language) -> str:
        pair, large, small, more = facts
        return str((large + more) * _UNITS["en"][pair][2] + small)

    def answer(self, facts: tuple[Any, ...], language: Language, numbers: random.Random) -> str:
        pair, large, small, more = facts
        factor = _UNITS["en"][pair][2]
        steps = [f"{large} + {more} = {large + more}"] if more else []
        whole = (large + more) * factor
        first, second = (large + more, factor) if numbers.random() < 0.6 else (factor, large + more)
        steps.append(f"{first} × {second} = {whole}")
        if small:
            steps.append(f"{whole} + {small} = {whole + small}")
        return worded(self.reference(facts, language), steps, language, numbers)
