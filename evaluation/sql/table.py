"""Models side by side on SQL completion: the teacher, the student before and after, or any others.

The stored metrics and details of several evaluations go in, a table of plain cells comes out, and
its Markdown. A figure that an evaluation does not have is a dash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import select

from common.hashing import digest
from storage.database import Database
from storage.tables import Evaluation, table_of

_evaluation_t = table_of(Evaluation)
# What two evaluations must share for their figures to be comparable.
_SHARED = ("data_hash", "schemas_hash", "backend", "fractions", "question", "limits",
           "max_tokens", "prompt_hash", "items_hash")  # fmt: skip
_ROWS = (
    ("Pass@1 (%)", "pass_at_1", 1),
    ("Adoption rate (%)", "adoption_rate", 1),
    ("Adoption rate, whole suggestions only (%)", "adoption_rate_strict", 1),
    ("Suggestions accepted (%)", "accepted_suggestions", 1),
    ("Typed text kept (%)", "kept_typed_text", 1),
    ("Latency p50 (s)", "latency_p50_s", 3),
    ("Latency p95 (s)", "latency_p95_s", 3),
    ("Items", "items", 0),
    ("Without an answer", "failed", 0),
)


@dataclass(frozen=True, slots=True)
class SideBySide:
    """A table: the models, and per row its name and a cell for each of them."""

    models: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]

    def markdown(self) -> str:
        """The table in Markdown."""
        lines = [
            "| | " + " | ".join(self.models) + " |",
            "| --- |" + " ---: |" * len(self.models),
        ]
        lines += [f"| {name} | " + " | ".join(cells) + " |" for name, cells in self.rows]
        return "\n".join(lines)


def side_by_side(
    models: Sequence[str],
    metrics: Sequence[Mapping[str, Any]],
    details: Sequence[Mapping[str, Any]],
) -> SideBySide:
    """One column per model; `metrics` and `details` are those of its evaluation, in that order."""
    rows = [
        (name, tuple(_cell(each.get(key), digits) for each in metrics))
        for name, key, digits in _ROWS
    ]
    parts = [each.get("pass_at_1_by_fraction", {}) for each in details]
    fractions = sorted({fraction for each in parts for fraction in each}, key=float)
    by_fraction = [
        (
            f"Pass@1 with {100 * float(fraction):g} % typed (%)",
            tuple(_cell(each.get(fraction), 1) for each in parts),
        )
        for fraction in fractions
    ]
    reasons = [each.get("not_passed", {}) for each in details]
    wrong = [
        (f"Not passed: {reason}", tuple(_cell(each.get(reason, 0), 0) for each in reasons))
        for reason in dict.fromkeys(reason for each in reasons for reason in each)
    ]
    return SideBySide(tuple(models), (rows[0], *by_fraction, *rows[1:], *wrong))


def stored_side_by_side(database: Database) -> list[SideBySide]:
    """The finished SQL evaluations in `database`, oldest first: a table for each set of them that
    asked the same questions in the same way. What a simulated model answered is marked."""
    columns = ("model", "settings", "metrics", "details", "simulated")
    query = (
        select(*(_evaluation_t.c[name] for name in columns))
        .where(_evaluation_t.c.benchmark == "sql", _evaluation_t.c.status == "finished")
        .order_by(_evaluation_t.c.created_at, _evaluation_t.c.id)
    )
    with database.read() as connection:
        found = connection.execute(query).all()
    tables = []
    for _, same in groupby(sorted(found, key=_asked), key=_asked):
        rows = list(same)
        names = [f"{row.model} (simulated)" if row.simulated else row.model for row in rows]
        metrics, details = [row.metrics for row in rows], [row.details for row in rows]
        tables.append(side_by_side(names, metrics, details))
    return tables


def _asked(row: Any) -> str:
    return digest([row.settings.get(name) for name in _SHARED])


def _cell(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
