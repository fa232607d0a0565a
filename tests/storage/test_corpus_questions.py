"""The questions a run asks its corpus: what is pending, decided, spent, known and stale."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import CorpusMaker
from sqlalchemy import text

from common.hashing import digest
from storage import corpus as questions
from storage import staleness
from storage.completions import CompletionShelf
from storage.database import Database
from storage.staleness import CurrentShapes
from storage.tables import AgentCall, Review, utcnow


def ask(database: Database, question: Any, *arguments: Any) -> Any:
    """The answer to a question of an open connection."""
    with database.write() as connection:
        return question(connection, *arguments)


def test_states_are_counted_for_one_recipe_and_for_all(
    database: Database, corpus: CorpusMaker
) -> None:
    corpus.sample(corpus.seed())
    corpus.sample(corpus.seed(status="pending", reason=None), status="held", reason="human_review")
    corpus.recipe = "other"
    corpus.sample(corpus.seed("Elsewhere."))
    assert ask(database, questions.status_counts) == {
        "seeds": {"done": 2, "pending": 1},
        "samples": {"accepted": 2, "held": 1},
    }
    assert ask(database, questions.status_counts, "other") == {
        "seeds": {"done": 1},
        "samples": {"accepted": 1},
    }


def test_reasons_are_counted_most_first(database: Database, corpus: CorpusMaker) -> None:
    for n in range(3):
        corpus.sample(corpus.seed(f"R{n}"), status="rejected", reason="low_score")
    corpus.sample(corpus.seed("A"))
    assert ask(database, questions.reason_counts) == [
        ("rejected", "low_score", 3),
        ("accepted", "verified", 1),
    ]


def test_what_was_spent_counts_calls_that_were_made_and_answered(
    database: Database, corpus: CorpusMaker
) -> None:
    seed = corpus.seed()
    corpus.call(seed, None, "expansion", "a", cost_usd=0.25)
    corpus.call(seed, None, "expansion", "b", cost_usd=0.5)
    corpus.call(seed, None, "expansion", "c", cached=True, cost_usd=0.0,
                prompt_tokens=None, completion_tokens=None)  # fmt: skip
    corpus.add(
        AgentCall, id="f" * 32, run_id=corpus.run, recipe="tests", seed_id=seed, agent="expansion",
        prompt_name="p", prompt_version="1", prompt_hash="ab" * 16, teacher="big", model="tiny",
        endpoint="e", request_key="0" * 32, error_type="server_error",
    )  # fmt: skip
    spent = ask(database, questions.spent, "tests")
    assert (spent["calls"], spent["prompt_tokens"], spent["completion_tokens"]) == (2, 20, 10)
    assert spent["usd"] == spent["known_usd"] == 0.75


def test_one_unknown_price_makes_the_whole_cost_unknown(
    database: Database, corpus: CorpusMaker
) -> None:
    seed = corpus.seed()
    corpus.call(seed, None, "expansion", "a", cost_usd=0.25)
    corpus.call(seed, None, "expansion", "b", cost_usd=None)
    spent = ask(database, questions.spent, "tests")
    assert (spent["usd"], spent["known_usd"], spent["unpriced_calls"]) == (None, 0.25, 1)


def test_nothing_spent_costs_nothing(database: Database, corpus: CorpusMaker) -> None:
    spent = ask(database, questions.spent, "tests")
    assert (spent["calls"], spent["usd"]) == (0, 0.0)


def test_pending_seeds_come_in_their_order_and_by_page(
    database: Database, corpus: CorpusMaker
) -> None:
    for n in range(6):
        corpus.seed(f"S{n}", status="done" if n == 2 else "pending", reason=None)
    first = ask(database, questions.pending_seeds, "tests", -1, 3)
    assert [row["ordinal"] for row in first] == [0, 1, 3]
    then = ask(database, questions.pending_seeds, "tests", first[-1]["ordinal"], 3)
    assert [row["ordinal"] for row in then] == [4, 5]
    assert ask(database, questions.pending_seeds, "another recipe", -1, 3) == []


def test_ordinals_go_on_where_they_ended(database: Database, corpus: CorpusMaker) -> None:
    assert ask(database, questions.next_ordinal, "tests") == 0
    corpus.seed()
    corpus.seed()
    assert ask(database, questions.next_ordinal, "tests") == 2
    assert ask(database, questions.next_ordinal, "another recipe") == 0


def test_known_seeds_are_told_from_new_ones(database: Database, corpus: CorpusMaker) -> None:
    seed = corpus.seed()
    assert ask(database, questions.existing_seeds, [seed, "0" * 32]) == {seed}


def review(corpus: CorpusMaker, sample: str, decision: str, **columns: Any) -> str:
    return corpus.add(
        Review, id=digest([sample, decision]), sample_id=sample, decision=decision, reviewer="Ada",
        **columns,
    )  # fmt: skip


def test_an_earlier_walk_is_told_with_its_gate_decisions_and_latest_review(
    database: Database, corpus: CorpusMaker
) -> None:
    seed = corpus.seed()
    sample = corpus.sample(seed, status="held", reason="human_review")
    corpus.verdict(sample, "duplicate", "gate", "pass", {"fingerprint": "12"})
    corpus.verdict(sample, "judge", "judge", "unscored")
    review(corpus, sample, "reject", created_at=utcnow().replace(year=2001))
    review(corpus, sample, "accept")
    (told,) = ask(database, questions.earlier_walk, [seed])
    assert (told["id"], told["seed_id"], told["status"]) == (sample, seed, "held")
    assert [d["name"] for d in told["decisions"]] == ["duplicate"]
    assert told["decisions"][0]["evidence"] == {"fingerprint": "12"}
    assert told["review"]["decision"] == "accept"


def test_a_seed_without_an_earlier_walk_has_none(database: Database, corpus: CorpusMaker) -> None:
    assert ask(database, questions.earlier_walk, [corpus.seed()]) == []


def test_fingerprints_are_known_once_the_gate_let_them_in(
    database: Database, corpus: CorpusMaker
) -> None:
    seed = corpus.seed()
    let_in = corpus.sample(seed, fingerprint="aa")
    refused = corpus.sample(seed, 1, fingerprint="bb", status="rejected", reason="duplicate")
    corpus.verdict(refused, "duplicate", "gate", "fail", {"of": let_in})
    with database.read() as connection:
        assert list(questions.known_fingerprints(connection, "tests")) == ["aa"]
    assert ask(database, questions.fingerprint_owner, "tests", "aa") == let_in
    assert ask(database, questions.fingerprint_owner, "tests", "bb") is None
    assert ask(database, questions.fingerprint_owner, "another recipe", "aa") is None


def test_places_under_a_quota_are_those_of_live_samples_and_of_pending_seeds_admitted_ones(
    database: Database, corpus: CorpusMaker
) -> None:
    ended = corpus.seed("Ended.")
    corpus.sample(ended)
    corpus.sample(ended, 1, status="rejected", reason="low_score")
    walking = corpus.seed("Walking.", status="pending", reason=None)
    admitted = corpus.sample(walking, status="pending", reason=None, category="code")
    corpus.verdict(admitted, "over_quota", "gate", "pass")
    corpus.sample(walking, 1, status="pending", reason=None, category="code")
    assert ask(database, questions.places_taken, "tests") == {"math": 1, "code": 1}


def test_seeds_whose_held_sample_was_decided_are_found_until_the_decision_is_carried_out(
    database: Database, corpus: CorpusMaker
) -> None:
    seed = corpus.seed()
    sample = corpus.sample(seed, status="held", reason="human_review")
    corpus.sample(corpus.seed("Undecided."), status="held", reason="human_review")
    assert ask(database, questions.reviewed_seeds, "tests") == []
    review(corpus, sample, "accept")
    assert ask(database, questions.reviewed_seeds, "tests") == [seed]
    corpus.change("UPDATE review SET applied_at = created_at")
    assert ask(database, questions.reviewed_seeds, "tests") == []


def test_the_shelf_knows_what_the_corpus_holds_and_reads_it(
    database: Database, corpus: CorpusMaker
) -> None:
    key = corpus.call(corpus.seed(), None, "expansion", "An answer. 答え。")
    shelf = CompletionShelf(database)
    assert shelf.may_hold(key)
    row = shelf.read(key)
    assert row is not None and row["content"] == "An answer. 答え。"
    assert row["request"]["messages"][0]["role"] == "user"


def test_the_shelf_says_no_to_what_the_corpus_does_not_hold(
    database: Database, corpus: CorpusMaker
) -> None:
    key = corpus.call(corpus.seed(), None, "expansion", "An answer.")
    shelf = CompletionShelf(database)
    assert not shelf.may_hold("0" * 32)
    coincidence = key[:16] + "0" * 16
    assert shelf.may_hold(coincidence) and shelf.read(coincidence) is None


def test_the_shelf_is_told_of_completions_that_are_on_their_way(
    database: Database, corpus: CorpusMaker
) -> None:
    shelf = CompletionShelf(database)
    shelf.added("a" * 32)
    assert shelf.may_hold("a" * 32)
    assert shelf.read("a" * 32) is None


LINEAGE = {"respond": "r#1#2", "select": "s#1#2", "verify": "v#1#2"}
CURRENT = {step: frozenset({shape}) for step, shape in LINEAGE.items()}


def stale(database: Database, **changed: str) -> list[staleness.StaleGroup]:
    shapes = CURRENT | {step: frozenset({shape}) for step, shape in changed.items()}
    groups: list[staleness.StaleGroup] = ask(
        database, staleness.stale_groups, "tests", CurrentShapes(shapes, ("respond", "verify"))
    )
    return groups


def test_nothing_is_stale_while_nothing_changed(database: Database, corpus: CorpusMaker) -> None:
    corpus.sample(corpus.seed(shaped_by={"respond": "r#1#2"}))
    assert stale(database) == []


def test_an_edited_prompt_makes_what_it_shaped_stale(
    database: Database, corpus: CorpusMaker
) -> None:
    seed = corpus.seed()
    corpus.sample(seed)
    corpus.sample(seed, 1, status="rejected", reason="truncated", shaped_by={"respond": "r#1#2"})
    (group,) = stale(database, select="s#9#2")
    assert (group.kind, group.step, group.was, group.now, group.count) == (
        "sample", "select", "s#1#2", "s#9#2", 1,
    )  # fmt: skip
    assert ask(database, staleness.stale_seed_ids, "tests", [group]) == {seed}


def test_a_step_that_is_new_in_the_recipe_makes_only_accepted_samples_stale(
    database: Database, corpus: CorpusMaker
) -> None:
    unverified = {"respond": "r#1#2", "select": "s#1#2"}
    accepted = corpus.seed("Accepted.")
    corpus.sample(accepted, reason="not_verified", shaped_by=unverified)
    rejected = corpus.seed("Rejected.")
    corpus.sample(rejected, status="rejected", reason="low_score", shaped_by=unverified)
    groups = stale(database)
    assert [(group.step, group.was, group.status) for group in groups] == [
        ("verify", "", "accepted")
    ]
    assert ask(database, staleness.stale_seed_ids, "tests", groups) == {accepted}


def test_superseded_samples_are_never_stale(database: Database, corpus: CorpusMaker) -> None:
    old = {"respond": "old#1#2"}
    corpus.sample(corpus.seed("A"), status="rejected", reason="superseded", shaped_by=old)
    assert stale(database) == []
    live = corpus.seed("B")
    corpus.sample(live, status="rejected", reason="low_score", shaped_by=old)
    assert ask(database, staleness.stale_seed_ids, "tests", stale(database)) == {live}


def test_seeds_are_stale_by_what_shaped_themselves(database: Database, corpus: CorpusMaker) -> None:
    seed = corpus.seed(shaped_by={"expand": "e#1#2"})
    corpus.seed("Pending.", shaped_by={"expand": "e#0#2"}, status="pending", reason=None)
    groups = stale(database, expand="e#2#2")
    assert [(group.kind, group.step, group.count) for group in groups] == [("seed", "expand", 1)]
    assert ask(database, staleness.stale_seed_ids, "tests", groups) == {seed}


def test_reopened_seeds_are_pending_without_a_reason(
    database: Database, corpus: CorpusMaker
) -> None:
    seeds = [corpus.seed(f"S{n}") for n in range(3)]
    assert ask(database, staleness.reopen, seeds[:2]) == 2
    with database.read() as connection:
        rows = connection.execute(text("SELECT status, reason FROM seed ORDER BY ordinal"))
        assert [tuple(row) for row in rows] == [
            ("pending", None), ("pending", None), ("done", "expanded"),
        ]  # fmt: skip


@pytest.mark.parametrize("reason", ["transport", "expansion_transport"])
def test_seeds_that_failed_in_passing_are_found(
    database: Database, corpus: CorpusMaker, reason: str
) -> None:
    found = corpus.seed("Failed.", status="failed", reason=reason)
    through = corpus.seed("A sample failed.")
    corpus.sample(through, status="failed", reason="transport")
    lasting = corpus.seed("Lasting.")
    corpus.sample(lasting, status="failed", reason="schema")
    seeds = ask(database, staleness.transiently_failed_seeds, "tests", ["transport"])
    assert sorted(seeds) == sorted([found, through])
