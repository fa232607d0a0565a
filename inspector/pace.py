"""How fast a run goes: its calls and tokens over time, and when its seeds will have ended.

In: a run, its calls by the second, and its recipe's seeds. Out: a `Pace`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select

from storage.corpus import seed_t
from storage.summary import LatestRun

_MOST_BUCKETS = 60


@dataclass(frozen=True, slots=True)
class Bucket:
    """What happened in one stretch of time, which begins so many seconds after the run."""

    start_s: int
    calls: int
    failed: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Pace:
    """`width_s` is a bucket's length in seconds. Rates are means over the whole run; `left_s` is
    None where the run has ended, or nothing has ended yet to judge by."""

    elapsed_s: float
    width_s: int
    buckets: tuple[Bucket, ...]
    seeds_ended: int
    seeds_per_minute: float | None
    tokens_per_second: float | None
    left_s: float | None


def pace_of(
    run: LatestRun,
    last_call_at: datetime | None,
    seconds: Iterable[tuple[int, int, int, int]],
    seeds: tuple[int, int],
    now: datetime | None,
) -> Pace:
    """The pace of a run.

    Args:
        run: a recipe's latest run.
        last_call_at: when its latest call was made.
        seconds: its calls: the second since the run began, calls, failed attempts, tokens; a second
            may be given several times.
        seeds: as `seeds_since` the run began.
        now: the current time, aware; where a running run is at. None where its process is no more.
    """
    running = run.status == "running" and now is not None
    end = run.ended_at or (now if running and now else last_call_at or run.started_at)
    elapsed = max((end - run.started_at).total_seconds(), 0.0)
    width = max(1, -(-int(elapsed + 1) // _MOST_BUCKETS))
    buckets = _buckets(seconds, width)
    ended, pending = seeds
    rate = ended / elapsed if elapsed else 0.0
    tokens = sum(bucket.tokens for bucket in buckets)
    return Pace(
        elapsed_s=elapsed,
        width_s=width,
        buckets=buckets,
        seeds_ended=ended,
        seeds_per_minute=60 * rate if elapsed else None,
        tokens_per_second=tokens / elapsed if elapsed else None,
        left_s=pending / rate if running and rate else None,
    )


def _buckets(seconds: Iterable[tuple[int, int, int, int]], width: int) -> tuple[Bucket, ...]:
    found: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0, 0])
    for second, calls, failed, tokens in seconds:
        bucket = found[second // width]
        bucket[0] += calls
        bucket[1] += failed
        bucket[2] += tokens
    last = max(found, default=-1)
    return tuple(Bucket(n * width, *found[n]) for n in range(last + 1))


def seeds_since(connection: Connection, recipe: str, since: datetime) -> tuple[int, int]:
    """How many seeds have ended since then, and how many are pending."""
    c = seed_t.c
    # SQLite keeps times without their zone; a second of margin is within the figure's meaning.
    ended = c.updated_at >= since - timedelta(seconds=1)
    row = connection.execute(
        select(
            func.count().filter(c.status != "pending", ended),
            func.count().filter(c.status == "pending"),
        ).where(c.recipe == recipe)
    ).one()
    return int(row[0]), int(row[1])
