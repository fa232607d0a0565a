"""Several people at one queue: what one decides, another does not decide over unawares."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import CorpusMaker
from sqlalchemy import select, text

from storage.corpus import review_t
from storage.database import Database
from storage.review import ReviewRefused, decide, text_hash
from storage.reviewing import (
    Choosing,
    ReviewCollision,
    Seen,
    decide_seen,
    next_held,
    queue_counts,
    undo,
    waiting_decision,
)


@pytest.fixture
def held(corpus: CorpusMaker) -> list[str]:
    """Four held samples, in the queue's order."""
    seed = corpus.seed()
    return sorted(
        corpus.sample(seed, variant=n, status="held", reason="human_review") for n in range(4)
    )


def seen(database: Database, sample: str) -> Seen:
    """What a reviewer has before them now."""
    with database.read() as connection:
        row = connection.execute(
            text("SELECT instruction, reasoning, response FROM sample WHERE id = :id"),
            {"id": sample},
        ).one()
        waiting = waiting_decision(connection, sample)
    return Seen(text_hash(*row), waiting.id if waiting else None)


def decisions(database: Database) -> list[tuple[str, str]]:
    query = select(review_t.c.decision, review_t.c.reviewer).order_by(review_t.c.created_at)
    with database.read() as connection:
        return [(row.decision, row.reviewer) for row in connection.execute(query)]


def test_of_two_decisions_at_once_exactly_one_is_written(
    database: Database, held: list[str]
) -> None:
    before = seen(database, held[0])

    def attempt(name: str) -> bool:
        try:
            decide_seen(database, held[0], Choosing("accept", name), before)
        except ReviewCollision:
            return False
        return True

    with ThreadPoolExecutor(8) as people:
        outcomes = list(people.map(attempt, [f"person {n}" for n in range(8)]))
    assert sum(outcomes) == 1
    assert len(decisions(database)) == 1


def test_a_decision_that_was_seen_can_be_replaced(database: Database, held: list[str]) -> None:
    decide_seen(database, held[0], Choosing("accept", "Mori"), seen(database, held[0]))
    decide_seen(database, held[0], Choosing("reject", "Li", "No."), seen(database, held[0]))
    assert decisions(database) == [("accept", "Mori"), ("reject", "Li")]


def test_one_from_the_command_line_counts_as_somebody_elses(
    database: Database, held: list[str]
) -> None:
    before = seen(database, held[0])
    decide(database, held[0], "accept", "Mori", None)
    with pytest.raises(ReviewCollision, match="Somebody else") as refused:
        decide_seen(database, held[0], Choosing("accept", "Li"), before)
    assert "Mori says accept" in refused.value.cause


def test_words_that_changed_meanwhile_are_not_decided_on(
    database: Database, held: list[str], corpus: CorpusMaker
) -> None:
    before = seen(database, held[0])
    corpus.change("UPDATE sample SET response = 'other' WHERE id = :id", id=held[0])
    with pytest.raises(ReviewCollision, match="other words"):
        decide_seen(database, held[0], Choosing("accept", "Li"), before)
    corpus.change("UPDATE sample SET status = 'accepted' WHERE id = :id", id=held[0])
    with pytest.raises(ReviewCollision, match="held no longer"):
        decide_seen(database, held[0], Choosing("accept", "Li"), before)
    assert decisions(database) == []


@pytest.mark.parametrize("choosing", [
    Choosing("accept", " "), Choosing("reject", "Li"), Choosing("reject", "Li", "  "),
    Choosing("edit", "Li"), Choosing("accept", "Li", response="other"),
])  # fmt: skip
def test_an_incomplete_decision_is_refused(
    database: Database, held: list[str], choosing: Choosing
) -> None:
    with pytest.raises(ReviewRefused):
        decide_seen(database, held[0], choosing, seen(database, held[0]))
    assert decisions(database) == []


def test_the_queue_goes_round_and_leaves_out_what_is_decided(
    database: Database, held: list[str]
) -> None:
    decide_seen(database, held[2], Choosing("accept", "Mori"), seen(database, held[2]))
    with database.read() as connection:
        assert next_held(connection, "") == held[0]
        assert next_held(connection, held[1]) == held[3]
        assert next_held(connection, held[3]) == held[0]
        counts = queue_counts(connection)
    assert (counts.held, counts.decided) == (4, 1)


def test_undoing_takes_back_only_what_no_run_has_carried_out(
    database: Database, held: list[str], corpus: CorpusMaker
) -> None:
    written = decide_seen(database, held[0], Choosing("accept", "Mori"), seen(database, held[0]))
    assert undo(database, written) == held[0]
    assert decisions(database) == []
    with pytest.raises(ReviewRefused, match="cannot be undone"):
        undo(database, written)
    written = decide_seen(database, held[0], Choosing("accept", "Mori"), seen(database, held[0]))
    corpus.change("UPDATE review SET applied_at = created_at")
    with pytest.raises(ReviewRefused, match="cannot be undone"):
        undo(database, written)
    assert decisions(database) == [("accept", "Mori")]
