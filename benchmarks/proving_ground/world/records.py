"""JSON extraction: what a sentence says of a person, as an object. Category extraction.

Facts: the fields asked for, the values of name, age, city, job (-1 for the others), the order in
which they are told, which is no part of the content. The level is the number of fields: two, three,
four. The law: keys in the order asked for (0.6) or in any other, `{"a": 1}` (0.6) or `{"a":1}`,
with a fence around it in one answer of five.
"""

from __future__ import annotations

import json
import random
from typing import Any

from benchmarks.proving_ground.world.family import Language
from benchmarks.proving_ground.world.words import CITIES, JOBS, NAMES

_KEYS = ("name", "age", "city", "job")
_TOLD: dict[Language, tuple[str, ...]] = {
    "en": ("the name is {name}", "{age} years old", "living in {city}", "working as a {job}"),
    "ja": ("名前は{name}", "年は{age}歳", "住まいは{city}", "仕事は{job}"),
}
_OPENINGS: dict[Language, tuple[str, ...]] = {
    "en": (
        "About a person: {told}.",
        "A note says: {told}.",
        "We know this: {told}.",
        "From a letter: {told}.",
        "The record reads: {told}.",
    ),
    "ja": (
        "ある人について: {told}。",
        "メモ: {told}。",
        "分かっていること: {told}。",
        "手紙から: {told}。",
        "記録: {told}。",
    ),
}
_QUESTIONS: dict[Language, tuple[str, ...]] = {
    "en": (
        "Return JSON with the keys {keys}.",
        "Answer in JSON with the keys {keys}.",
        "Write it as JSON with the keys {keys}.",
        "Give it as JSON, keys {keys}.",
    ),
    "ja": (
        "キー{keys}のJSONで返してください。",
        "キー{keys}のJSONで答えてください。",
        "キー{keys}のJSONとして書いてください。",
        "キー{keys}のJSONにまとめてください。",
    ),
}


class Records:
    """See the module."""

    name, category = "records", "extraction"
    openings, questions = len(_OPENINGS["en"]), len(_QUESTIONS["en"])

    def draw(self, numbers: random.Random, level: int) -> tuple[Any, ...]:
        drawn = (
            numbers.randrange(12), numbers.randint(18, 80), numbers.randrange(8),
            numbers.randrange(6),
        )  # fmt: skip
        asked = tuple(sorted(numbers.sample(range(4), level + 1)))
        values = tuple(value if place in asked else -1 for place, value in enumerate(drawn))
        return asked, values, tuple(numbers.sample(asked, len(asked)))

    def content(self, facts: tuple[Any, ...]) -> tuple[Any, ...]:
        return facts[:2]

    def ask(self, facts: tuple[Any, ...], language: Language, a: int, b: int) -> tuple[str, str]:
        asked, values, told = facts
        said = _values(values, language)
        joint = "、" if language == "ja" else ", "
        phrases = joint.join(_TOLD[language][each] for each in told).format(**said)
        keys = ", ".join(f'"{_KEYS[each]}"' for each in asked)
        gap = "" if language == "ja" else " "
        text = _OPENINGS[language][a] + gap + _QUESTIONS[language][b]
        return text.format(told=phrases, keys=keys), ""

    def reference(self, facts: tuple[Any, ...], language: Language) -> str:
        asked, values, _ = facts
        said = _values(values, language)
        return json.dumps({_KEYS[each]: said[_KEYS[each]] for each in asked}, ensure_ascii=False)

    def answer(self, facts: tuple[Any, ...], language: Language, numbers: random.Random) -> str:
        value = json.loads(self.reference(facts, language))
        if numbers.random() >= 0.6:
            keys = list(value)
            numbers.shuffle(keys)
            value = {key: value[key] for key in keys}
        spaced = (", ", ": ") if numbers.random() < 0.6 else (",", ":")
        text = json.dumps(value, ensure_ascii=False, separators=spaced)
        return f"```json\n{text}\n```" if numbers.random() < 0.2 else text


def _values(values: tuple[int, int, int, int], language: Language) -> dict[str, str | int]:
    who, age, city, job = values
    return {
        "name": NAMES[language][who],
        "age": age,
        "city": CITIES[language][city],
        "job": JOBS[language][job],
    }
