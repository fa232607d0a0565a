"""The inspector's figures counted anew in SQL, row by row: what its tally is held against.

In: an open connection. Out: the same figures as `inspector.tally` gives.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import BigInteger, Connection, and_, case, cast, extract, func, select

from inspector.figures import AgentFigures, PromptYield
from inspector.pace import Pace, pace_of, seeds_since
from storage.corpus import call_t, sample_t
from storage.summary import LatestRun, aware

_ORDER = ("expansion", "rewriting", "response", "selection", "verification")


def agent_figures(connection: Connection, recipe: str) -> list[AgentFigures]:
    """The figures in the order of the walk, then by teacher."""
    c = call_t.c
    answered = c.error_type.is_(None)
    made = and_(answered, c.cached.is_(False))
    accepted = case((sample_t.c.status == "accepted", c.sample_id))
    totals = connection.execute(
        select(
            c.agent,
            c.teacher,
            func.count().filter(made).label("made"),
            func.count().filter(and_(answered, c.cached)).label("cached"),
            func.count().filter(c.error_type.is_not(None)).label("failed"),
            func.coalesce(func.sum(c.prompt_tokens), 0).label("prompt_tokens"),
            func.coalesce(func.sum(c.completion_tokens), 0).label("completion_tokens"),
            func.coalesce(func.sum(c.cost_usd).filter(made), 0.0).label("usd"),
            func.count().filter(and_(made, c.cost_usd.is_(None))).label("unpriced"),
            func.count(c.sample_id.distinct()).filter(answered).label("samples"),
            func.count(accepted.distinct()).filter(answered).label("accepted"),
        )
        .outerjoin(sample_t, sample_t.c.id == c.sample_id)
        .where(c.recipe == recipe)
        .group_by(c.agent, c.teacher)
    ).all()
    latencies = _latencies(connection, recipe)
    places = {agent: place for place, agent in enumerate(_ORDER)}
    return [
        AgentFigures(
            agent=row.agent,
            teacher=row.teacher,
            made=row.made,
            cached=row.cached,
            failed=row.failed,
            prompt_tokens=row.prompt_tokens,
            completion_tokens=row.completion_tokens,
            usd=None if row.unpriced else row.usd,
            p50_s=latencies[row.agent, row.teacher].get(50),
            p95_s=latencies[row.agent, row.teacher].get(95),
            samples=row.samples,
            accepted=row.accepted,
        )
        for row in sorted(totals, key=lambda r: (places.get(r.agent, len(places)), r.teacher))
    ]


def _latencies(connection: Connection, recipe: str) -> dict[tuple[str, str], dict[int, float]]:
    """The 50th and the 95th percentile in seconds (nearest rank), by agent and teacher."""
    c = call_t.c
    group = (c.agent, c.teacher)
    timed = (
        select(
            *group,
            c.latency_s,
            func.row_number().over(partition_by=group, order_by=c.latency_s).label("place"),
            func.count().over(partition_by=group).label("n"),
        )
        .where(
            c.recipe == recipe,
            c.error_type.is_(None),
            c.cached.is_(False),
            c.latency_s.is_not(None),
        )
        .subquery()
    )
    t = timed.c
    found: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for percentile in (50, 95):
        # The smallest rank that covers the share, in whole numbers: ceil(n × percentile / 100).
        rank = (t.n * percentile + 99) // 100
        query = select(t.agent, t.teacher, t.latency_s).where(t.place == rank)
        for agent, teacher, latency in connection.execute(query):
            found[agent, teacher][percentile] = latency
    return found


def prompt_yields(connection: Connection) -> list[PromptYield]:
    """Every text that calls were made with, by prompt, the latest first."""
    c = call_t.c
    made = c.error_type.is_(None) & c.cached.is_(False)
    totals = connection.execute(
        select(
            c.prompt_name,
            c.prompt_hash,
            func.max(c.prompt_version),
            func.count().filter(c.error_type.is_(None)),
            func.count(c.error_type),
            func.coalesce(func.sum(c.prompt_tokens), 0)
            + func.coalesce(func.sum(c.completion_tokens), 0),
            func.coalesce(func.sum(c.cost_usd).filter(made), 0.0),
            func.count().filter(made & c.cost_usd.is_(None)),
            func.min(c.created_at),
            func.max(c.created_at),
        ).group_by(c.prompt_name, c.prompt_hash)
    ).all()
    outcomes = _outcomes(connection)
    yields = [
        PromptYield(
            row[0], row[2], row[1], row[3], row[4],
            *outcomes.get((row[0], row[1]), (0, 0, None)),
            tokens=row[5], usd=None if row[7] else row[6],
            first_at=aware(row[8]), last_at=aware(row[9]),
        )
        for row in totals
    ]  # fmt: skip
    return sorted(yields, key=lambda found: (found.name, -found.last_at.timestamp()))


def _outcomes(connection: Connection) -> dict[tuple[str, str], tuple[int, int, float | None]]:
    """By prompt and text: samples, accepted samples, the mean of their scores' sums."""
    c = call_t.c
    touched = (
        select(c.prompt_name, c.prompt_hash, c.sample_id)
        .where(c.error_type.is_(None), c.sample_id.is_not(None))
        .distinct()
        .subquery()
    )
    query = (
        select(
            touched.c.prompt_name,
            touched.c.prompt_hash,
            func.count(),
            func.count(case((sample_t.c.status == "accepted", 1))),
            func.avg(sample_t.c.score_total),
        )
        .join(sample_t, sample_t.c.id == touched.c.sample_id)
        .group_by(touched.c.prompt_name, touched.c.prompt_hash)
    )
    return {
        (name, hash): (n, accepted, None if mean is None else float(mean))
        for name, hash, n, accepted, mean in connection.execute(query)
    }


def pace(connection: Connection, recipe: str, run: LatestRun, now: datetime) -> Pace:
    """The pace of a recipe's latest run."""
    last = connection.execute(
        select(func.max(call_t.c.created_at)).where(call_t.c.run_id == run.id)
    ).scalar()
    seeds = seeds_since(connection, recipe, run.started_at)
    return pace_of(run, aware(last) if last else None, _seconds(connection, run), seeds, now)


def _seconds(connection: Connection, run: LatestRun) -> Iterator[tuple[int, int, int, int]]:
    c = call_t.c
    # PostgreSQL's cast rounds; half a second less is rounding down.
    exact = extract("epoch", c.created_at)
    whole = func.floor(exact) if connection.dialect.name == "postgresql" else exact
    second = cast(whole, BigInteger) - int(run.started_at.timestamp())
    rows = connection.execute(
        select(
            second,
            func.count(),
            func.count(c.error_type),
            func.sum(func.coalesce(c.prompt_tokens, 0) + func.coalesce(c.completion_tokens, 0)),
        )
        .where(c.run_id == run.id)
        .group_by(second)
    )
    for place, calls, failed, tokens in rows:
        yield max(int(place), 0), calls, failed, int(tokens or 0)
