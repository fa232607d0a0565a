"""IFEval as a benchmark: 541 English prompts, or M-IFEval's 172 Japanese ones.

Sources: arXiv 2311.07911 and 2502.04688; decoding as lm-eval's task `ifeval` has it (greedy, at
most 1,280 tokens). A prompt that got no answer follows none of its instructions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from evaluation.benchmark import MODEL, Asker, Item, ItemResult, Judged, Scores
from evaluation.errors import DataMissing
from evaluation.ifeval.english import english_tools
from evaluation.ifeval.japanese import japanese_tools
from evaluation.ifeval.scoring import (
    Followed,
    check_instructions,
    check_response,
    ifeval_metrics,
    per_instruction,
)
from evaluation.sources import Rows, read_rows
from teachers.types import Message, Sampling

HUB = {"en": "hf:google/IFEval", "ja": "hf:tokyotech-llm/M-IFEval-Ja:test"}
_SAMPLING = Sampling(temperature=0.0, max_tokens=1280)


class IfevalSettings(BaseModel):
    """The recipe's section `ifeval`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    language: Literal["en", "ja"] = "en"
    data: str | None = Field(default=None, description="the prompts; the hub's where left out")


class Ifeval:
    """See `evaluation.benchmark.Benchmark`."""

    roles = (MODEL,)

    def __init__(self, settings: IfevalSettings) -> None:
        self.language = settings.language
        self.name = "ifeval" if self.language == "en" else f"ifeval_{self.language}"
        self._rows = read_rows(settings.data or HUB[self.language], "IFEval prompts")
        self.items: Sequence[Item] = _items(self._rows, self.language)
        self._tools = english_tools() if self.language == "en" else japanese_tools()
        for item in self.items:
            ids, given = item.data["instruction_id_list"], item.data["kwargs"]
            check_instructions(self.language, item.prompt, ids, given)

    def settings(self) -> dict[str, Any]:
        """The data by hash, and what checks."""
        return {"data": self._rows.source, "data_hash": self._rows.hash, "tools": self._tools}

    async def judge(self, item: Item, asker: Asker) -> Judged:
        """Asks the prompt as it stands and checks the answer."""
        reply = await asker.ask(MODEL, [Message("user", item.prompt)], _SAMPLING)
        ids, given = item.data["instruction_id_list"], item.data["kwargs"]
        response = reply.completion.content
        followed = await asyncio.to_thread(
            check_response, self.language, item.prompt, ids, given, response
        )
        verdict = {
            "instructions": list(ids),
            "strict": list(followed.strict),
            "loose": list(followed.loose),
            "finish_reason": reply.completion.finish_reason,
        }
        return Judged(response, verdict)

    def score(self, results: Sequence[ItemResult]) -> Scores:
        """The four scores in per cent, and what was followed per instruction."""
        verdicts = [_followed(result) for result in results]
        ids = [result.item.data["instruction_id_list"] for result in results]
        failed = sum(result.judged is None for result in results)
        cut = sum(
            result.judged is not None and result.judged.verdict["finish_reason"] == "length"
            for result in results
        )
        notes = []
        if failed:
            notes.append(f"{failed} prompts got no answer; none of their instructions is followed")
        if cut:
            notes.append(f"{cut} answers were cut by the token limit")
        metrics: dict[str, float | int | None] = {**ifeval_metrics(verdicts)}
        metrics |= {"prompts": len(results), "instructions": sum(map(len, ids)), "failed": failed}
        details = {"per_instruction": per_instruction(ids, verdicts), "cut": cut}
        return Scores(metrics, details, tuple(notes))


def _followed(result: ItemResult) -> Followed:
    if result.judged is None:
        none = (False,) * len(result.item.data["instruction_id_list"])
        return Followed(none, none)
    verdict = result.judged.verdict
    return Followed(tuple(verdict["strict"]), tuple(verdict["loose"]))


def _items(rows: Rows, language: str) -> list[Item]:
    items = []
    for number, row in enumerate(rows.rows, 1):
        ids, given = row.get("instruction_id_list"), row.get("kwargs") or []
        if not isinstance(row.get("prompt"), str) or not ids or len(ids) != len(given):
            raise DataMissing(
                f"Row {number} of {rows.source} is no IFEval prompt.",
                cause="It needs `prompt`, `instruction_id_list` and as many `kwargs`.",
                solution="Give the benchmark's own data file.",
            )
        if any(name[:3] in ("en:", "ja:") and name[:2] != language for name in ids):
            raise DataMissing(
                f"Row {number} of {rows.source} is in another language than '{language}'.",
                cause=f"Its instructions are {', '.join(ids)}.",
                solution="Give --language as the data has it.",
            )
        items.append(
            Item(
                key=str(row.get("key", number)),
                prompt=row["prompt"],
                category=ids[0].removeprefix(f"{language}:").partition(":")[0],
                language=language,
                data={"instruction_id_list": list(ids), "kwargs": [dict(k or {}) for k in given]},
            )
        )
    return items
