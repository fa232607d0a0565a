"""AlpacaEval 2 as a benchmark: 805 instructions, the baseline gpt4_1106_preview, any judge.

The model answers greedily with at most 2,048 tokens unless told otherwise: AlpacaEval leaves that
to each model. An instruction without an answer is an empty output that lost: what a user would have
got. A pair that the judge failed on is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from common.hashing import digest_text
from evaluation.alpaca.difficulty import OFFICIAL, Difficulty, read_difficulty
from evaluation.alpaca.figures import Pair, length_controlled, require_library, win_rates
from evaluation.alpaca.judging import (
    PROMPT_FILE,
    SAMPLING,
    judge_messages,
    judge_prompt,
    preference_of,
)
from evaluation.benchmark import JUDGE, MODEL, Asker, Item, ItemResult, Judged, Scores
from evaluation.errors import DataMissing
from evaluation.judges import ask_judge
from evaluation.sources import Rows, read_rows
from teachers.types import Message, Sampling

BASELINE = "hf:tatsu-lab/alpaca_eval/alpaca_eval_gpt4_baseline.json"
_LOST = 1.0
_UNJUDGED = "unjudged"
_SAMPLING = Sampling(temperature=0.0, max_tokens=2048)


class AlpacaSettings(BaseModel):
    """The recipe's section `alpaca`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    baseline_outputs: str = Field(
        default=BASELINE, description="the baseline's model_outputs.json: instruction, output"
    )
    difficulty_file: str = Field(
        default=OFFICIAL, description="the instruction-difficulty table, or df_gamed.csv"
    )


class Alpaca:
    """See `evaluation.benchmark.Benchmark`."""

    name = "alpaca_eval"
    roles = (MODEL, JUDGE)

    def __init__(self, settings: AlpacaSettings) -> None:
        self._rows = read_rows(settings.baseline_outputs, "outputs of AlpacaEval's baseline")
        self._difficulty: Difficulty = read_difficulty(settings.difficulty_file)
        self.items: Sequence[Item] = _items(self._rows)
        require_library()
        for item in self.items:
            self._difficulty.of(item.data["index"])

    def settings(self) -> dict[str, Any]:
        """The data by hash, the judge's prompt, and what computes the figures."""
        return {
            "data": self._rows.source,
            "data_hash": self._rows.hash,
            "difficulty": self._difficulty.source,
            "difficulty_hash": self._difficulty.hash,
            "judge_prompt": digest_text(judge_prompt()),
            "tools": {"alpaca_eval": version("alpaca_eval")},
        }

    async def judge(self, item: Item, asker: Asker) -> Judged:
        """Asks the instruction, then the judge to choose between the answer and the baseline's."""
        reply = await asker.ask(MODEL, [Message("user", item.prompt)], _SAMPLING)
        output, baseline = reply.completion.content, item.data["baseline"]
        asked = judge_messages(item.prompt, baseline, output)
        graded, error = await ask_judge(asker, asked, SAMPLING, prompt=PROMPT_FILE)
        preference, source = (
            preference_of(graded, item.prompt) if graded is not None else (None, _UNJUDGED)
        )
        verdict = {
            "preference": preference,
            "read_from": source,
            "judge_error": error,
            "finish_reason": reply.completion.finish_reason,
        }
        return Judged(output, verdict)

    def score(self, results: Sequence[ItemResult]) -> Scores:
        """The leaderboard's figures, and how the length was controlled."""
        read = [_read_from(result) for result in results]
        pairs = [_pair(result) for result in results]
        answered = [pair for pair in pairs if pair is not None]
        metrics: dict[str, float | int | None] = win_rates(answered)
        metrics |= length_controlled(answered, self._difficulty)
        metrics["failed"] = read.count("failed")
        notes = [self._difficulty.statement]
        for kind, words in (
            ("failed", "instructions got no answer and count as lost"),
            (_UNJUDGED, "pairs could not be judged and are left out"),
            ("none", "answers of the judge named neither output and are left out"),
            ("text", "preferences were read from the judge's word: it gave no log-probabilities"),
        ):
            if count := read.count(kind):
                notes.append(f"{count} {words}")
        if metrics["length_controlled_winrate"] is None:
            notes.append("too few preferences, or too alike, to control for length")
        details = {
            "by_dataset": _by_dataset(results, pairs),
            "difficulty": {"source": self._difficulty.source, "said": self._difficulty.statement},
        }
        return Scores(metrics, details, tuple(notes))


def _read_from(result: ItemResult) -> str:
    if result.judged is None:
        return _UNJUDGED if result.role == JUDGE else "failed"
    return str(result.judged.verdict["read_from"])


def _pair(result: ItemResult) -> Pair | None:
    """None where the judge failed, which says nothing about the model, and its answer is not
    here."""
    index, baseline = result.item.data["index"], result.item.data["baseline"]
    if result.judged is None and result.role == JUDGE:
        return None
    if result.judged is None:
        return Pair(index, baseline, "", _LOST)
    return Pair(index, baseline, result.judged.response, result.judged.verdict["preference"])


def _by_dataset(results: Sequence[ItemResult], pairs: Sequence[Pair | None]) -> dict[str, Any]:
    groups: dict[str, list[float]] = {}
    for result, pair in zip(results, pairs, strict=True):
        if pair is not None and pair.preference is not None:
            group = groups.setdefault(result.item.category or "all", [])
            group.append(100 * (pair.preference - 1.0))
    return {
        name: {"win_rate": sum(values) / len(values), "n": len(values)}
        for name, values in sorted(groups.items())
    }


def _items(rows: Rows) -> list[Item]:
    items = []
    for index, row in enumerate(rows.rows):
        if not isinstance(row.get("instruction"), str) or not isinstance(row.get("output"), str):
            raise DataMissing(
                f"Row {index + 1} of {rows.source} is no output of a baseline.",
                cause="It needs `instruction` and `output`.",
                solution="Give the model_outputs.json of the baseline.",
            )
        items.append(
            Item(
                key=str(index),
                prompt=row["instruction"],
                category=row.get("dataset"),
                language="en",
                data={"index": index, "baseline": row["output"]},
            )
        )
    return items
