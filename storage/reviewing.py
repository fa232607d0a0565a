"""The review queue for several people at once: what is next, a decision on what was seen, undoing.

In: an open database, also one that a run is writing to. Out: rows of `review`. A decision says
which words and which earlier decision its reviewer saw; where either has changed meanwhile it is
refused, so that nobody decides over another's head. As with `storage.review`, the next run carries
it out.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, delete, func, select

from storage.corpus import review_t, sample_t
from storage.database import Database
from storage.review import ReviewRefused, text_hash
from storage.summary import aware
from storage.tables import utcnow

Choice = Literal["accept", "reject", "edit"]
CHOICES: tuple[Choice, ...] = ("accept", "reject", "edit")
_waits = (
    select(review_t.c.id)
    .where(review_t.c.sample_id == sample_t.c.id, review_t.c.applied_at.is_(None))
    .correlate(sample_t)
    .exists()
)


class ReviewCollision(ReviewRefused):
    """Somebody else, or a run, was there between looking and deciding."""

    code = "review_collision"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A decision that no run has carried out yet."""

    id: str
    decision: str
    reviewer: str
    note: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Seen:
    """What a reviewer had before them: the words (`storage.review.text_hash`), and the identifier
    of the decision that waited, if one did."""

    text_hash: str
    waiting: str | None


@dataclass(frozen=True, slots=True)
class Choosing:
    """One decision to be written. The edited texts are None where they stay as they are."""

    decision: Choice
    reviewer: str
    note: str | None = None
    instruction: str | None = None
    response: str | None = None


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """How many samples are held, and how many of those have a decision that waits."""

    held: int
    decided: int


def queue_counts(connection: Connection) -> QueueCounts:
    """The queue's length."""
    held = sample_t.c.status == "held"
    return QueueCounts(held=_count(connection, held), decided=_count(connection, held & _waits))


def _count(connection: Connection, condition: Any) -> int:
    query = select(func.count()).select_from(sample_t).where(condition)
    return int(connection.execute(query).scalar_one())


def next_held(connection: Connection, after: str) -> str | None:
    """The undecided held sample whose identifier follows `after`, and after the last the first; so
    people who begin at different places stay apart. None where nothing waits."""
    query = (
        select(sample_t.c.id)
        .where(sample_t.c.status == "held", ~_waits)
        .order_by(sample_t.c.id)
        .limit(1)
    )
    found = connection.execute(query.where(sample_t.c.id > after)).scalar()
    if found is None:
        found = connection.execute(query).scalar()
    return None if found is None else str(found)


def waiting_decision(connection: Connection, sample_id: str) -> Waiting | None:
    """The latest decision on a sample that no run has carried out."""
    c = review_t.c
    row = connection.execute(
        select(c.id, c.decision, c.reviewer, c.note, c.created_at)
        .where(c.sample_id == sample_id, c.applied_at.is_(None))
        .order_by(c.created_at.desc(), c.id.desc())
        .limit(1)
    ).first()
    if row is None:
        return None
    return Waiting(row.id, row.decision, row.reviewer, row.note, aware(row.created_at))


def decide_seen(database: Database, sample_id: str, choosing: Choosing, seen: Seen) -> str:
    """Writes a decision on what was seen; returns its identifier.

    Raises:
        ReviewRefused: the sample is not held, or the decision is incomplete.
        ReviewCollision: the words, or the decision that waits, are no longer what was seen.
    """
    _check(choosing)
    with database.write() as connection:
        # On PostgreSQL the row's lock keeps two decisions apart; SQLite has one writer anyway.
        row = connection.execute(
            select(
                sample_t.c.status,
                sample_t.c.instruction,
                sample_t.c.reasoning,
                sample_t.c.response,
            )
            .where(sample_t.c.id == sample_id)
            .with_for_update()
        ).first()
        if row is None or row.status != "held":
            raise ReviewCollision(
                f"Sample {sample_id[:12]} is held no longer.",
                cause=f"It is {row.status} now." if row else "It is not in the corpus.",
                solution="Go on with the next one in the queue.",
            )
        hash_now = text_hash(row.instruction, row.reasoning, row.response)
        if hash_now != seen.text_hash:
            raise ReviewCollision(
                f"Sample {sample_id[:12]} has other words now.",
                cause="A run made it anew after you opened it.",
                solution="Look at it again; nothing was written.",
            )
        waiting = waiting_decision(connection, sample_id)
        if (waiting and waiting.id) != seen.waiting:
            if waiting and _is_same(connection, waiting.id, choosing, hash_now):
                return waiting.id
            raise _collision(sample_id, waiting, choosing.reviewer.strip())
        identifier = uuid.uuid4().hex
        connection.execute(
            review_t.insert(),
            {
                "id": identifier,
                "sample_id": sample_id,
                "decision": choosing.decision,
                "reviewer": choosing.reviewer.strip(),
                "note": choosing.note,
                "edited_instruction": choosing.instruction,
                "edited_response": choosing.response,
                "text_hash": hash_now,
                "created_at": utcnow(),
            },
        )
    return identifier


def _is_same(connection: Connection, id: str, choosing: Choosing, text_hash: str) -> bool:
    """Whether the decision that waits is this one: a form that was sent twice is one decision."""
    c = review_t.c
    columns = (c.decision, c.reviewer, c.note, c.edited_instruction, c.edited_response, c.text_hash)
    row = connection.execute(select(*columns).where(c.id == id)).one()
    return tuple(row) == (
        choosing.decision,
        choosing.reviewer.strip(),
        choosing.note,
        choosing.instruction,
        choosing.response,
        text_hash,
    )


def _collision(sample_id: str, waiting: Waiting | None, reviewer: str) -> ReviewCollision:
    if waiting is None:
        what, cause = (
            f"The decision on sample {sample_id[:12]} was undone meanwhile.",
            "You had it before you when you decided.",
        )
    elif waiting.reviewer == reviewer:
        what, cause = (
            f"Sample {sample_id[:12]} was decided under your name meanwhile.",
            f"Since you opened this page, {reviewer} has said {waiting.decision}.",
        )
    else:
        what, cause = (
            f"Somebody else has decided on sample {sample_id[:12]} meanwhile.",
            f"Since you opened it, {waiting.reviewer} says {waiting.decision}.",
        )
    return ReviewCollision(
        what,
        cause=cause,
        solution="Look at it again to decide otherwise, or go on; nothing was written.",
    )


def _check(choosing: Choosing) -> None:
    if not choosing.reviewer.strip():
        raise ReviewRefused(
            "A decision needs a name.",
            cause="The field for the reviewer's name is empty.",
            solution="Give your name; the page remembers it.",
        )
    edited = choosing.instruction is not None or choosing.response is not None
    if (choosing.decision == "edit") != edited:
        raise ReviewRefused(
            "Nothing was edited." if not edited else "The texts were edited.",
            cause="The texts are as they were."
            if not edited
            else f"The decision is '{choosing.decision}', which would drop the edit.",
            solution="Edit the instruction or the response, or accept it as it is."
            if not edited
            else "Save the edit, or load the page again to drop it.",
        )
    texts = (("instruction", choosing.instruction), ("response", choosing.response))
    for name, text in texts:
        if text is not None and not text.strip():
            raise ReviewRefused(
                f"The edited {name} has no words.",
                cause="An accepted sample has both an instruction and a response.",
                solution="Write it, or reject the sample.",
            )
    if choosing.decision == "reject" and not (choosing.note or "").strip():
        raise ReviewRefused(
            "A rejection needs a reason.",
            cause="The field for the reason is empty.",
            solution="Say in a few words what is wrong with it.",
        )


def undo(database: Database, review_id: str) -> str:
    """Takes a decision back that no run has carried out; returns its sample's identifier.

    Raises:
        ReviewRefused: it was carried out, or is not there.
    """
    mine = (review_t.c.id == review_id) & review_t.c.applied_at.is_(None)
    with database.write() as connection:
        sample_id = connection.execute(select(review_t.c.sample_id).where(mine)).scalar()
        if not connection.execute(delete(review_t).where(mine)).rowcount:
            raise ReviewRefused(
                "That decision cannot be undone.",
                cause="A run has carried it out, or it was undone already.",
                solution="Look at the sample to see what became of it.",
            )
    return str(sample_id)
