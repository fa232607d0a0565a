"""Where a sample's teacher rows lie, as the corpus's index says it.

In: a sample. Out: one `RowsEntry` for each capture of it. The rows themselves are in shards, which
only the trainer reads.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from storage.tables import TeacherLogprobs, table_of

_logprobs_t = table_of(TeacherLogprobs)


@dataclass(frozen=True, slots=True)
class RowsEntry:
    """One capture of one sequence of a sample: `shard` is a file's name, in whatever folder."""

    key: str
    sample_id: str
    shard: str
    teacher: str
    top_k: int
    token_ids_hash: str


def rows_entries(connection: Connection, sample_id: str) -> tuple[RowsEntry, ...]:
    """Every capture of the sample, by teacher, the latest first."""
    c = _logprobs_t.c
    query = (
        select(c.key, c.sample_id, c.shard, c.teacher, c.top_k, c.token_ids_hash)
        .where(c.sample_id == sample_id)
        .order_by(c.teacher, c.created_at.desc(), c.key)
    )
    return tuple(RowsEntry(**row) for row in connection.execute(query).mappings())
