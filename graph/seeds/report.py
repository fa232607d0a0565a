"""Counts what seed reading brought, per source, so that nothing is left out unsaid.

Pass the reader's items through `SeedReport.watch`: the seeds come out, everything is counted, and
`summary` says it in lines to print.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from graph.seeds.records import BadRow, SeedRecord

BAD_ROWS_KEPT = 20
_LEFTOVERS = {
    "unused_turns": "later turns not used",
    "unused_instances": "further instances not used",
}


@dataclass(slots=True)
class SourceCounts:
    """One source's counts; `bad_rows` keeps the first of them, `bad` counts them all."""

    source: str
    seeds: int = 0
    bad: int = 0
    shape: str | None = None
    leftovers: Counter[str] = field(default_factory=Counter)
    bad_rows: list[BadRow] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Rows that were read: those that became seeds and those that did not."""
        return self.seeds + self.bad


class SeedReport:
    """What each source of a run brought, in the order the sources were first seen."""

    def __init__(self) -> None:
        self.sources: dict[str, SourceCounts] = {}

    def add(self, item: SeedRecord | BadRow) -> None:
        """Count one item of the reader's."""
        counts = self.sources.setdefault(item.source, SourceCounts(item.source))
        if isinstance(item, BadRow):
            counts.bad += 1
            if len(counts.bad_rows) < BAD_ROWS_KEPT:
                counts.bad_rows.append(item)
            return
        counts.seeds += 1
        counts.shape = item.shape
        for name in _LEFTOVERS:
            counts.leftovers[name] += (item.meta or {}).get(name, 0)

    def watch(self, items: Iterable[SeedRecord | BadRow]) -> Iterator[SeedRecord]:
        """Count every item and hand on the seeds."""
        for item in items:
            self.add(item)
            if isinstance(item, SeedRecord):
                yield item

    @property
    def seeds(self) -> int:
        """Seeds over all sources."""
        return sum(counts.seeds for counts in self.sources.values())

    @property
    def bad(self) -> int:
        """Rows that were no seeds, over all sources."""
        return sum(counts.bad for counts in self.sources.values())

    @property
    def summary(self) -> str:
        """One line per source, and one below it for every bad row that was kept."""
        return "\n".join(line for counts in self.sources.values() for line in _lines(counts))


def _lines(counts: SourceCounts) -> Iterator[str]:
    parts = [f"{_count(counts.seeds, 'seed')} from {_count(counts.rows, 'row')}"]
    if counts.shape:
        parts.append(f"shape {counts.shape}")
    if counts.bad:
        parts.append(_count(counts.bad, "bad row"))
    parts += [f"{n:,} {_LEFTOVERS[name]}" for name, n in counts.leftovers.items() if n]
    yield f"{counts.source}: {', '.join(parts)}"
    for bad in counts.bad_rows:
        yield f"  {counts.source}, row {bad.row}: {bad.problem}. {bad.solution}"
    if counts.bad > len(counts.bad_rows):
        yield f"  … and {counts.bad - len(counts.bad_rows):,} more bad rows"


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"
