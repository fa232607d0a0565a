"""From the rows of a benchmark file to the items that a model is asked: a row times its cuts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from evaluation.benchmark import Item
from evaluation.sql.benchmark_file import SqlFile, SqlRow
from evaluation.sql.cutting import Cut, cut_at, cuts
from evaluation.sql.ddl import Backend
from evaluation.sql.errors import Untranslatable
from evaluation.sql.tokens import settled
from evaluation.sql.translate import to_postgres


@dataclass(frozen=True, slots=True)
class Posed:
    """The items, and a line per row that could not be made into any."""

    items: tuple[Item, ...]
    left_out: tuple[str, ...]


def posed(file: SqlFile, backend: Backend, gold_dialect: str, fractions: Sequence[float]) -> Posed:
    """Every row at every cut; SQLite golds are translated for PostgreSQL."""
    items: list[Item] = []
    left_out = list(file.broken)
    for row in file.rows:
        try:
            golds = _golds(row, file, backend, gold_dialect)
            items += _items(row, golds, fractions)
        except (Untranslatable, ValueError) as error:
            cause = error.cause if isinstance(error, Untranslatable) else str(error)
            left_out.append(f"{row.where}: {cause}")
    return Posed(tuple(items), tuple(left_out))


def _golds(row: SqlRow, file: SqlFile, backend: Backend, dialect: str) -> list[str]:
    """The row's golds as they are typed on `backend`; those without a translation are left out,
    unless none is left."""
    if backend == "sqlite" and dialect != "sqlite":
        raise ValueError("a PostgreSQL gold is not translated to SQLite")
    if backend == "sqlite" or dialect == "postgres":
        return [settled(gold) for gold in row.golds]
    made, problem = [], None
    for gold in row.golds:
        try:
            made.append(settled(to_postgres(gold, file.schemas[row.database])))
        except Untranslatable as error:
            problem = error
    if not made and problem is not None:
        raise problem
    return made


def _items(row: SqlRow, golds: list[str], fractions: Sequence[float]) -> Iterator[Item]:
    for cut in _cuts(row, golds[0], fractions):
        yield Item(
            key=f"{row.id}@{cut.at}",
            prompt=row.question or cut.typed,
            category=row.category,
            gold=golds[0],
            data={
                "row": row.id,
                "database": row.database,
                "question": row.question,
                "golds": golds,
                "at": cut.at,
                "typed": cut.typed,
                "fraction": cut.fraction,
            },
        )


def _cuts(row: SqlRow, gold: str, fractions: Sequence[float]) -> list[Cut]:
    if row.prefix is None:
        return cuts(gold, fractions)
    cut = cut_at(gold, row.prefix)
    if cut is None:
        raise ValueError("`prefix` is not the beginning of the first query")
    return [cut]
