"""What the steps that a fork asks again took the first time, to be known before it is begun.

In: the corpus and a `Ground`. Out: the figures of its calls from that step on.
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from graph.forks.fork import Spent
from graph.forks.ground import Ground
from graph.forks.steps import STEPS, step_of_call
from storage.corpus import call_t, sample_t


def took_before(connection: Connection, ground: Ground) -> Spent:
    """The calls that were made from the step on; a fork takes about as much."""
    first = STEPS.index(ground.step)
    c = call_t.c
    rows = connection.execute(
        select(
            c.agent,
            c.prompt_name,
            sample_t.c.variant,
            c.prompt_tokens,
            c.completion_tokens,
            c.cost_usd,
        )
        .outerjoin_from(call_t, sample_t, sample_t.c.id == c.sample_id)
        .where(c.seed_id == ground.seed["id"], c.error_type.is_(None), c.cached.is_(False))
    ).all()
    again = [
        row
        for row in rows
        if step_of_call(row.agent, row.prompt_name, ground.recipe) in STEPS[first:]
        and (ground.variant is None or row.variant in (None, ground.variant))
    ]
    priced = [row.cost_usd for row in again if row.cost_usd is not None]
    return Spent(
        calls=len(again),
        prompt_tokens=sum(row.prompt_tokens or 0 for row in again),
        completion_tokens=sum(row.completion_tokens or 0 for row in again),
        usd=sum(priced) if len(priced) == len(again) else None,
    )
