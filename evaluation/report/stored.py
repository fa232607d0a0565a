"""Stored evaluations as comparisons and reports take them, and how a user names them.

In: an open connection, and names: the first characters of an identifier, what reports call a model
(`label`), or the name that its server knows. Out: `Stored`, an evaluation's row with its items and
its origin. Only those that ended with figures can be had.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from evaluation.errors import EvaluationError
from storage.evaluations import evaluations, items_of, origin_of

ENDED = ("finished", "incomplete")
_IDENTIFIER = re.compile(r"[0-9a-f]{6,}")
_SHOWN = 12


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """One evaluation: its row, its items by key in the benchmark's order, where the model is from
    (see `storage.evaluations.origin_of`)."""

    row: Mapping[str, Any]
    items: Mapping[str, Mapping[str, Any]]
    origin: Mapping[str, Any] | None

    @property
    def id(self) -> str:
        """The whole identifier."""
        return str(self.row["id"])

    @property
    def benchmark(self) -> str:
        """As `evaluation.benchmark.Benchmark.name`."""
        return str(self.row["benchmark"])

    @property
    def model(self) -> str:
        """What reports call the model: text of a user or an endpoint, to be escaped."""
        return str(self.row["model"])

    @property
    def metrics(self) -> Mapping[str, float | int | None]:
        """The stored figures."""
        return self.row["metrics"] or {}


def load(connection: Connection, row: Mapping[str, Any]) -> Stored:
    """An evaluation with its items."""
    items = {item["item"]: item for item in items_of(connection, row["id"])}
    return Stored(row, items, origin_of(connection, row["training_run_id"]))


def ended(connection: Connection, benchmark: str | None = None) -> list[dict[str, Any]]:
    """The rows of all evaluations that have figures, oldest first."""
    found = evaluations(connection, benchmark)
    return [row for row in found if row["status"] in ENDED and row["metrics"]]


def named(rows: Sequence[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    """The evaluations that a name means: one by identifier, or the newest of every benchmark.

    Args:
        rows: from `ended`.
        name: an identifier's first characters (six or more), a label, or a served model's name.

    Raises:
        EvaluationError: it names none, or several by identifier.
    """
    by_model = [row for row in rows if row["model"] == name]
    by_model = by_model or [row for row in rows if row["served"] == name]
    if by_model:
        return list({row["benchmark"]: row for row in by_model}.values())
    by_id = [row for row in rows if _IDENTIFIER.fullmatch(name) and row["id"].startswith(name)]
    if len(by_id) == 1:
        return by_id
    raise EvaluationError(
        f"'{name}' names {'several evaluations' if by_id else 'no evaluation with figures'}.",
        cause=f"They begin alike: {_listed(by_id)}." if by_id else _known(rows),
        solution="Give more of its characters."
        if by_id
        else "Give a model's name, or the first six characters or more of an evaluation's "
        "identifier; one that failed or was interrupted has no figures, and the command that "
        "began it goes on with it.",
        command="stillhouse eval show --db DB",
    )


def _known(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "The database holds no evaluation that ended."
    models = ", ".join(dict.fromkeys(str(row["model"]) for row in rows))
    return f"No model and no identifier is so called. Models here: {models}."


def _listed(rows: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{row['id'][:_SHOWN]} ({row['benchmark']}, {row['model']})" for row in rows)
