"""Exports the traces of chosen seeds: one story at a time is read, made into spans, and handed on.

In: a database, a choice of seeds, and a receiver or a file. Out: how many traces and spans went
where. However many seeds there are, memory holds one story and one request.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from opentelemetry.sdk.trace import ReadableSpan
from sqlalchemy import Connection, select

from storage.corpus import first_run, seed_t
from storage.database import Database
from storage.errors import NotFound
from storage.telemetry.choosing import Counted, SeedChoice, chosen_seeds, count_seeds
from storage.telemetry.errors import TelemetryRefused
from storage.telemetry.traces import TraceMaker
from storage.trace import story

# A request is some megabytes at most, which every receiver takes; three bytes are a Japanese or
# Chinese character.
_MOST_SPANS = 512
_MOST_CHARACTERS = 1_000_000


class Target(Protocol):
    """Where spans go: `Receiver` and `TraceFile`."""

    name: str
    rejected: int
    said: str | None

    def take(self, spans: Sequence[ReadableSpan]) -> None:
        """Takes some spans of one or more traces."""

    def close(self) -> None:
        """All was taken."""

    def discard(self) -> None:
        """Something went wrong on the way."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was exported. `seeds` are all seeds that the recipe and status in question have;
    `rejected` spans were sent and left out by the receiver, whose words on it are `said`."""

    target: str
    seeds: int
    pending: int
    traces: int
    spans: int
    rejected: int
    said: str | None


def export_traces(
    database: Database,
    choice: SeedChoice | str,
    target: Target,
    *,
    project: str | None = None,
    content: bool = True,
    progress: Callable[[int, int], None] = lambda done, all: None,
) -> Exported:
    """Exports what was chosen; the target is closed, or discarded where that fails.

    Args:
        database: an open corpus, which is only read.
        choice: which seeds, or the identifier of one.
        target: where to.
        project: where receivers sort the traces in; each seed's recipe where it is None.
        content: whether texts may leave.
        progress: is told after every trace how many are done, and of how many.

    Raises:
        TelemetryRefused: no seed fits, or the one that was asked for is still at work.
        TelemetryError: the target did not take them.
    """
    whole = False
    try:
        with database.read() as connection:
            counted = _count(connection, choice)
            maker = TraceMaker(_corpus(connection), project, content)
        ids = [choice] if isinstance(choice, str) else chosen_seeds(database, choice)
        traces = spans = 0
        batch = _Batch(target)
        for id in ids:
            with database.read() as connection:
                trace = maker.spans_of(story(connection, "seed", id))
            batch.add(trace)
            traces, spans = traces + 1, spans + len(trace)
            progress(traces, counted.chosen)
        batch.flush()
        target.close()
        whole = True
    finally:
        if not whole:
            target.discard()
    return Exported(
        target.name, counted.all, counted.pending, traces, spans, target.rejected, target.said
    )


class _Batch:
    """Spans for one request; a trace that is larger than one goes in several."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._spans: list[ReadableSpan] = []
        self._characters = 0

    def add(self, trace: Sequence[ReadableSpan]) -> None:
        size = sum(map(_characters, trace))
        if self._spans and not self._fits(len(trace), size):
            self.flush()
        for span in trace:
            size = _characters(span)
            if self._spans and not self._fits(1, size):
                self.flush()
            self._spans.append(span)
            self._characters += size

    def flush(self) -> None:
        if self._spans:
            self._target.take(self._spans)
        self._spans, self._characters = [], 0

    def _fits(self, spans: int, characters: int) -> bool:
        return (
            len(self._spans) + spans <= _MOST_SPANS
            and self._characters + characters <= _MOST_CHARACTERS
        )


def _characters(span: ReadableSpan) -> int:
    return sum(len(value) for value in (span.attributes or {}).values() if isinstance(value, str))


def _count(connection: Connection, choice: SeedChoice | str) -> Counted:
    if isinstance(choice, str):
        _refuse_pending(connection, choice)
        return Counted(all=1, chosen=1, pending=0)
    counted = count_seeds(connection, choice)
    if counted.chosen:
        return counted
    if counted.all:
        raise TelemetryRefused(
            f"There is no seed in a share of {choice.share:g}.",
            cause=f"{counted.all:,} seeds fit, and none of them falls into so small a share.",
            solution="Give a larger --share, or a --limit instead.",
        )
    raise TelemetryRefused(
        "There is no seed whose trace could be exported.",
        cause=f"None fits that is done or failed; {counted.pending:,} are still at work.",
        solution="Run a recipe, or ask for another --recipe or --status.",
        command="stillhouse status",
    )


def _refuse_pending(connection: Connection, seed: str) -> None:
    found = connection.execute(select(seed_t.c.status).where(seed_t.c.id == seed)).scalar()
    if found == "pending":
        raise TelemetryRefused(
            f"Seed {seed[:12]} is still at work.",
            cause="Its trace would change, and receivers may keep the first version of a span.",
            solution="Let its run end, or run its recipe again if that was interrupted; the trace "
            "so far can be read here.",
            command=f"stillhouse trace {seed[:12]}",
        )


def _corpus(connection: Connection) -> str:
    found = first_run(connection)
    if found is None:
        raise NotFound(
            "This corpus holds no run.",
            cause="Nothing was made in it yet.",
            solution="Run a recipe first.",
        )
    return found
