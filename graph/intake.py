"""Brings seeds into the corpus: reads every source, gives each seed its identity, counts all rows.

A seed's identity is its words and the recipe's name, not its file or row, so that moved or extended
files bring in only what is new. The n-th repetition of the same words within one intake is a seed
of its own (the gate will say what it repeats), and shares its family with the first.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from agents.categories import known_category
from common.compact_set import CompactSet
from common.hashing import digest
from graph.gates import fingerprint
from graph.seeds import SeedRecord, SeedReport, SeedSource, read_seeds
from storage.corpus import existing_seeds, next_ordinal
from storage.database import Database
from storage.tables import Seed, utcnow
from storage.writer import Change, Writer

BATCH = 500


@dataclass
class Intake:
    """What one intake found: new and known seeds, and a report on every source."""

    new: int = 0
    known: int = 0
    report: SeedReport = field(default_factory=SeedReport)

    @property
    def bad_rows(self) -> int:
        """Rows that could not be used, over all sources."""
        return sum(counts.bad for counts in self.report.sources.values())


async def take_in(
    database: Database, writer: Writer, recipe: str, sources: list[SeedSource], limit: int | None
) -> Intake:
    """Reads the sources and commits their seeds; at most `limit` seeds in all."""
    intake = Intake()
    seen = _Seen()
    with database.read() as connection:
        ordinal = next_ordinal(connection, recipe)
    left = limit
    for source in sources:
        seeds_of_source = intake.report.watch(read_seeds(source.path, source))
        while left is None or left > 0:
            wanted = BATCH if left is None else min(BATCH, left)
            batch = await asyncio.to_thread(lambda: list(islice(seeds_of_source, wanted)))  # noqa: B023
            if not batch:
                break
            left = None if left is None else left - len(batch)
            seeds = [
                seed_row(recipe, record, seen.before(seed_identity(recipe, record)))
                for record in batch
            ]
            with database.read() as connection:
                known = existing_seeds(connection, [seed["id"] for seed in seeds])
            changes = []
            for seed in seeds:
                if seed["id"] in known:
                    continue
                changes.append(Change("insert", Seed, {**seed, "ordinal": ordinal}))
                ordinal += 1
            intake.known += len(seeds) - len(changes)
            intake.new += len(changes)
            writer.submit(changes)
            await writer.room()
    await writer.flush()
    return intake


class _Seen:
    """How often the same words have come in this intake; only repeated ones take a whole entry."""

    def __init__(self) -> None:
        self._once = CompactSet()
        self._repeated: Counter[str] = Counter()

    def before(self, identity: str) -> int:
        """How often this seed came before now."""
        if not self._once.add(int(identity[:16], 16)):
            self._repeated[identity] += 1
        return self._repeated.get(identity, 0)


def seed_identity(recipe: str, record: SeedRecord) -> str:
    """What a recipe knows a seed by: its words, and the answer that belongs to them."""
    return digest([recipe, record.system, record.instruction, record.input, record.reference])


def seed_row(recipe: str, record: SeedRecord, n: int = 0) -> dict[str, Any]:
    """A pending seed's row, all but its ordinal; `n` counts repetitions within one intake.

    The family is the words alone, across recipes, so that a split by family keeps them together.
    """
    identity = seed_identity(recipe, record)
    now = utcnow()
    return {
        "id": identity if n == 0 else digest([identity, n]),
        "recipe": recipe,
        "family_id": fingerprint(record.instruction, record.input),
        "source": record.source,
        "row": record.row,
        "source_shape": record.shape,
        "system": record.system,
        "instruction": record.instruction,
        "input": record.input,
        "reference": record.reference,
        "category": known_category(record.category),
        "language": record.language,
        "licence": record.licence,
        "meta": record.meta,
        "shaped_by": None,
        "status": "pending",
        "reason": None,
        "created_at": now,
        "updated_at": now,
    }
