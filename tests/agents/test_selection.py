"""The selection agent: integer scores or none at all, and the recipe's minimum."""

from __future__ import annotations

import pytest
from askers import LIBRARY, ScriptedAsker, said, simulated_teacher
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agents.expansion import Task
from agents.selection import (
    MinimumScores,
    Scored,
    SelectionAnswer,
    SelectionSettings,
    below_minimum,
    score,
)
from teachers.types import Completion

SETTINGS = SelectionSettings()
TASK = Task("Name a river.", "", "qa", "en")
DIMENSIONS = ("informativeness", "helpfulness", "generalisation")


def answer(
    informativeness: int = 5, helpfulness: int = 6, generalisation: int = 4
) -> dict[str, object]:
    return {
        "rationale": "It teaches a name.",
        "informativeness": informativeness,
        "helpfulness": helpfulness,
        "generalisation": generalisation,
    }


async def scored(*answers: object, task: Task = TASK, reasoning: str | None = None) -> Scored:
    asker = ScriptedAsker(*answers)  # type: ignore[arg-type]
    return await score(asker, LIBRARY, SETTINGS, task, "The Elbe.", reasoning)


async def test_scores_come_with_their_reason_and_the_request_they_came_from() -> None:
    result = await scored(answer())
    assert result.answer == SelectionAnswer.model_validate(answer())
    assert result.request_key == "key-1"
    assert result.problem is None


async def test_the_prompt_holds_the_candidate_and_its_reasoning() -> None:
    asker = ScriptedAsker(answer())
    task = Task("訳してください。", "川", "translation", "ja")
    await score(asker, LIBRARY, SETTINGS, task, "river", "川は river です。")
    (ask,) = asker.asked
    assert (ask.role, ask.schema_name) == ("selection", "selection")
    prompt = said(ask)
    assert "<instruction>\n訳してください。\n</instruction>" in prompt
    assert "<input>\n川\n</input>" in prompt
    assert "<response>\nriver\n</response>" in prompt
    assert "<reasoning>\n川は river です。\n</reasoning>" in prompt
    assert "<category>translation</category>" in prompt
    assert "<language>ja</language>" in prompt


async def test_without_reasoning_or_input_their_tags_are_left_out() -> None:
    asker = ScriptedAsker(answer())
    await score(asker, LIBRARY, SETTINGS, TASK, "The Elbe.", None)
    assert "<reasoning>" not in said(asker.asked[0])
    assert "<input>" not in said(asker.asked[0])


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("wrong", [True, False, 5.0, 4.5, "5", None, -1, 10, [5]])
async def test_what_is_no_integer_from_0_to_9_is_refused_and_not_converted(
    dimension: str, wrong: object
) -> None:
    bad = {**answer(), dimension: wrong}
    asker = ScriptedAsker(bad, answer())
    result = await score(asker, LIBRARY, SETTINGS, TASK, "The Elbe.", None)
    assert f"`{dimension}`" in asker.asked[1].turns[1].content
    assert result.answer == SelectionAnswer.model_validate(answer())
    assert result.request_key == "key-2"


async def test_a_missing_score_is_not_filled_in() -> None:
    incomplete = {k: v for k, v in answer().items() if k != "helpfulness"}
    result = await scored(incomplete, incomplete, incomplete)
    assert result.answer is None


@pytest.mark.parametrize(
    "nothing",
    ["no numbers here", "", {**answer(), "helpfulness": "7"}, {"score": 7}, "7"],
)
async def test_a_candidate_that_could_not_be_scored_is_unscored_and_has_no_number(
    nothing: object,
) -> None:
    result = await scored(nothing, nothing, nothing)
    assert result == Scored(None, None, result.problem)
    assert result.problem is not None
    assert "After 2 complaints" in result.problem


async def test_a_refusal_to_score_is_unscored() -> None:
    refusal = Completion(content="", refusal="I would rather not.")
    result = await scored(refusal, refusal, refusal)
    assert result.answer is None
    assert "refusal: I would rather not." in str(result.problem)


def test_by_default_every_score_suffices_and_the_unscored_are_rejected() -> None:
    lowest = SelectionAnswer.model_validate(answer(0, 0, 0))
    assert below_minimum(lowest, SETTINGS.minimum) is None
    assert SETTINGS.on_unscored == "reject"


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_a_dimension_below_its_minimum_is_named_with_both_numbers(dimension: str) -> None:
    got = SelectionAnswer.model_validate({**answer(9, 9, 9), dimension: 3})
    minimum = MinimumScores.model_validate({dimension: 4})
    assert below_minimum(got, minimum) == f"{dimension} 3 < 4"
    assert below_minimum(got, MinimumScores.model_validate({dimension: 3})) is None


def test_the_mean_has_a_minimum_of_its_own() -> None:
    got = SelectionAnswer.model_validate(answer(5, 6, 5))
    assert below_minimum(got, MinimumScores(mean=5.5)) == "mean 5.33 < 5.5"
    assert below_minimum(got, MinimumScores(mean=5.3)) is None


def test_a_mean_that_equals_its_minimum_suffices() -> None:
    assert (
        below_minimum(SelectionAnswer.model_validate(answer(5, 6, 4)), MinimumScores(mean=5))
        is None
    )


SCORES = st.integers(min_value=0, max_value=9)


@given(st.tuples(SCORES, SCORES, SCORES), st.tuples(SCORES, SCORES, SCORES), SCORES)
def test_a_candidate_passes_exactly_when_no_number_is_below_its_minimum(
    got: tuple[int, int, int], least: tuple[int, int, int], mean: int
) -> None:
    minimum = MinimumScores(**dict(zip(DIMENSIONS, least, strict=True)), mean=mean)
    shortfall = below_minimum(SelectionAnswer.model_validate(answer(*got)), minimum)
    reaches = all(a >= b for a, b in zip(got, least, strict=True)) and sum(got) >= 3 * mean
    assert (shortfall is None) == reaches


@pytest.mark.parametrize("wrong", [{"mean": 9.5}, {"helpfulness": -1}, {"helpfullness": 3}])
def test_a_minimum_out_of_bounds_or_misspelt_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        MinimumScores.model_validate(wrong)


async def test_a_real_teacher_scores_a_good_response_above_a_refusal() -> None:
    task = Task("Explain why the tide rises and falls twice a day.", "", "qa", "en")
    good = (
        "The tide rises and falls twice a day because the moon pulls the sea towards it, while the "
        "earth turns below two bulges of water, one on the near side and one on the far side."
    )
    async with simulated_teacher() as asker:
        high = await score(asker, LIBRARY, SETTINGS, task, good, None)
        low = await score(asker, LIBRARY, SETTINGS, task, "I'm sorry, but I can't help.", None)
    assert high.answer is not None
    assert low.answer is not None
    assert all(getattr(high.answer, d) > getattr(low.answer, d) for d in DIMENSIONS)


async def test_a_real_teacher_that_breaks_every_answer_leaves_the_candidate_unscored() -> None:
    async with simulated_teacher(malformed_json=1.0) as asker:
        result = await score(asker, LIBRARY, SETTINGS, TASK, "The Elbe.", None)
    assert result.answer is None
    assert result.request_key is None
    assert len(asker.asked) == 3
