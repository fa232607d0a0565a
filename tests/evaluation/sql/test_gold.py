"""The real data's golds, on both backends, as `benchmarks.sql_gold` counts them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from evaluating import DATA, needs_data

from benchmarks.sql_gold import differing, golds_on
from evaluation.sql.adoption import right_characters
from evaluation.sql.benchmark_file import read_benchmark
from evaluation.sql.databases import postgres_boxes, sqlite_boxes
from evaluation.sql.ddl import Backend
from evaluation.sql.extract import completed
from evaluation.sql.items import posed
from evaluation.sql.tokens import tokens


@needs_data
@pytest.mark.slow
def test_every_gold_passes_on_both_backends_and_returns_the_same(
    postgres_server: str, tmp_path: Path
) -> None:
    now = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
    file = read_benchmark(DATA / "sql", now)
    schemas = list(file.schemas.values())
    with sqlite_boxes(schemas, tmp_path) as boxes:
        here, first = golds_on("sqlite", file, boxes)
    with postgres_boxes(schemas, postgres_server) as boxes:
        there, second = golds_on("postgresql", file, boxes)
    assert (len(file.rows), len(file.schemas), file.broken) == (250, 11, ())
    for report in (here, there):
        assert report["failures"] == []
        assert (report["golds"], report["passed"], report["empty_results"]) == (391, 391, 0)
    assert list(differing(file, first, second)) == []


@needs_data
@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_the_rest_of_every_gold_completes_it_however_a_model_writes_it(backend: Backend) -> None:
    file = read_benchmark(DATA / "sql", datetime.now(UTC).replace(tzinfo=None))
    made = posed(file, backend, "sqlite", (0, 0.25, 0.5, 0.75))
    assert made.left_out == ()
    assert len({item.key for item in made.items}) == len(made.items) >= 990
    for item in made.items:
        gold, typed = item.data["golds"][0], item.data["typed"]
        rest = gold[item.data["at"] :]
        fenced = (f"```sql\n{rest.strip()};\n```", f"```\n{gold}```")
        for answer in (rest, rest.strip(), gold, *fenced):
            found = completed(typed, answer)
            assert found is not None, (typed, answer)
            assert _words(found.query) == _words(gold), (typed, answer)
            assert found.suggestion is not None
            assert right_characters(gold, item.data["at"], found.suggestion) == len(rest)


def _words(query: str) -> list[str]:
    return [token.same_as for token in tokens(query)]
