"""The quickstart's own seeds: enough of each kind and language, and right where one can tell."""

from __future__ import annotations

import ast
import json
import operator
import re
import sqlite3
import unicodedata
from collections import Counter
from collections.abc import Callable
from fractions import Fraction

import pytest

from agents.categories import CATEGORIES
from common.paths import CHECKOUT
from graph.seeds import SeedRecord, read_seeds

SOURCE = CHECKOUT / "recipes" / "quickstart" / "seeds.jsonl"

_NUMBER = r"\d+"
_EXPRESSION = r"([-\d+*/×÷() ]+?)"
_PATTERNS: tuple[tuple[str, str], ...] = (
    (rf"What is ({_NUMBER})% of ({_NUMBER})\?", r"\1 / 100 * \2"),
    (rf"({_NUMBER}) の ({_NUMBER})% はいくつですか。", r"\1 * \2 / 100"),
    (rf"({_NUMBER}) 的 ({_NUMBER})% 是多少？", r"\1 * \2 / 100"),
    (rf"({_NUMBER})を({_NUMBER})で割るといくつですか。", r"\1 / \2"),
    (rf"计算 ({_NUMBER}) 除以 ({_NUMBER})。", r"\1 / \2"),
    (rf"(?:What is|Calculate|Compute) {_EXPRESSION}[.?]", r"\1"),
    (rf"{_EXPRESSION} ?(?:を計算してください|はいくつですか)。", r"\1"),
    (rf"请计算 {_EXPRESSION}。", r"\1"),
    (rf"{_EXPRESSION} 等于多少？", r"\1"),
)
_WORD_PROBLEMS = {
    "en-math-6": "36 + 2 * 36",
    "en-math-7": "312 / 24",
    "ja-math-6": "120 * 5 + 350 * 2",
    "ja-math-7": "80 * 5 / 2",
    "zh-math-6": "24 * 15 / 4",
    "zh-math-7": "86 - 38 + 20",
}
_OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@pytest.fixture(scope="module")
def seeds() -> list[SeedRecord]:
    items = list(read_seeds(str(SOURCE)))
    assert all(isinstance(item, SeedRecord) for item in items), items
    return [item for item in items if isinstance(item, SeedRecord)]


def identity(seed: SeedRecord) -> str:
    return str((seed.meta or {})["id"])


def expression_of(instruction: str) -> str | None:
    for pattern, form in _PATTERNS:
        found = re.fullmatch(pattern, instruction)
        if found:
            return found.expand(form).replace("×", "*").replace("÷", "/").strip()
    return None


def value_of(expression: str) -> Fraction:
    def walk(node: ast.expr) -> Fraction:
        if isinstance(node, ast.BinOp):
            return _OPERATORS[type(node.op)](walk(node.left), walk(node.right))
        assert isinstance(node, ast.Constant)
        assert isinstance(node.value, int)
        return Fraction(node.value)

    return walk(ast.parse(expression, mode="eval").body)


def test_there_are_enough_seeds_in_each_language(seeds: list[SeedRecord]) -> None:
    languages = Counter(seed.language for seed in seeds)
    assert len(seeds) == 75
    assert languages == {"en": 25, "ja": 25, "zh": 25}
    assert {seed.licence for seed in seeds} == {"Apache-2.0"}


def test_every_kind_of_task_is_there_in_every_language(seeds: list[SeedRecord]) -> None:
    kinds = {language: set[str]() for language in ("en", "ja", "zh")}
    for seed in seeds:
        kinds[identity(seed)[:2]].add(identity(seed).split("-")[1])
    assert kinds["en"] == kinds["ja"] == kinds["zh"]
    assert kinds["en"] == set(CATEGORIES) - {"chat", "other"}


def test_about_ten_seeds_leave_their_category_to_classification(seeds: list[SeedRecord]) -> None:
    unsaid = [seed for seed in seeds if seed.category is None]
    assert Counter(seed.language for seed in unsaid) == {"en": 4, "ja": 4, "zh": 4}
    said = [seed for seed in seeds if seed.category is not None]
    assert all(seed.category == identity(seed).split("-")[1] for seed in said)


def test_no_seed_is_there_twice(seeds: list[SeedRecord]) -> None:
    assert len({identity(seed) for seed in seeds}) == len(seeds)
    assert len({(seed.instruction, seed.input) for seed in seeds}) == len(seeds)


def test_every_seed_is_written_in_its_language(seeds: list[SeedRecord]) -> None:
    kana, han = re.compile("[\u3041-\u30ff]"), re.compile("[\u4e00-\u9fff]")
    for seed in seeds:
        # A translation task quotes the other language; the words around the quotation count.
        text = re.sub("「.*?」|“.*?”", "", seed.instruction)
        if seed.language == "en":
            assert not han.search(text), seed
        elif seed.language == "ja":
            assert kana.search(text), seed
        else:
            assert han.search(text), seed
            assert not kana.search(text), seed


def test_the_text_is_in_composed_form_without_stray_spaces(seeds: list[SeedRecord]) -> None:
    for seed in seeds:
        for text in (seed.instruction, seed.input, seed.reference or ""):
            assert unicodedata.normalize("NFC", text) == text
            assert text.strip() == text


def test_the_references_of_plain_expressions_are_right(seeds: list[SeedRecord]) -> None:
    checked = Counter[str]()
    for seed in seeds:
        expression = expression_of(seed.instruction)
        if expression is not None:
            assert Fraction(seed.reference or "nothing") == value_of(expression), seed
            checked[seed.language or ""] += 1
    assert checked == {"en": 5, "ja": 5, "zh": 5}


def test_the_references_of_word_problems_are_right(seeds: list[SeedRecord]) -> None:
    references = {identity(seed): seed.reference for seed in seeds}
    for name, expression in _WORD_PROBLEMS.items():
        assert Fraction(references[name] or "nothing") == value_of(expression), name
    maths = {name for name in references if "-math-" in name}
    plain = {identity(seed) for seed in seeds if expression_of(seed.instruction)}
    assert maths == plain | set(_WORD_PROBLEMS)


def test_every_sql_reference_runs_on_the_tables_of_its_input(seeds: list[SeedRecord]) -> None:
    queries = [seed for seed in seeds if "-sql-" in identity(seed)]
    assert len(queries) == 6
    for seed in queries:
        database = sqlite3.connect(":memory:")
        database.executescript(seed.input)
        assert database.execute(seed.reference or "").fetchall() == []
        database.close()


def test_every_extraction_reference_is_json_with_the_keys_asked_for(
    seeds: list[SeedRecord],
) -> None:
    tasks = [seed for seed in seeds if seed.category == "extraction"]
    assert len(tasks) == 3
    for seed in tasks:
        for key in json.loads(seed.reference or ""):
            assert key in seed.instruction
