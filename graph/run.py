"""Drives many seeds at once through the graph, and sees to it that a run ends well however it ends.

In: a recipe and a database. Out: a `RunResult` and a corpus in which every seed and sample is
accounted for. One invocation: lock the database, take in seeds, reopen what is stale or may be
tried again, open the teachers, walk the pending seeds side by side, and stop: because all are done,
because someone asked (Ctrl-C), because the budget is reached, or because something every further
call would meet too went wrong. However it stops, the same command resumes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.prompts import Prompt, PromptLibrary
from common.errors import StillhouseError
from common.paths import prompts_folder
from common.revision import code_revision
from graph.books import Books, Figures
from graph.build import Graph, build_graph
from graph.cache import CorpusCache
from graph.errors import RunStopping, SeedsMissing
from graph.gates import Gates
from graph.history import PriorDecision, PriorReview, PriorSample
from graph.intake import Intake, take_in
from graph.recipe import ROLES, Recipe
from graph.services import Services, bind_roles
from graph.shapes import current_shapes
from graph.state import SeedInput
from storage import corpus, staleness, tables
from storage.completions import CompletionShelf
from storage.database import Database
from storage.tables import Run, utcnow
from storage.writer import Change, Writer, row_of
from teachers.budget import Budget, Spend, require_prices
from teachers.errors import BudgetReached, TeacherError
from teachers.opening import Fleet

PAGE = 256
INTERRUPT_GRACE_S = 2.0
# Failures that concern the moment, not the request: the next run tries these samples again.
PASSING_FAILURES = ("transport", "timed_out", "server_error", "server_overloaded")


@dataclass(frozen=True)
class RunOptions:
    """One invocation: what to run, on which database, at most how many seeds."""

    recipe: Recipe
    database: str
    limit: int | None = None
    log_folder: Path = Path("runs")


@dataclass
class Progress:
    """What people watch while a run goes on. `total` is how many seeds this invocation walks."""

    phase: str = "starting"
    total: int = 0
    figures: Figures = field(default_factory=Figures)
    fleet: Fleet | None = None
    intake: Intake | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class RunResult:
    """How an invocation ended. `error` is what stopped it, where something did."""

    run_id: str
    status: str
    error: StillhouseError | None
    progress: Progress


class Stop:
    """Why and when a run should stop; the first reason counts."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.status = "finished"
        self.error: StillhouseError | None = None
        self.hurried = False

    def request(self, status: str, error: StillhouseError | None = None) -> None:
        """Asks the run to stop, gracefully."""
        if self.event.is_set():
            return
        self.status, self.error = status, error
        self.event.set()

    def interrupt(self) -> None:
        """Ctrl-C: stop within seconds, even if calls under way are lost."""
        self.hurried = True
        self.request("interrupted")


async def run_factory(
    options: RunOptions,
    progress: Progress,
    on_ready: Callable[[Stop], None] = lambda stop: None,
) -> RunResult:
    """Runs a recipe until it is done or has to stop.

    Args:
        options: what to run.
        progress: filled in as the run goes on, for whoever watches.
        on_ready: gets the `Stop` with which a signal handler can end the run.

    Raises:
        StillhouseError: when the run could not even begin; nothing was changed then.
    """
    stop = Stop()
    on_ready(stop)
    database = Database.open(options.database, create=True)
    try:
        with database.run_lock():
            return await _run_locked(options, database, progress, stop)
    finally:
        database.close()


async def _run_locked(
    options: RunOptions, database: Database, progress: Progress, stop: Stop
) -> RunResult:
    recipe = options.recipe
    prompts = PromptLibrary(prompts_folder())
    used_prompts = _used_prompts(recipe, prompts)
    require_prices(
        recipe.budget, {name: recipe.teachers[name].prices for name in recipe.used_teachers()}
    )
    run_id = uuid.uuid4().hex
    with database.read() as connection:
        spent = corpus.spent(connection, recipe.name)
    budget = Budget(
        recipe.budget,
        Spend(
            calls=spent["calls"],
            prompt_tokens=spent["prompt_tokens"],
            completion_tokens=spent["completion_tokens"],
            usd=spent["known_usd"],
        ),
    )
    async with Writer(database) as writer:
        progress.phase = "reading seeds"
        intake = await take_in(database, writer, recipe.name, recipe.seeds, options.limit)
        progress.intake = intake
        shelf = CompletionShelf(database)
        fleet = Fleet(
            recipe.teachers, budget, CorpusCache(shelf, writer), options.log_folder / run_id[:12]
        )
        progress.fleet = fleet
        progress.phase = "opening teachers"
        books = Books(writer, run_id, recipe.name)
        books.on_completion = shelf.added
        progress.figures = books.figures
        run_row = Run(
            id=run_id,
            recipe=recipe.name,
            recipe_hash=recipe.hash(),
            recipe_text=recipe.text(),
            code_revision=code_revision(),
        )
        writer.submit([Change("insert", Run, row_of(run_row)), *map(_prompt_row, used_prompts)])
        try:
            await _until_stopped(stop, fleet.open(recipe.used_teachers()))
            if not stop.event.is_set():
                verification = recipe.agents.verification
                if verification.enabled and verification.judge:
                    progress.notes += fleet.warnings(
                        recipe.teacher_of("response"), recipe.teacher_of("verification")
                    )
                services = _services(recipe, prompts, books, database, fleet)
                progress.total = _reopen_and_count(database, services, options.limit, progress)
                if progress.total == 0 and intake.known + intake.new == 0:
                    raise _no_seeds(recipe, intake)
                progress.phase = "running"
                await _walk_all(services, database, writer, fleet, progress, stop)
        except StillhouseError as error:
            stop.request("failed", error)
        finally:
            progress.phase = "stopping"
            books.stopping = True
            await fleet.close()
            if writer.error is None:
                writer.submit([_run_end(books, run_id, stop)])
                with contextlib.suppress(StillhouseError):
                    await writer.flush()
        if writer.error is not None:
            stop.status, stop.error = "failed", writer.error
    progress.phase = stop.status
    return RunResult(run_id, stop.status, stop.error, progress)


def _run_end(books: Books, run_id: str, stop: Stop) -> Change:
    figures = books.figures
    row = {
        "id": run_id,
        "status": stop.status,
        "reason": stop.error.code if stop.error else None,
        "calls_made": figures.calls_made,
        "calls_cached": figures.calls_cached,
        "prompt_tokens": figures.prompt_tokens,
        "completion_tokens": figures.completion_tokens,
        "cost_usd": figures.cost_usd,
        "ended_at": utcnow(),
    }
    return Change("patch", Run, row)


def _used_prompts(recipe: Recipe, prompts: PromptLibrary) -> list[Prompt]:
    """Every prompt of the enabled roles, read and checked before anything is spent."""
    used: dict[str, Prompt] = {}
    for role in ROLES:
        settings = recipe.agents.role(role)
        if settings.enabled:
            for setting in ("prompt", "classify_prompt", "steps_prompt"):
                if hasattr(settings, setting):
                    prompt = prompts.get(getattr(settings, setting))
                    used[prompt.name] = prompt
    return list(used.values())


def _prompt_row(prompt: Prompt) -> Change:
    row = tables.Prompt(
        hash=prompt.hash, name=prompt.name, version=prompt.version, text=prompt.text
    )
    return Change("insert", tables.Prompt, row_of(row))


def _no_seeds(recipe: Recipe, intake: Intake) -> SeedsMissing:
    if not recipe.seeds:
        return SeedsMissing(
            f"The recipe '{recipe.name}' has no seeds.",
            cause="It lists no seed files, and none were given.",
            solution="List files under `seeds:`, or give them on the command line.",
            command="stillhouse run RECIPE --seeds FILE",
        )
    return SeedsMissing(
        "There is not one usable seed.",
        cause=f"{intake.bad_rows} rows were read and none of them was usable.",
        solution="Look at the rows reported above; each says what is wrong with it.",
    )


async def _until_stopped(stop: Stop, work: Coroutine[Any, Any, None]) -> None:
    """Awaits `work`, but no longer than until the run is asked to stop."""
    task = asyncio.create_task(work)
    waiter = asyncio.create_task(stop.event.wait())
    try:
        await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
            return
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    finally:
        waiter.cancel()


def _services(
    recipe: Recipe, prompts: PromptLibrary, books: Books, database: Database, fleet: Fleet
) -> Services:
    with database.read() as connection:
        gates = Gates(
            known=corpus.known_fingerprints(connection, recipe.name)
            if recipe.gates.duplicates
            else (),
            live=corpus.places_taken(connection, recipe.name) if recipe.gates.quotas else {},
            quotas={str(category): n for category, n in recipe.gates.quotas.items()},
        )

    async def find_owner(fingerprint: str) -> str | None:
        await books.writer.flush()

        def ask() -> str | None:
            with database.read() as connection:
                return corpus.fingerprint_owner(connection, recipe.name, fingerprint)

        return await asyncio.to_thread(ask)

    return Services(recipe, prompts, bind_roles(recipe, fleet.gateways), books, gates, find_owner)


def _reopen_and_count(
    database: Database, services: Services, limit: int | None, progress: Progress
) -> int:
    name = services.recipe.name
    with database.write() as connection:
        groups = staleness.stale_groups(connection, name, current_shapes(services))
        stale = staleness.stale_seed_ids(connection, name, groups)
        passing = staleness.transiently_failed_seeds(connection, name, PASSING_FAILURES)
        reviewed = corpus.reviewed_seeds(connection, name)
        staleness.reopen(connection, sorted({*stale, *passing, *reviewed}))
        pending = corpus.status_counts(connection, name)["seeds"].get("pending", 0)
    if stale:
        steps = sorted({f"{g.step} ({(g.now or g.was).split('#')[0]})" for g in groups})
        progress.notes.append(f"{len(stale)} seeds are stale and walk again: {', '.join(steps)}")
    if passing:
        progress.notes.append(f"{len(passing)} seeds whose failure may have passed walk again")
    return pending if limit is None else min(pending, limit)


async def _walk_all(
    services: Services,
    database: Database,
    writer: Writer,
    fleet: Fleet,
    progress: Progress,
    stop: Stop,
) -> None:
    graph = build_graph(services)
    pages = _Pages(database, services, progress.total)

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
    count = min(services.recipe.run.seeds_in_flight, max(1, progress.total))
    workers = [asyncio.create_task(worker()) for _ in range(count)]
    everyone = asyncio.create_task(_all_of(workers))
    stopped = asyncio.create_task(stop.event.wait())
    try:
        await asyncio.wait({everyone, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not everyone.done():
            progress.phase = "stopping"
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


class _Pages:
    """Hands out pending seeds in order, reading a page ahead of need; knows what was decided
    about their samples before."""

    def __init__(self, database: Database, services: Services, total: int) -> None:
        self._database = database
        self._services = services
        self._left = total
        self._page: list[SeedInput] = []
        self._after = -1
        self._lock = asyncio.Lock()

    async def next(self) -> SeedInput | None:
        """The next seed, or None when there is none left for this invocation."""
        async with self._lock:
            if not self._page and self._left > 0:
                self._page = await asyncio.to_thread(self._read)
                self._page.reverse()
            if not self._page:
                return None
            self._left -= 1
            return self._page.pop()

    def _read(self) -> list[SeedInput]:
        name = self._services.recipe.name
        with self._database.read() as connection:
            rows = corpus.pending_seeds(connection, name, self._after, min(PAGE, self._left))
            if not rows:
                return []
            self._after = rows[-1]["ordinal"]
            earlier = corpus.earlier_walk(connection, [row["id"] for row in rows])
        for sample in earlier:
            self._services.history[sample["id"]] = _prior(sample)
        return [
            SeedInput(
                id=row["id"],
                family_id=row["family_id"],
                instruction=row["instruction"],
                input=row["input"],
                system=row["system"],
                reference=row["reference"],
                category=row["category"],
                language=row["language"],
            )
            for row in rows
        ]


def _prior(sample: dict[str, object]) -> PriorSample:
    review = sample["review"]
    decisions = sample["decisions"]
    assert isinstance(decisions, list) and (review is None or isinstance(review, dict))
    return PriorSample(
        sample_id=str(sample["id"]),
        seed_id=str(sample["seed_id"]),
        status=str(sample["status"]),
        decisions=tuple(
            PriorDecision(d["name"], d["label"], d["evidence"] or {}) for d in decisions
        ),
        review=None
        if review is None
        else PriorReview(
            id=review["id"],
            decision=review["decision"],
            reviewer=review["reviewer"],
            note=review["note"],
            edited_instruction=review["edited_instruction"],
            edited_response=review["edited_response"],
        ),
    )
