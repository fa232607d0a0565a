"""MT-Bench as a benchmark: 80 questions, two turns, single-answer grading by any judge.

The model answers as in FastChat: at temperatures that go by category, at most 1,024 tokens a turn.
A turn whose grade cannot be read, or that the judge cannot grade, is unscored and left out of the
means, as published; it never becomes a number. A question that failed is left out too, and counted.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from common.hashing import digest
from evaluation.benchmark import JUDGE, MODEL, Asker, Item, ItemResult, Judged, Scores
from evaluation.errors import DataMissing
from evaluation.judges import ask_judge
from evaluation.mtbench.judging import (
    PROMPT_FILE,
    SAMPLING,
    WITH_REFERENCE,
    judge_messages,
    judge_prompts,
    prompt_name,
    read_grade,
)
from evaluation.sources import Rows, read_rows
from teachers.types import Message, Sampling

QUESTIONS = "hf:HuggingFaceH4/mt_bench_prompts"
CATEGORIES = (
    "writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities",
)  # fmt: skip
_TEMPERATURES = {"writing": 0.7, "roleplay": 0.7, "stem": 0.1, "humanities": 0.1}
_MAX_TOKENS = 1024


class MtBenchSettings(BaseModel):
    """The recipe's section `mtbench`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str = Field(default=QUESTIONS, description="the questions, as FastChat or the hub has")
    references_file: str | None = Field(
        default=None,
        description="FastChat's reference answers; else those that stand with the questions",
    )


class MtBench:
    """See `evaluation.benchmark.Benchmark`."""

    name = "mt_bench"
    roles = (MODEL, JUDGE)

    def __init__(self, settings: MtBenchSettings) -> None:
        self._rows = read_rows(settings.data, "MT-Bench questions")
        answers = None
        if settings.references_file is not None:
            answers = read_rows(settings.references_file, "MT-Bench reference answers")
        self.items: Sequence[Item] = _items(self._rows, _references(answers))
        self._references_hash = answers.hash if answers else None

    def settings(self) -> dict[str, Any]:
        """The data by hash, and the judge's prompts."""
        prompts = [[p.name, p.system, p.template] for p in judge_prompts().values()]
        return {
            "data": self._rows.source,
            "data_hash": self._rows.hash,
            "references_hash": self._references_hash,
            "judge_prompts": digest(prompts),
        }

    async def judge(self, item: Item, asker: Asker) -> Judged:
        """Two turns with the model, each graded by the judge."""
        category, questions = item.category or "", item.data["turns"]
        sampling = Sampling(temperature=_TEMPERATURES.get(category, 0.0), max_tokens=_MAX_TOKENS)
        conversation: list[Message] = []
        answers: list[str] = []
        turns = []
        for turn, question in enumerate(questions, 1):
            conversation.append(Message("user", question))
            reply = await asker.ask(MODEL, conversation, sampling)
            answers.append(reply.completion.content)
            conversation.append(Message("assistant", reply.completion.content))
            asked = judge_messages(category, questions, answers, item.data["references"])
            name = prompt_name(category, turn)
            graded, error = await ask_judge(asker, asked, SAMPLING, prompt=f"{PROMPT_FILE}#{name}")
            said = graded.content if graded is not None else ""
            turns.append(
                {"grade": read_grade(said), "judgement": said, "judge_error": error, "prompt": name}
            )
        return Judged(answers[-1], {"answers": answers, "turns": turns})

    def score(self, results: Sequence[ItemResult]) -> Scores:
        """The mean grade, over all, by turn and by category."""
        grades = [_grades(result) for result in results]
        metrics: dict[str, float | int | None] = {
            "score": _mean(grade for pair in grades for grade in pair),
            "turn_1": _mean(pair[0] for pair in grades if pair),
            "turn_2": _mean(pair[1] for pair in grades if len(pair) > 1),
            "questions": len(results),
            "unscored": sum(pair.count(None) for pair in grades),
            "failed": sum(result.judged is None for result in results),
        }
        notes = []
        if metrics["unscored"]:
            notes.append(
                f"{metrics['unscored']} grades were not given or not readable and are left out"
            )
        if metrics["failed"]:
            notes.append(
                f"{metrics['failed']} questions got no answer or no grade yet and are left out"
            )
        return Scores(metrics, {"by_category": _by_category(results, grades)}, tuple(notes))


def _grades(result: ItemResult) -> list[float | None]:
    if result.judged is None:
        return []
    return [turn["grade"] for turn in result.judged.verdict["turns"]]


def _mean(grades: Iterable[float | None]) -> float | None:
    given = [grade for grade in grades if grade is not None]
    return statistics.fmean(given) if given else None


def _by_category(
    results: Sequence[ItemResult], grades: Sequence[list[float | None]]
) -> dict[str, dict[str, float | int | None]]:
    """In the published order, so that radars look alike; other categories follow."""
    found = {result.item.category or "" for result in results}
    names = [c for c in CATEGORIES if c in found] + sorted(found.difference(CATEGORIES))
    table = {}
    for name in names:
        own = [g for r, g in zip(results, grades, strict=True) if (r.item.category or "") == name]
        table[name] = {
            "score": _mean(grade for pair in own for grade in pair),
            "turn_1": _mean(pair[0] for pair in own if pair),
            "turn_2": _mean(pair[1] for pair in own if len(pair) > 1),
            "questions": len(own),
        }
    return table


def _references(answers: Rows | None) -> dict[str, list[str]]:
    if answers is None:
        return {}
    try:
        return {str(row["question_id"]): row["choices"][0]["turns"] for row in answers.rows}
    except (KeyError, IndexError, TypeError) as error:
        raise DataMissing(
            f"{answers.source} holds no reference answers.",
            cause="A row has no `question_id`, or no `choices` with `turns`.",
            solution="Give FastChat's reference_answer/gpt-4.jsonl.",
        ) from error


def _items(rows: Rows, references: Mapping[str, list[str]]) -> list[Item]:
    items = []
    for number, row in enumerate(rows.rows, 1):
        named = (row.get(name) for name in ("question_id", "prompt_id"))
        key = str(next((each for each in named if each is not None), number))
        turns, category = row.get("turns") or row.get("prompt"), row.get("category")
        if not isinstance(turns, list) or len(turns) != 2 or not isinstance(category, str):
            raise DataMissing(
                f"Row {number} of {rows.source} is no MT-Bench question.",
                cause="It needs `category` and two `turns`.",
                solution="Give FastChat's question.jsonl.",
            )
        known = references.get(key) or row.get("reference") or []
        if category in WITH_REFERENCE and len(known) < len(turns):
            raise DataMissing(
                f"The question {key} ({category}) has no reference answers.",
                cause="Mathematics, reasoning and coding are graded beside one.",
                solution="Give FastChat's reference_answer/gpt-4.jsonl: "
                "--set mtbench.references_file=FILE",
            )
        items.append(
            Item(
                key=key,
                prompt="\n".join(turns),
                category=category,
                language="en",
                data={"turns": list(turns), "references": list(known)},
            )
        )
    return items
