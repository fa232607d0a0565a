"""SQL completion as a benchmark: schema and partial query in, the finished query runs, is scored.

Opens the databases when it is made and holds them until `close`. One item is one row cut at one
place; its verdict says whether the finished query gives a gold's result, what the model suggested,
and how long the answer took. Documented in docs/evaluation-sql.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from common.hashing import digest
from evaluation.benchmark import MODEL, Asker, Item, ItemResult, Judged, Scores
from evaluation.sql.benchmark_file import SqlFile, read_benchmark
from evaluation.sql.boxes import Box
from evaluation.sql.databases import postgres_boxes, sqlite_boxes
from evaluation.sql.ddl import shown_schema
from evaluation.sql.errors import SqlBenchmarkError
from evaluation.sql.extract import completed
from evaluation.sql.figures import add_up
from evaluation.sql.items import posed
from evaluation.sql.outcome import Limits
from evaluation.sql.prompt import completion_prompt
from evaluation.sql.scoring import EMPTY, Score, Scorer
from evaluation.sql.settings import SqlSettings
from teachers.types import Sampling

_NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


class SqlCompletion:
    """See `evaluation.benchmark.Benchmark`; close it.

    Raises:
        SqlBenchmarkError: the rows or schemas cannot be used.
        SqlDatabaseError: the databases could not be built.
    """

    name = "sql"
    roles = (MODEL,)

    def __init__(self, settings: SqlSettings) -> None:
        self._settings = settings
        self._prompt = completion_prompt()
        now = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
        folder = settings.schema_folder
        file = read_benchmark(
            Path(settings.data).expanduser(),
            now,
            schema_folder=Path(folder).expanduser() if folder else None,
            schema_dialect=settings.schema_dialect,
            dialect=settings.gold_dialect,
        )
        made = posed(file, settings.backend, settings.gold_dialect, settings.fractions)
        self.items: Sequence[Item] = made.items
        self.left_out = made.left_out
        self._schemas = {
            name: shown_schema(schema, settings.backend) for name, schema in file.schemas.items()
        }
        self._written, self._now = file.ddl, now
        self._held = contextlib.ExitStack()
        with self._held:
            self._scorers = {
                name: Scorer(box) for name, box in self._opened(file, settings.limits).items()
            }
            self._held = self._held.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the processes that run queries, and removes the databases."""
        self._held.close()

    def settings(self) -> dict[str, Any]:
        """What shapes the result: rows, schemas, cuts and prompt by hash, backend and limits."""
        chosen = self._settings
        return {
            "data": Path(chosen.data).name,
            "data_hash": digest([[item.key, item.data["golds"]] for item in self.items]),
            "schemas_hash": digest([self._schemas, self._written]),
            "backend": chosen.backend,
            "fractions": list(chosen.fractions),
            "question": chosen.question,
            "limits": asdict(chosen.limits),
            "max_tokens": chosen.max_tokens,
            "prompt": self._prompt.label,
            "prompt_hash": self._prompt.hash,
        }

    async def judge(self, item: Item, asker: Asker) -> Judged:
        """Asks for the rest of the query, runs what comes and compares the results."""
        data = item.data
        messages = self._prompt.messages(
            dialect=_NAMES[self._settings.backend],
            schema=self._schemas[data["database"]],
            question=data["question"] if self._settings.question else "",
            typed=data["typed"],
        )
        sampling = Sampling(temperature=0.0, max_tokens=self._settings.max_tokens)
        reply = await asker.ask(MODEL, messages, sampling, prompt=self._prompt.label)
        response = reply.completion.content
        made = completed(data["typed"], response)
        if made is None:
            score = Score(False, EMPTY, "The answer holds no query.")
        else:
            scorer = self._scorers[data["database"]]
            score = await asyncio.to_thread(scorer.score, data["golds"], made.query)
        verdict = {
            **asdict(score),
            "query": made.query if made else None,
            "suggestion": made.suggestion if made else None,
            "latency_s": reply.latency_s,
            "finish_reason": reply.completion.finish_reason,
        }
        return Judged(response, verdict)

    def score(self, results: Sequence[ItemResult]) -> Scores:
        """Pass@1, adoption and latency; see `evaluation.sql.figures`. `details.rows_as_of` is what
        the databases' rows took for today."""
        made = add_up(results, self.left_out)
        details = {**made.details, "rows_as_of": f"{self._now:%Y-%m-%d %H:%M:%S}"}
        return replace(made, details=details)

    def _opened(self, file: SqlFile, limits: Limits) -> Mapping[str, Box]:
        schemas = list(file.schemas.values())
        if self._settings.backend == "sqlite":
            folder = self._held.enter_context(tempfile.TemporaryDirectory(prefix="stillhouse-sql-"))
            return self._held.enter_context(sqlite_boxes(schemas, Path(folder), limits))
        if not self._settings.postgres_url:
            raise SqlBenchmarkError(
                "There is no PostgreSQL server to run on.",
                cause="The backend is postgresql, and `sql.postgres_url` is not set.",
                solution="Give the URL of a database whose role may create databases and roles.",
            )
        return self._held.enter_context(
            postgres_boxes(schemas, self._settings.postgres_url, limits)
        )
