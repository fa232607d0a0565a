"""A page of samples, filtered and in the order of any column, from a corpus of any size.

In: a filter, an order, and where the last page ended (keyset: no page is slower than the first).
Out: a `SamplePage`. Where one part of the filter leaves few samples, those are fetched through its
index and sorted. Otherwise the samples are walked in the wanted order and looked at one by one; a
walk that finds little stops after a while and says where it is, so that the next page goes on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, null, select

from storage.corpus import sample_t
from storage.keyset import Order, Place, read_place, written
from storage.sample_filters import Part, SampleFilter, parts_of
from storage.summary import aware

PAGE = 50
_FEW = 4000
_FIRST_WINDOW, _LARGEST_WINDOW = 200, 1000
_WALK_S = 0.08
_SHOWN_CHARACTERS = 240

_c = sample_t.c
SORTS: dict[str, Any] = {
    "changed": _c.updated_at,
    "status": _c.status,
    "reason": _c.reason,
    "category": _c.category,
    "language": _c.language,
    "score": _c.score_total,
    "teacher": _c.responder,
    "prompt": _c.response_prompt,
    "round": _c.round,
}
# Samples without a value come last, in either direction.
_NEVER_NULL = ("changed", "status", "round")
_KINDS = {"changed": datetime, "score": int, "round": int}


@dataclass(frozen=True, slots=True)
class ListedSample:
    """One row. Texts are shortened; `score` is the sum of the three scores, 0 to 27."""

    id: str
    recipe: str
    status: str
    reason: str | None
    category: str | None
    language: str | None
    score: int | None
    teacher: str | None
    prompt: str | None
    round: int
    variant: int
    simulated: bool
    instruction: str
    response: str | None
    changed: datetime


@dataclass(frozen=True, slots=True)
class SamplePage:
    """`after` leads to the next page; None where there is none. `looked_at` is how many samples a
    walk has looked at; `stopped` says that it stopped before the page was full."""

    rows: tuple[ListedSample, ...]
    after: str | None
    looked_at: int
    stopped: bool


def list_samples(
    connection: Connection,
    wanted: SampleFilter,
    sort: str = "changed",
    descending: bool = True,
    after: str | None = None,
    size: int = PAGE,
    walk_s: float = _WALK_S,
) -> SamplePage:
    """One page.

    Args:
        connection: an open one.
        wanted: which samples.
        sort: a key of `SORTS`.
        descending: the largest first.
        after: the `after` of the page before, for the same filter and order.
        size: rows per page.
        walk_s: seconds after which a walk that finds little stops.

    Raises:
        BadCursor: `after` is none of this order's.
    """
    key = SORTS[sort]
    place = read_place(after, _KINDS.get(sort, str)) if after else None
    parts = parts_of(wanted, connection.dialect.name)
    few = _few_of(connection, parts)
    # Few samples are sorted where they are; no index is to be read for it.
    order = Order(
        key if few is None else func.coalesce(key, null()), sort not in _NEVER_NULL, descending
    )
    if not parts or few is not None:
        conditions = [part.condition for part in parts]
        if few is not None:
            conditions.append(_c.id.in_(few))
        ids = [
            found for window in order.windows(connection, place, size + 1, conditions)
            for found in window
        ][: size + 1]  # fmt: skip
        more, looked_at, stopped = len(ids) > size, 0, False
        ids = ids[:size]
        end = ids[-1] if more else None
    else:
        conditions = [part.condition for part in parts]
        ids, end, looked_at = _walk(connection, order, place, conditions, size, walk_s)
        stopped = end is not None and len(ids) < size
    return SamplePage(
        rows=_rows(connection, [found.id for found in ids]),
        after=written(end) if end else None,
        looked_at=looked_at,
        stopped=stopped,
    )


def _few_of(connection: Connection, parts: Sequence[Part]) -> list[str] | None:
    """The samples of a part that leaves few; None where none does."""
    for part in parts:
        if part.members is None:
            continue
        # Only counted first: most parts are large.
        probe = part.members.limit(_FEW + 1).subquery()
        n = connection.execute(select(func.count()).select_from(probe)).scalar_one()
        if n <= _FEW:
            return sorted({row[0] for row in connection.execute(part.members)})
    return None


def _walk(
    connection: Connection,
    order: Order,
    place: Place | None,
    conditions: Sequence[ColumnElement[bool]],
    size: int,
    walk_s: float,
) -> tuple[list[Place], Place | None, int]:
    """Looks at samples in order until a page is found or time is up: what was found, after which
    sample to go on (None: there are no more), how many were looked at."""
    deadline = time.perf_counter() + walk_s
    found: list[Place] = []
    looked_at, window = 0, max(_FIRST_WINDOW, size + 1)
    while True:
        read = [place for part in order.windows(connection, place, window) for place in part]
        looked_at += len(read)
        matching = _matching(connection, [p.id for p in read], conditions)
        for candidate in read:
            if candidate.id in matching:
                found.append(candidate)
                if len(found) > size:
                    return found[:size], found[size - 1], looked_at
        if len(read) < window:
            return found, None, looked_at
        place = read[-1]
        if time.perf_counter() > deadline:
            return found, place, looked_at
        window = min(4 * window, _LARGEST_WINDOW)


def _matching(
    connection: Connection, ids: Sequence[str], conditions: Sequence[ColumnElement[bool]]
) -> set[str]:
    query = select(_c.id).where(_c.id.in_(ids), *conditions)
    return {row[0] for row in connection.execute(query)}


def _rows(connection: Connection, ids: Sequence[str]) -> tuple[ListedSample, ...]:
    query = select(
        _c.id, _c.recipe, _c.status, _c.reason, _c.category, _c.language,
        _c.score_total.label("score"), _c.responder.label("teacher"),
        _c.response_prompt.label("prompt"),
        _c.round, _c.variant, _c.simulated,
        func.substr(_c.instruction, 1, _SHOWN_CHARACTERS).label("instruction"),
        func.substr(_c.response, 1, _SHOWN_CHARACTERS).label("response"),
        _c.updated_at.label("changed"),
    ).where(_c.id.in_(ids))  # fmt: skip
    rows = {row["id"]: row for row in connection.execute(query).mappings()}
    return tuple(
        ListedSample(**{**rows[id], "changed": aware(rows[id]["changed"])})
        for id in ids
        if id in rows
    )
