"""How far a corpus is, recipe by recipe: states, reasons, mix, and what each teacher was asked.

In: an open connection. Out: figures by recipe. Each table is read through once, in groups, however
many recipes share the database.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, select

from storage.corpus import call_t, run_t, sample_t, seed_t
from storage.tables import SAMPLE_STATUSES, SEED_STATUSES


@dataclass
class TeacherFigures:
    """What one teacher was asked and what it came to. A call that was answered from the corpus
    (`calls_cached`) took no tokens; `attempts_failed` counts by type of error."""

    models: set[str] = field(default_factory=set)
    calls_made: int = 0
    calls_cached: int = 0
    attempts_failed: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    known_usd: float = 0.0
    unpriced_calls: int = 0
    latency_s: float = 0.0
    timed_calls: int = 0

    @property
    def usd(self) -> float | None:
        """US dollars for all calls; None when one has no price."""
        return None if self.unpriced_calls else self.known_usd

    @property
    def mean_latency_s(self) -> float | None:
        """Seconds per answered call, waiting in our own queue left out."""
        return self.latency_s / self.timed_calls if self.timed_calls else None

    def add(self, other: TeacherFigures) -> None:
        """Adds another's figures to these."""
        self.models |= other.models
        self.calls_made += other.calls_made
        self.calls_cached += other.calls_cached
        self.attempts_failed += other.attempts_failed
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        self.known_usd += other.known_usd
        self.unpriced_calls += other.unpriced_calls
        self.latency_s += other.latency_s
        self.timed_calls += other.timed_calls


@dataclass(frozen=True, slots=True)
class LatestRun:
    """The last invocation. `recipe_text` is the recipe as it was resolved then."""

    id: str
    status: str
    reason: str | None
    recipe_text: str
    started_at: datetime
    ended_at: datetime | None


@dataclass
class RecipeFigures:
    """One recipe's part of the corpus. `mix` counts samples by (what, word) and status, where what
    is `category` or `language`; `reasons` by (status, reason)."""

    seeds: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SEED_STATUSES, 0))
    seed_reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    samples: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SAMPLE_STATUSES, 0))
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    mix: dict[str, dict[str, Counter[str]]] = field(
        default_factory=lambda: {"category": {}, "language": {}}
    )
    simulated: int = 0
    teachers: dict[str, TeacherFigures] = field(default_factory=dict)
    last_call_at: datetime | None = None
    run: LatestRun | None = None

    @property
    def total(self) -> TeacherFigures:
        """All teachers together."""
        total = TeacherFigures()
        for figures in self.teachers.values():
            total.add(figures)
        return total

    def add_calls(
        self, teacher: str, model: str, error_type: str | None, cached: bool, last: datetime,
        made: TeacherFigures,
    ) -> None:  # fmt: skip
        """Adds calls of one kind: failed attempts, calls that the corpus answered, or calls that
        were made; `made` has their figures, as if all had been made."""
        figures = self.teachers.setdefault(teacher, TeacherFigures())
        self.last_call_at = max(self.last_call_at or last, last)
        if error_type is not None:
            figures.attempts_failed[error_type] += made.calls_made
            return
        figures.models.add(model)
        if cached:
            figures.calls_cached += made.calls_made
        else:
            figures.add(made)


def summarize(connection: Connection, recipe: str | None = None) -> dict[str, RecipeFigures]:
    """The figures of every recipe in the corpus, or of one; by name."""
    found: defaultdict[str, RecipeFigures] = defaultdict(RecipeFigures)
    count_seeds(connection, recipe, found)
    _count_samples(connection, recipe, found)
    _count_calls(connection, recipe, found)
    find_latest_runs(connection, recipe, found)
    return dict(sorted(found.items()))


def _of(recipe: str | None, column: Any) -> list[ColumnElement[bool]]:
    return [] if recipe is None else [column == recipe]


def count_seeds(
    connection: Connection, recipe: str | None, found: Mapping[str, RecipeFigures]
) -> None:
    """Puts every recipe's seeds, or one's, into `found`, which makes what it lacks."""
    c = seed_t.c
    query = select(c.recipe, c.status, c.reason, func.count()).group_by(
        c.recipe, c.status, c.reason
    )
    for name, status, reason, n in connection.execute(query.where(*_of(recipe, c.recipe))):
        figures = found[name]
        figures.seeds[status] += n
        if reason is not None:
            figures.seed_reasons[status, reason] += n


def _count_samples(
    connection: Connection, recipe: str | None, found: Mapping[str, RecipeFigures]
) -> None:
    c = sample_t.c
    groups = (c.recipe, c.status, c.reason, c.category, c.language, c.simulated)
    query = select(*groups, func.count()).where(*_of(recipe, c.recipe)).group_by(*groups)
    for name, status, reason, category, language, simulated, n in connection.execute(query):
        figures = found[name]
        figures.samples[status] += n
        if reason is not None:
            figures.reasons[status, reason] += n
        for what, word in (("category", category), ("language", language)):
            figures.mix[what].setdefault(word or "unknown", Counter())[status] += n
        figures.simulated += n if simulated else 0


def _count_calls(
    connection: Connection, recipe: str | None, found: Mapping[str, RecipeFigures]
) -> None:
    c = call_t.c
    groups = (c.recipe, c.teacher, c.model, c.cached, c.error_type)
    query = select(
        *groups,
        func.count().label("n"),
        func.coalesce(func.sum(c.prompt_tokens), 0).label("prompt_tokens"),
        func.coalesce(func.sum(c.completion_tokens), 0).label("completion_tokens"),
        func.coalesce(func.sum(c.cost_usd), 0.0).label("usd"),
        func.count(c.cost_usd).label("priced"),
        func.coalesce(func.sum(c.latency_s), 0.0).label("latency_s"),
        func.count(c.latency_s).label("timed"),
        func.max(c.created_at).label("last"),
    )
    query = query.where(*_of(recipe, c.recipe)).group_by(*groups)
    for row in connection.execute(query):
        made = TeacherFigures(
            calls_made=row.n,
            prompt_tokens=row.prompt_tokens,
            completion_tokens=row.completion_tokens,
            known_usd=row.usd,
            unpriced_calls=row.n - row.priced,
            latency_s=row.latency_s,
            timed_calls=row.timed,
        )
        found[row.recipe].add_calls(
            row.teacher, row.model, row.error_type, bool(row.cached), aware(row.last), made
        )


def find_latest_runs(
    connection: Connection, recipe: str | None, found: Mapping[str, RecipeFigures]
) -> None:
    """Puts every recipe's latest run, or one's, into `found`, which makes what it lacks."""
    c = run_t.c
    latest = (
        select(c.recipe, func.max(c.started_at).label("started_at"))
        .where(*_of(recipe, c.recipe))
        .group_by(c.recipe)
        .subquery()
    )
    query = select(
        c.recipe, c.id, c.status, c.reason, c.recipe_text, c.started_at, c.ended_at
    ).join(latest, and_(c.recipe == latest.c.recipe, c.started_at == latest.c.started_at))
    for row in connection.execute(query):
        found[row.recipe].run = LatestRun(
            row.id,
            row.status,
            row.reason,
            row.recipe_text,
            aware(row.started_at),
            None if row.ended_at is None else aware(row.ended_at),
        )


def aware(value: datetime) -> datetime:
    """A time of the corpus with its zone; SQLite gives times back without it, which is UTC."""
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
