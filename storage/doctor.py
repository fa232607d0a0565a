"""Proves from the tables that a corpus is sound: the accounting invariant, and the file itself.

In: an open database. Out: a `Report` with one result per check: sound, or how many rows break it
and the first of them by identifier. Everything is counted by the database in one transaction, so
memory does not grow with the corpus and a run may go on writing meanwhile. Nothing is repaired.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, func, select, text

from storage.corpus import call_t, review_t, run_t, sample_t, status_counts
from storage.database import Database
from storage.evaluation_invariants import EVALUATION_CHECKS
from storage.invariants import CHECKS, Check
from storage.trace import completion_t

EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One sentence about the corpus: how many rows break it, and the first of them."""

    name: str
    says: str
    violations: int
    examples: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the sentence is true."""
        return self.violations == 0


@dataclass(frozen=True, slots=True)
class Report:
    """All results, what else a reader should know (`notes`), and how large the corpus is."""

    checks: tuple[CheckResult, ...]
    notes: tuple[str, ...]
    seeds: dict[str, int]
    samples: dict[str, int]
    calls: int
    completions: int

    @property
    def ok(self) -> bool:
        """Whether every sentence is true."""
        return all(check.ok for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"ok": self.ok, **asdict(self)} | {
            "checks": [{"ok": check.ok, **asdict(check)} for check in self.checks]
        }


def examine(database: Database) -> Report:
    """Asks every check of a corpus; changes nothing."""
    with database.snapshot() as connection:
        if not database.is_sqlite:
            # Until the server has gathered statistics it takes every table for a small one, and
            # would compare each row with each other.
            connection.execute(text("SET LOCAL enable_nestloop = off"))
        checks = [_ask(connection, check) for check in (*CHECKS, *EVALUATION_CHECKS)]
        if database.is_sqlite:
            checks += [_file_integrity(connection), _foreign_keys(connection)]
        counts = status_counts(connection)
        return Report(
            checks=tuple(checks),
            notes=(*_cut_off_runs(connection, database), *_waiting_for_people(connection)),
            seeds=counts["seeds"],
            samples=counts["samples"],
            calls=_count(connection, call_t),
            completions=_count(connection, completion_t),
        )


def _count(connection: Connection, table: Any) -> int:
    return connection.execute(select(func.count()).select_from(table)).scalar_one()


def _ask(connection: Connection, check: Check) -> CheckResult:
    violations = _count(connection, check.broken)
    examples: tuple[str, ...] = ()
    if violations:
        first = select(check.broken.c[0]).order_by(check.broken.c[0]).limit(EXAMPLES)
        examples = tuple(str(identifier) for (identifier,) in connection.execute(first))
    return CheckResult(check.name, check.says, violations, examples)


def _file_integrity(connection: Connection) -> CheckResult:
    found = [row[0] for row in connection.execute(text("PRAGMA quick_check(100)"))]
    faults = [] if found == ["ok"] else found
    return CheckResult("file", "the database file is intact", len(faults), tuple(faults[:EXAMPLES]))


def _foreign_keys(connection: Connection) -> CheckResult:
    violations = 0
    examples: list[str] = []
    for table, row, parent, _ in connection.execute(text("PRAGMA foreign_key_check")):
        violations += 1
        if len(examples) < EXAMPLES:
            examples.append(f"{table} row {row} refers to a missing {parent}")
    return CheckResult(
        "references", "every row that refers to another finds it", violations, tuple(examples)
    )


def _cut_off_runs(connection: Connection, database: Database) -> list[str]:
    """Runs that never got to say how they ended; while a run writes, the newest is that one."""
    query = (
        select(run_t.c.id, run_t.c.recipe)
        .where(run_t.c.status == "running")
        .order_by(run_t.c.started_at.desc())
    )
    running = [(identifier, recipe) for identifier, recipe in connection.execute(query)]
    notes = []
    if running and database.run_lock().is_held():
        notes.append(f"a run is writing right now ({running[0][0][:12]})")
        running = running[1:]
    for recipe, n in Counter(recipe for _, recipe in running).items():
        left = status_counts(connection, recipe)["seeds"].get("pending", 0)
        what = "1 run was" if n == 1 else f"{n} runs were"
        todo = (
            f"{left} seeds are pending; resume with `stillhouse run`"
            if left
            else "a later run has finished their work"
        )
        notes.append(f"{what} cut off in recipe '{recipe}' (killed, or the power went): {todo}")
    return notes


def _waiting_for_people(connection: Connection) -> list[str]:
    decided = select(review_t.c.sample_id).where(review_t.c.applied_at.is_(None))
    held = select(func.count()).select_from(sample_t).where(sample_t.c.status == "held")
    waiting = connection.execute(held.where(sample_t.c.id.not_in(decided))).scalar_one()
    if not waiting:
        return []
    return [f"{waiting} held samples wait for a person; see `stillhouse review`"]
