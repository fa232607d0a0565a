"""Every gold query of the SQL benchmark, on databases built in SQLite and in PostgreSQL.

    python -m benchmarks.sql_gold [--backend sqlite|postgresql|both] [--postgres URL]

Reads the CSVs and schemas of the real data's `eval/sql`. Each gold runs as an answer would: in a
box, with the time limit, scored against the golds of its row. On PostgreSQL it is translated first.
Prints one JSON object: per backend how many there are, how many pass, and every failure with its
cause; golds whose result is empty; and, where both backends ran, the golds whose rows differ.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.own_postgres import own_postgres
from benchmarks.support import shared_data
from evaluation.sql.benchmark_file import SqlFile, read_benchmark
from evaluation.sql.boxes import Box
from evaluation.sql.compare import same_results
from evaluation.sql.databases import postgres_boxes, sqlite_boxes
from evaluation.sql.errors import Untranslatable
from evaluation.sql.schema import Schema
from evaluation.sql.scoring import Gold, Scorer
from evaluation.sql.translate import to_postgres

Results = dict[tuple[str, int], Gold]


def main() -> None:
    """Runs it and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--backend", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--postgres", help="URL of a server; else one is started")
    given = parser.parse_args()
    now = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
    file = read_benchmark(shared_data() / "eval" / "sql", now)
    report: dict[str, Any] = {
        "rows": len(file.rows),
        "databases": len(file.schemas),
        "broken_rows": list(file.broken),
    }
    found: dict[str, Results] = {}
    for backend in ("sqlite", "postgresql"):
        if given.backend not in (backend, "both"):
            continue
        began = time.monotonic()
        with boxes_of(backend, file, given.postgres) as boxes:
            report[backend], found[backend] = golds_on(backend, file, boxes)
        report[backend]["seconds"] = round(time.monotonic() - began, 1)
    if len(found) == 2:
        report["rows_differ"] = list(differing(file, found["sqlite"], found["postgresql"]))
    print(json.dumps(report, ensure_ascii=False))


@contextlib.contextmanager
def boxes_of(backend: str, file: SqlFile, url: str | None) -> Iterator[Mapping[str, Box]]:
    """The benchmark's databases on `backend`."""
    schemas = list(file.schemas.values())
    with contextlib.ExitStack() as stack:
        if backend == "sqlite":
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            yield stack.enter_context(sqlite_boxes(schemas, folder))
        else:
            url = url or stack.enter_context(own_postgres())
            yield stack.enter_context(postgres_boxes(schemas, url))


def golds_on(
    backend: str, file: SqlFile, boxes: Mapping[str, Box]
) -> tuple[dict[str, Any], Results]:
    """What the golds come to on one backend, and their rows by (row id, place)."""
    scorers = {name: Scorer(box) for name, box in boxes.items()}
    failures, results, passed, empty, slowest = [], Results(), 0, 0, 0.0
    for row in file.rows:
        scorer = scorers[row.database]
        for place, gold in enumerate(row.golds):
            try:
                query = _as_typed_on(backend, gold, file.schemas[row.database])
            except Untranslatable as error:
                failures.append(_failure(row.where, gold, "untranslatable", error.cause))
                continue
            score = scorer.score([query], query)
            if not score.passed:
                failures.append(_failure(row.where, query, str(score.reason), score.detail))
                continue
            passed += 1
            slowest = max(slowest, score.seconds)
            results[row.id, place] = scorer.gold(query)
            empty += not results[row.id, place].outcome.rows
    return {
        "golds": sum(len(row.golds) for row in file.rows),
        "passed": passed,
        "empty_results": empty,
        "slowest_s": round(slowest, 3),
        "failures": failures,
    }, results


def differing(file: SqlFile, first: Results, second: Results) -> Iterator[dict[str, Any]]:
    """Golds that ran on both backends and whose results are not the same by the scorer's rules."""
    for row in file.rows:
        for place, gold in enumerate(row.golds):
            key = (row.id, place)
            if key not in first or key not in second:
                continue
            one, other = first[key], second[key]
            rows, others = one.outcome.rows, other.outcome.rows
            if same_results(rows, others, groups=one.groups):
                continue
            order_only = same_results(rows, others)
            yield {
                "where": row.where,
                "query": gold,
                "cause": "the same rows in another order" if order_only else "other rows",
                "sqlite": rows[:3],
                "postgresql": others[:3],
            }


def _as_typed_on(backend: str, gold: str, schema: Schema) -> str:
    return gold if backend == "sqlite" else to_postgres(gold, schema)


def _failure(where: str, query: str, kind: str, cause: str) -> dict[str, str]:
    return {"where": where, "query": query, "kind": kind, "cause": cause}


if __name__ == "__main__":
    main()
