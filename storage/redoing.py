"""What has become stale, told step by step, and what redoing it took the first time.

In: the stale groups that `storage.staleness` finds. Out: for each step that changed how much it
makes stale, an example to explain it by, and the calls from the stale steps onwards.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import orjson
from sqlalchemy import ColumnElement, Connection, Text, and_, cast, func, or_, select

from storage.corpus import call_t, run_t, sample_t, seed_t
from storage.staleness import CurrentShapes, StaleGroup
from storage.summary import TeacherFigures

# In the order of the walk: a step's outcome flows into all later ones.
_AGENT_OF_STEP = {
    "classify": "expansion",
    "expand": "expansion",
    "rewrite": "rewriting",
    "respond": "response",
    "select": "selection",
    "verify": "verification",
}


@dataclass(frozen=True, slots=True)
class StaleStep:
    """One step that had the shape `was` when some seeds and samples went through it ("": it never
    touched them). What has several such steps counts for each. `example` is one of the groups."""

    step: str
    agent: str
    was: str
    seeds: int
    samples: int
    example: StaleGroup


def stale_steps(groups: Sequence[StaleGroup], current: CurrentShapes) -> list[StaleStep]:
    """Every step that makes something stale, in the order of the walk."""
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    examples: dict[tuple[str, str], StaleGroup] = {}
    for group in groups:
        lineage: dict[str, str] = orjson.loads(group.lineage)
        changed = [
            (step, shape)
            for step, shape in lineage.items()
            if shape not in current.shapes.get(step, frozenset())
        ]
        for key in changed or [(group.step, group.was)]:
            counts[key][group.kind] += group.count
            # A sample's run is known, a seed's only through its samples.
            if key not in examples or group.kind == "sample":
                examples[key] = group
    steps = list(_AGENT_OF_STEP)
    return [
        StaleStep(step, _AGENT_OF_STEP[step], was, n["seed"], n["sample"], examples[step, was])
        for (step, was), n in sorted(counts.items(), key=lambda item: steps.index(item[0][0]))
    ]


def recipe_behind(connection: Connection, recipe: str, group: StaleGroup) -> str | None:
    """The resolved recipe of the run that gave this group its lineage, as YAML; None where no
    sample tells."""
    table = sample_t if group.kind == "sample" else seed_t
    query = (
        select(run_t.c.recipe_text)
        .join(sample_t, sample_t.c.run_id == run_t.c.id)
        .where(
            table.c.recipe == recipe,
            cast(table.c.shaped_by, Text) == group.lineage,
            or_(sample_t.c.reason.is_(None), sample_t.c.reason != "superseded"),
        )
        .limit(1)
    )
    if group.kind == "seed":
        query = query.join(seed_t, seed_t.c.id == sample_t.c.seed_id)
    return connection.execute(query).scalar()


def redo_cost(connection: Connection, recipe: str, groups: Sequence[StaleGroup]) -> TeacherFigures:
    """What the calls from each stale step onwards took when they were made, each call once.

    It is the most that redoing takes, as far as answers are as long as before: a question that
    comes out unchanged is answered from the corpus.
    """
    c = call_t.c
    lineages: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for group in groups:
        prompt_name = group.was.partition("#")[0]
        lineages[group.kind, group.step, prompt_name].add(group.lineage)
    wanted: list[ColumnElement[bool]] = []
    for (kind, step, prompt_name), texts in lineages.items():
        table, owner = (sample_t, c.sample_id) if kind == "sample" else (seed_t, c.seed_id)
        members = select(table.c.id).where(
            table.c.recipe == recipe, cast(table.c.shaped_by, Text).in_(texts)
        )
        of_step: ColumnElement[bool] = c.agent.in_(_agents_from(step))
        if kind == "seed" and step == "expand":
            # The variants are stale themselves; the seed's own instruction stays as it is.
            of_step = and_(c.sample_id.is_(None), c.prompt_name == prompt_name)
        wanted.append(and_(owner.in_(members), of_step))
    figures = TeacherFigures()
    if not wanted:
        return figures
    row = connection.execute(
        select(
            func.count(),
            func.coalesce(func.sum(c.prompt_tokens), 0),
            func.coalesce(func.sum(c.completion_tokens), 0),
            func.coalesce(func.sum(c.cost_usd), 0.0),
            func.count(c.cost_usd),
        ).where(c.recipe == recipe, c.error_type.is_(None), c.cached.is_(False), or_(*wanted))
    ).one()
    figures.calls_made, figures.prompt_tokens, figures.completion_tokens = row[0], row[1], row[2]
    figures.known_usd, figures.unpriced_calls = row[3], row[0] - row[4]
    return figures


def _agents_from(step: str) -> list[str]:
    agents = list(dict.fromkeys(_AGENT_OF_STEP.values()))
    return agents[agents.index(_AGENT_OF_STEP[step]) :]
