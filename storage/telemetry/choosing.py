"""Which seeds' traces are exported: a share, a number, a recipe, the state of a sample.

In: a `SeedChoice`. Out: how many seeds fit, and their identifiers page by page. An identifier is a
hash, so the seeds below a bound are a random share of all: the same ones every time, a smaller
share is part of a larger one, and only they are read, whatever the size of the corpus.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, null, select

from storage.corpus import sample_t, seed_t
from storage.database import Database
from storage.errors import NotFound
from storage.tables import SAMPLE_STATUSES
from storage.telemetry.errors import TelemetryRefused

PAGE = 500
_ID_BITS = 128


@dataclass(frozen=True, slots=True)
class SeedChoice:
    """Which seeds are meant; those that are still at work never are.

    `share` is between 0 and 1; `limit` takes the first so many of the share. `recipe` is a name,
    `status` that of at least one of the seed's samples.

    Raises:
        TelemetryRefused: the share or the status is none.
    """

    share: float = 1.0
    limit: int | None = None
    recipe: str | None = None
    status: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise TelemetryRefused(
                f"{self.share:g} is no share of the seeds.",
                cause="A share is more than 0 and at most 1; 0.01 is every hundredth seed.",
                solution="Give another --share.",
            )
        if self.status is not None and self.status not in SAMPLE_STATUSES:
            raise TelemetryRefused(
                f"No sample can have the status '{self.status}'.",
                cause="It is none of the words that a sample's status can be.",
                solution=f"Give one of: {', '.join(SAMPLE_STATUSES)}.",
            )


@dataclass(frozen=True, slots=True)
class Counted:
    """How many seeds there are: of the recipe and status in question (`all`), of those that are
    `chosen`, and of the first kind that are still `pending` and stay out."""

    all: int
    chosen: int
    pending: int


def count_seeds(connection: Connection, choice: SeedChoice) -> Counted:
    """How many seeds the choice means.

    Raises:
        NotFound: there is no such recipe in the corpus.
    """
    if choice.recipe is not None:
        _known_recipe(connection, choice.recipe)
    counted = select(func.count()).select_from(seed_t)
    pending = seed_t.c.status == "pending"

    def number(*conditions: ColumnElement[bool]) -> int:
        return int(connection.execute(counted.where(and_(True, *conditions))).scalar_one())

    chosen = number(~pending, *_asked_for(choice), *_share(choice.share))
    return Counted(
        all=number(~pending, *_asked_for(choice)),
        chosen=chosen if choice.limit is None else min(chosen, choice.limit),
        pending=number(pending, *_asked_for(choice)),
    )


def chosen_seeds(database: Database, choice: SeedChoice, page: int = PAGE) -> Iterator[str]:
    """The identifiers of the chosen seeds, in their own order. No transaction stays open between
    two pages, so that a run may write meanwhile."""
    last, left = "", choice.limit
    conditions = [_looked_at(seed_t.c.status) != "pending", *_asked_for(choice)]
    while left is None or left > 0:
        size = page if left is None else min(page, left)
        query = (
            select(seed_t.c.id)
            .where(seed_t.c.id > last, *_share(choice.share), *conditions)
            .order_by(seed_t.c.id)
            .limit(size)
        )
        with database.read() as connection:
            found = list(connection.execute(query).scalars())
        yield from found
        if len(found) < size:
            return
        last, left = found[-1], None if left is None else left - size


def _share(share: float) -> list[ColumnElement[bool]]:
    if share >= 1:
        return []
    return [seed_t.c.id < f"{int(share * 2**_ID_BITS):032x}"]


def _asked_for(choice: SeedChoice) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if choice.recipe is not None:
        conditions.append(_looked_at(seed_t.c.recipe) == choice.recipe)
    if choice.status is not None:
        mine = select(sample_t.c.id).where(
            sample_t.c.seed_id == seed_t.c.id, _looked_at(sample_t.c.status) == choice.status
        )
        conditions.append(mine.correlate(seed_t).exists())
    return conditions


def _looked_at(column: Any) -> Any:
    """The column's value in a form that no index answers: pages go along the primary key, and a
    planner would rather sort all seeds of a recipe for each of them."""
    return func.coalesce(column, null())


def _known_recipe(connection: Connection, recipe: str) -> None:
    if connection.execute(select(seed_t.c.id).where(seed_t.c.recipe == recipe).limit(1)).first():
        return
    names = connection.execute(select(seed_t.c.recipe).distinct().order_by(seed_t.c.recipe))
    raise NotFound(
        f"This corpus holds no seeds of a recipe '{recipe}'.",
        cause=f"Recipes with seeds here: {', '.join(name for (name,) in names) or 'none'}.",
        solution="Give one of those names, or leave --recipe out.",
    )
