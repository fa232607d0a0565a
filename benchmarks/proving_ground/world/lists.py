"""Lists of numbers: put in order, turned round, or cut down to those above a bound. Category other.

Facts: what is asked (ascending, descending, reverse, above), the numbers, the bound. The level is
the length: three of one digit, four, or five and six.
"""

from __future__ import annotations

import random
from typing import Any

from benchmarks.proving_ground.world.family import Language
from benchmarks.proving_ground.world.law import worded

_OPENINGS: dict[Language, tuple[str, ...]] = {
    "en": (
        "Here is a list: {list}.",
        "Look at these numbers: {list}.",
        "The numbers are {list}.",
        "Take the list {list}.",
        "You are given {list}.",
    ),
    "ja": (
        "次の列があります: {list}。",
        "次の数を見てください: {list}。",
        "数は{list}です。",
        "列{list}を使います。",
        "{list}が与えられました。",
    ),
}
_QUESTIONS: dict[Language, tuple[tuple[str, ...], ...]] = {
    "en": (
        ("Sort them, smallest first.", "Put them in ascending order.",
         "Order them from small to large.", "Arrange them, the smallest first."),
        ("Sort them, largest first.", "Put them in descending order.",
         "Order them from large to small.", "Arrange them, the largest first."),
        ("Reverse the list.", "Write them backwards.",
         "Read the list from the end.", "Give them in reverse."),
        ("Keep only those above {bound}.", "Which of them are greater than {bound}?",
         "List those larger than {bound}.", "Drop all that are not above {bound}."),
    ),
    "ja": (
        ("小さい順に並べてください。", "昇順に並べてください。",
         "小さい方から書いてください。", "小さいものから順に並べてください。"),
        ("大きい順に並べてください。", "降順に並べてください。",
         "大きい方から書いてください。", "大きいものから順に並べてください。"),
        ("逆の順に書いてください。", "後ろから書いてください。",
         "列を逆にしてください。", "終わりから順に書いてください。"),
        ("{bound}より大きいものだけ残してください。", "{bound}より大きい数はどれですか。",
         "{bound}を超える数を書いてください。", "{bound}以下の数を除いてください。"),
    ),
}  # fmt: skip


class Lists:
    """See the module."""

    name, category = "lists", "other"
    openings, questions = len(_OPENINGS["en"]), 4

    def draw(self, numbers: random.Random, level: int) -> tuple[Any, ...]:
        length = 2 + level if level < 3 else numbers.randint(5, 6)
        values = tuple(numbers.sample(range(1, 10) if level == 1 else range(2, 100), length))
        kind = numbers.randrange(4)
        bound = 0
        if kind == 3:
            low, *_, high = sorted(values)
            bound = numbers.randint(low, high - 1)
        return kind, values, bound

    def content(self, facts: tuple[Any, ...]) -> tuple[Any, ...]:
        return facts

    def ask(self, facts: tuple[Any, ...], language: Language, a: int, b: int) -> tuple[str, str]:
        kind, values, bound = facts
        gap = "" if language == "ja" else " "
        text = _OPENINGS[language][a] + gap + _QUESTIONS[language][kind][b]
        return text.format(list=_joined(values), bound=bound), ""

    def reference(self, facts: tuple[Any, ...], language: Language) -> str:
        return _joined(_result(facts))

    def answer(self, facts: tuple[Any, ...], language: Language, numbers: random.Random) -> str:
        kind, values, _ = facts
        steps = []
        if kind < 2:
            end = ("smallest", "largest")[kind] if language == "en" else ("最小", "最大")[kind]
            first = _result(facts)[0]
            steps = [f"{end}は{first}" if language == "ja" else f"The {end} is {first}"]
        elif kind == 3:
            kept = len(_result(facts))
            steps = [f"{kept}個残ります" if language == "ja" else f"{kept} of {len(values)} stay"]
        return worded(self.reference(facts, language), steps, language, numbers)


def _result(facts: tuple[Any, ...]) -> tuple[int, ...]:
    kind, values, bound = facts
    if kind < 2:
        return tuple(sorted(values, reverse=kind == 1))
    if kind == 2:
        return tuple(reversed(values))
    return tuple(each for each in values if each > bound)


def _joined(values: tuple[int, ...]) -> str:
    return ", ".join(map(str, values))
