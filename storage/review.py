"""What people decide: the queue of held samples, and one decision about one of them.

In: an open database, also one that a run is writing to. Out: rows of `review`; the sample itself is
left as it is, and the next run carries the decision out, so that one place alone changes states.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from sqlalchemy import Connection, select

from common.hashing import digest
from storage.corpus import review_t, sample_t, seed_t, verdict_t
from storage.database import Database
from storage.errors import StorageError
from storage.tables import utcnow
from storage.trace import resolve

Decision = Literal["accept", "reject"]


class ReviewRefused(StorageError):
    """The decision cannot be taken on that sample."""

    code = "review_refused"


@dataclass(frozen=True, slots=True)
class HeldSample:
    """One held sample as a reviewer needs to see it. `evidence` says what verification found, one
    entry per verdict that did not pass; `decision` is one that the next run will carry out."""

    id: str
    recipe: str
    category: str | None
    language: str | None
    reason: str | None
    instruction: str
    input: str
    reasoning: str | None
    response: str | None
    reference: str | None
    evidence: tuple[tuple[str, str, str], ...]
    decision: str | None
    reviewer: str | None


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision as it was written; `replaced` is the earlier one that it takes the place of."""

    sample_id: str
    decision: Decision
    reviewer: str
    recipe: str
    replaced: str | None


def held_samples(connection: Connection) -> Iterator[HeldSample]:
    """Every held sample, those of the first seeds first; a page is in memory at a time."""
    query = (
        select(sample_t, seed_t.c.reference)
        .join(seed_t, seed_t.c.id == sample_t.c.seed_id)
        .where(sample_t.c.status == "held")
        .order_by(
            sample_t.c.recipe, seed_t.c.ordinal, sample_t.c.variant, sample_t.c.round, sample_t.c.id
        )
        .execution_options(yield_per=100)
    )
    for page in connection.execute(query).mappings().partitions():
        ids = [row["id"] for row in page]
        evidence = _evidence(connection, ids)
        waiting = _waiting(connection, ids)
        for row in page:
            decision, reviewer, _ = waiting.get(row["id"], (None, None, None))
            yield HeldSample(
                id=row["id"],
                recipe=row["recipe"],
                category=row["category"],
                language=row["language"],
                reason=row["reason"],
                instruction=row["instruction"],
                input=row["input"],
                reasoning=row["reasoning"],
                response=row["response"],
                reference=row["reference"],
                evidence=tuple(evidence.get(row["id"], ())),
                decision=decision,
                reviewer=reviewer,
            )


def _evidence(connection: Connection, ids: list[str]) -> dict[str, list[tuple[str, str, str]]]:
    found: dict[str, list[tuple[str, str, str]]] = {}
    query = (
        select(verdict_t)
        .where(verdict_t.c.sample_id.in_(ids), verdict_t.c.kind != "gate")
        .order_by(verdict_t.c.sample_id, verdict_t.c.created_at, verdict_t.c.name)
    )
    for row in connection.execute(query).mappings():
        said = "; ".join(f"{key}: {value}" for key, value in (row["evidence"] or {}).items())
        found.setdefault(row["sample_id"], []).append((row["name"], row["label"], said))
    return found


def _waiting(connection: Connection, ids: list[str]) -> dict[str, tuple[str, str, datetime]]:
    """The latest decision on each sample that no run has carried out."""
    query = (
        select(
            review_t.c.sample_id, review_t.c.decision, review_t.c.reviewer, review_t.c.created_at
        )
        .where(review_t.c.sample_id.in_(ids), review_t.c.applied_at.is_(None))
        .order_by(review_t.c.created_at, review_t.c.id)
    )
    return {
        sample: (decision, reviewer, at)
        for sample, decision, reviewer, at in connection.execute(query)
    }


def text_hash(instruction: str, reasoning: str | None, response: str | None) -> str:
    """Identity of the words that a reviewer decides on."""
    return digest([instruction, reasoning, response])


def decide(
    database: Database, sample_prefix: str, decision: str, reviewer: str | None, note: str | None
) -> Decided:
    """Writes one decision about one held sample; a later one counts in place of an earlier one.

    Args:
        database: where the sample is; a run may be writing to it.
        sample_prefix: the first characters of its identifier.
        decision: `accept` or `reject`.
        reviewer: who decides.
        note: why, in the reviewer's words.

    Raises:
        NotFound: no sample, or more than one, answers to the identifier.
        ReviewRefused: the sample is not held, or the decision or its reviewer makes no sense.
    """
    chosen = next((word for word in get_args(Decision) if word == decision.strip().lower()), None)
    if chosen is None:
        raise ReviewRefused(
            f"'{decision}' is no decision.",
            cause="A held sample can be accepted or rejected.",
            solution="Say accept or reject.",
            command=f"stillhouse review {sample_prefix} accept",
        )
    if not reviewer or not reviewer.strip():
        raise ReviewRefused(
            "A decision needs a name.",
            cause="Neither --reviewer nor the environment variable USER says who decides.",
            solution="Give --reviewer NAME.",
        )
    with database.write() as connection:
        kind, identifier = resolve(connection, sample_prefix)
        row = connection.execute(
            select(
                sample_t.c.status,
                sample_t.c.reason,
                sample_t.c.recipe,
                sample_t.c.instruction,
                sample_t.c.reasoning,
                sample_t.c.response,
            ).where(sample_t.c.id == identifier)
        ).first()
        if row is None:
            raise _refused(identifier, f"It is a {kind}; only samples are decided.")
        if row.status != "held":
            why = f" ({row.reason})" if row.reason else ""
            raise _refused(identifier, f"It is {row.status}{why}.")
        earlier = _waiting(connection, [identifier]).get(identifier)
        connection.execute(
            review_t.insert(),
            {
                "id": uuid.uuid4().hex,
                "sample_id": identifier,
                "decision": chosen,
                "reviewer": reviewer.strip(),
                "note": note,
                "text_hash": text_hash(row.instruction, row.reasoning, row.response),
                "created_at": utcnow(),
            },
        )
    return Decided(identifier, chosen, reviewer.strip(), row.recipe, earlier and earlier[0])


def _refused(id: str, cause: str) -> ReviewRefused:
    return ReviewRefused(
        f"{id[:12]} is no held sample.",
        cause=cause,
        solution="Only held samples wait for a person; the queue lists them.",
        command="stillhouse review",
    )
