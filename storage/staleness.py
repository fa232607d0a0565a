"""Which seeds and samples an edited prompt, another teacher or other settings have made stale.

Every sample says which steps shaped it, and in what shape (prompt, its hash, teacher, settings). A
sample is stale when one of its steps has another shape now; an accepted one also when a step that
the recipe now has never touched it. Samples share few distinct lineages, so those are compared, not
the samples one by one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, Text, cast, delete, func, or_, select, update

from storage.corpus import sample_t, seed_t, verdict_t
from storage.tables import utcnow


@dataclass(frozen=True, slots=True)
class StaleGroup:
    """Samples (or seeds) of one status and lineage that is no longer current: which step, was and
    is."""

    kind: str
    step: str
    was: str
    now: str
    lineage: str
    count: int
    status: str


@dataclass(frozen=True)
class CurrentShapes:
    """For every step the shapes that are current; `required` steps touch every accepted sample,
    `required_of_seeds` every seed that is done."""

    shapes: Mapping[str, Set[str]]
    required: Sequence[str] = ()
    required_of_seeds: Sequence[str] = ()


def stale_groups(connection: Connection, recipe: str, current: CurrentShapes) -> list[StaleGroup]:
    """Every lineage that is not current any more, with how many samples or seeds have it."""
    groups = []
    for kind, table in (("seed", seed_t), ("sample", sample_t)):
        text = cast(table.c.shaped_by, Text)
        query = (
            select(text, table.c.status, func.count())
            .where(table.c.recipe == recipe, table.c.shaped_by.is_not(None), _not_superseded(table))
            .group_by(text, table.c.status)
        )
        for lineage, status, count in connection.execute(query):
            if status == "pending":
                continue
            found = _first_difference(orjson.loads(lineage), status, current)
            if found is not None:
                groups.append(StaleGroup(kind, *found, lineage, count, status))
    return groups


def _first_difference(
    lineage: Mapping[str, str], status: str, current: CurrentShapes
) -> tuple[str, str, str] | None:
    for step, shape in lineage.items():
        now = current.shapes.get(step, frozenset())
        if shape not in now:
            return step, shape, _like(shape, now)
    wanted = {"accepted": current.required, "done": current.required_of_seeds}.get(status, ())
    for step in wanted:
        if step not in lineage:
            return step, "", _like("", current.shapes[step])
    return None


def _like(shape: str, candidates: Set[str]) -> str:
    name = shape.partition("#")[0]
    same = [c for c in candidates if c.partition("#")[0] == name]
    return (same or sorted(candidates) or ["not part of the recipe any more"])[0]


def stale_seed_ids(connection: Connection, recipe: str, groups: Sequence[StaleGroup]) -> set[str]:
    """The seeds that must walk again because of `groups`."""
    lineages: dict[tuple[str, str], set[str]] = defaultdict(set)
    for group in groups:
        lineages[group.kind, group.status].add(group.lineage)
    found: set[str] = set()
    for (kind, status), texts in lineages.items():
        table, column = (seed_t, "id") if kind == "seed" else (sample_t, "seed_id")
        query = select(table.c[column]).where(
            table.c.recipe == recipe,
            table.c.status == status,
            cast(table.c.shaped_by, Text).in_(texts),
            _not_superseded(table),
        )
        found.update(row[0] for row in connection.execute(query))
    return found


def _not_superseded(table: Any) -> ColumnElement[bool]:
    return or_(table.c.reason.is_(None), table.c.reason != "superseded")


def forget_decisions(connection: Connection, seeds: Sequence[str]) -> None:
    """Takes back the gate decisions of seeds that walk anew: their words may change, and what they
    were let in with must not count against anybody, themselves included."""
    for start in range(0, len(seeds), 500):
        members = select(sample_t.c.id).where(sample_t.c.seed_id.in_(seeds[start : start + 500]))
        connection.execute(
            delete(verdict_t).where(verdict_t.c.kind == "gate", verdict_t.c.sample_id.in_(members))
        )


def reopen(connection: Connection, seeds: Sequence[str]) -> int:
    """Makes seeds pending again; their samples are replaced as they walk."""
    for start in range(0, len(seeds), 500):
        connection.execute(
            update(seed_t)
            .where(seed_t.c.id.in_(seeds[start : start + 500]))
            .values(status="pending", reason=None, updated_at=utcnow())
        )
    return len(seeds)


def transiently_failed_seeds(
    connection: Connection, recipe: str, reasons: Sequence[str]
) -> list[str]:
    """Seeds that failed, or have a sample that failed, for a reason that may have passed."""
    on_seed = [*reasons, *(f"expansion_{reason}" for reason in reasons)]
    failed = select(seed_t.c.id).where(seed_t.c.recipe == recipe, seed_t.c.reason.in_(on_seed))
    through = select(sample_t.c.seed_id).where(
        sample_t.c.recipe == recipe,
        sample_t.c.status == "failed",
        sample_t.c.reason.in_(reasons),
    )
    return [row[0] for row in connection.execute(failed.union(through))]
