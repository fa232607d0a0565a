"""The rewriting agent: rewordings that keep their numbers, and responses with or without steps."""

from __future__ import annotations

import re

import pytest
from askers import BY, LIBRARY, ScriptedAsker, said, simulated_teacher
from factory import MATHS, MATHS_JA, MATHS_ZH, WRITING, WRITING_JA, WRITING_ZH
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agents.categories import CATEGORIES, CHAIN_OF_THOUGHT, Category
from agents.expansion import Task
from agents.rewriting import (
    ResponseSettings,
    RewritingSettings,
    numbers_in,
    respond,
    response_prompt,
    rewrite,
)
from common.language import is_language
from teachers.errors import EmptyAnswer, SchemaFailure
from teachers.types import Completion

REWRITING = RewritingSettings()
RESPONSE = ResponseSettings()
SUM = Task("What is 17 * 23 + 5?", "", "math", "en")
EVERY_SEED = [MATHS, WRITING, MATHS_JA, WRITING_JA, MATHS_ZH, WRITING_ZH]
FINAL_LINES = {"en": "Final answer: X", "ja": "最終的な答え：X", "zh": "最终答案：X"}


def task_of(seed: dict[str, str]) -> Task:
    return Task(seed["instruction"], "", seed["category"], seed["language"])  # type: ignore[arg-type]


async def reworded(instruction: str, rewording: str) -> tuple[str, str | None]:
    asker = ScriptedAsker({"instruction": rewording})
    task = Task(instruction, "", "math", "en")
    result = await rewrite(asker, LIBRARY, REWRITING, task, None)
    return result.instruction, result.kept_original


# Rewording.


async def test_a_rewording_is_taken_together_with_its_reply() -> None:
    asker = ScriptedAsker({"instruction": "  Compute 17 * 23 + 5.\n"})
    result = await rewrite(asker, LIBRARY, REWRITING, SUM, None)
    assert result.instruction == "Compute 17 * 23 + 5."
    assert result.kept_original is None
    assert (result.reply.request_key, result.reply.by) == ("key-1", BY)
    (ask,) = asker.asked
    assert (ask.role, ask.schema_name) == ("rewriting", "rewrite")


async def test_rewording_after_a_failed_verification_is_told_what_was_wrong() -> None:
    asker = ScriptedAsker({"instruction": "17 * 23 + 5 = ?"}, {"instruction": "17 * 23 + 5 = ?"})
    await rewrite(asker, LIBRARY, REWRITING, SUM, "The sum is 396, not 395.")
    await rewrite(asker, LIBRARY, REWRITING, SUM, None)
    assert "<feedback>\nThe sum is 396, not 395.\n</feedback>" in said(asker.asked[0])
    assert "feedback" not in said(asker.asked[1])


async def test_the_input_is_shown_and_not_to_be_repeated() -> None:
    asker = ScriptedAsker({"instruction": "Put it in order."})
    task = Task("Sort it.", "pear, apple", "extraction", "en")
    await rewrite(asker, LIBRARY, REWRITING, task, None)
    assert "<input>\npear, apple\n</input>" in said(asker.asked[0])
    assert "do not repeat it" in said(asker.asked[0])


@pytest.mark.parametrize("blank", ["", "  \n", "　"])
async def test_a_blank_rewording_is_complained_about_and_never_the_instruction(blank: str) -> None:
    asker = ScriptedAsker({"instruction": blank}, {"instruction": "Tell me of a river."})
    task = Task("Describe a river.", "", "writing", "en")
    result = await rewrite(asker, LIBRARY, REWRITING, task, None)
    assert result.instruction == "Tell me of a river."
    assert len(asker.asked) == 2


async def test_a_rewording_that_never_fits_is_a_typed_failure() -> None:
    with pytest.raises(SchemaFailure, match="'rewrite'"):
        await rewrite(ScriptedAsker("a", "b", "c"), LIBRARY, REWRITING, SUM, None)


@pytest.mark.parametrize(
    ("instruction", "rewording"),
    [
        ("Add 2 and 3.", "Add 2 and 4."),
        ("Add 2 and 3.", "Add the two numbers."),
        ("Add 2 and 3.", "Add 2, 3 and 5."),
        ("Add 2 and 3.", "Add 23."),
        ("Add 2 and 2.", "Double 2."),
        ("Round 1.5 kg.", "Round 15 kg."),
        ("Round 1,5 kg.", "Round 15 kg."),
        ("It takes 1,234 days.", "It takes 1.234 days."),
        ("It is -5 degrees.", "It is 5 degrees."),
        ("気温は−5度です。", "気温は5度です。"),
        ("Add 2 and 3.", "Add two and three."),
        ("What is x² at 4?", "What is x³ at 4?"),
        ("Take ½ of 8.", "Take ¼ of 8."),
        ("把3和5相加。", "把35相加。"),
        ("計算１２＋３。", "計算１３＋３。"),
    ],
)
async def test_a_rewording_that_changes_the_numbers_is_not_taken(
    instruction: str, rewording: str
) -> None:
    assert await reworded(instruction, rewording) == (
        instruction,
        "the rewording changed the numbers",
    )


@pytest.mark.parametrize(
    ("instruction", "rewording"),
    [
        ("Add 1,000 and 5.", "What is 1000 plus 5?"),
        ("Add 1000000 and 5.", "What is 5 plus 1,000,000?"),
        ("It costs 1,234.50 dollars.", "The price: $1234.50"),
        ("１，０００円は何ドルですか。", "1000円をドルにするといくらですか。"),
        ("計算１２＋３。", "12と3を足してください。"),
        ("把100，200和300相加。", "求100、200与300的和。"),
        ("Add 3,4,5.", "Add 3, 4 and 5."),
        ("It is -5 degrees.", "The thermometer shows −5 degrees."),
        ("What is 10-5?", "Take 5 from 10."),
        ("A 5-year plan for 2 towns.", "For 2 towns, a plan of 5 years."),
        ("Write about a river.", "Tell me of a river."),
    ],
)
async def test_a_rewording_that_only_writes_the_numbers_otherwise_is_taken(
    instruction: str, rewording: str
) -> None:
    assert await reworded(instruction, rewording) == (rewording, None)


@given(st.lists(st.integers(min_value=0, max_value=10**12), max_size=6))
def test_numbers_are_the_same_with_and_without_separators_and_in_any_order(
    numbers: list[int],
) -> None:
    plain = " and ".join(str(n) for n in numbers)
    separated = " and ".join(f"{n:,}" for n in reversed(numbers))
    assert numbers_in(separated) == numbers_in(plain) == sorted(str(n) for n in numbers)


@given(st.integers(min_value=0, max_value=10**9))
def test_full_width_digits_are_the_same_number(number: int) -> None:
    wide = {ord(c): ord(c) + 0xFEE0 for c in "0123456789,"}
    assert numbers_in(f"{number}".translate(wide)) == [str(number)]
    assert numbers_in(f"{number:,}".translate(wide)) == [str(number)]


@given(st.text())
def test_any_text_has_numbers_or_none_and_they_are_sorted(text: str) -> None:
    found = numbers_in(text)
    assert found == sorted(found)
    assert all(found)


@pytest.mark.parametrize("seed", EVERY_SEED, ids=lambda seed: seed["instruction"][:30])
async def test_a_real_teachers_rewording_keeps_numbers_and_language(seed: dict[str, str]) -> None:
    task = task_of(seed)
    async with simulated_teacher() as asker:
        result = await rewrite(asker, LIBRARY, REWRITING, task, None)
    assert result.kept_original is None
    assert result.instruction != task.instruction
    assert numbers_in(result.instruction) == numbers_in(task.instruction)
    assert is_language(result.instruction, task.language) is not False


# Responding.


@pytest.mark.parametrize("category", CATEGORIES)
async def test_steps_are_asked_for_where_a_task_needs_several_and_nowhere_else(
    category: Category,
) -> None:
    asker = ScriptedAsker("An answer.")
    await respond(asker, LIBRARY, RESPONSE, Task("Do it.", "", category, "en"), None)
    (ask,) = asker.asked
    assert ask.role == "response"
    assert ask.schema is None
    steps = "<think>" in said(ask)
    assert steps == (category in {"math", "logic", "code", "sql", "planning"})
    assert steps == (category in CHAIN_OF_THOUGHT)
    assert ask.prompt.name == ("rewriting/respond_with_steps" if steps else "rewriting/respond")


def test_a_recipe_may_choose_the_categories_with_steps_and_both_prompts() -> None:
    settings = ResponseSettings(
        chain_of_thought=("qa",), prompt="rewriting/as_is", steps_prompt="rewriting/respond"
    )
    assert response_prompt(settings, "qa") == "rewriting/respond"
    assert response_prompt(settings, "math") == "rewriting/as_is"


def test_the_response_cannot_be_switched_off_and_knows_only_our_categories() -> None:
    for wrong in ({"enabled": False}, {"chain_of_thought": ["poetry"]}):
        with pytest.raises(ValidationError):
            ResponseSettings.model_validate(wrong)


@pytest.mark.parametrize("language", ["en", "ja", "zh"])
async def test_a_maths_answer_ends_with_its_final_line_in_the_tasks_language(language: str) -> None:
    asker = ScriptedAsker("7")
    await respond(asker, LIBRARY, RESPONSE, Task("3 + 4", "", "math", language), None)
    prompt = said(asker.asked[0])
    assert prompt.rstrip().endswith(FINAL_LINES[language])
    assert [line for line in FINAL_LINES.values() if line in prompt] == [FINAL_LINES[language]]


@pytest.mark.parametrize("category", ["logic", "code", "sql", "planning", "qa"])
async def test_other_answers_have_no_final_line(category: Category) -> None:
    asker = ScriptedAsker("It holds.")
    await respond(asker, LIBRARY, RESPONSE, Task("Why?", "", category, "en"), None)
    assert "Final answer" not in said(asker.asked[0])


@pytest.mark.parametrize(
    ("language", "name"), [("en", "English"), ("ja", "Japanese"), ("zh", "Chinese")]
)
async def test_the_answers_language_is_asked_for(language: str, name: str) -> None:
    for category in ("math", "writing"):
        asker = ScriptedAsker("…")
        await respond(asker, LIBRARY, RESPONSE, Task("…", "", category, language), None)  # type: ignore[arg-type]
        system = asker.asked[0].prompt.messages[0]
        assert system.role == "system"
        assert name in system.content


async def test_system_prompt_input_and_feedback_reach_the_teacher() -> None:
    task = Task("Summarise it.", "A long text.", "summarization", "en", system="Talk like a poet.")
    asker = ScriptedAsker("…")
    await respond(asker, LIBRARY, RESPONSE, task, "It left out the end.")
    prompt = said(asker.asked[0])
    assert "Talk like a poet." in asker.asked[0].prompt.messages[0].content
    assert "<input>\nA long text.\n</input>" in prompt
    assert "<feedback>\nIt left out the end.\n</feedback>" in prompt


async def test_the_response_is_kept_as_it_came_with_its_reasoning() -> None:
    completion = Completion(content=" 42.\n", reasoning="6 * 7", finish_reason="stop")
    result = await respond(ScriptedAsker(completion), LIBRARY, RESPONSE, SUM, None)
    assert (result.response, result.reasoning, result.finish_reason) == (" 42.\n", "6 * 7", "stop")
    assert (result.cut, result.refusal) == (False, None)
    assert result.reply.completion is completion


@pytest.mark.parametrize("content", ["The sum of", ""])
async def test_a_response_cut_by_the_length_limit_says_so(content: str) -> None:
    cut = Completion(content=content, finish_reason="length")
    result = await respond(ScriptedAsker(cut), LIBRARY, RESPONSE, SUM, None)
    assert result.cut is True
    assert result.finish_reason == "length"


@pytest.mark.parametrize(
    ("completion", "refusal"),
    [
        (Completion(content="", refusal="I won't."), "I won't."),
        (Completion(content="", finish_reason="content_filter"), "content_filter"),
        (Completion(content="Half of", finish_reason="content_filter"), "content_filter"),
    ],
)
async def test_a_refusal_of_model_or_filter_is_a_refusal_and_not_an_empty_answer(
    completion: Completion, refusal: str
) -> None:
    result = await respond(ScriptedAsker(completion), LIBRARY, RESPONSE, SUM, None)
    assert result.refusal == refusal


async def test_a_later_round_asks_anew_even_where_its_prompt_is_the_same() -> None:
    asker = ScriptedAsker("one", "two", "three")
    for round in range(3):
        await respond(asker, LIBRARY, RESPONSE, SUM, None, round)
    assert len({ask.n for ask in asker.asked}) == 3
    assert len({ask.prompt for ask in asker.asked}) == 1


async def test_a_later_round_asks_a_real_teacher_under_another_key() -> None:
    async with simulated_teacher() as asker:
        first = await respond(asker, LIBRARY, RESPONSE, SUM, None, 0)
        again = await respond(asker, LIBRARY, RESPONSE, SUM, None, 0)
        later = await respond(asker, LIBRARY, RESPONSE, SUM, None, 1)
    assert first.reply.request_key == again.reply.request_key
    assert first.reply.request_key != later.reply.request_key


@pytest.mark.parametrize("seed", [MATHS, MATHS_JA, MATHS_ZH], ids=["en", "ja", "zh"])
async def test_a_real_teachers_maths_has_reasoning_and_a_final_line_in_its_language(
    seed: dict[str, str],
) -> None:
    async with simulated_teacher() as asker:
        result = await respond(asker, LIBRARY, RESPONSE, task_of(seed), None)
    value = {"en": "396", "ja": "105", "zh": "1000"}[seed["language"]]
    begin = FINAL_LINES[seed["language"]].removesuffix("X")
    assert result.response.splitlines()[-1].removeprefix(begin) == value
    assert result.reasoning
    assert "<think>" not in result.response


@pytest.mark.parametrize("seed", [WRITING, WRITING_JA, WRITING_ZH], ids=["en", "ja", "zh"])
async def test_a_real_teachers_writing_has_no_reasoning_and_keeps_the_language(
    seed: dict[str, str],
) -> None:
    async with simulated_teacher() as asker:
        result = await respond(asker, LIBRARY, RESPONSE, task_of(seed), None)
    assert result.reasoning is None
    assert is_language(result.response, seed["language"]) is True


async def test_a_real_teachers_cut_refusal_and_silence_are_told_apart() -> None:
    async with simulated_teacher(length_cut=1.0) as asker:
        assert (await respond(asker, LIBRARY, RESPONSE, SUM, None)).cut is True
    async with simulated_teacher(refusal=1.0) as asker:
        refused = await respond(asker, LIBRARY, RESPONSE, SUM, None)
        assert re.search("sorry|cannot|can't|unable", refused.response)
    async with simulated_teacher(empty=1.0) as asker:
        with pytest.raises(EmptyAnswer):
            await respond(asker, LIBRARY, RESPONSE, SUM, None)
