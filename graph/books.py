"""The run's books: every row that the nodes cause, and the running figures that people watch.

In: what nodes and teachers did. Out: units of changes for the corpus writer, committed in order.
An answer's call and completion are one unit, submitted the moment it arrives; a sample's state
follows in the unit that it caused.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from agents.asking import Ask, Reply
from common.hashing import digest
from graph.errors import RunStopping
from graph.state import Draft, SeedInput, Status
from storage.tables import AgentCall, Completion, Review, Sample, Score, Seed, Verdict, utcnow
from storage.writer import Change, Writer
from teachers.gateway import Answer, Attempt, Gateway
from teachers.records import completion_record, sampling_dict
from teachers.structured import schema_of
from teachers.tally import CallTally
from teachers.terms import training_permission
from teachers.types import Request, Sampling


@dataclass
class Figures(CallTally):
    """Running figures of one invocation."""

    started: float = field(default_factory=time.monotonic)
    seeds: Counter[str] = field(default_factory=Counter)
    samples: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)


class Books:
    """Turns what happens into rows. One per run."""

    def __init__(self, writer: Writer, run_id: str, recipe: str) -> None:
        self.writer = writer
        self.run_id = run_id
        self.recipe = recipe
        self.figures = Figures()
        self.stopping = False
        self.on_completion: Callable[[str], None] = lambda key: None

    def asker(
        self, gateway: Gateway, sampling: Sampling, seed_id: str, sample_id: str | None, round: int
    ) -> BookedAsker:
        """An asker whose every call is booked on one seed or sample."""
        return BookedAsker(self, gateway, sampling, seed_id, sample_id, round)

    def _sample_row(
        self, draft: Draft, status: Status, reason: str | None, detail: str | None
    ) -> dict[str, Any]:
        now = utcnow()
        contributions = draft.contributions
        return {
            "id": draft.id,
            "recipe": self.recipe,
            "seed_id": draft.seed_id,
            "parent_id": draft.parent_id,
            "family_id": draft.family_id,
            "run_id": self.run_id,
            "origin": draft.origin,
            "variant": draft.variant,
            "round": draft.round,
            "category": draft.category,
            "language": draft.language,
            "system": draft.system,
            "instruction": draft.instruction,
            "original_instruction": draft.original_instruction,
            "input": draft.input,
            "reasoning": draft.reasoning,
            "response": draft.response,
            "fingerprint": draft.fingerprint,
            "status": status,
            "reason": reason,
            "detail": detail,
            "simulated": any(c.simulated for c in contributions),
            "allows_training": training_permission(contributions),
            "terms": [c.as_dict() for c in contributions],
            "shaped_by": dict(draft.shaped_by),
            "created_at": now,
            "updated_at": now,
            "score_total": draft.score,
            "responder": draft.responder,
            "response_prompt": draft.response_prompt,
        }

    def sample(
        self,
        draft: Draft,
        status: Status,
        reason: str | None,
        *further: Change,
        detail: str | None = None,
    ) -> None:
        """Commits a sample's state together with `further` changes. `reason` is a code, `detail`
        what stands behind it in words."""
        row = self._sample_row(draft, status, reason, detail)
        self.writer.submit([Change("upsert", Sample, row), *further])
        if status != "pending":
            self.figures.samples[status] += 1
            if reason:
                self.figures.reasons[f"{status}:{reason}"] += 1

    def verdict(
        self,
        sample_id: str,
        name: str,
        kind: str,
        label: str,
        evidence: dict[str, Any] | None,
        request_key: str | None = None,
    ) -> Change:
        """A verdict's change, to be submitted with what it led to."""
        return Change(
            "upsert",
            Verdict,
            {
                "sample_id": sample_id,
                "name": name,
                "kind": kind,
                "label": label,
                "evidence": evidence,
                "request_key": request_key,
                "created_at": utcnow(),
            },
        )

    def forget_findings(self, sample_id: str) -> tuple[Change, ...]:
        """Takes back what an earlier walk found out about a sample, for its words may be others
        now; what it decided and still holds is written anew."""
        return tuple(Change("clear", table, {"sample_id": sample_id}) for table in (Score, Verdict))

    def score(self, sample_id: str, row: dict[str, Any]) -> Change:
        """A score's change."""
        return Change("upsert", Score, {"sample_id": sample_id, **row, "created_at": utcnow()})

    def review_applied(self, review_id: str) -> Change:
        """Marks a person's decision as carried out."""
        return Change("patch", Review, {"id": review_id, "applied_at": utcnow()})

    def seed_ended(
        self,
        seed: SeedInput,
        status: str,
        reason: str | None,
        shaped_by: dict[str, str],
        superseded: list[str],
    ) -> None:
        """Commits a seed's end; an earlier walk's samples that it left out are superseded."""
        now = utcnow()
        changes = [
            Change(
                "patch",
                Sample,
                {"id": sample, "status": "rejected", "reason": "superseded", "updated_at": now},
            )
            for sample in superseded
        ]
        changes.append(
            Change(
                "patch",
                Seed,
                {
                    "id": seed.id,
                    "status": status,
                    "reason": reason,
                    "category": seed.category,
                    "language": seed.language,
                    "shaped_by": shaped_by,
                    "updated_at": now,
                },
            )
        )
        self.writer.submit(changes)
        self.figures.seeds[status] += 1


class BookedAsker:
    """Asks one teacher in one role, and books every attempt."""

    def __init__(
        self,
        books: Books,
        gateway: Gateway,
        sampling: Sampling,
        seed_id: str,
        sample_id: str | None,
        round: int,
    ) -> None:
        self._books = books
        self._gateway = gateway
        self._sampling = sampling
        self._seed_id = seed_id
        self._sample_id = sample_id
        self._round = round

    async def ask(self, ask: Ask) -> Reply:
        """Answers one question; see `agents.asking.Asker`."""
        books, gateway = self._books, self._gateway
        if books.stopping:
            raise RunStopping
        request = Request(
            endpoint=gateway.endpoint,
            model=gateway.model,
            revision=gateway.revision,
            messages=ask.prompt.messages + ask.turns,
            sampling=self._sampling,
            schema_name=ask.schema_name,
            schema=schema_of(ask.schema) if ask.schema is not None else None,
            structured_mode=gateway.structured_mode if ask.schema is not None else None,
            ask=ask.n,
        )

        def answered(answer: Answer) -> None:
            books.figures.count(answer)
            row = self._call_row(ask, request, answer.attempt, answer)
            changes = [Change("insert", AgentCall, row)]
            if not answer.cached:
                completion = completion_record(request, answer.completion)
                completion["created_at"] = utcnow()
                changes.insert(0, Change("insert", Completion, completion))
                books.on_completion(request.key)
            books.writer.submit(changes)

        def failed(attempt: Attempt) -> None:
            assert attempt.error is not None, "only failed attempts are reported here"
            books.figures.attempts_failed[attempt.error.code] += 1
            row = self._call_row(ask, request, attempt, None)
            books.writer.submit([Change("insert", AgentCall, row)])

        answer = await gateway.answer(request, answered, failed)
        by = gateway.contribution
        if answer.completion.simulated and not by.simulated:
            by = replace(by, simulated=True)
        return Reply(answer.completion, request.key, by)

    def _call_row(
        self, ask: Ask, request: Request, attempt: Attempt, answer: Answer | None
    ) -> dict[str, Any]:
        owner = self._sample_id or self._seed_id
        made = answer is not None and not answer.cached
        usage = answer.completion.usage if answer is not None else None
        sampling = request.sampling
        return {
            "id": digest([owner, ask.role, self._round, request.key])
            if answer is not None
            else uuid.uuid4().hex,
            "run_id": self._books.run_id,
            "recipe": self._books.recipe,
            "seed_id": self._seed_id,
            "sample_id": self._sample_id,
            "agent": ask.role,
            "round": self._round,
            "prompt_name": ask.prompt.name,
            "prompt_version": ask.prompt.version,
            "prompt_hash": ask.prompt.hash,
            "teacher": self._gateway.name,
            "model": (answer.completion.model if answer is not None else None) or request.model,
            "revision": answer.completion.revision if answer is not None else request.revision,
            "endpoint": request.endpoint,
            "parameters": sampling_dict(sampling),
            "request_key": request.key,
            "cached": answer is not None and answer.cached,
            "attempt": attempt.number,
            "prompt_tokens": usage.prompt_tokens if usage and made else None,
            "completion_tokens": usage.completion_tokens if usage and made else None,
            "reasoning_tokens": usage.reasoning_tokens if usage and made else None,
            "cost_usd": answer.cost_usd if answer is not None else None,
            "charged_tokens": attempt.charged.tokens,
            "charged_usd": attempt.charged.usd,
            "latency_s": attempt.latency_s,
            "finish_reason": answer.completion.finish_reason if answer is not None else None,
            "error_type": attempt.error.code if attempt.error else None,
            "error_detail": attempt.error.cause[:500] if attempt.error else None,
            "created_at": utcnow(),
        }
