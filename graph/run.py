"""Drives many seeds at once through the graph, and sees to it that a run ends well however it ends.

In: a recipe and a database. Out: a `RunResult` and a corpus in which every seed and sample is
accounted for. One invocation: lock the database, take in seeds, reopen what is stale or may be
tried again, open the teachers, walk the pending seeds side by side, and stop: because all are done,
because someone asked (Ctrl-C), because the budget is reached, or because something every further
call would meet too went wrong. However it stops, the same command resumes it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from agents.prompts import PromptLibrary
from common.errors import StillhouseError
from common.paths import prompts_folder
from graph.books import Books, Figures
from graph.errors import SeedsMissing
from graph.intake import Intake, take_in
from graph.recipe import Recipe
from graph.session import Session, check_recipe, open_session
from graph.shapes import shapes_for
from graph.stop import Stop, until_stopped
from graph.walking import walk_all
from storage import corpus, staleness
from storage.database import Database
from storage.tables import Run, utcnow
from storage.writer import Change, Writer
from teachers.opening import Fleet

# Failures that concern the moment, not the request: the next run tries these samples again.
PASSING_FAILURES = ("transport", "timed_out", "server_error", "server_overloaded")


@dataclass(frozen=True)
class RunOptions:
    """One invocation: what to run, on which database, at most how many seeds. `prompts` is the
    folder of prompt files; with `only_variant`, no other draft of a seed walks."""

    recipe: Recipe
    database: str
    limit: int | None = None
    log_folder: Path = Path("runs")
    prompts: Path = field(default_factory=prompts_folder)
    only_variant: int | None = None


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
    check_recipe(recipe, PromptLibrary(options.prompts))
    async with Writer(database) as writer:
        progress.phase = "reading seeds"
        reading = take_in(database, writer, recipe.name, recipe.seeds, options.limit)
        intake = await until_stopped(stop, reading) or Intake()
        progress.intake = intake
        session = open_session(recipe, database, writer, options.log_folder, options.prompts)
        books = session.books
        progress.fleet, progress.figures = session.fleet, books.figures
        try:
            progress.phase = "opening teachers"
            await until_stopped(stop, session.open_teachers())
            if not stop.event.is_set():
                progress.notes += session.warnings()
                progress.total = _reopen_and_count(database, session, options.limit, progress)
                services = session.services(options.only_variant)
                if progress.total == 0 and intake.known + intake.new == 0:
                    raise _no_seeds(recipe, intake)
                progress.phase = "running"
                await walk_all(services, database, writer, session.fleet, progress.total, stop)
        except StillhouseError as error:
            stop.request("failed", error)
        except BaseException:
            stop.request("failed")
            raise
        finally:
            progress.phase = "stopping"
            books.stopping = True
            await session.fleet.close()
            if writer.error is None:
                writer.submit([_run_end(books, stop)])
                with contextlib.suppress(StillhouseError):
                    await writer.flush()
        if writer.error is not None:
            stop.status, stop.error = "failed", writer.error
    progress.phase = stop.status
    return RunResult(books.run_id, stop.status, stop.error, progress)


def _run_end(books: Books, stop: Stop) -> Change:
    figures = books.figures
    row = {
        "id": books.run_id,
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


def _reopen_and_count(
    database: Database, session: Session, limit: int | None, progress: Progress
) -> int:
    name = session.recipe.name
    current = shapes_for(session.recipe, session.prompts, session.teachers_by_role())
    with database.write() as connection:
        groups = staleness.stale_groups(connection, name, current)
        stale = staleness.stale_seed_ids(connection, name, groups)
        passing = staleness.transiently_failed_seeds(connection, name, PASSING_FAILURES)
        reviewed = corpus.reviewed_seeds(connection, name)
        staleness.forget_decisions(connection, sorted(stale))
        staleness.reopen(connection, sorted({*stale, *passing, *reviewed}))
        pending = corpus.status_counts(connection, name)["seeds"].get("pending", 0)
    if stale:
        steps = sorted({f"{g.step} ({(g.now or g.was).split('#')[0]})" for g in groups})
        progress.notes.append(f"{len(stale)} seeds are stale and walk again: {', '.join(steps)}")
    if passing:
        progress.notes.append(f"{len(passing)} seeds whose failure may have passed walk again")
    return pending if limit is None else min(pending, limit)
