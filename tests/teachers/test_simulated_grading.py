"""The simulated judge of MT-Bench and AlpacaEval: it grades what it is shown, and nothing else."""

from __future__ import annotations

import pytest

from evaluation.alpaca.judging import judge_messages as pair_messages
from evaluation.mtbench.judging import judge_messages, read_grade
from teachers.simulated.answers import answer
from teachers.simulated.asks import read_ask
from teachers.simulated.settings import SimulatedSettings
from teachers.types import Message

SETTINGS = SimulatedSettings()
LONG = "The harbour lies in the morning light, and nine boats with red sails wait for the wind."


def said(messages: list[Message]) -> str:
    body = {"messages": [{"role": m.role, "content": m.content} for m in messages]}
    content = answer(read_ask(body), SETTINGS).content
    assert content is not None
    return content


@pytest.mark.parametrize("category", ["writing", "math"])
@pytest.mark.parametrize("answers", [[LONG], [LONG, LONG]])
def test_every_published_prompt_gets_a_grade(category: str, answers: list[str]) -> None:
    asked = judge_messages(category, ["Describe a harbour.", "Again."], answers, ["a", "b"])
    assert read_grade(said(asked)) is not None


def test_a_longer_answer_gets_a_better_grade() -> None:
    grades = [
        read_grade(said(judge_messages("writing", ["Describe a harbour."], [text], [])))
        for text in ("No.", f"{LONG} {LONG.replace('boats', 'ships')} It is quiet there.")
    ]
    assert grades[0] is not None and grades[1] is not None and grades[0] < grades[1]


def test_of_two_outputs_one_is_named() -> None:
    names = {said(pair_messages(f"Task {n}", "Short.", LONG)) for n in range(20)}
    assert names == {"m", "M"}


def test_other_questions_are_answered_and_not_graded() -> None:
    assert read_grade(said([Message("user", "What is 17 * 23?")])) is None
