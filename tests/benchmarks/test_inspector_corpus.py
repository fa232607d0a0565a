"""The corpus of the inspector's benchmark: whole, indexed, made once, in the shares it promises."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import inspect, text
from sqlmodel import SQLModel

from benchmarks.inspector_corpus import RESPONSE_PROMPT, make_corpus
from graph.changes import read_resolved
from inspector.tally import Tally
from storage.database import Database
from storage.sample_filters import SampleFilter
from storage.sample_list import list_samples

SAMPLES = 4000


def test_a_corpus_is_made_once_and_used_again(database_url: str) -> None:
    assert make_corpus(database_url, SAMPLES)
    assert not make_corpus(database_url, SAMPLES)
    with pytest.raises(ValueError, match="something else than 5"):
        make_corpus(database_url, 5)


def test_every_index_is_there_and_every_row_leads_somewhere(database_url: str) -> None:
    database = Database.open(database_url, create=True)
    before = indexes(database)
    database.close()
    make_corpus(database_url, SAMPLES)
    database = Database.open(database_url)
    assert indexes(database) == before
    with database.read() as connection:
        lost = "SELECT count(*) FROM agent_call LEFT JOIN {} ON {} WHERE {} IS NULL"
        for table, key in (("seed", "seed_id"), ("run", "run_id"), ("prompt", "prompt_hash")):
            column = "hash" if table == "prompt" else "id"
            query = lost.format(table, f"{table}.{column} = agent_call.{key}", f"{table}.{column}")
            assert connection.execute(text(query)).scalar_one() == 0
        response = "SELECT count(*) FROM agent_call JOIN completion ON key = request_key"
        assert connection.execute(text(response)).scalar_one() >= SAMPLES
    database.close()


def indexes(database: Database) -> set[tuple[str, str | None]]:
    inspector = inspect(database.engine)
    return {(table.name, index["name"]) for table in SQLModel.metadata.sorted_tables
            for index in inspector.get_indexes(table.name)}  # fmt: skip


def test_its_figures_are_those_of_a_run(database_url: str) -> None:
    make_corpus(database_url, SAMPLES)
    database = Database.open(database_url)
    tally = Tally(database).recipes(datetime.now(UTC))["large"]
    figures = tally.figures
    assert figures.samples == {
        "pending": 0, "accepted": SAMPLES - 40 - 2 - 320, "rejected": 320, "held": 40, "failed": 2,
    }  # fmt: skip
    assert figures.total.calls_made == 4 * SAMPLES + SAMPLES // 4
    assert figures.total.attempts_failed == {"server_error": SAMPLES // 20}
    assert figures.run and read_resolved(figures.run.recipe_text)
    assert tally.pace and 1 < len(tally.pace.buckets) <= 60
    with database.read() as connection:
        page = list_samples(connection, SampleFilter(prompt_hash=RESPONSE_PROMPT), walk_s=60)
        assert len(page.rows) == 50
        rare = list_samples(connection, SampleFilter(words="lighthouse"), walk_s=60)
        assert len(rare.rows) == SAMPLES // 1000
    database.close()
