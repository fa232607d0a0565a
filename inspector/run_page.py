"""The first page: how far a recipe's part of the corpus is, and how its latest run goes.

In: the tally. Out: the page `/`, which a script keeps fresh while a run goes on.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from common.hashing import digest
from graph.changes import read_resolved
from graph.recipe import Recipe
from inspector.counting import Counter
from inspector.figures import AgentFigures
from inspector.pace import Pace
from inspector.site import Site
from inspector.tally import RecipeTally
from storage.errors import NotFound
from storage.summary import RecipeFigures

COUNTER = "run"


@dataclass(frozen=True, slots=True)
class Spent:
    """One cap of the budget: what is spent of it."""

    unit: str
    spent: float
    cap: float


@dataclass(frozen=True, slots=True)
class MixRow:
    """One category: its samples by state, its share of what is accepted, and what it is to have.
    `target` is the recipe's quota of live samples; None where it has none."""

    category: str
    counts: dict[str, int]
    live: int
    target: int | None


@dataclass(frozen=True, slots=True)
class RecipeCount:
    """Everything that the page shows of one recipe."""

    name: str
    figures: RecipeFigures
    agents: list[AgentFigures]
    pace: Pace | None
    interrupted: bool
    budget: list[Spent]
    mix: list[MixRow]


def add_run_page(router: APIRouter, site: Site) -> None:
    """Adds `/`."""
    site.counters[COUNTER] = Counter(lambda key: _count(site, key))

    @router.get("/", response_class=HTMLResponse)
    def run_page(request: Request, recipe: str | None = None) -> Response:
        counted = site.counted(COUNTER, "all")
        if counted is None:
            return site.page(request, "counting.html.jinja", here="run")
        recipes: dict[str, RecipeCount] = counted.value
        if not recipes:
            return site.page(request, "empty.html.jinja", here="run")
        if recipe is not None and recipe not in recipes:
            raise NotFound(
                f"The corpus holds nothing of the recipe '{recipe}'.",
                cause=f"It holds: {', '.join(recipes)}.",
                solution="Choose one of these.",
            )
        chosen = recipe or _latest(recipes)
        version = f'"{digest([counted.at.isoformat(), chosen])[:16]}"'
        if request.headers.get("if-none-match") == version:
            return Response(status_code=304, headers={"ETag": version})
        page = site.page(
            request,
            "run.html.jinja",
            here="run",
            recipes=list(recipes),
            shown=recipes[chosen],
            counted=counted,
        )
        page.headers["ETag"] = version
        return page


def _latest(recipes: dict[str, RecipeCount]) -> str:
    """The recipe whose run began last."""
    earliest = datetime.min.replace(tzinfo=UTC)
    return max(recipes, key=lambda name: run.started_at if (run := recipes[name].figures.run)
               else earliest)  # fmt: skip


def _count(site: Site, _key: Hashable) -> dict[str, RecipeCount]:
    found = {}
    for name, tally in _tallies(site).items():
        run = tally.figures.run
        recipe = read_resolved(run.recipe_text) if run else None
        found[name] = RecipeCount(
            name=name,
            figures=tally.figures,
            agents=tally.agents,
            pace=tally.pace,
            interrupted=tally.interrupted,
            budget=_budget(recipe, tally.figures),
            mix=_mix(recipe, tally.figures),
        )
    return found


def _tallies(site: Site) -> dict[str, RecipeTally]:
    """The tally, with whether a run is at work: one that was killed leaves its row as running, and
    the lock free."""
    lock = site.database.run_lock()
    at_work = lock.is_held()
    found = site.tally.recipes(datetime.now(UTC), at_work=at_work)
    if at_work or not lock.is_held():
        return found
    # A run began between looking at the lock and at the rows.
    return site.tally.recipes(datetime.now(UTC))


def _budget(recipe: Recipe | None, figures: RecipeFigures) -> list[Spent]:
    if recipe is None:
        return []
    total = figures.total
    spent = {
        "usd": total.known_usd,
        "tokens": total.prompt_tokens + total.completion_tokens,
        "calls": total.calls_made,
    }
    caps = recipe.budget.model_dump()
    return [Spent(unit, spent[unit], cap) for unit, cap in caps.items() if cap is not None]


def _mix(recipe: Recipe | None, figures: RecipeFigures) -> list[MixRow]:
    quotas = {str(name): n for name, n in recipe.gates.quotas.items()} if recipe else {}
    counts = {name: dict(found) for name, found in figures.mix["category"].items()}
    nothing: dict[str, int] = {}
    rows = [
        MixRow(
            category=name,
            counts=counts.get(name, nothing),
            live=sum(counts.get(name, nothing).get(state, 0) for state in _LIVE),
            target=quotas.get(name),
        )
        for name in {**dict.fromkeys(counts), **dict.fromkeys(quotas)}
    ]
    return sorted(rows, key=lambda row: (-row.live, row.category))


_LIVE = ("pending", "accepted", "held")
