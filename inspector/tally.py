"""Every figure about calls and samples, kept in step with the corpus by what is new in it.

In: an open database. Out: the figures of the run page and the prompts page, equal to a recount of
every row. The first look reads everything once; each later one reads the calls that were added, the
samples that were changed (they say when) and the seeds, which are few. Everything is counted anew
when a run has ended, or where rows are not where they were: so a clock that was put back by more
than the overlap cannot leave a fault for long.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Text, cast, literal, select, tuple_

from inspector.figures import AgentFigures, PromptYield
from inspector.new_calls import OVERLAP, Call, CallReader, call_reader, moment_of
from inspector.pace import Pace, pace_of, seeds_since
from inspector.tallied_calls import CallSums, Kind, Sums, percentiles
from inspector.tallied_samples import Outcome, SampleSums, State
from storage.corpus import run_t, sample_t
from storage.database import Database
from storage.summary import (
    LatestRun,
    RecipeFigures,
    TeacherFigures,
    count_seeds,
    find_latest_runs,
)

_PIECE = 5000
_AGENTS = ("expansion", "rewriting", "response", "selection", "verification")
_c = sample_t.c
_SAMPLE = (
    _c.updated_at, _c.id, _c.score_total,
    _c.recipe, _c.status, _c.reason, _c.category, _c.language, _c.simulated,
    cast(_c.shaped_by, Text).label("lineage"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RecipeTally:
    """One recipe's part of the corpus. `interrupted` says that its latest run calls itself running
    and is not: its process was killed."""

    figures: RecipeFigures
    agents: list[AgentFigures]
    pace: Pace | None
    interrupted: bool


class Tally:
    """The figures of one database; asked by several threads, it looks for one at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._begin()

    def recipes(self, now: datetime, *, at_work: bool = True) -> dict[str, RecipeTally]:
        """Every recipe's figures as they are now, by name; `at_work` says whether some run holds
        the corpus."""
        with self._lock:
            self._look()
            found: defaultdict[str, RecipeFigures] = defaultdict(RecipeFigures)
            with self._database.read() as connection:
                count_seeds(connection, None, found)
                find_latest_runs(connection, None, found)
                ended = {
                    name: seeds_since(connection, name, figures.run.started_at)
                    for name, figures in found.items()
                    if figures.run
                }
            self._add_samples(found)
            self._add_calls(found)
            killed = _interrupted(found, at_work=at_work)
            return {
                name: RecipeTally(
                    found[name],
                    list(self._agents(name)),
                    self._pace(found[name], ended[name], None if name in killed else now)
                    if name in ended
                    else None,
                    interrupted=name in killed,
                )
                for name in sorted(found)
            }

    def prompts(self) -> list[PromptYield]:
        """Every text that calls were made with, by prompt, the latest first."""
        with self._lock:
            self._look()
            by_text: defaultdict[tuple[str, str], list[tuple[Kind, Sums]]] = defaultdict(list)
            for key, sums in self._calls.kinds.items():
                kind = Kind(*key)
                by_text[kind.prompt_name, kind.prompt_hash].append((kind, sums))
            yields = [
                _yield(name, hash, parts, self._samples.outcome(("prompt", name, hash)))
                for (name, hash), parts in by_text.items()
            ]
        return sorted(yields, key=lambda found: (found.name, -found.last_at.timestamp()))

    def lineages(self) -> Counter[str]:
        """How many samples that no later walk has replaced have each lineage (as JSON)."""
        with self._lock:
            self._look()
            found: Counter[str] = Counter()
            for state, n in self._samples.states.items():
                if state.lineage is not None and state.reason != "superseded":
                    found[state.lineage] += n
            return found

    def _begin(self) -> None:
        self._reader: CallReader = call_reader(self._database)
        self._calls = CallSums()
        self._samples = SampleSums()
        self._changed_until: datetime | None = None
        self._running: set[str] | None = None

    def _look(self) -> None:
        with self._database.read() as connection:
            rows = connection.execute(
                select(run_t.c.id, run_t.c.recipe, run_t.c.status, run_t.c.started_at)
            ).all()
        running = {row.id for row in rows if row.status == "running"}
        if (self._running or set()) - running or not self._reader.is_whole():
            self._begin()
        self._running = running
        latest: dict[str, tuple[Any, str]] = {}
        for row in rows:
            place = (row.started_at, row.id)
            latest[row.recipe] = max(latest.get(row.recipe, place), place)
        self._calls.keep_seconds_of({id for _, id in latest.values()}, {row.id for row in rows})
        # Calls first: whatever a call says of a sample, the sample is there by then.
        for piece in self._reader.pieces():
            for call in piece:
                self._take_call(call)
        self._take_samples()

    def _take_call(self, row: Any) -> None:
        sums = self._calls.add(row)
        sample, error = row[_SAMPLE_ID], row[_ERROR_TYPE]
        if sample is None or error is not None:
            return
        if sums.groups is None:
            call = Call(*row[: len(Call._fields)])
            sums.groups = self._samples.bit(
                ("agent", call.recipe, call.agent, call.teacher)
            ) | self._samples.bit(("prompt", call.prompt_name, call.prompt_hash))
        self._samples.answered(sample, sums.groups)

    def _take_samples(self) -> None:
        """Samples are committed in the order of their times, since one run at a time writes."""
        place: tuple[Any, str] | None = None
        if self._changed_until is not None:
            place = (self._changed_until - OVERLAP, "")
        while True:
            query = select(*_SAMPLE).order_by(_c.updated_at, _c.id).limit(_PIECE)
            if place is not None:
                after = tuple_(literal(place[0], _c.updated_at.type), place[1])
                query = query.where(tuple_(_c.updated_at, _c.id) > after)
            with self._database.read() as connection:
                rows = connection.execute(query).all()
            for row in rows:
                self._samples.changed(row.id, State(*row[3:]), row.score_total)
            if rows:
                place = (rows[-1].updated_at, rows[-1].id)
                latest = rows[-1].updated_at
                if self._changed_until is None or latest > self._changed_until:
                    self._changed_until = latest
            if len(rows) < _PIECE:
                return

    def _add_samples(self, found: defaultdict[str, RecipeFigures]) -> None:
        for state, n in self._samples.states.items():
            figures = found[state.recipe]
            figures.samples[state.status] += n
            if state.reason is not None:
                figures.reasons[state.status, state.reason] += n
            for what, word in (("category", state.category), ("language", state.language)):
                figures.mix[what].setdefault(word or "unknown", Counter())[state.status] += n
            figures.simulated += n if state.simulated else 0

    def _add_calls(self, found: defaultdict[str, RecipeFigures]) -> None:
        for key, sums in self._calls.kinds.items():
            kind = Kind(*key)
            made = TeacherFigures(
                calls_made=sums.calls,
                prompt_tokens=sums.prompt_tokens,
                completion_tokens=sums.completion_tokens,
                known_usd=sums.usd,
                unpriced_calls=sums.calls - sums.priced,
                latency_s=sums.latency_s,
                timed_calls=sums.timed,
            )
            found[kind.recipe].add_calls(
                kind.teacher, kind.model, kind.error_type, bool(kind.cached), moment_of(sums.last),
                made,
            )  # fmt: skip

    def _agents(self, recipe: str) -> Iterator[AgentFigures]:
        """In the order of the walk, then by teacher."""
        parts: defaultdict[tuple[str, str], list[tuple[Kind, Sums]]] = defaultdict(list)
        for key, sums in self._calls.kinds.items():
            kind = Kind(*key)
            if kind.recipe == recipe:
                parts[kind.agent, kind.teacher].append((kind, sums))
        places = {agent: place for place, agent in enumerate(_AGENTS)}
        for agent, teacher in sorted(parts, key=lambda k: (places.get(k[0], len(places)), k[1])):
            outcome = self._samples.outcome(("agent", recipe, agent, teacher))
            mine = parts[agent, teacher]
            answered = [(kind, sums) for kind, sums in mine if kind.error_type is None]
            made = [sums for kind, sums in answered if not kind.cached]
            latencies: Counter[int] = Counter()
            for sums in made:
                latencies.update(sums.latencies)
            covered = percentiles(latencies, (50, 95))
            yield AgentFigures(
                agent=agent,
                teacher=teacher,
                made=sum(sums.calls for sums in made),
                cached=sum(sums.calls for kind, sums in answered if kind.cached),
                failed=sum(sums.calls for kind, sums in mine if kind.error_type is not None),
                prompt_tokens=sum(sums.prompt_tokens for _, sums in mine),
                completion_tokens=sum(sums.completion_tokens for _, sums in mine),
                usd=_usd(made),
                p50_s=covered.get(50),
                p95_s=covered.get(95),
                samples=outcome.samples,
                accepted=outcome.accepted,
            )

    def _pace(self, figures: RecipeFigures, seeds: tuple[int, int], now: datetime | None) -> Pace:
        run = figures.run
        assert run is not None, "only recipes with a run are asked about"
        seconds = self._calls.seconds.get(run.id)
        last = moment_of(seconds.last) if seconds else None
        return pace_of(run, last, self._seconds_of(run), seeds, now)

    def _seconds_of(self, run: LatestRun) -> Iterator[tuple[int, int, int, int]]:
        seconds = self._calls.seconds.get(run.id)
        if seconds is None:
            return
        late = seconds.begin - int(run.started_at.timestamp())
        counts = seconds.counts
        for n in range(0, len(counts), 3):
            if counts[n]:
                yield max(late + n // 3, 0), counts[n], counts[n + 1], counts[n + 2]


_SAMPLE_ID = Call._fields.index("sample_id")
_ERROR_TYPE = Call._fields.index("error_type")


def _interrupted(found: dict[str, RecipeFigures], *, at_work: bool) -> set[str]:
    """The recipes whose run says that it runs and does not: only the one that began last can hold
    the corpus."""
    running = {
        name: figures.run.started_at
        for name, figures in found.items()
        if figures.run and figures.run.status == "running"
    }
    holder = max(running, key=running.__getitem__) if running and at_work else None
    return running.keys() - {holder}


def _usd(made: list[Sums]) -> float | None:
    priced = all(sums.priced == sums.calls for sums in made)
    return sum(sums.usd for sums in made) if priced else None


def _yield(name: str, hash: str, parts: list[tuple[Kind, Sums]], outcome: Outcome) -> PromptYield:
    answered = [sums for kind, sums in parts if kind.error_type is None]
    return PromptYield(
        name=name,
        version=max(kind.prompt_version for kind, _ in parts),
        hash=hash,
        calls=sum(sums.calls for sums in answered),
        failed=sum(sums.calls for kind, sums in parts if kind.error_type is not None),
        samples=outcome.samples,
        accepted=outcome.accepted,
        mean_score=outcome.score / outcome.scored if outcome.scored else None,
        tokens=sum(sums.prompt_tokens + sums.completion_tokens for _, sums in parts),
        usd=_usd([s for kind, s in parts if kind.error_type is None and not kind.cached]),
        first_at=moment_of(min(sums.first for _, sums in parts)),
        last_at=moment_of(max(sums.last for _, sums in parts)),
    )
