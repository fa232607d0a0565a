"""Stories: an identifier's first characters lead to everything the corpus knows of a seed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest
from conftest import CorpusMaker
from sqlalchemy import event

from common.hashing import digest
from storage.database import Database
from storage.errors import NotFound
from storage.stories import Story
from storage.tables import AgentCall, Review, utcnow
from storage.trace import resolve, story


def tell(database: Database, identifier: str) -> Story:
    with database.read() as connection:
        return story(connection, *resolve(connection, identifier))


def found(database: Database, prefix: str) -> tuple[str, str]:
    with database.read() as connection:
        return resolve(connection, prefix)


def test_a_whole_identifier_is_found(database: Database, corpus: CorpusMaker) -> None:
    seed = corpus.seed()
    sample = corpus.sample(seed)
    assert found(database, seed) == ("seed", seed)
    assert found(database, sample) == ("sample", sample)


def test_the_first_characters_are_enough_in_either_case(
    database: Database, corpus: CorpusMaker
) -> None:
    sample = corpus.sample(corpus.seed())
    assert found(database, sample[:10]) == ("sample", sample)
    assert found(database, f" {sample[:10].upper()} ") == ("sample", sample)


def test_characters_that_mean_several_are_refused_with_the_candidates(
    database: Database, corpus: CorpusMaker
) -> None:
    seeds = [corpus.seed(id=f"abc{n:x}" + "0" * 28) for n in range(12)]
    with pytest.raises(NotFound, match="more than one") as refused:
        found(database, "abc")
    assert seeds[0] in refused.value.cause and "…" in refused.value.cause
    assert found(database, "abc3") == ("seed", seeds[3])


def test_a_seed_and_a_sample_with_the_same_beginning_are_both_named(
    database: Database, corpus: CorpusMaker
) -> None:
    seed = corpus.seed(id="ff" * 16)
    corpus.sample(seed, id="ff" * 15 + "00", response=None, status="failed", reason="transport")
    with pytest.raises(NotFound, match="more than one") as refused:
        found(database, "ffff")
    assert "seed ff" in refused.value.cause and "sample ff" in refused.value.cause


@pytest.mark.parametrize("prefix", ["0123", "f" * 32])
def test_an_unknown_identifier_is_not_found(
    database: Database, corpus: CorpusMaker, prefix: str
) -> None:
    corpus.seed(id="e" * 32)
    with pytest.raises(NotFound, match="No seed or sample"):
        found(database, prefix)


@pytest.mark.parametrize("prefix", ["", "  ", "quickstart", "%", "0" * 33, "a' OR 1=1"])
def test_what_is_no_identifier_is_refused(database: Database, prefix: str) -> None:
    with pytest.raises(NotFound, match="is not an identifier"):
        found(database, prefix)


def test_a_story_of_a_row_that_is_gone_is_not_found(database: Database) -> None:
    for kind in ("seed", "sample"):
        with database.read() as connection, pytest.raises(NotFound, match="There is no"):
            story(connection, kind, "0" * 32)  # type: ignore[arg-type]


def test_a_sample_tells_question_answer_prompt_teacher_and_cost_of_every_call(
    database: Database, corpus: CorpusMaker
) -> None:
    sample = corpus.sample(corpus.seed(), response="It is 5. 答えは五。")
    told = tell(database, sample).sample
    assert told is not None and told.response == "It is 5. 答えは五。"
    call = told.calls[0]
    assert call.agent == "response" and call.prompt == "response/prompt@1(abababab)"
    assert call.question is not None and call.question[0].role == "user"
    assert call.answer is not None and call.answer.content == "It is 5. 答えは五。"
    assert not call.answer.simulated and not call.answer.logprobs
    assert (call.teacher, call.model, call.finish_reason) == ("big", "tiny", "stop")
    assert (call.cost_usd, call.latency_s, call.parameters) == (0.001, 0.5, {"temperature": 0.7})


def test_a_sample_tells_its_score_verdicts_and_reviews_in_their_order(
    database: Database, corpus: CorpusMaker
) -> None:
    sample = corpus.sample(corpus.seed(), reason="accepted_by_human")
    corpus.verdict(sample, "human", "human", "pass", {"reviewer": "Ada"})
    for n, decision in enumerate(("reject", "accept")):
        corpus.add(Review, id=digest(n), sample_id=sample, decision=decision, reviewer="Ada",
                   created_at=utcnow() + timedelta(seconds=n))  # fmt: skip
    told = tell(database, sample).sample
    assert told is not None and told.score is not None
    assert (told.score.informativeness, told.score.helpfulness) == (5, 7)
    assert [verdict.name for verdict in told.verdicts] == ["duplicate", "judge", "human"]
    assert told.verdicts[1].evidence["evidence"] == "2 + 3 = 5."
    assert [review.decision for review in told.reviews] == ["reject", "accept"]


def test_a_failed_attempt_is_told_with_its_error_and_the_question_that_was_answered_later(
    database: Database, corpus: CorpusMaker
) -> None:
    seed = corpus.seed()
    sample = corpus.sample(seed)
    answered = tell(database, sample).samples[0].calls[0]
    given = {
        "run_id": corpus.run, "recipe": "tests", "seed_id": seed, "sample_id": sample,
        "agent": "response", "prompt_name": "p", "prompt_version": "1", "prompt_hash": "ab" * 16,
        "teacher": "big", "model": "tiny", "endpoint": "e", "error_type": "server_error",
        "error_detail": "The server said 500.",
        "created_at": answered.created_at.replace(year=2001),
    }  # fmt: skip
    corpus.add(AgentCall, id="1" * 32, request_key=answered.request_key, **given)
    corpus.add(AgentCall, id="2" * 32, request_key="0" * 32, attempt=2, **given)
    first, second, *_ = tell(database, sample).samples[0].calls
    assert (first.error_type, first.error_detail) == ("server_error", "The server said 500.")
    assert first.answer is None and first.question == answered.question
    assert second.answer is None and second.question is None


def test_calls_are_told_in_the_order_in_which_they_were_made(
    database: Database, corpus: CorpusMaker
) -> None:
    seed = corpus.seed()
    now = utcnow()
    for n in (3, 1, 2):
        corpus.call(seed, None, "expansion", str(n), created_at=now + timedelta(seconds=n))
    assert [call.answer and call.answer.content for call in tell(database, seed).seed.calls] == [
        "1", "2", "3",
    ]  # fmt: skip


def test_a_seed_tells_its_own_calls_and_the_tree_of_its_samples(
    database: Database, corpus: CorpusMaker
) -> None:
    seed = corpus.seed(meta={"difficulty": "easy"}, reference="5")
    corpus.call(seed, None, "expansion", "Variants.")
    first = corpus.sample(seed, 0, 0, "6", status="rejected", reason="verification_failed")
    second = corpus.sample(seed, 0, 1, "5", parent_id=first, origin="revision")
    variant = corpus.sample(seed, 1)
    corpus.sample(corpus.seed("Another."))
    told = tell(database, seed)
    assert (told.kind, told.id, told.sample) == ("seed", seed, None)
    assert told.seed.meta == {"difficulty": "easy"} and told.seed.reference == "5"
    assert [call.agent for call in told.seed.calls] == ["expansion"]
    assert [sample.id for sample in told.samples] == [first, second, variant]
    assert [sample.id for sample in told.children_of(None)] == [first, variant]
    assert [sample.id for sample in told.children_of(first)] == [second]


def test_a_later_round_tells_the_rounds_that_led_to_it(
    database: Database, corpus: CorpusMaker
) -> None:
    seed = corpus.seed()
    first = corpus.sample(seed, 0, 0, "6", status="rejected", reason="verification_failed")
    second = corpus.sample(seed, 0, 1, "5", parent_id=first)
    corpus.sample(seed, 1)
    assert [sample.id for sample in tell(database, second).lineage()] == [first, second]
    assert [sample.id for sample in tell(database, first).lineage()] == [first]


def test_spending_counts_what_was_made_and_not_what_was_cached_or_failed(
    database: Database, corpus: CorpusMaker
) -> None:
    seed = corpus.seed()
    corpus.call(seed, None, "expansion", "made", cost_usd=0.5)
    corpus.call(seed, None, "expansion", "cached", cached=True, cost_usd=0.0)
    spending = tell(database, seed).spending
    assert (spending.calls_made, spending.calls_cached, spending.attempts_failed) == (1, 1, 0)
    assert (spending.prompt_tokens, spending.completion_tokens, spending.cost_usd) == (10, 5, 0.5)
    corpus.call(seed, None, "expansion", "unpriced", cost_usd=None)
    assert tell(database, seed).spending.cost_usd is None


def test_a_seed_that_nothing_happened_to_has_a_story_too(
    database: Database, corpus: CorpusMaker
) -> None:
    told = tell(database, corpus.seed(status="pending", reason=None))
    assert told.samples == () and told.seed.calls == ()
    assert told.spending.cost_usd == 0 and told.seed.shaped_by == {}


def test_a_story_is_one_json_object_with_times_in_utc(
    database: Database, corpus: CorpusMaker
) -> None:
    before = utcnow()
    sample = corpus.sample(corpus.seed())
    told: dict[str, Any] = orjson.loads(orjson.dumps(tell(database, sample).as_dict()))
    assert told["samples"][0]["calls"][0]["answer"]["content"] == "5"
    assert told["samples"][0]["created_at"].endswith("+00:00")
    created = tell(database, sample).samples[0].created_at
    assert before <= created <= utcnow()


def test_a_story_reads_no_table_from_end_to_end(tmp_path: Any) -> None:
    database = Database.open(str(tmp_path / "corpus.db"), create=True)
    corpus = CorpusMaker(database)
    sample = corpus.sample(corpus.seed())
    asked: list[tuple[str, Any]] = []

    @event.listens_for(database.engine, "before_cursor_execute")
    def _note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.lstrip().upper().startswith("SELECT"):
            asked.append((statement, parameters))

    tell(database, sample[:12])
    assert len(asked) >= 8
    with database.engine.connect() as connection:
        for statement, parameters in list(asked):
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            steps = [row[3] for row in plan]
            assert not [step for step in steps if step.startswith("SCAN")], statement
    database.close()
