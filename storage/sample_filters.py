"""What samples can be filtered by, as conditions in SQL.

In: a `SampleFilter`. Out: for each of its parts a condition on `sample`, and where an index finds
the samples of that part, a query for their identifiers. `storage.sample_list` decides which to use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, null, or_, select

from storage.corpus import call_t, sample_t


@dataclass(frozen=True, slots=True)
class SampleFilter:
    """Which samples are wanted; None asks for nothing.

    `teacher` wrote the response. `prompt_hash` is that of any prompt a call of the sample was made
    with. `score_from` and `score_to` bound the sum of the three scores (0 to 27). `words` must
    stand in the instruction, the input, the reasoning or the response as they are (case aside).
    """

    recipe: str | None = None
    status: str | None = None
    reason: str | None = None
    category: str | None = None
    language: str | None = None
    teacher: str | None = None
    prompt_hash: str | None = None
    score_from: int | None = None
    score_to: int | None = None
    words: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a filter. `condition` holds for a sample that is looked at; `members` gives the
    identifiers through an index, in no order, None where there is no such index."""

    condition: ColumnElement[bool]
    members: Select[Any] | None


def parts_of(wanted: SampleFilter, dialect: str) -> list[Part]:
    """The filter's parts; none for a filter that wants every sample.

    Args:
        wanted: the filter.
        dialect: `sqlite` or `postgresql`.
    """
    c = sample_t.c
    parts = [
        Part(_looked_at(column) == value, select(c.id).where(column == value))
        for column, value in (
            (c.recipe, wanted.recipe),
            (c.status, wanted.status),
            (c.reason, wanted.reason),
            (c.category, wanted.category),
            (c.language, wanted.language),
            (c.responder, wanted.teacher),
        )
        if value is not None
    ]
    lowest, highest = wanted.score_from, wanted.score_to
    if lowest is not None or highest is not None:
        low, high = 0 if lowest is None else lowest, 27 if highest is None else highest
        parts.append(
            Part(
                _looked_at(c.score_total).between(low, high),
                select(c.id).where(c.score_total.between(low, high)),
            )
        )
    if wanted.prompt_hash is not None:
        parts.append(_of_prompt(wanted.prompt_hash))
    if wanted.words:
        parts.append(Part(_holds(wanted.words, dialect), None))
    return parts


def _looked_at(column: Any) -> Any:
    """The column's value in a form that no index answers. Conditions are for samples that are named
    already; a planner without statistics would rather read half the table through an index."""
    return func.coalesce(column, null())


def _of_prompt(prompt_hash: str) -> Part:
    used = and_(call_t.c.prompt_hash == prompt_hash, call_t.c.sample_id.is_not(None))
    mine = select(call_t.c.id).where(used, call_t.c.sample_id == sample_t.c.id)
    return Part(
        mine.correlate(sample_t).exists(), select(call_t.c.sample_id.label("id")).where(used)
    )


def _holds(words: str, dialect: str) -> ColumnElement[bool]:
    """Whether the words stand in one of a sample's texts. SQLite's LIKE takes no notice of the case
    of Latin letters anyway, and is faster so."""
    escaped = words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    pattern = f"%{escaped}%"
    c = sample_t.c
    texts = (c.instruction, c.original_instruction, c.input, c.reasoning, c.response)
    if dialect == "sqlite":
        return or_(*(text.like(pattern, escape="\\") for text in texts))
    return or_(*(text.ilike(pattern, escape="\\") for text in texts))
