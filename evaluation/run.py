"""Runs one benchmark on one model, and sees to it that its rows say how it ended, however it ends.

In: a `Benchmark`, an evaluation recipe and an open database. Out: an `EvaluationResult`, and rows:
one `evaluation`, its `evaluation_item`s and `evaluation_call`s. First it says how much of the
benchmark is in the training corpus. The same evaluation again resumes: what was answered comes from
the corpus, and verdicts are made anew from it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from common.errors import StillhouseError
from common.hashing import digest
from common.revision import code_revision
from evaluation.benchmark import MODEL, Benchmark, Item, ItemResult, Scores
from evaluation.books import BookedAsker, EvaluationBooks, Figures
from evaluation.contamination import Contamination, find_contamination, items_hash
from evaluation.errors import EvaluationError
from evaluation.lineage import Lineage, lineage_of, model_folder
from evaluation.panel import Panel, identify
from evaluation.settings import EvaluationRecipe
from storage.completions import CompletionShelf, RequestCache
from storage.database import Database
from storage.tables import EvaluationCall, table_of, utcnow
from storage.writer import Writer
from teachers.budget import Budget, Spend
from teachers.errors import BudgetReached, TeacherError
from teachers.identity import TeacherIdentity
from teachers.records import completion_of
from teachers.types import Completion

_call_t = table_of(EvaluationCall)
# Failures that concern the moment, not the question: the next invocation asks again.
PASSING_FAILURES = frozenset({"transport", "timed_out", "server_error", "server_overloaded"})


@dataclass
class Progress:
    """What people watch while an evaluation goes on."""

    phase: str = "starting"
    figures: Figures = field(default_factory=Figures)


@dataclass(frozen=True)
class EvaluationResult:
    """How an invocation ended. `status` is `finished`; `incomplete` (some items failed for reasons
    that may pass); `interrupted`; or `failed`. `error` is what stopped it."""

    evaluation_id: str
    benchmark: str
    model: str
    status: str
    error: StillhouseError | None
    scores: Scores | None
    contamination: Contamination | None
    lineage: Lineage | None
    figures: Figures
    simulated: bool


async def evaluate(
    benchmark: Benchmark,
    recipe: EvaluationRecipe,
    database: Database,
    *,
    log_folder: Path = Path("runs"),
    progress: Progress | None = None,
    on_contamination: Callable[[Contamination], None] = lambda found: None,
) -> EvaluationResult:
    """Evaluates; a cancelled task leaves the evaluation's row as interrupted.

    Raises:
        StillhouseError: when it could not even begin; nothing was changed then.
    """
    progress = progress or Progress()
    items = list(benchmark.items[: recipe.limit])
    if not items:
        raise EvaluationError(
            f"The benchmark '{benchmark.name}' has no items.",
            cause="Its data holds none, or none of the kind that was asked for.",
            solution="Give another data file.",
        )
    _keys_are_unique(benchmark.name, items)
    with database.run_lock():
        # A judge that is not named, or a checkpoint that is not there, is known before the search.
        identities = await identify(recipe, benchmark.roles)
        teacher = recipe.teachers[recipe.teacher_of(MODEL)]
        with database.read() as connection:
            lineage = lineage_of(connection, model_folder(teacher))
        progress.phase = "looking for the benchmark in the corpus"
        found = None
        if recipe.contamination.enabled:
            found = await _contamination(items, recipe, database, lineage)
            on_contamination(found)
        async with Writer(database) as writer:
            cache = RequestCache(CompletionShelf(database), writer, completion_of)
            run = _Running(benchmark, items, recipe, database, writer, cache, progress, lineage)
            return await run.to_the_end(identities, found, log_folder)


async def _contamination(
    items: list[Item], recipe: EvaluationRecipe, database: Database, lineage: Lineage | None
) -> Contamination:
    """The search, in a thread that a cancellation ends too: nobody else could."""
    cancelled = threading.Event()
    try:
        return await asyncio.to_thread(
            find_contamination, items, database, recipe.contamination, lineage, cancelled
        )
    finally:
        cancelled.set()


def _keys_are_unique(benchmark: str, items: list[Item]) -> None:
    """Two items under one key would be one row."""
    seen: set[str] = set()
    for item in items:
        if item.key in seen:
            raise EvaluationError(
                f"Two items of the benchmark '{benchmark}' are called '{item.key}'.",
                cause="An item's key names its row in the corpus.",
                solution="Give each row of the data a key of its own.",
            )
        seen.add(item.key)


class _Running:
    """One invocation under way."""

    def __init__(
        self,
        benchmark: Benchmark,
        items: list[Item],
        recipe: EvaluationRecipe,
        database: Database,
        writer: Writer,
        cache: RequestCache[Completion],
        progress: Progress,
        lineage: Lineage | None,
    ) -> None:
        self._benchmark = benchmark
        self._items = items
        self._recipe = recipe
        self._database = database
        self._writer = writer
        self._cache = cache
        self._progress = progress
        self._lineage = lineage
        self._results: list[ItemResult | None] = [None] * len(items)
        self._error: StillhouseError | None = None
        progress.figures.total = len(items)

    async def to_the_end(
        self,
        identities: dict[str, TeacherIdentity],
        contamination: Contamination | None,
        log_folder: Path,
    ) -> EvaluationResult:
        row = self._row(identities, contamination)
        budget = Budget(self._recipe.budget, self._spent(row["id"]))
        logs = log_folder / row["id"][:12]
        panel = Panel(self._recipe, identities, budget, self._cache, logs)
        books = EvaluationBooks(
            row["id"], self._database, self._writer, self._cache, self._progress.figures
        )
        books.begin(row, self._items)
        status, scores = "failed", None
        try:
            self._progress.phase = "running"
            await self._judge_all(books, panel)
            if self._error is None:
                scores = self._benchmark.score([r for r in self._results if r is not None])
                passing = PASSING_FAILURES.intersection(books.figures.failed)
                status = "incomplete" if passing else "finished"
            elif isinstance(self._error, BudgetReached):
                status = "interrupted"
        except asyncio.CancelledError:
            status = "interrupted"
            raise
        except StillhouseError as error:
            self._error = error
        finally:
            self._progress.phase = "stopping"
            await panel.close()
            if self._writer.error is None:
                reason = self._error.code if self._error else None
                books.end(status, reason, **_as_columns(scores))
                with contextlib.suppress(StillhouseError):
                    await self._writer.flush()
        self._progress.phase = status
        if self._writer.error is not None:
            status, self._error = "failed", self._writer.error
        return EvaluationResult(
            row["id"], row["benchmark"], row["model"], status, self._error, scores,
            contamination, self._lineage, books.figures, books.figures.simulated,
        )  # fmt: skip

    async def _judge_all(self, books: EvaluationBooks, panel: Panel) -> None:
        waiting = iter(enumerate(self._items))

        async def work() -> None:
            for ordinal, item in waiting:
                if self._error is not None:
                    return
                try:
                    await self._judge_one(books, panel, ordinal, item)
                except StillhouseError as error:
                    self._error = self._error or error
                    return

        width = min(self._recipe.items_in_flight, len(self._items))
        tasks = [asyncio.create_task(work()) for _ in range(width)]
        workers: asyncio.Future[Any] = asyncio.gather(*tasks)
        watchers: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(event.wait()) for event in (panel.fleet.died, self._writer.failed)
        ]
        try:
            await asyncio.wait({workers, *watchers}, return_when=asyncio.FIRST_COMPLETED)
            if workers.done():
                workers.result()
            else:
                self._error = self._error or panel.fleet.death or self._writer.error
        finally:
            # Each by itself: a gathering that one of them has ended no longer ends the others.
            for task in (*tasks, *watchers):
                task.cancel()
            await asyncio.gather(workers, *tasks, *watchers, return_exceptions=True)

    async def _judge_one(
        self, books: EvaluationBooks, panel: Panel, ordinal: int, item: Item
    ) -> None:
        asker = BookedAsker(books, panel, item, self._recipe.sampling, self._recipe.repetition)
        try:
            judged = await self._benchmark.judge(item, asker)
            result = ItemResult(item, judged)
        except TeacherError as error:
            if error.fatal:
                raise
            result = ItemResult(item, None, error.code, asker.role)
        self._results[ordinal] = result
        books.item_ended(ordinal, result, asker.request_keys)
        await self._writer.room()

    def _row(
        self, identities: dict[str, TeacherIdentity], contamination: Contamination | None
    ) -> dict[str, Any]:
        recipe, identity = self._recipe, identities[MODEL]
        settings = {
            **self._benchmark.settings(),
            "sampling": recipe.sampling.model_dump(mode="json", exclude_defaults=True),
            "repetition": recipe.repetition,
            "items": len(self._items),
            "items_hash": items_hash(self._items),
            "roles": {
                role: [who.endpoint, who.model, who.revision] for role, who in identities.items()
            },
        }
        label = recipe.label or (self._lineage.stage if self._lineage else identity.model)
        return {
            "id": digest([self._benchmark.name, settings]),
            "training_run_id": self._lineage.training_run_id if self._lineage else None,
            "benchmark": self._benchmark.name,
            "model": label,
            "endpoint": identity.endpoint,
            "served": identity.model,
            "revision": identity.revision,
            "settings": settings,
            "status": "running",
            "reason": None,
            "metrics": None,
            "details": None,
            "notes": None,
            "contamination": contamination.as_dict() if contamination else None,
            "simulated": False,
            "code_revision": code_revision(),
            "created_at": utcnow(),
            "ended_at": None,
        }

    def _spent(self, evaluation_id: str) -> Spend:
        """What earlier invocations of this evaluation took from its budget."""
        made = _call_t.c.error_type.is_(None) & _call_t.c.cached.is_(False)
        query = select(
            func.count().filter(made),
            func.coalesce(func.sum(_call_t.c.charged_tokens), 0),
            func.coalesce(func.sum(_call_t.c.charged_usd), 0.0),
        ).where(_call_t.c.evaluation_id == evaluation_id)
        with self._database.read() as connection:
            calls, tokens, usd = connection.execute(query).one()
        return Spend(calls=calls, tokens=tokens, usd=usd)


def _as_columns(scores: Scores | None) -> dict[str, Any]:
    if scores is None:
        return {"metrics": None, "details": None, "notes": None}
    return {
        "metrics": dict(scores.metrics),
        "details": dict(scores.details),
        "notes": list(scores.notes),
    }
