"""An evaluation's books: its row, its items' rows and every call, in the order of events.

In: what the runner, the benchmark and the teachers did. Out: units of changes for the corpus
writer. An answer's call and completion are one unit, submitted the moment it arrives; so after
`kill -9` the resumed evaluation asks nothing twice that had been committed.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import select

from common.hashing import digest
from evaluation.benchmark import MODEL, Item, ItemResult, Reply
from evaluation.panel import Panel
from evaluation.settings import ModelSampling
from storage.completions import RequestCache
from storage.database import Database
from storage.tables import Completion as CompletionRow
from storage.tables import Evaluation, EvaluationCall, EvaluationItem, table_of, utcnow
from storage.writer import Change, Writer
from teachers.gateway import Answer, Attempt
from teachers.records import completion_record, sampling_dict
from teachers.tally import CallTally
from teachers.types import Completion, Message, Request, Sampling

_call_t = table_of(EvaluationCall)


@dataclass
class Figures(CallTally):
    """Running figures of one invocation; `simulated` once a simulation answered."""

    total: int = 0
    done: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    simulated: bool = False

    def count(self, answer: Answer) -> None:
        """Adds one answered call."""
        super().count(answer)
        self.simulated |= answer.completion.simulated


@dataclass(frozen=True)
class EvaluationBooks:
    """The books of one evaluation."""

    evaluation_id: str
    database: Database
    writer: Writer
    cache: RequestCache[Completion]
    figures: Figures

    def begin(self, row: dict[str, Any], items: Sequence[Item]) -> None:
        """Writes the evaluation's row as running and its items as pending. A resumed evaluation's
        row keeps its beginning, and the contamination found before where nobody looked again."""
        kept = {"created_at"} | ({"contamination"} if row["contamination"] is None else set())
        again = {k: v for k, v in row.items() if k not in kept}
        self.writer.submit([Change("insert", Evaluation, row), Change("patch", Evaluation, again)])
        for start in range(0, len(items), 500):
            self.writer.submit(
                [
                    Change("insert", EvaluationItem, self._item_row(item, start + n))
                    for n, item in enumerate(items[start : start + 500])
                ]
            )

    def item_ended(self, ordinal: int, result: ItemResult, request_keys: Sequence[str]) -> None:
        """Writes one item's end."""
        judged = result.judged
        row = self._item_row(result.item, ordinal) | {
            "response": judged.response if judged else None,
            "verdict": dict(judged.verdict) if judged else None,
            "request_keys": list(request_keys),
            "status": "done" if judged else "failed",
            "reason": result.reason,
        }
        self.writer.submit([Change("upsert", EvaluationItem, row)])
        if judged:
            self.figures.done += 1
        else:
            self.figures.failed[result.reason or "unknown"] += 1

    def end(self, status: str, reason: str | None, **values: Any) -> None:
        """Writes how the evaluation ended."""
        row = {
            "id": self.evaluation_id,
            "status": status,
            "reason": reason,
            "simulated": self.figures.simulated,
            "ended_at": utcnow(),
            **values,
        }
        self.writer.submit([Change("patch", Evaluation, row)])

    def _item_row(self, item: Item, ordinal: int) -> dict[str, Any]:
        now = utcnow()
        return {
            "evaluation_id": self.evaluation_id,
            "item": item.key,
            "ordinal": ordinal,
            "category": item.category,
            "language": item.language,
            "prompt": item.prompt,
            "response": None,
            "verdict": None,
            "request_keys": None,
            "status": "pending",
            "reason": None,
            "created_at": now,
            "updated_at": now,
        }

    def first_latency(self, request_key: str) -> float | None:
        """Seconds that the call behind a kept answer took when an evaluation made it."""
        query = select(_call_t.c.latency_s).where(
            _call_t.c.request_key == request_key,
            _call_t.c.error_type.is_(None),
            _call_t.c.cached.is_(False),
        )
        with self.database.read() as connection:
            found: float | None = connection.execute(query.limit(1)).scalar()
        return found


def _as_kept(completion: Completion) -> Completion:
    """The completion as the corpus gives it back, which holds no NUL: what is made of an answer now
    must be what a later invocation makes of it."""
    if "\0" not in completion.content:
        return completion
    return replace(completion, content=completion.content.replace("\0", "\ufffd"))


class BookedAsker:
    """Asks for one item, from the corpus where the answer is there, and books every attempt.
    Implements `evaluation.benchmark.Asker`."""

    def __init__(
        self,
        books: EvaluationBooks,
        panel: Panel,
        item: Item,
        sampling: ModelSampling,
        repetition: int,
    ) -> None:
        self._books = books
        self._panel = panel
        self._item = item
        self._sampling = sampling
        self._repetition = repetition
        self.request_keys: list[str] = []
        self.role: str | None = None
        """Who was asked last."""

    async def ask(
        self,
        role: str,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        n: int = 0,
        prompt: str | None = None,
    ) -> Reply:
        """See `evaluation.benchmark.Asker`."""
        identity = self._panel.identities[role]
        self.role = role
        request = Request(
            endpoint=identity.endpoint,
            model=identity.model,
            revision=identity.revision,
            messages=tuple(messages),
            sampling=self._sampling.over(sampling) if role == MODEL else sampling,
            # Far enough apart that no benchmark's own repetitions meet the next repetition's.
            ask=n + self._repetition * 1000,
        )

        def answered(answer: Answer) -> None:
            self._book(role, request, prompt, answer)

        def failed(attempt: Attempt) -> None:
            assert attempt.error is not None, "only failed attempts are reported here"
            self._books.figures.attempts_failed[attempt.error.code] += 1
            row = self._call_row(role, request, prompt, attempt, None)
            self._books.writer.submit([Change("insert", EvaluationCall, row)])

        answer = await self._from_corpus(request)
        if answer is not None:
            answered(answer)
        else:
            gateway = await self._panel.gateway(role)
            answer = await gateway.answer(request, answered, failed)
        self.request_keys.append(request.key)
        latency = answer.attempt.latency_s
        if answer.cached:
            latency = await asyncio.to_thread(self._books.first_latency, request.key)
        return Reply(_as_kept(answer.completion), request.key, latency)

    async def _from_corpus(self, request: Request) -> Answer | None:
        cache = self._books.cache
        if not cache.may_hold(request.key):
            return None
        held = await cache.get(request.key)
        return None if held is None else Answer(held, True, 0.0, Attempt(0, None))

    def _book(self, role: str, request: Request, prompt: str | None, answer: Answer) -> None:
        books = self._books
        books.figures.count(answer)
        row = self._call_row(role, request, prompt, answer.attempt, answer)
        changes = [Change("insert", EvaluationCall, row)]
        if not answer.cached:
            completion = completion_record(request, answer.completion)
            completion["created_at"] = utcnow()
            changes.insert(0, Change("insert", CompletionRow, completion))
            books.cache.added(request.key)
        books.writer.submit(changes)

    def _call_row(
        self,
        role: str,
        request: Request,
        prompt: str | None,
        attempt: Attempt,
        answer: Answer | None,
    ) -> dict[str, Any]:
        evaluation, item = self._books.evaluation_id, self._item.key
        completion = answer.completion if answer is not None else None
        usage = completion.usage if completion and answer and not answer.cached else None
        known = [evaluation, item, role, request.key]
        return {
            "id": digest(known) if answer is not None else uuid.uuid4().hex,
            "evaluation_id": evaluation,
            "item": item,
            "role": role,
            "prompt_name": prompt,
            "teacher": self._panel.name(role),
            "model": (completion.model if completion else None) or request.model,
            "revision": completion.revision if completion else request.revision,
            "endpoint": request.endpoint,
            "parameters": sampling_dict(request.sampling),
            "request_key": request.key,
            "cached": answer is not None and answer.cached,
            "attempt": attempt.number,
            "prompt_tokens": usage.prompt_tokens if usage else None,
            "completion_tokens": usage.completion_tokens if usage else None,
            "reasoning_tokens": usage.reasoning_tokens if usage else None,
            "cost_usd": answer.cost_usd if answer is not None else None,
            "charged_tokens": attempt.charged.tokens,
            "charged_usd": attempt.charged.usd,
            "latency_s": attempt.latency_s,
            "finish_reason": completion.finish_reason if completion else None,
            "error_type": attempt.error.code if attempt.error else None,
            "error_detail": attempt.error.cause[:500] if attempt.error else None,
            "created_at": utcnow(),
        }
