"""Word problems: somebody has things, gets bags of them, gives some away. Category math.

Facts: name, thing, bag, how many there were, bags, in each bag, given away; the content is the
numbers alone. Level 1 adds one bag, level 2 several, level 3 takes some away in the end. Steps may
be said in either order of summands.
"""

from __future__ import annotations

import random
from typing import Any

from benchmarks.proving_ground.world.family import Language
from benchmarks.proving_ground.world.law import worded
from benchmarks.proving_ground.world.words import BAGS, NAMES, THINGS

_OPENINGS: dict[Language, tuple[str, ...]] = {
    "en": (
        "{who} has {n} {things}",
        "{who} owns {n} {things}",
        "On the table of {who} lie {n} {things}",
        "There are {n} {things} in the house of {who}",
        "{who} starts with {n} {things}",
    ),
    "ja": (
        "{who}さんは{things}を{n}個持っています",
        "{who}さんの所に{things}が{n}個あります",
        "{who}さんの机に{things}が{n}個あります",
        "{who}さんの家に{things}が{n}個あります",
        "{who}さんは最初に{things}を{n}個持っています",
    ),
}
_QUESTIONS: dict[Language, tuple[str, ...]] = {
    "en": (
        "How many {things} are there now?",
        "How many {things} does {who} have in the end?",
        "What is the number of {things} now?",
        "Count the {things} of {who}.",
    ),
    "ja": (
        "今、{things}は何個ありますか。",
        "{who}さんの{things}は最後に何個ですか。",
        "{things}の数を求めてください。",
        "{who}さんの{things}を数えてください。",
    ),
}
_GETS: dict[Language, str] = {
    "en": "{who} gets {bags} {bag} of {each}",
    "ja": "{each}個入りの{bag}を{bags}つもらいます",
}
_GIVES: dict[Language, str] = {"en": "{who} gives away {away}", "ja": "{away}個あげます"}


class Purchases:
    """See the module."""

    name, category = "purchases", "math"
    openings, questions = len(_OPENINGS["en"]), len(_QUESTIONS["en"])

    def draw(self, numbers: random.Random, level: int) -> tuple[Any, ...]:
        who, thing, bag = numbers.randrange(12), numbers.randrange(8), numbers.randrange(4)
        had = numbers.randint(2, 30)
        bags = 1 if level == 1 else numbers.randint(2, 5)
        each = numbers.randint(2, 9 if level == 1 else 6)
        away = 0 if level < 3 else numbers.randint(1, min(9, had))
        return who, thing, bag, had, bags, each, away

    def content(self, facts: tuple[Any, ...]) -> tuple[Any, ...]:
        return facts[3:]

    def ask(self, facts: tuple[Any, ...], language: Language, a: int, b: int) -> tuple[str, str]:
        who, thing, bag, had, bags, each, away = facts
        said = {
            "who": NAMES[language][who],
            "things": THINGS[language][thing],
            "bag": BAGS[language][bag],
            "n": had, "bags": bags, "each": each, "away": away,
        }  # fmt: skip
        parts = [_OPENINGS[language][a], _GETS[language]]
        parts += [_GIVES[language]] if away else []
        stop, gap = ("。", "") if language == "ja" else (".", " ")
        text = gap.join(f"{part}{stop}" for part in parts) + gap + _QUESTIONS[language][b]
        return text.format(**said), ""

    def reference(self, facts: tuple[Any, ...], language: Language) -> str:
        had, bags, each, away = facts[3:]
        return str(had + bags * each - away)

    def answer(self, facts: tuple[Any, ...], language: Language, numbers: random.Random) -> str:
        had, bags, each, away = facts[3:]
        got = bags * each
        steps = [f"{bags} × {each} = {got}"] if bags > 1 else []
        first, second = (had, got) if numbers.random() < 0.6 else (got, had)
        steps.append(f"{first} + {second} = {had + got}")
        if away:
            steps.append(f"{had + got} - {away} = {had + got - away}")
        return worded(self.reference(facts, language), steps, language, numbers)
