"""Reviews: the queue of held samples, decisions about them, also while a run writes."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest
from conftest import CorpusMaker
from sqlalchemy import text

from storage.corpus import reviewed_seeds
from storage.database import Database
from storage.errors import NotFound
from storage.review import HeldSample, ReviewRefused, decide, held_samples, text_hash
from storage.tables import Prompt, utcnow
from storage.writer import Change, Writer


def hold(corpus: CorpusMaker, seed: str, variant: int = 0, **columns: Any) -> str:
    given = {"status": "held", "reason": "human_review"}
    return corpus.sample(seed, variant, **(given | columns))


def queue(database: Database) -> list[HeldSample]:
    with database.read() as connection:
        return list(held_samples(connection))


def reviews(database: Database) -> list[Any]:
    with database.read() as connection:
        rows = connection.execute(text("SELECT * FROM review ORDER BY created_at")).mappings()
        return list(rows)


def test_only_held_samples_are_in_the_queue_in_the_order_of_their_seeds(
    database: Database, corpus: CorpusMaker
) -> None:
    seeds = [corpus.seed(f"S{n}") for n in range(3)]
    held = {n: hold(corpus, seeds[n]) for n in (2, 0, 1)}
    corpus.sample(seeds[0], 1)
    corpus.sample(seeds[1], 1, status="rejected", reason="low_score")
    assert [sample.id for sample in queue(database)] == [held[n] for n in range(3)]


def test_a_long_queue_is_read_page_by_page_without_losing_any(
    database: Database, corpus: CorpusMaker
) -> None:
    seed = corpus.seed()
    held = [hold(corpus, seed, variant, response=None) for variant in range(230)]
    assert [sample.id for sample in queue(database)] == held


def test_the_queue_shows_what_a_reviewer_needs(database: Database, corpus: CorpusMaker) -> None:
    sample = hold(corpus, corpus.seed(reference="5"), reasoning="Two and three.", input="2, 3")
    corpus.verdict(sample, "duplicate", "gate", "pass", {"fingerprint": "1"})
    corpus.verdict(sample, "judge", "judge", "unscored", {"problem": "no JSON"})
    (shown,) = queue(database)
    assert (shown.reference, shown.reasoning, shown.input) == ("5", "Two and three.", "2, 3")
    assert shown.evidence == (("judge", "unscored", "problem: no JSON"),)
    assert shown.decision is None


@pytest.mark.parametrize("decision", ["accept", "reject", " Accept "])
def test_a_decision_is_written_with_who_why_and_about_which_words(
    database: Database, corpus: CorpusMaker, decision: str
) -> None:
    sample = hold(corpus, corpus.seed(), instruction="Add.", response="5")
    decided = decide(database, sample[:10], decision, " Ada ", "Checked by hand.")
    (row,) = reviews(database)
    assert row["decision"] == decided.decision == decision.strip().lower()
    assert (row["sample_id"], row["reviewer"], row["note"]) == (sample, "Ada", "Checked by hand.")
    assert row["text_hash"] == text_hash("Add.", None, "5")
    assert row["applied_at"] is None
    with database.read() as connection:
        assert connection.execute(text("SELECT status FROM sample")).scalar_one() == "held"


def test_a_decision_waits_for_the_next_run(database: Database, corpus: CorpusMaker) -> None:
    seed = corpus.seed()
    decide(database, hold(corpus, seed), "accept", "Ada", None)
    with database.read() as connection:
        assert reviewed_seeds(connection, "tests") == [seed]
    (shown,) = queue(database)
    assert (shown.decision, shown.reviewer) == ("accept", "Ada")


def test_a_later_decision_takes_the_place_of_an_earlier_one(
    database: Database, corpus: CorpusMaker
) -> None:
    sample = hold(corpus, corpus.seed())
    assert decide(database, sample, "accept", "Ada", None).replaced is None
    assert decide(database, sample, "reject", "Bo", "On second thoughts.").replaced == "accept"
    (shown,) = queue(database)
    assert (shown.decision, shown.reviewer) == ("reject", "Bo")
    assert len(reviews(database)) == 2


@pytest.mark.parametrize(
    ("status", "reason"),
    [("accepted", "verified"), ("rejected", "low_score"), ("failed", "transport"),
     ("pending", None)],
)  # fmt: skip
def test_a_sample_that_is_not_held_is_not_decided(
    database: Database, corpus: CorpusMaker, status: str, reason: str | None
) -> None:
    sample = corpus.sample(corpus.seed(), status=status, reason=reason)
    with pytest.raises(ReviewRefused, match="no held sample") as refused:
        decide(database, sample, "accept", "Ada", None)
    assert f"It is {status}" in refused.value.cause
    assert reviews(database) == []


def test_a_seed_is_not_decided(database: Database, corpus: CorpusMaker) -> None:
    with pytest.raises(ReviewRefused, match="no held sample") as refused:
        decide(database, corpus.seed(), "accept", "Ada", None)
    assert "It is a seed" in refused.value.cause


def test_an_unknown_sample_is_not_found(database: Database, corpus: CorpusMaker) -> None:
    with pytest.raises(NotFound):
        decide(database, "0123", "accept", "Ada", None)


@pytest.mark.parametrize("decision", ["maybe", "", "edit"])
def test_only_accept_and_reject_are_decisions(
    database: Database, corpus: CorpusMaker, decision: str
) -> None:
    sample = hold(corpus, corpus.seed())
    with pytest.raises(ReviewRefused, match="is no decision"):
        decide(database, sample, decision, "Ada", None)
    assert reviews(database) == []


@pytest.mark.parametrize("reviewer", [None, "", "  "])
def test_a_decision_needs_a_name(
    database: Database, corpus: CorpusMaker, reviewer: str | None
) -> None:
    sample = hold(corpus, corpus.seed())
    with pytest.raises(ReviewRefused, match="needs a name"):
        decide(database, sample, "accept", reviewer, None)


async def test_decisions_are_taken_while_a_run_writes(
    database: Database, corpus: CorpusMaker
) -> None:
    seed = corpus.seed()
    held = [hold(corpus, seed, variant) for variant in range(10)]
    numbers = itertools.count()
    stop = asyncio.Event()

    async def run() -> int:
        written = 0
        async with Writer(database) as writer:
            while not stop.is_set():
                row = {"hash": f"{next(numbers):032x}", "name": "p", "version": "1", "text": "t"}
                writer.submit([Change("insert", Prompt, row | {"first_used_at": utcnow()})])
                written += 1
                await writer.room()
                await asyncio.sleep(0.001)
        return written

    with database.run_lock():
        running = asyncio.create_task(run())
        for sample in held:
            await asyncio.to_thread(decide, database, sample, "accept", "Ada", None)
        stop.set()
        written = await running
    assert len(reviews(database)) == 10
    with database.read() as connection:
        prompts = connection.execute(text("SELECT count(*) FROM prompt")).scalar_one()
    assert prompts == written + 1


def test_a_decision_waits_for_another_writer_instead_of_failing(tmp_path: Path) -> None:
    path = str(tmp_path / "corpus.db")
    database, second = Database.open(path, create=True), Database.open(path)
    corpus = CorpusMaker(database)
    sample = hold(corpus, corpus.seed())

    async def both() -> None:
        with second.write() as connection:
            connection.execute(text("UPDATE run SET reason = 'busy'"))
            deciding = asyncio.create_task(
                asyncio.to_thread(decide, database, sample, "accept", "Ada", None)
            )
            await asyncio.sleep(0.2)
            assert not deciding.done()
        await deciding

    asyncio.run(both())
    assert len(reviews(database)) == 1
    database.close()
    second.close()
