"""A seed's or a sample's whole story, read from the corpus.

In: the first characters of an identifier. Out: a `Story`: the seed, every candidate that came of it
with its parents and rounds, and for each the calls in the order in which they were made, with
question, answer and cost, then scores, verdicts and reviews. All of it is reached through indexes,
so a story is told as fast from a large corpus as from a small one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, select

from storage.corpus import call_t, review_t, sample_t, seed_t, verdict_t
from storage.errors import NotFound
from storage.stories import (
    AnswerStory,
    CallStory,
    Kind,
    MessageStory,
    ReviewStory,
    SampleStory,
    ScoreStory,
    SeedStory,
    Spending,
    Story,
    VerdictStory,
)
from storage.tables import Completion, Score, table_of

__all__ = [
    "AnswerStory",
    "CallStory",
    "Kind",
    "MessageStory",
    "ReviewStory",
    "SampleStory",
    "ScoreStory",
    "SeedStory",
    "Spending",
    "Story",
    "VerdictStory",
    "resolve",
    "story",
]

completion_t = table_of(Completion)
score_t = table_of(Score)
_Part = TypeVar("_Part")
_ID_LENGTH = 32
_SHOWN_CANDIDATES = 8


def resolve(connection: Connection, id_prefix: str) -> tuple[Kind, str]:
    """Which seed or sample the first characters of an identifier mean.

    Raises:
        NotFound: when none does, or more than one.
    """
    prefix = id_prefix.strip().lower()
    if not prefix or set(prefix) - set("0123456789abcdef") or len(prefix) > _ID_LENGTH:
        raise NotFound(
            f"'{id_prefix}' is not an identifier.",
            cause="Seeds and samples are named by up to 32 of the characters 0-9 and a-f.",
            solution="Take one from `stillhouse review`, an export's `id`, or the database.",
        )
    found: list[tuple[Kind, str, str]] = []
    kinds: tuple[tuple[Kind, Any], ...] = (("seed", seed_t), ("sample", sample_t))
    for kind, table in kinds:
        # 'g' follows every hexadecimal digit: a range, unlike LIKE, uses the primary key's index.
        query = (
            select(table.c.id, table.c.status)
            .where(table.c.id >= prefix, table.c.id < f"{prefix}g")
            .order_by(table.c.id)
            .limit(_SHOWN_CANDIDATES + 1)
        )
        found += [(kind, identifier, status) for identifier, status in connection.execute(query)]
    if len(found) == 1:
        return found[0][0], found[0][1]
    if not found:
        raise NotFound(
            f"No seed or sample has an identifier that begins with '{prefix}'.",
            cause="This corpus does not hold it.",
            solution="Check the identifier, and that --db is the database it came from.",
        )
    listed = [f"{kind} {identifier} ({status})" for kind, identifier, status in found]
    if len(listed) > _SHOWN_CANDIDATES:
        listed[_SHOWN_CANDIDATES:] = ["…"]
    raise NotFound(
        f"'{prefix}' means more than one seed or sample.",
        cause=f"It is the beginning of: {', '.join(listed)}.",
        solution="Give more of its characters.",
    )


def story(connection: Connection, kind: Kind, id: str) -> Story:
    """Everything the corpus knows of a seed and its candidates.

    Args:
        connection: an open one; the story is read in one transaction.
        kind: what `id` names.
        id: a whole identifier, as `resolve` gives it.

    Raises:
        NotFound: when there is no such row.
    """
    seed_id: str | None = id
    if kind == "sample":
        seed_id = connection.execute(select(sample_t.c.seed_id).where(sample_t.c.id == id)).scalar()
    row = connection.execute(select(seed_t).where(seed_t.c.id == seed_id)).mappings().first()
    if row is None:
        raise NotFound(
            f"There is no {kind} '{id}'.",
            cause="This corpus does not hold it.",
            solution="Check the identifier, and that --db is the database it came from.",
        )
    calls = _calls(connection, row["id"])
    samples = _samples(connection, row["id"], calls)
    return Story(
        kind=kind,
        id=id,
        seed=SeedStory(
            **_fields(SeedStory, row),
            calls=tuple(calls[None]),
        ),
        samples=tuple(samples),
        spending=_spending([call for group in calls.values() for call in group]),
    )


def _fields(kind: type, row: Mapping[Any, Any]) -> dict[str, Any]:
    """The row's columns that `kind` has fields of the same name for; times made aware, and an
    empty object or list where the column is null but the field is not."""
    values = {name: _aware(row[name]) for name in _names(kind) if name in row}
    for name, empty in _EMPTY.items():
        if name in values and values[name] is None:
            values[name] = empty()
    return values


def _names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


_EMPTY: dict[str, type] = {
    "parameters": dict,
    "evidence": dict,
    "meta": dict,
    "shaped_by": dict,
    "terms": list,
}


def _aware(value: Any) -> Any:
    """SQLite gives times back without their zone, which is UTC; PostgreSQL in the session's."""
    if not isinstance(value, datetime):
        return value
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _calls(connection: Connection, seed_id: str) -> dict[str | None, list[CallStory]]:
    """The seed's calls by sample (None: made on the seed itself), in the order they were made."""
    mine = call_t.c.seed_id == seed_id
    columns = [completion_t.c[name] for name in ("key", "request", *_names(AnswerStory)[:-1])]
    completions = connection.execute(
        select(*columns, completion_t.c.logprobs.is_not(None).label("logprobs")).where(
            completion_t.c.key.in_(select(call_t.c.request_key).where(mine))
        )
    ).mappings()
    held = {row["key"]: row for row in completions}
    calls: dict[str | None, list[CallStory]] = defaultdict(list)
    order = (call_t.c.created_at, call_t.c.attempt, call_t.c.id)
    for row in connection.execute(select(call_t).where(mine).order_by(*order)).mappings():
        calls[row["sample_id"]].append(_call(row, held.get(row["request_key"])))
    return calls


def _call(row: Mapping[Any, Any], completion: Mapping[Any, Any] | None) -> CallStory:
    question = answer = schema = None
    if completion is not None:
        request = completion["request"]
        schema = request.get("schema")
        question = tuple(MessageStory(m["role"], m["content"]) for m in request["messages"])
        if row["error_type"] is None:
            answer = AnswerStory(**_fields(AnswerStory, completion))
    return CallStory(
        **_fields(CallStory, row),
        schema=schema,
        question=question,
        answer=answer,
    )


def _samples(
    connection: Connection, seed_id: str, calls: Mapping[str | None, list[CallStory]]
) -> list[SampleStory]:
    members = select(sample_t.c.id).where(sample_t.c.seed_id == seed_id)

    def of_sample(kind: type[_Part], table: Any) -> dict[str, list[_Part]]:
        parts: dict[str, list[_Part]] = defaultdict(list)
        query = select(table).where(table.c.sample_id.in_(members))
        for row in connection.execute(
            query.order_by(table.c.created_at, *table.primary_key.columns)
        ).mappings():
            parts[row["sample_id"]].append(kind(**_fields(kind, row)))
        return parts

    scores = of_sample(ScoreStory, score_t)
    verdicts = of_sample(VerdictStory, verdict_t)
    reviews = of_sample(ReviewStory, review_t)
    query = select(sample_t).where(sample_t.c.seed_id == seed_id)
    return [
        SampleStory(
            **_fields(SampleStory, row),
            calls=tuple(calls.get(row["id"], ())),
            score=next(iter(scores[row["id"]]), None),
            verdicts=tuple(verdicts[row["id"]]),
            reviews=tuple(reviews[row["id"]]),
        )
        for row in connection.execute(
            query.order_by(sample_t.c.variant, sample_t.c.round)
        ).mappings()
    ]


def _spending(calls: list[CallStory]) -> Spending:
    made = [call for call in calls if call.error_type is None and not call.cached]
    known = [call.cost_usd for call in made if call.cost_usd is not None]
    return Spending(
        calls_made=len(made),
        calls_cached=sum(call.cached for call in calls),
        attempts_failed=sum(call.error_type is not None for call in calls),
        prompt_tokens=sum(call.prompt_tokens or 0 for call in made),
        completion_tokens=sum(call.completion_tokens or 0 for call in made),
        cost_usd=sum(known) if len(known) == len(made) else None,
    )
