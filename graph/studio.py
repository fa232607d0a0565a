"""The factory's graph for LangGraph Studio (`langgraph dev`): one seed at a time, walked in sight.

`langgraph.json` names `factory`. Its input is a seed as a person types it (instruction, and where
they like input, category, language, reference); the seed's own graph is inside, as the factory runs
it. Recipe and database are `$STILLHOUSE_RECIPE` (the quickstart) and `$STILLHOUSE_DB` (studio.db):
what is walked here is in that corpus, with its whole trace.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypedDict, cast

from langgraph.graph import END, START, StateGraph

from agents.categories import known_category
from common.paths import CHECKOUT
from graph.build import Graph, build_graph
from graph.intake import seed_row
from graph.recipe import load_recipe
from graph.seeds import SeedRecord
from graph.services import Services
from graph.session import open_session
from graph.state import Outcome, SeedInput
from storage.corpus import next_ordinal
from storage.database import Database
from storage.tables import Seed
from storage.writer import Change, Writer


class TypedSeed(TypedDict, total=False):
    """A seed as a person types it."""

    instruction: str
    input: str
    category: str
    language: str
    reference: str


class StudioState(TypedSeed, total=False):
    """The typed seed, the seed as the factory's graph takes it, and how its drafts ended."""

    seed: SeedInput
    outcomes: list[Outcome]


class StudioOutput(TypedDict, total=False):
    """How the seed's drafts ended."""

    outcomes: list[Outcome]


@asynccontextmanager
async def factory(config: dict[str, Any] | None = None) -> AsyncIterator[Graph]:
    """Opens the recipe's teachers and the corpus, and yields the graph; closes them afterwards."""
    recipe = load_recipe(os.environ.get("STILLHOUSE_RECIPE") or CHECKOUT / "recipes" / "quickstart")
    database = await asyncio.to_thread(
        Database.open, os.environ.get("STILLHOUSE_DB") or "studio.db", create=True
    )
    try:
        async with Writer(database) as writer:
            session = await asyncio.to_thread(open_session, recipe, database, writer, Path("runs"))
            try:
                await session.open_teachers()
                yield studio_graph(await asyncio.to_thread(session.services), database)
            finally:
                await session.fleet.close()
    finally:
        database.close()


def studio_graph(services: Services, database: Database) -> Graph:
    """The seed's graph with a node before it that takes a typed seed into the corpus."""

    async def take_in(state: StudioState) -> StudioState:
        record = SeedRecord(
            source="studio",
            row=1,
            shape="plain",
            system=None,
            instruction=state["instruction"],
            input=state.get("input") or "",
            reference=state.get("reference"),
            category=known_category(state.get("category")),
            language=state.get("language"),
            licence=None,
            meta=None,
        )
        row = seed_row(services.recipe.name, record)

        def ordinal() -> int:
            with database.read() as connection:
                return next_ordinal(connection, services.recipe.name)

        row["ordinal"] = await asyncio.to_thread(ordinal)
        services.books.writer.submit([Change("insert", Seed, row)])
        await services.books.writer.flush()
        seed = SeedInput(
            id=row["id"],
            family_id=row["family_id"],
            instruction=record.instruction,
            input=record.input,
            system=None,
            reference=record.reference,
            category=known_category(record.category),
            language=record.language,
        )
        return {"seed": seed}

    graph = StateGraph(StudioState, input_schema=TypedSeed, output_schema=StudioOutput)
    graph.add_node("take_in", cast(Any, take_in))
    graph.add_node("factory", build_graph(services))
    graph.add_edge(START, "take_in")
    graph.add_edge("take_in", "factory")
    graph.add_edge("factory", END)
    return graph.compile(name="studio")
