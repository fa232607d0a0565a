"""How agents ask: complaints about malformed answers, empty answers, and typed failures."""

from __future__ import annotations

from typing import Literal

import pytest
from askers import LIBRARY, ScriptedAsker, simulated_teacher
from pydantic import BaseModel, Field

from agents.asking import MAX_COMPLAINTS, MAX_EMPTY_ASKS, SomeText, ask_structured, ask_text
from agents.expansion import ExpansionAnswer, ExpansionSettings, Task, expand
from agents.prompts import RenderedPrompt
from agents.selection import SelectionAnswer
from teachers.errors import EmptyAnswer, SchemaFailure
from teachers.structured import complaint_message, schema_of
from teachers.types import Completion, Message

PROMPT = RenderedPrompt("tests/ask", "1", "0" * 32, (Message("user", "What colour is it?"),))


class Colour(BaseModel):
    colour: Literal["red", "green"]
    share: int = Field(strict=True)


GOOD = {"colour": "red", "share": 3}


async def test_an_answer_that_fits_is_taken_from_the_first_ask() -> None:
    asker = ScriptedAsker(GOOD)
    answer = await ask_structured(asker, "selection", PROMPT, "colour", Colour)
    assert answer.value == Colour(colour="red", share=3)
    assert answer.reply.request_key == "key-1"
    (ask,) = asker.asked
    assert (ask.role, ask.schema_name, ask.schema) == ("selection", "colour", Colour)
    assert ask.turns == ()
    assert ask.n == 0


async def test_a_malformed_answer_goes_back_with_what_is_wrong_with_it() -> None:
    asker = ScriptedAsker('{"colour": "blue", "share": 3}', GOOD)
    answer = await ask_structured(asker, "selection", PROMPT, "colour", Colour)
    assert answer.value.colour == "red"
    assert answer.reply.request_key == "key-2"
    bad, complaint = asker.asked[1].turns
    assert bad == Message("assistant", '{"colour": "blue", "share": 3}')
    assert complaint.role == "user"
    assert "`colour`" in complaint.content
    assert "blue" in complaint.content
    assert complaint.content.startswith("Your last answer cannot be used: ")
    assert asker.asked[1].prompt == PROMPT


async def test_the_second_complaint_follows_the_first_in_one_conversation() -> None:
    asker = ScriptedAsker("no JSON at all", '{"colour": "red"}', GOOD)
    await ask_structured(asker, "selection", PROMPT, "colour", Colour)
    turns = asker.asked[2].turns
    assert [turn.role for turn in turns] == ["assistant", "user", "assistant", "user"]
    assert turns[:2] == asker.asked[1].turns
    assert "no JSON object" in turns[1].content
    assert "`share`" in turns[3].content


async def test_after_two_complaints_the_failure_is_typed_and_names_the_last_fault() -> None:
    asker = ScriptedAsker("one", "two", '{"colour": "red", "share": "three"}')
    with pytest.raises(SchemaFailure) as caught:
        await ask_structured(asker, "verification", PROMPT, "colour", Colour)
    assert len(asker.asked) == 1 + MAX_COMPLAINTS == 3
    assert caught.value.code == "schema_failure"
    assert not caught.value.fatal
    assert "verification" in caught.value.what
    assert "'colour'" in caught.value.what
    assert "`share`" in caught.value.cause


async def test_a_complaint_tells_the_schema_that_was_asked_for() -> None:
    asker = ScriptedAsker("", GOOD)
    await ask_structured(asker, "selection", PROMPT, "colour", Colour)
    complaint = asker.asked[1].turns[1].content
    assert complaint == complaint_message("the answer is empty", schema_of(Colour))
    assert '"enum":["red","green"]' in complaint


async def test_an_empty_answer_is_not_sent_back_as_an_empty_turn() -> None:
    asker = ScriptedAsker("", GOOD)
    await ask_structured(asker, "selection", PROMPT, "colour", Colour)
    assert asker.asked[1].turns[0] == Message("assistant", "(no answer)")


async def test_the_complaint_about_a_cut_answer_says_that_it_was_cut() -> None:
    cut = Completion(content='{"colour": "re', finish_reason="length")
    asker = ScriptedAsker(cut, GOOD)
    await ask_structured(asker, "selection", PROMPT, "colour", Colour)
    assert "cut by the length limit" in asker.asked[1].turns[1].content


async def test_an_answer_that_was_always_cut_fails_with_that_cause() -> None:
    cut = Completion(content="", reasoning="Let me think…", finish_reason="length")
    with pytest.raises(SchemaFailure, match="cut by the length limit"):
        await ask_structured(ScriptedAsker(cut, cut, cut), "selection", PROMPT, "colour", Colour)


async def test_a_refusal_in_its_own_field_is_named_and_quoted_in_the_conversation() -> None:
    asker = ScriptedAsker(Completion(content="", refusal="I cannot judge this."), GOOD)
    await ask_structured(asker, "selection", PROMPT, "colour", Colour)
    bad, complaint = asker.asked[1].turns
    assert bad == Message("assistant", "I cannot judge this.")
    assert "refusal: I cannot judge this." in complaint.content


@pytest.mark.parametrize("share", ["true", "3.0", "3.5", '"3"', "null"])
async def test_what_is_no_integer_is_complained_about_and_not_converted(share: str) -> None:
    asker = ScriptedAsker(f'{{"colour": "red", "share": {share}}}', GOOD)
    await ask_structured(asker, "selection", PROMPT, "colour", Colour)
    assert "`share`" in asker.asked[1].turns[1].content


class Said(BaseModel):
    text: SomeText


async def test_white_space_is_no_text() -> None:
    asker = ScriptedAsker({"text": " \n\t　"}, {"text": "  something "})
    answer = await ask_structured(asker, "rewriting", PROMPT, "said", Said)
    assert answer.value.text == "something"
    assert "`text`" in asker.asked[1].turns[1].content


async def test_free_text_is_given_back_as_it_came() -> None:
    reply = await ask_text(ScriptedAsker("  An answer.\n\n"), "response", PROMPT)
    assert reply.completion.content == "  An answer.\n\n"


async def test_free_text_is_asked_for_without_a_schema() -> None:
    asker = ScriptedAsker("An answer.")
    await ask_text(asker, "response", PROMPT)
    assert asker.asked[0].schema is None
    assert asker.asked[0].schema_name is None


async def test_an_empty_answer_is_asked_for_again_under_another_number() -> None:
    asker = ScriptedAsker("", " \n ", "At last.")
    reply = await ask_text(asker, "response", PROMPT)
    assert reply.completion.content == "At last."
    assert [ask.n for ask in asker.asked] == [0, 1, 2]
    assert all(ask.turns == () and ask.prompt == PROMPT for ask in asker.asked)


async def test_answers_that_stay_empty_are_a_typed_failure() -> None:
    asker = ScriptedAsker(*[""] * MAX_EMPTY_ASKS)
    with pytest.raises(EmptyAnswer) as caught:
        await ask_text(asker, "response", PROMPT)
    assert len(asker.asked) == MAX_EMPTY_ASKS
    assert caught.value.code == "empty_answer"
    assert "response" in caught.value.what


async def test_thinking_without_an_answer_counts_as_empty() -> None:
    thought = Completion(content="", reasoning="Hm.", finish_reason="stop")
    asker = ScriptedAsker(thought, "Now I know.")
    reply = await ask_text(asker, "response", PROMPT)
    assert reply.completion.content == "Now I know."


@pytest.mark.parametrize(
    "ended",
    [
        Completion(content="", refusal="No."),
        Completion(content="", finish_reason="length"),
        Completion(content="", finish_reason="content_filter"),
    ],
)
async def test_an_empty_answer_that_says_why_is_not_asked_for_again(ended: Completion) -> None:
    asker = ScriptedAsker(ended)
    reply = await ask_text(asker, "response", PROMPT)
    assert reply.completion == ended
    assert len(asker.asked) == 1


async def test_no_two_asks_of_any_rounds_share_a_number() -> None:
    numbers: list[int] = []
    for round in range(3):
        asker = ScriptedAsker("", "", "done")
        await ask_text(asker, "response", PROMPT, round)
        numbers += [ask.n for ask in asker.asked]
    assert numbers == sorted(set(numbers))


async def test_a_teacher_that_breaks_its_json_now_and_then_is_talked_into_a_sound_answer() -> None:
    settings = ExpansionSettings(variants=2)
    complained = 0
    async with simulated_teacher(malformed_json=0.4, seed=2) as asker:
        for number in range(12):
            asker.asked.clear()
            task = Task(f"What is {number + 20} + 31?", "", "math", "en")
            try:
                answer = await expand(asker, LIBRARY, settings, task)
            except SchemaFailure:
                assert len(asker.asked) == 1 + MAX_COMPLAINTS
                continue
            assert len(answer.value.variants) == 2
            complained += len(asker.asked) > 1
    assert complained > 0


async def test_a_teacher_that_always_breaks_its_json_ends_in_the_typed_failure() -> None:
    async with simulated_teacher(malformed_json=1.0) as asker:
        with pytest.raises(SchemaFailure):
            await ask_structured(asker, "expansion", PROMPT, "expansion", ExpansionAnswer)
        assert len(asker.asked) == 1 + MAX_COMPLAINTS


async def test_a_teacher_that_refuses_a_structured_ask_is_quoted_to_itself() -> None:
    async with simulated_teacher(refusal=1.0) as asker:
        with pytest.raises(SchemaFailure, match="the answer was a refusal"):
            await ask_structured(asker, "selection", PROMPT, "selection", SelectionAnswer)
        assert asker.completions[0].refusal is not None
        assert asker.asked[1].turns[0].content == asker.completions[0].refusal


async def test_a_teacher_with_nothing_to_say_ends_in_the_typed_failure() -> None:
    async with simulated_teacher(empty=1.0) as asker:
        with pytest.raises(EmptyAnswer):
            await ask_text(asker, "response", PROMPT)
        assert len(asker.asked) == MAX_EMPTY_ASKS
