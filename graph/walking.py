"""Walks many seeds side by side through the graph until all are done or the run has to stop.

However it stops, it does so in order: no new calls begin, calls under way come home (for a moment
only, when in a hurry or after a failure), and nothing is left running.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from common.errors import StillhouseError
from graph.build import Graph, build_graph
from graph.errors import RunStopping
from graph.pages import Pages
from graph.services import Services
from graph.state import SeedInput
from graph.stop import Stop
from storage.database import Database
from storage.writer import Writer
from teachers.errors import BudgetReached, TeacherError
from teachers.opening import Fleet

INTERRUPT_GRACE_S = 2.0


async def walk_all(
    services: Services,
    database: Database,
    writer: Writer,
    fleet: Fleet,
    total: int,
    stop: Stop,
) -> None:
    """Walks `total` pending seeds; raises what no node should have let through."""
    graph = build_graph(services)
    pages = Pages(database, services, total)

    async def worker() -> None:
        while not stop.event.is_set():
            seed = await pages.next()
            if seed is None:
                return
            await _walk_one(graph, seed, stop)
            await writer.room()

    async def watch(event: asyncio.Event, error: Callable[[], StillhouseError | None]) -> None:
        await event.wait()
        stop.request("failed", error())

    watchers = [
        asyncio.create_task(watch(writer.failed, lambda: writer.error)),
        asyncio.create_task(watch(fleet.died, lambda: fleet.death)),
    ]
    count = min(services.recipe.run.seeds_in_flight, max(1, total))
    workers = [asyncio.create_task(worker()) for _ in range(count)]
    everyone = asyncio.create_task(_all_of(workers))
    stopped = asyncio.create_task(stop.event.wait())
    try:
        await asyncio.wait({everyone, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not everyone.done():
            services.books.stopping = True
            await _drain(workers, stop)
        await asyncio.gather(everyone, return_exceptions=True)
        _raise_bug(workers)
    finally:
        for task in (*watchers, stopped, everyone, *workers):
            task.cancel()
        await asyncio.gather(*watchers, stopped, everyone, *workers, return_exceptions=True)


async def _all_of(workers: list[asyncio.Task[None]]) -> None:
    await asyncio.gather(*workers)


async def _drain(workers: list[asyncio.Task[None]], stop: Stop) -> None:
    """Lets calls under way come home; in a hurry or after a failure only for a moment."""
    waited = 0.0
    while any(not worker.done() for worker in workers):
        await asyncio.wait(workers, timeout=0.1)
        waited += 0.1
        if waited >= INTERRUPT_GRACE_S and (stop.hurried or stop.status == "failed"):
            break
    for worker in workers:
        worker.cancel()


def _raise_bug(workers: list[asyncio.Task[None]]) -> None:
    for worker in workers:
        if worker.done() and not worker.cancelled():
            error = worker.exception()
            if error is not None:
                raise error


async def _walk_one(graph: Graph, seed: SeedInput, stop: Stop) -> None:
    try:
        await graph.ainvoke({"seed": seed})
    except RunStopping:
        return
    except BudgetReached as error:
        stop.request("budget_reached", error)
    except TeacherError as error:
        stop.request("failed", error)
