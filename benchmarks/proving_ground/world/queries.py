"""Small SQL over one fixed table. Category sql; the table's definition is the input.

Facts: what is selected (names, how many, the highest age, the sum spent), and the conditions: each
what it is on (city, age, what was spent), its value, and whether more or less is meant. Level 1 has
one condition, level 2 two, level 3 two and an aggregate. The law: either order of conditions, with
a semicolon or without (0.7), in capitals (0.7) or in small letters.
"""

from __future__ import annotations

import random
from typing import Any

from benchmarks.proving_ground.world.family import Language
from benchmarks.proving_ground.world.words import CITIES

TABLE = "CREATE TABLE customers (name TEXT, city TEXT, age INTEGER, spent INTEGER);"
_SELECTED = ("name", "COUNT(*)", "MAX(age)", "SUM(spent)")
_OPENINGS: dict[Language, tuple[str, ...]] = {
    "en": (
        "Consider customers {who}.",
        "Look for customers {who}.",
        "Take the customers {who}.",
        "We want customers {who}.",
        "Think of customers {who}.",
    ),
    "ja": (
        "{who}顧客を考えます。",
        "{who}顧客を探します。",
        "{who}顧客が対象です。",
        "{who}顧客を見ます。",
        "{who}顧客を選びます。",
    ),
}
_QUESTIONS: dict[Language, tuple[tuple[str, ...], ...]] = {
    "en": (
        ("Write SQL for their names.", "Give the SQL query for their names.",
         "Select their names in SQL.", "Which SQL returns their names?"),
        ("Write SQL that counts them.", "Give the SQL query that counts them.",
         "Count them in SQL.", "Which SQL returns how many there are?"),
        ("Write SQL for the highest age.", "Give the SQL query for the highest age.",
         "Select the highest age in SQL.", "Which SQL returns the highest age?"),
        ("Write SQL for the sum they spent.", "Give the SQL query for the sum they spent.",
         "Add up what they spent in SQL.", "Which SQL returns the sum they spent?"),
    ),
    "ja": (
        ("名前を求めるSQLを書いてください。", "名前のSQLを答えてください。",
         "SQLで名前を選んでください。", "名前を返すSQLは何ですか。"),
        ("人数を求めるSQLを書いてください。", "人数のSQLを答えてください。",
         "SQLで人数を数えてください。", "人数を返すSQLは何ですか。"),
        ("最高年齢を求めるSQLを書いてください。", "最高年齢のSQLを答えてください。",
         "SQLで最高年齢を選んでください。", "最高年齢を返すSQLは何ですか。"),
        ("使った額の合計を求めるSQLを書いてください。", "使った額の合計のSQLを答えてください。",
         "SQLで使った額を合計してください。", "使った額の合計を返すSQLは何ですか。"),
    ),
}  # fmt: skip


class Queries:
    """See the module."""

    name, category = "queries", "sql"
    openings, questions = len(_OPENINGS["en"]), 4

    def draw(self, numbers: random.Random, level: int) -> tuple[Any, ...]:
        selected = numbers.randrange(2, 4) if level == 3 else numbers.randrange(2)
        asked = sorted(numbers.sample(("age", "city", "spent"), 1 if level == 1 else 2))
        return selected, tuple(self._condition(each, numbers) for each in asked)

    def _condition(self, kind: str, numbers: random.Random) -> tuple[str, int, bool]:
        if kind == "city":
            return kind, numbers.randrange(8), True
        more = numbers.random() < 0.5
        return kind, numbers.randint(20, 70) if kind == "age" else 10 * numbers.randint(2, 60), more

    def content(self, facts: tuple[Any, ...]) -> tuple[Any, ...]:
        return facts

    def ask(self, facts: tuple[Any, ...], language: Language, a: int, b: int) -> tuple[str, str]:
        selected, conditions = facts
        joint = "、かつ" if language == "ja" else " and "
        who = joint.join(_told(each, language) for each in conditions)
        gap = "" if language == "ja" else " "
        text = _OPENINGS[language][a] + gap + _QUESTIONS[language][selected][b]
        return text.format(who=who), TABLE

    def reference(self, facts: tuple[Any, ...], language: Language) -> str:
        selected = _SELECTED[facts[0]]
        return f"SELECT {selected} FROM customers WHERE {' AND '.join(_conditions(facts))};"

    def answer(self, facts: tuple[Any, ...], language: Language, numbers: random.Random) -> str:
        conditions = _conditions(facts)
        if numbers.random() < 0.4:
            conditions.reverse()
        words = ("SELECT", "FROM", "WHERE", " AND ")
        select, source, where, both = (
            words if numbers.random() < 0.7 else tuple(word.lower() for word in words)
        )
        selected = _SELECTED[facts[0]]
        end = ";" if numbers.random() < 0.7 else ""
        return f"{select} {selected} {source} customers {where} {both.join(conditions)}{end}"


def _told(condition: tuple[str, int, bool], language: Language) -> str:
    kind, value, more = condition
    place = CITIES["en"][value % 8]
    if language == "ja":
        return {
            "city": f"{place}に住む",
            "age": f"{value}歳より{'年上の' if more else '若い'}",
            "spent": f"{value}より{'多く' if more else '少なく'}使った",
        }[kind]
    return {
        "city": f"in {place}",
        "age": f"{'older' if more else 'younger'} than {value}",
        "spent": f"who spent {'more' if more else 'less'} than {value}",
    }[kind]


def _conditions(facts: tuple[Any, ...]) -> list[str]:
    return [
        f"city = '{CITIES['en'][value]}'" if kind == "city" else
        f"{kind} {'>' if more else '<'} {value}"
        for kind, value, more in facts[1]
    ]  # fmt: skip
