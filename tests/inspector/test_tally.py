"""The tally, which looks only at what is new, says what a recount of every row says."""

from __future__ import annotations

import random
import sqlite3
import uuid
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from conftest import CorpusMaker
from recount import agent_figures, pace, prompt_yields
from sqlalchemy import Text, cast, func, select

from common.hashing import digest
from inspector.tallied_calls import percentiles, rounded
from inspector.tally import Tally
from storage.corpus import sample_t
from storage.database import Database
from storage.summary import summarize
from storage.tables import AgentCall, Run, Sample, Seed, table_of

NOW = datetime(2031, 4, 5, 6, 7, 8, tzinfo=UTC)
RECIPES = ("first", "第二")


class Life:
    """Changes of a corpus as a run makes them, drawn at random; the clock only goes on."""

    def __init__(self, database: Database, seed: int) -> None:
        self.database = database
        self.random = random.Random(seed)
        self.now = NOW - timedelta(days=1)
        self.runs: list[tuple[str, str]] = []
        self.seeds: list[tuple[str, str]] = []
        self.samples: list[tuple[str, str, str]] = []
        with database.write() as self.connection:
            self.run()

    def step(self) -> None:
        """One transaction of several changes."""
        self.now += timedelta(seconds=self.random.choice((0.01, 0.4, 3, 40)))
        moves = (self.run, self.end, self.seed, self.seed_ends, *[self.sample] * 3,
                 *[self.sample_changes] * 4, *[self.call] * 8)  # fmt: skip
        with self.database.write() as self.connection:
            for _ in range(self.random.randint(1, 12)):
                self.random.choice(moves)()
                self.now += timedelta(milliseconds=1)

    def insert(self, model: type, /, **columns: Any) -> None:
        row = model(**columns)
        table = table_of(model)
        values = {column.name: getattr(row, column.name) for column in table.c}
        self.connection.execute(table.insert(), values)

    def update(self, model: type, id: str, /, **columns: Any) -> None:
        table = table_of(model)
        self.connection.execute(table.update().where(table.c.id == id), columns)

    def run(self) -> None:
        """One at a time writes, so the one before has ended."""
        if self.runs and self.random.random() < 0.7:
            return
        self.end()
        recipe = self.random.choice(RECIPES)
        self.runs.append((uuid.UUID(int=self.random.getrandbits(128)).hex, recipe))
        self.insert(Run, id=self.runs[-1][0], recipe=recipe, recipe_hash="0", recipe_text="name: x",
                    status="running", started_at=self.now)  # fmt: skip

    def end(self) -> None:
        if self.runs and self.random.random() < 0.3:
            ended = self.random.choice((None, self.now))
            self.update(Run, self.runs[-1][0], status="finished", ended_at=ended)

    def seed(self) -> None:
        recipe = self.runs[-1][1]
        id = digest(["seed", len(self.seeds)])
        self.seeds.append((id, recipe))
        self.insert(Seed, id=id, recipe=recipe, family_id=id, ordinal=len(self.seeds), source="s",
                    row=1, source_shape="plain", instruction="Say.", created_at=self.now,
                    updated_at=self.now)  # fmt: skip

    def seed_ends(self) -> None:
        if self.seeds:
            status, reason = self.random.choice(
                (("done", "expanded"), ("failed", "timed_out"), ("pending", None))
            )
            self.update(Seed, self.random.choice(self.seeds)[0], status=status, reason=reason,
                        updated_at=self.now)  # fmt: skip

    def sample(self) -> None:
        if not self.seeds:
            return
        seed, recipe = self.random.choice(self.seeds)
        id = digest(["sample", len(self.samples)])
        self.samples.append((id, seed, recipe))
        self.insert(Sample, id=id, recipe=recipe, seed_id=seed, family_id=seed,
                    run_id=self.runs[-1][0], origin="seed", instruction="Say.",
                    created_at=self.now, updated_at=self.now, **self.state())  # fmt: skip

    def sample_changes(self) -> None:
        if self.samples:
            id = self.random.choice(self.samples)[0]
            self.update(Sample, id, updated_at=self.now, **self.state())

    def state(self) -> dict[str, Any]:
        status, reason = self.random.choice((
            ("pending", None), ("accepted", "verified"), ("rejected", "low_score"),
            ("rejected", "superseded"), ("held", "human_review"), ("failed", "timed_out"),
        ))  # fmt: skip
        return {
            "status": status,
            "reason": reason,
            "category": self.random.choice((None, "math", "料理")),
            "language": self.random.choice((None, "ja")),
            "simulated": self.random.random() < 0.5,
            "score_total": self.random.choice((None, 0, 7, 27)),
            "shaped_by": self.random.choice((None, {}, {"respond": "a/b#1#2"})),
        }

    def call(self) -> None:
        if not self.seeds:
            return
        seed, recipe = self.random.choice(self.seeds)
        mine = [id for id, of, _ in self.samples if of == seed]
        error = self.random.choice((None, None, None, "server_error", "timed_out"))
        cached = error is None and self.random.random() < 0.3
        made = error is None and not cached
        self.insert(
            AgentCall, id=uuid.UUID(int=self.random.getrandbits(128)).hex, run_id=self.runs[-1][0],
            recipe=recipe, seed_id=seed, sample_id=self.random.choice([None, *mine, *mine]),
            agent=self.random.choice(("expansion", "response", "selection", "別")),
            prompt_name=self.random.choice(("a/b", "a/c")),
            prompt_version=self.random.choice(("1", "2")),
            prompt_hash=self.random.choice(("0" * 32, "1" * 32)),
            teacher=self.random.choice(("big", "small")), model=self.random.choice(("m", "n")),
            endpoint="http://127.0.0.1/v1", request_key="0", cached=cached, error_type=error,
            prompt_tokens=self.random.choice((None, 9)) if made else None,
            completion_tokens=self.random.choice((None, 4)) if made else None,
            cost_usd=self.random.choice((0.25, 0.5, None)) if made else None,
            latency_s=self.random.choice((None, 0.0, 0.125, 0.5, 2.5, 70.0)),
            created_at=self.now,
        )  # fmt: skip


def assert_equal_to_a_recount(tally: Tally, database: Database) -> None:
    """Compares everything that the tally says."""
    found = tally.recipes(NOW)
    with database.read() as connection:
        wanted = summarize(connection)
        assert list(found) == list(wanted)
        for name, figures in wanted.items():
            assert found[name].figures == figures
            assert found[name].agents == agent_figures(connection, name)
            expected = pace(connection, name, figures.run, NOW) if figures.run else None
            assert found[name].pace == expected
        by_text = {(one.name, one.hash): one for one in prompt_yields(connection)}
        assert {(one.name, one.hash): one for one in tally.prompts()} == by_text
        c = sample_t.c
        lineage = cast(c.shaped_by, Text)
        query = select(lineage, func.count()).group_by(lineage).where(
            c.shaped_by.is_not(None), func.coalesce(c.reason, "") != "superseded"
        )  # fmt: skip
        assert dict(tally.lineages()) == dict(connection.execute(query).all())


@pytest.mark.parametrize("drawn", range(2))
def test_after_every_change_it_equals_a_recount(database: Database, drawn: int) -> None:
    life, tally = Life(database, drawn), Tally(database)
    for _ in range(30):
        life.step()
        assert_equal_to_a_recount(tally, database)
    assert life.samples and len(life.runs) > 1
    assert_equal_to_a_recount(Tally(database), database)


def test_it_is_not_counted_anew_for_what_is_new(database: Database, corpus: CorpusMaker) -> None:
    seed = corpus.seed()
    corpus.sample(seed)
    tally = Tally(database)
    before = tally.recipes(NOW)["tests"].figures
    # Nobody changes a call: that it is not noticed shows that nothing is read twice.
    corpus.change("UPDATE agent_call SET prompt_tokens = 1000000")
    corpus.call(seed, None, "expansion", "more")
    after = tally.recipes(NOW)["tests"].figures
    assert after.total.calls_made == before.total.calls_made + 1
    assert after.total.prompt_tokens == before.total.prompt_tokens + 10


def test_it_is_counted_anew_when_a_run_has_ended(database: Database, corpus: CorpusMaker) -> None:
    corpus.sample(corpus.seed())
    tally = Tally(database)
    tally.recipes(NOW)
    # A clock that was put back by an hour.
    corpus.change(
        "UPDATE sample SET status = 'rejected', updated_at = '2001-01-01 00:00:00.000000'"
    )
    assert tally.recipes(NOW)["tests"].figures.samples["rejected"] == 0
    corpus.end_run()
    assert tally.recipes(NOW)["tests"].figures.samples["rejected"] == 1


def test_rows_that_were_numbered_anew_are_counted_anew(
    database: Database, corpus: CorpusMaker
) -> None:
    if not database.is_sqlite:
        pytest.skip("only SQLite numbers rows")
    seed = corpus.seed()
    for n in range(5):
        corpus.call(seed, None, "expansion", str(n))
    tally = Tally(database)
    tally.recipes(NOW)
    with closing(sqlite3.connect(str(database.url.database))) as file:
        # What VACUUM may do; this version of SQLite does not.
        file.execute("DELETE FROM agent_call WHERE rowid < 4")
        file.execute("UPDATE agent_call SET rowid = rowid - 3")
        file.commit()
    corpus.call(seed, None, "expansion", "after")
    assert_equal_to_a_recount(tally, database)


def test_figures_by_agent_and_by_prompt(database: Database, corpus: CorpusMaker) -> None:
    seed = corpus.seed()
    sample = corpus.sample(seed)
    rejected = corpus.sample(seed, variant=1, status="rejected", reason="low_score")
    for n in range(10):
        corpus.call(seed, rejected, "response", f"again {n}", latency_s=float(n + 1))
    corpus.call(seed, sample, "response", "failed", error_type="server_error")
    corpus.change("UPDATE sample SET score_total = 16 WHERE id = :id", id=sample)
    tally = Tally(database)
    found = {figures.agent: figures for figures in tally.recipes(NOW)["tests"].agents}
    yields = {found.name: found for found in tally.prompts()}
    response = found["response"]
    assert (response.made, response.failed, response.samples, response.accepted) == (12, 1, 2, 1)
    # Twelve latencies: 0.5 twice, then 1 to 10; nearest rank 6 and 12.
    assert (response.p50_s, response.p95_s) == (4.0, 10.0)
    assert yields["response/prompt"].samples == 2
    assert yields["response/prompt"].mean_score == 16
    assert yields["selection/prompt"].accepted == 1


def test_latencies_are_ranked_as_they_are_shown() -> None:
    latencies = [0.0004, 0.1234, 0.9994, 1.004, 1.006, 12.344]
    found = percentiles(Counter(map(rounded, latencies)), (50, 95, 1))
    assert found == {1: 0.0, 50: 0.999, 95: 12.34}
    assert percentiles(Counter(), (50,)) == {}
