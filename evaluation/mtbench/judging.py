"""How MT-Bench's judge is asked for a grade, and how the grade is read.

Source: FastChat's single-answer grading (arXiv 2306.05685). Mathematics, reasoning and coding are
graded beside a reference answer; the second turn is graded with the whole conversation in view. The
prompts are the published ones, filled in and otherwise byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import orjson

from common.paths import prompts_folder
from teachers.types import Message, Sampling

PROMPT_FILE = "evaluation/mt_bench_judge.jsonl"
SAMPLING = Sampling(temperature=0.0, max_tokens=2048)
WITH_REFERENCE = ("math", "reasoning", "coding")
_GRADE = re.compile(r"\[\[(\d+\.?\d*)\]\]")
_SINGLE_BRACKETS = re.compile(r"\[(\d+\.?\d*)\]")
_PLACE = re.compile(r"\{(question|answer|question_1|answer_1|question_2|answer_2"
                    r"|ref_answer_1|ref_answer_2)\}")  # fmt: skip


@dataclass(frozen=True, slots=True)
class JudgePrompt:
    """One published prompt: its name, the system's words and the user's template."""

    name: str
    system: str
    template: str


@cache
def judge_prompts() -> dict[str, JudgePrompt]:
    """Every published prompt, by name."""
    lines = (prompts_folder() / PROMPT_FILE).read_bytes().split(b"\n")
    rows = [orjson.loads(line) for line in lines if line.strip()]
    return {
        row["name"]: JudgePrompt(row["name"], row["system_prompt"], row["prompt_template"])
        for row in rows
    }


def prompt_name(category: str, turn: int) -> str:
    """Which prompt grades turn 1 or 2 of a question."""
    kind = "single-math-v1" if category in WITH_REFERENCE else "single-v1"
    return kind if turn == 1 else f"{kind}-multi-turn"


def judge_messages(
    category: str,
    questions: Sequence[str],
    answers: Sequence[str],
    references: Sequence[str],
) -> list[Message]:
    """The conversation that asks for a grade of the last of `answers` (one or two).

    `references` are the reference answers, where the category is graded beside one.
    """
    turn = len(answers)
    prompt = judge_prompts()[prompt_name(category, turn)]
    filling = {f"question_{n}": text for n, text in enumerate(questions, 1)}
    filling |= {f"answer_{n}": text for n, text in enumerate(answers, 1)}
    filling |= {f"ref_answer_{n}": text for n, text in enumerate(references, 1)}
    if turn == 1:
        filling |= {"question": questions[0], "answer": answers[0]}
    asked = _PLACE.sub(lambda place: filling[place[1]], prompt.template)
    return [Message("system", prompt.system), Message("user", asked)]


def read_grade(text: str) -> float | None:
    """The grade in `[[7]]`, else in `[7]`; None where there is none, or none from 1 to 10."""
    found = _GRADE.search(text) or _SINGLE_BRACKETS.search(text)
    if found is None:
        return None
    grade = float(found[1])
    return grade if 1.0 <= grade <= 10.0 else None
