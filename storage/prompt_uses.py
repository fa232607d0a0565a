"""Which texts of a prompt the corpus was made with, when, and how much of it hangs on each.

In: a prompt's name. Out: its uses, the latest first. Calls say which text they were made with, the
`prompt` table holds the texts, and lineages say which seeds and samples still stand on one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

import orjson
from sqlalchemy import Connection, Text, cast, func, or_, select

from storage.corpus import call_t, sample_t, seed_t
from storage.summary import aware
from storage.tables import Prompt

prompt_t = Prompt.__table__  # type: ignore[attr-defined]
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
    shaped = _shaped_by(connection, name) if rows else {}
    return [
        PromptUse(
            hash=row.prompt_hash,
            version=row.version,
            text=row.text,
            last_used_at=aware(row.last),
            calls=row.calls,
            seeds=shaped["seed"][row.prompt_hash[:_HASH_IN_LINEAGE]],
            samples=shaped["sample"][row.prompt_hash[:_HASH_IN_LINEAGE]],
        )
        for row in rows
    ]


def _shaped_by(connection: Connection, name: str) -> dict[str, Counter[str]]:
    """How many seeds and samples each of the prompt's texts shaped, by its hash in short."""
    counts: dict[str, Counter[str]] = {}
    for kind, table in (("seed", seed_t), ("sample", sample_t)):
        lineage = cast(table.c.shaped_by, Text)
        query = (
            select(lineage, func.count())
            .where(
                table.c.shaped_by.is_not(None),
                or_(table.c.reason.is_(None), table.c.reason != "superseded"),
            )
            .group_by(lineage)
        )
        counts[kind] = Counter()
        for text, n in connection.execute(query):
            for shape in set(orjson.loads(text).values()):
                prompt, _, rest = shape.partition("#")
                if prompt == name:
                    counts[kind][rest.partition("#")[0]] += n
    return counts
