"""Logic: how three or four people compare, told in facts; put all of them in order. Category logic.

Facts: the people from the greatest to the least, which scale (taller, older, faster), which pairs
are told and whether each is turned round, which end comes first. Level 1 tells two neighbouring
pairs as they are, level 2 turns some round and shuffles them, level 3 has four people and three
facts. A random order of the people is right once in six, on level 3 once in twenty-four.
"""

from __future__ import annotations

import random
from typing import Any

from benchmarks.proving_ground.world.family import Language
from benchmarks.proving_ground.world.law import worded
from benchmarks.proving_ground.world.words import NAMES

_SCALES: dict[Language, tuple[tuple[str, str, str, str], ...]] = {
    "en": (
        ("taller", "shorter", "tallest", "shortest"),
        ("older", "younger", "oldest", "youngest"),
        ("faster", "slower", "fastest", "slowest"),
    ),
    "ja": (
        ("背が高い", "背が低い", "一番背が高い", "一番背が低い"),
        ("年上です", "年下です", "最年長の", "最年少の"),
        ("足が速い", "足が遅い", "一番足が速い", "一番足が遅い"),
    ),
}
_OPENINGS: dict[Language, tuple[str, ...]] = {
    "en": ("", "We know: ", "Here are the facts: ", "Read this. ", "Facts: "),
    "ja": ("", "分かっていること: ", "事実: ", "次を読んでください。", "条件: "),
}
_QUESTIONS: dict[Language, tuple[str, ...]] = {
    "en": ("Put them in order, the {most} first.", "List them, the {most} first.",
           "Name all of them, beginning with the {most}.",
           "What is their order from the {most} on?"),
    "ja": ("{most}人から順に並べてください。", "{most}人を最初にして、全員を書いてください。",
           "{most}人から始めて、名前を順に答えてください。",
           "{most}人からの順番を書いてください。"),
}  # fmt: skip


class Orders:
    """See the module."""

    name, category = "orders", "logic"
    openings, questions = len(_OPENINGS["en"]), len(_QUESTIONS["en"])

    def draw(self, numbers: random.Random, level: int) -> tuple[Any, ...]:
        people = tuple(numbers.sample(range(12), 4 if level == 3 else 3))
        told = [(i, level > 1 and numbers.random() < 0.5) for i in range(len(people) - 1)]
        if level > 1:
            numbers.shuffle(told)
        return people, numbers.randrange(3), tuple(told), numbers.randrange(2)

    def content(self, facts: tuple[Any, ...]) -> tuple[Any, ...]:
        people, scale, told, last = facts
        return people, scale, tuple(sorted(told)), last

    def ask(self, facts: tuple[Any, ...], language: Language, a: int, b: int) -> tuple[str, str]:
        people, scale, told, last = facts
        more, less, *ends = _SCALES[language][scale]
        names = [NAMES[language][each] for each in people]
        said = []
        for place, turned in told:
            first, second = names[place], names[place + 1]
            if turned:
                first, second = second, first
            word = less if turned else more
            said.append(
                f"{first}さんは{second}さんより{word}。"
                if language == "ja"
                else f"{first} is {word} than {second}."
            )
        gap = "" if language == "ja" else " "
        question = _QUESTIONS[language][b].format(most=ends[last])
        return _OPENINGS[language][a] + gap.join(said) + gap + question, ""

    def reference(self, facts: tuple[Any, ...], language: Language) -> str:
        people, _, _, last = facts
        names = [NAMES[language][each] for each in people]
        return ", ".join(reversed(names) if last else names)

    def answer(self, facts: tuple[Any, ...], language: Language, numbers: random.Random) -> str:
        people = facts[0]
        names = [NAMES[language][each] for each in people]
        sign = " > "
        if numbers.random() < 0.4:
            names, sign = names[::-1], " < "
        return worded(self.reference(facts, language), [sign.join(names)], language, numbers)
