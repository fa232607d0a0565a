"""The questions a run asks the corpus: what is pending, what was decided, what has been spent.

Every function takes an open connection and returns plain values; none keeps state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, and_, case, func, select, update

from storage.tables import AgentCall, Review, Run, Sample, Seed, Verdict, table_of, utcnow

run_t, seed_t, sample_t = table_of(Run), table_of(Seed), table_of(Sample)
call_t, verdict_t, review_t = (
    table_of(AgentCall),
    table_of(Verdict),
    table_of(Review),
)
LIVE = ("pending", "accepted", "held")


def first_run(connection: Connection) -> str | None:
    """What tells this corpus from others with the same seeds; None before its first run."""
    first = select(run_t.c.id).order_by(run_t.c.started_at, run_t.c.id).limit(1)
    found = connection.execute(first).scalar()
    return str(found) if found is not None else None


def status_counts(connection: Connection, recipe: str | None = None) -> dict[str, dict[str, int]]:
    """How many seeds and samples are in each state: `{"seeds": {…}, "samples": {…}}`."""
    counts: dict[str, dict[str, int]] = {}
    for name, table in (("seeds", seed_t), ("samples", sample_t)):
        query = select(table.c.status, func.count()).group_by(table.c.status)
        if recipe is not None:
            query = query.where(table.c.recipe == recipe)
        counts[name] = dict(connection.execute(query).all())
    return counts


def reason_counts(
    connection: Connection, recipe: str | None = None
) -> list[tuple[str, str | None, int]]:
    """How many samples ended in each state for each reason, most first."""
    query = select(sample_t.c.status, sample_t.c.reason, func.count()).group_by(
        sample_t.c.status, sample_t.c.reason
    )
    if recipe is not None:
        query = query.where(sample_t.c.recipe == recipe)
    rows = [(status, reason, n) for status, reason, n in connection.execute(query)]
    return sorted(rows, key=lambda row: -row[2])


def spent(connection: Connection, recipe: str) -> dict[str, Any]:
    """Everything the recipe's calls have cost so far; `usd` is None when any price was unknown.
    `charged_…` is what they took from the budget, failed attempts included."""
    made = and_(call_t.c.error_type.is_(None), call_t.c.cached.is_(False))
    row = connection.execute(
        select(
            func.count().filter(made),
            func.coalesce(func.sum(call_t.c.prompt_tokens), 0),
            func.coalesce(func.sum(call_t.c.completion_tokens), 0),
            func.coalesce(func.sum(call_t.c.cost_usd).filter(made), 0.0),
            func.count().filter(and_(made, call_t.c.cost_usd.is_(None))),
            func.coalesce(func.sum(call_t.c.charged_tokens), 0),
            func.coalesce(func.sum(call_t.c.charged_usd), 0.0),
        ).where(call_t.c.recipe == recipe)
    ).one()
    return {
        "charged_tokens": row[5],
        "charged_usd": row[6],
        "calls": row[0],
        "prompt_tokens": row[1],
        "completion_tokens": row[2],
        "usd": None if row[4] else row[3],
        "known_usd": row[3],
        "unpriced_calls": row[4],
    }


def next_ordinal(connection: Connection, recipe: str) -> int:
    """One more than the highest ordinal of the recipe's seeds."""
    highest = connection.execute(
        select(func.max(seed_t.c.ordinal)).where(seed_t.c.recipe == recipe)
    ).scalar_one()
    return 0 if highest is None else int(highest) + 1


def existing_seeds(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Which of these identifiers are in the corpus already."""
    rows = connection.execute(select(seed_t.c.id).where(seed_t.c.id.in_(ids)))
    return {row[0] for row in rows}


def pending_seeds(
    connection: Connection, recipe: str, after: int, count: int
) -> list[dict[str, Any]]:
    """Up to `count` pending seeds beyond ordinal `after`, in order."""
    query = (
        select(seed_t)
        .where(seed_t.c.recipe == recipe, seed_t.c.status == "pending", seed_t.c.ordinal > after)
        .order_by(seed_t.c.ordinal)
        .limit(count)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def earlier_walk(connection: Connection, seeds: Sequence[str]) -> list[dict[str, Any]]:
    """The samples these seeds had before: id, seed, status, gate decisions, latest review."""
    samples: dict[str, dict[str, Any]] = {}
    rows = connection.execute(
        select(sample_t.c.id, sample_t.c.seed_id, sample_t.c.status).where(
            sample_t.c.seed_id.in_(seeds)
        )
    )
    for identifier, seed, status in rows:
        samples[identifier] = {
            "id": identifier,
            "seed_id": seed,
            "status": status,
            "decisions": [],
            "review": None,
        }
    if not samples:
        return []
    in_seeds = select(sample_t.c.id).where(sample_t.c.seed_id.in_(seeds))
    for row in connection.execute(
        select(verdict_t).where(verdict_t.c.kind == "gate", verdict_t.c.sample_id.in_(in_seeds))
    ).mappings():
        samples[row["sample_id"]]["decisions"].append(dict(row))
    for row in connection.execute(
        select(review_t).where(review_t.c.sample_id.in_(in_seeds)).order_by(review_t.c.created_at)
    ).mappings():
        samples[row["sample_id"]]["review"] = dict(row)
    return list(samples.values())


def known_fingerprints(connection: Connection, recipe: str) -> Iterator[str]:
    """The fingerprints of every sample that the duplicate gate let in."""
    query = (
        select(sample_t.c.fingerprint)
        .join(verdict_t, verdict_t.c.sample_id == sample_t.c.id)
        .where(
            sample_t.c.recipe == recipe,
            sample_t.c.fingerprint.is_not(None),
            verdict_t.c.name == "duplicate",
            verdict_t.c.label == "pass",
        )
    )
    for (fingerprint,) in connection.execution_options(yield_per=10_000).execute(query):
        yield fingerprint


def fingerprint_owner(connection: Connection, recipe: str, fingerprint: str) -> str | None:
    """The sample that the duplicate gate let in with this fingerprint."""
    return connection.execute(
        select(sample_t.c.id)
        .join(verdict_t, verdict_t.c.sample_id == sample_t.c.id)
        .where(
            sample_t.c.recipe == recipe,
            sample_t.c.fingerprint == fingerprint,
            verdict_t.c.name == "duplicate",
            verdict_t.c.label == "pass",
        )
        .limit(1)
    ).scalar()


def places_taken(connection: Connection, recipe: str) -> dict[str, int]:
    """Places under each category's quota: live samples of ended seeds, and those that pending
    seeds' samples were given before."""
    admitted = and_(verdict_t.c.name == "over_quota", verdict_t.c.label == "pass")
    query = (
        select(sample_t.c.category, func.count())
        .join(seed_t, seed_t.c.id == sample_t.c.seed_id)
        .outerjoin(verdict_t, and_(verdict_t.c.sample_id == sample_t.c.id, admitted))
        .where(
            sample_t.c.recipe == recipe,
            case(
                (seed_t.c.status == "pending", verdict_t.c.sample_id.is_not(None)),
                else_=sample_t.c.status.in_(LIVE),
            ),
        )
        .group_by(sample_t.c.category)
    )
    return {category: n for category, n in connection.execute(query) if category is not None}


def close_killed_runs(connection: Connection) -> None:
    """Ends the runs that never came to write their end, with figures from their calls; only who
    holds the run lock may ask."""
    for (killed,) in connection.execute(
        select(run_t.c.id).where(run_t.c.status == "running")
    ).all():
        answered = and_(call_t.c.run_id == killed, call_t.c.error_type.is_(None))
        made = call_t.c.cached.is_(False)
        figures = connection.execute(
            select(
                func.count().filter(made),
                func.count().filter(call_t.c.cached),
                func.coalesce(func.sum(call_t.c.prompt_tokens), 0),
                func.coalesce(func.sum(call_t.c.completion_tokens), 0),
                func.coalesce(func.sum(call_t.c.cost_usd).filter(made), 0.0),
                func.count().filter(and_(made, call_t.c.cost_usd.is_(None))),
            ).where(answered)
        ).one()
        connection.execute(
            update(run_t)
            .where(run_t.c.id == killed)
            .values(
                status="interrupted",
                reason="killed",
                calls_made=figures[0],
                calls_cached=figures[1],
                prompt_tokens=figures[2],
                completion_tokens=figures[3],
                cost_usd=None if figures[5] else figures[4],
                ended_at=utcnow(),
            )
        )


def telling_sample(connection: Connection, recipe: str) -> tuple[str, bool] | None:
    """A sample worth looking at, accepted and if possible only after it was sent back; and whether
    it is simulated."""
    row = connection.execute(
        select(sample_t.c.id, sample_t.c.simulated)
        .where(sample_t.c.recipe == recipe, sample_t.c.status == "accepted")
        .order_by(sample_t.c.round.desc(), sample_t.c.id)
        .limit(1)
    ).first()
    return None if row is None else (row[0], row[1])


def reviewed_seeds(connection: Connection, recipe: str) -> list[str]:
    """Seeds with a held sample for which a person's decision waits."""
    query = (
        select(sample_t.c.seed_id)
        .join(review_t, review_t.c.sample_id == sample_t.c.id)
        .where(
            sample_t.c.recipe == recipe,
            sample_t.c.status == "held",
            review_t.c.applied_at.is_(None),
        )
        .distinct()
    )
    return [row[0] for row in connection.execute(query)]
