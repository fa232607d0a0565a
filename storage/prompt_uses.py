"""Which texts of a prompt the corpus was made with, when, and how much of it hangs on each.

In: a prompt's name. Out: its uses, the latest first. Calls say which text they were made with, the
`prompt` table holds the texts, and lineages say which seeds and samples still stand on one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

import orjson
from sqlalchemy import Connection, Table, Text, cast, func, or_, select

from storage.corpus import call_t, sample_t, seed_t
from storage.summary import aware
from storage.tables import Prompt, table_of

prompt_t = table_of(Prompt)
_HASH_IN_LINEAGE = 12


@dataclass(frozen=True, slots=True)
class PromptUse:
    """One text of a prompt. `text` is None where no run left it; `seeds` and `samples` count those
    that this very text shaped and no later walk has replaced."""

    hash: str
    version: str
    text: str | None
    last_used_at: datetime
    calls: int
    seeds: int
    samples: int


def prompt_uses(connection: Connection, name: str) -> list[PromptUse]:
    """Every text that the prompt `agent/name` had when the corpus was made with it."""
    c = call_t.c
    used = (
        select(
            c.prompt_hash,
            func.max(c.prompt_version).label("version"),
            func.max(c.created_at).label("last"),
            func.count().label("calls"),
        )
        .where(c.prompt_name == name)
        .group_by(c.prompt_hash)
        .subquery()
    )
    rows = connection.execute(
        select(used, prompt_t.c.text)
        .outerjoin(prompt_t, prompt_t.c.hash == used.c.prompt_hash)
        .order_by(used.c.last.desc())
    ).all()
    if not rows:
        return []
    seeds, samples = (standing(_lineages(connection, table)) for table in (seed_t, sample_t))
    return [
        PromptUse(
            hash=row.prompt_hash,
            version=row.version,
            text=row.text,
            last_used_at=aware(row.last),
            calls=row.calls,
            seeds=seeds[name, row.prompt_hash],
            samples=samples[name, row.prompt_hash],
        )
        for row in rows
    ]


def prompt_texts(connection: Connection, hashes: Collection[str]) -> dict[str, str]:
    """The texts of these hashes; one that no run left is not in it."""
    query = select(prompt_t.c.hash, prompt_t.c.text).where(prompt_t.c.hash.in_(hashes))
    return {row.hash: row.text for row in connection.execute(query)}


def seed_lineages(connection: Connection) -> dict[str, int]:
    """How many seeds that no later walk has replaced have each lineage (as JSON)."""
    return _lineages(connection, seed_t)


def _lineages(connection: Connection, table: Table) -> dict[str, int]:
    lineage = cast(table.c.shaped_by, Text)
    query = (
        select(lineage, func.count())
        .where(
            table.c.shaped_by.is_not(None),
            or_(table.c.reason.is_(None), table.c.reason != "superseded"),
        )
        .group_by(lineage)
    )
    found: dict[str, int] = dict(connection.execute(query).all())
    return found


@dataclass(frozen=True, slots=True)
class Standing:
    """How many rows stand on a prompt's text, by its name and the hash in short."""

    counts: Counter[tuple[str, str]]

    def __getitem__(self, text: tuple[str, str]) -> int:
        """Of the text with this name and (whole) hash."""
        name, hash = text
        return self.counts[name, hash[:_HASH_IN_LINEAGE]]


def standing(lineages: Mapping[str, int]) -> Standing:
    """What rows with these lineages (as JSON; how many have each) stand on."""
    counts: Counter[tuple[str, str]] = Counter()
    for text, n in lineages.items():
        for shape in {shape.rpartition("#")[0] for shape in orjson.loads(text).values()}:
            name, _, hash = shape.partition("#")
            counts[name, hash] += n
    return Standing(counts)
