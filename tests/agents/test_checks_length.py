"""Extent: the recipe's bounds, a cut-off response, a response stuck in a loop."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from agents.checks import LengthBounds, check_length, check_repetition, check_truncated

PROSE = (
    "The lighthouse stood at the end of the pier, white against a slate sky. Every evening its "
    "keeper climbed the ninety-two steps, wiped the salt from the glass and lit the lamp. Ships "
    "far out turned their bows by it, and the fishermen in the harbour set their clocks. Nobody "
    "remembered who had built it, though a stone over the door bore a date and half a name."
)


@pytest.mark.parametrize("response", ["", "   \n ", "\n"])
def test_an_empty_response_fails_by_default(response: str) -> None:
    result = check_length(response, LengthBounds())
    assert (result.label, result.decisive) == ("fail", True)
    assert result.evidence == {"chars": 0, "min_chars": 1}


def test_the_bounds_themselves_are_allowed() -> None:
    bounds = LengthBounds(min_chars=3, max_chars=5)
    labels = [check_length("x" * n, bounds).label for n in range(2, 7)]
    assert labels == ["fail", "pass", "pass", "pass", "fail"]


@pytest.mark.parametrize(
    "values", [{"min_chars": 9, "max_chars": 3}, {"min_chars": -1}, {"minimum": 3}]
)
def test_impossible_bounds_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        LengthBounds.model_validate(values)


def test_a_response_cut_by_length_fails() -> None:
    result = check_truncated("length")
    assert result is not None
    assert (result.name, result.label, result.decisive) == ("truncated", "fail", True)


def test_a_response_that_stopped_passes_and_an_unknown_reason_says_nothing() -> None:
    stopped = check_truncated("stop")
    assert stopped is not None
    assert (stopped.label, stopped.decisive) == ("pass", False)
    assert check_truncated(None) is None


@pytest.mark.parametrize(
    "response",
    [
        "I like it. " * 60,
        PROSE + " Then it rained." * 150,
        "\n".join(f"{n}. changes in the colour of the light" for n in range(100)),
        "猫の猫の" * 100,
        "1984年以降、" * 60,
        "a a " * 200,
    ],
)
def test_a_loop_fails(response: str) -> None:
    result = check_repetition(response)
    assert result is not None
    assert (result.label, result.decisive) == ("fail", True)
    assert response.strip().endswith(str(result.evidence["end"]).strip()[-8:])


@pytest.mark.parametrize(
    "response",
    [
        PROSE,
        PROSE + "\n\n" + PROSE,
        "| a | b |\n|---|---|\n" + "\n".join(f"| {n} | {n * n} |" for n in range(40)),
        ", ".join(str(n) for n in range(300)),
        "-" * 300 + PROSE,
        "\n".join(f"def test_{n}():\n    assert f({n}) == {n * 7}\n" for n in range(20)),
    ],
)
def test_prose_tables_and_lists_are_no_loops(response: str) -> None:
    result = check_repetition(response)
    assert result is None or result.label == "pass"


def test_short_responses_may_repeat_themselves() -> None:
    assert check_repetition("ha " * 20) is None
    assert check_repetition("哈" * 100) is None


@pytest.mark.parametrize(
    "instruction",
    ["Write 'I must not talk' 100 times.", "同じ文を繰り返してください。", "把这句话重复50遍。"],
)
def test_repetition_that_was_asked_for_is_left_alone(instruction: str) -> None:
    assert check_repetition("I must not talk. " * 100, instruction) is None
