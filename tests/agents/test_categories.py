"""Task categories: their words, what is forgiven in spelling them, and which want a thought."""

from __future__ import annotations

import pytest

from agents.categories import CATEGORIES, CHAIN_OF_THOUGHT, known_category, language_name


def test_the_categories_are_the_fourteen_that_recipes_and_prompts_use() -> None:
    assert CATEGORIES == (
        "math", "logic", "code", "sql", "planning", "writing", "summarization", "translation",
        "classification", "extraction", "qa", "brainstorming", "chat", "other",
    )  # fmt: skip


def test_only_tasks_of_several_steps_get_a_chain_of_thought() -> None:
    assert CHAIN_OF_THOUGHT == ("math", "logic", "code", "sql", "planning")


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_category_is_known_in_any_case_and_with_space_around_it(category: str) -> None:
    assert known_category(f"  {category.upper()}\n") == category


@pytest.mark.parametrize(
    ("word", "category"),
    [
        ("Mathematics", "math"),
        ("maths", "math"),
        ("Coding", "code"),
        ("summarisation", "summarization"),
        ("Closed QA", "qa"),
        ("open-qa", "qa"),
        ("question answering", "qa"),
        ("Creative-Writing", "writing"),
        ("information extraction", "extraction"),
    ],
)
def test_other_spellings_stand_for_the_same_category(word: str, category: str) -> None:
    assert known_category(word) == category


@pytest.mark.parametrize("word", [None, "", "   ", "poetry", "math and code", "mathe"])
def test_a_word_that_is_no_category_is_none_and_never_other(word: str | None) -> None:
    assert known_category(word) is None


@pytest.mark.parametrize(
    ("code", "name"),
    [("en", "English"), ("ja", "Japanese"), ("zh", "Chinese"), ("xx", "xx"), (None, "English")],
)
def test_prompts_name_a_language_in_english_and_an_unknown_one_by_its_code(
    code: str | None, name: str
) -> None:
    assert language_name(code) == name
