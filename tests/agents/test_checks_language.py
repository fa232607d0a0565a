"""The language check: off-language text decides, unless the task called for that language."""

from __future__ import annotations

import pytest

from agents.checks import check_instruction_language, check_response_language

ENGLISH = "The lighthouse stood at the end of the pier, and its keeper climbed the steps each day."
JAPANESE = "灯台は桟橋の端に立っていて、毎晩その番人が階段を上りました。"
CHINESE = "灯塔矗立在码头的尽头，它的守护者每天晚上都会爬上楼梯，点亮那盏灯。"
FRENCH = "Le phare se dressait au bout de la jetée, et son gardien montait les marches chaque soir."


@pytest.mark.parametrize(("text", "language"), [(ENGLISH, "en"), (JAPANESE, "ja"), (CHINESE, "zh")])
def test_the_expected_language_passes_without_deciding(text: str, language: str) -> None:
    for result in (
        check_response_language(text, language),
        check_instruction_language(text, language),
    ):
        assert result is not None
        assert (result.label, result.decisive) == ("pass", False)


@pytest.mark.parametrize(
    ("text", "language", "found"),
    [(CHINESE, "ja", "zh"), (ENGLISH, "ja", "en"), (JAPANESE, "zh", "ja"), (FRENCH, "en", "fr")],
)
def test_another_language_fails_and_is_named(text: str, language: str, found: str) -> None:
    for result in (
        check_response_language(text, language),
        check_instruction_language(text, language),
    ):
        assert result is not None
        assert (result.label, result.decisive) == ("fail", True)
        assert result.evidence == {"expected": language, "found": found}


@pytest.mark.parametrize(
    "text", ["42", "東京", "```python\nfor word in all_the_words_of_it: print(word)\n```", ""]
)
def test_text_without_a_language_says_nothing(text: str) -> None:
    assert check_response_language(text, "ja") is None


def test_without_an_expected_language_nothing_is_said() -> None:
    assert check_response_language(ENGLISH, None) is None
    assert check_instruction_language(ENGLISH, None) is None


def test_translations_are_left_alone() -> None:
    assert check_response_language(FRENCH, "en", "translation", "Say this otherwise.") is None


@pytest.mark.parametrize(
    ("instruction", "language", "response"),
    [
        ("Write a haiku in French about a lighthouse.", "en", FRENCH),
        ("Describe a lighthouse using only the French language.", "en", FRENCH),
        ("Translate this into another language: a lighthouse.", "en", FRENCH),
        ("灯台についてフランス語で書いてください。", "ja", FRENCH),
        ("用英语描述一座灯塔。", "zh", ENGLISH),
    ],
)
def test_a_language_the_instruction_names_is_allowed(
    instruction: str, language: str, response: str
) -> None:
    assert check_response_language(response, language, "writing", instruction) is None


def test_the_materials_language_is_allowed() -> None:
    asked = "Correct the grammar of the sentence."
    assert check_response_language(FRENCH, "en", "writing", asked, FRENCH) is None
    assert check_response_language(FRENCH, "en", "writing", f"{asked}\nText: {FRENCH}") is None


def test_other_material_does_not_excuse_another_language() -> None:
    result = check_response_language(FRENCH, "en", "writing", "Continue the story.", ENGLISH)
    assert result is not None
    assert result.label == "fail"
