"""What an index on calls' times costs a run that writes to PostgreSQL, and what it spares a reader.

Makes a corpus by bulk SQL, then lets the run's own writer add calls, each with its completion, in
rounds that take turns with and without the index. A look is what the inspector asks for again and
again while a run goes on: the calls of the last seconds. Prints one JSON object: how much longer
writing took with the index (geometric mean over pairs of rounds, by the clock and by the database's
processor time), microseconds of that time a call, the index's size, and a look's milliseconds.

    python -m benchmarks.calls_by_time [--samples N] [--calls N] [--rounds N]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Index, text

from benchmarks.inspector_corpus import make_corpus
from benchmarks.inspector_pages import cpu_s, postmaster
from benchmarks.own_postgres import own_postgres
from common.hashing import digest
from storage.corpus import call_t
from storage.database import Database
from storage.tables import AgentCall, Completion
from storage.writer import Change, Writer

_INDEX = "ix_agent_call_created"
_PROSE = "The answer follows from what is given, step by step. " * 12


def main(samples: int, calls: int, rounds: int) -> dict[str, Any]:
    """All rounds; the first pair only warms up."""
    with own_postgres(shared_buffers="128MB") as url:
        make_corpus(url, samples)
        database = Database.open(url)
        index = next(index for index in call_t.indexes if index.name == _INDEX)
        with database.read() as connection:
            server = postmaster(connection)
        took: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
        looks: dict[bool, list[float]] = {True: [], False: []}
        for number in range(2 * (rounds + 1)):
            # With, without, without, with: a table that grows must not favour either.
            indexed = number % 4 in (0, 3)
            _set(database, index, indexed)
            began, before = time.perf_counter(), cpu_s(server)
            asyncio.run(_write(database, number, calls))
            written = time.perf_counter() - began, cpu_s(server) - before
            if number > 1:
                took[indexed].append(written)
                looks[indexed].append(_look_ms(database))
        _set(database, index, True)
        with database.read() as connection:
            mib = connection.execute(text(f"SELECT pg_relation_size('{_INDEX}')")).scalar_one()
            total = connection.execute(text("SELECT count(*) FROM agent_call")).scalar_one()
        database.close()
    pairs = list(zip(took[True], took[False], strict=True))
    return {
        "calls_in_corpus": total, "calls_a_round": calls, "rounds": rounds,
        "calls_per_s": round(calls / statistics.median(clock for clock, _ in took[True])),
        "clock_with_over_without": _mean([a[0] / b[0] for a, b in pairs]),
        "server_cpu_with_over_without": _mean([a[1] / b[1] for a, b in pairs]),
        "server_cpu_us_a_call": {
            name: round(1e6 * statistics.median(cpu for _, cpu in took[indexed]) / calls)
            for name, indexed in (("with", True), ("without", False))
        },
        "index_mib": round(mib / 2**20, 1),
        "look_ms": {"with": _median(looks[True]), "without": _median(looks[False])},
    }  # fmt: skip


def _set(database: Database, index: Index, wanted: bool) -> None:
    with database.write() as connection:
        index.drop(connection, checkfirst=True)
        if wanted:
            index.create(connection)
    engine = database.engine.execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("VACUUM ANALYZE agent_call"))


async def _write(database: Database, number: int, calls: int) -> None:
    """As a run writes: one unit for each answer, in the writer's batches."""
    query = text("SELECT run_id, seed_id, id FROM sample WHERE id >= :from ORDER BY id LIMIT :n")
    with database.read() as connection:
        drawn = {"from": digest(number), "n": calls}
        samples = connection.execute(query, drawn).all()
    async with Writer(database) as writer:
        for unit in _units(samples, number, calls):
            await writer.room()
            writer.submit(unit)
        await writer.flush()


def _units(samples: Sequence[Any], number: int, calls: int) -> Iterator[list[Change]]:
    for place in range(calls):
        run, seed, sample = samples[place % len(samples)]
        key, at = digest([number, place]), datetime.now(UTC)
        completion = {
            "key": key, "request": {"messages": [{"role": "user", "content": "Answer."}]},
            "content": _PROSE, "finish_reason": "stop", "model": "large-model",
            "prompt_tokens": 200, "completion_tokens": 120, "created_at": at,
        }  # fmt: skip
        call = {
            "id": digest(["call", key]), "run_id": run, "recipe": "large", "seed_id": seed,
            "sample_id": sample, "agent": "response", "prompt_name": "rewriting/respond",
            "prompt_version": "1", "prompt_hash": "9e" * 16, "teacher": "first",
            "model": "large-model", "endpoint": "http://127.0.0.1/v1", "request_key": key,
            "parameters": {"temperature": 0.7}, "prompt_tokens": 200, "completion_tokens": 120,
            "cost_usd": 0.0001, "charged_tokens": 320, "latency_s": 0.5, "created_at": at,
        }  # fmt: skip
        yield [Change("insert", Completion, completion), Change("insert", AgentCall, call)]


def _look_ms(database: Database) -> float:
    """What the inspector asks for when it looks for new calls, and there are none."""
    query = text(
        "SELECT count(*) FROM agent_call WHERE created_at >= :latest - interval '5 seconds'"
    )
    with database.read() as connection:
        began = time.perf_counter()
        connection.execute(query, {"latest": datetime.now(UTC) + timedelta(seconds=6)}).scalar_one()
        return 1000 * (time.perf_counter() - began)


def _mean(ratios: list[float]) -> float:
    return round(statistics.geometric_mean(ratios), 4)


def _median(values: list[float]) -> float:
    return round(statistics.median(values), 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=200_000)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=6)
    asked = parser.parse_args()
    print(json.dumps(main(asked.samples, asked.calls, asked.rounds)))
