"""The doctor: green on a sound corpus in every state it can be in, red on every kind of damage."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from conftest import CorpusMaker
from sqlalchemy import text

from common.hashing import digest
from storage.database import Database
from storage.doctor import EXAMPLES, CheckResult, examine
from storage.tables import (
    AgentCall,
    Completion,
    Evaluation,
    EvaluationCall,
    EvaluationItem,
    Prompt,
    Run,
    utcnow,
)


@pytest.fixture
def sound(corpus: CorpusMaker) -> SimpleNamespace:
    """A corpus with every end that a walk can have; its rows by what they are."""
    seed = corpus.seed()
    sent_back = corpus.sample(seed, 0, 0, "6", status="rejected", reason="verification_failed")
    corpus.verdict(sent_back, "judge", "judge", "fail", {"evidence": "2 + 3 is not 6."})
    corrected = corpus.sample(seed, 0, 1, "5", parent_id=sent_back, origin="revision")
    variant = corpus.sample(seed, 1)
    duplicate = corpus.sample(seed, 2, response=None, status="rejected", reason="duplicate")
    corpus.verdict(duplicate, "duplicate", "gate", "fail", {"fingerprint": "1", "of": variant})
    held = corpus.sample(seed, 3, status="held", reason="human_review")
    approved = corpus.sample(seed, 4, reason="accepted_by_human")
    corpus.verdict(approved, "human", "human", "pass", {"reviewer": "Ada"})
    corpus.sample(seed, 5, response=None, status="failed", reason="server_error")
    corpus.sample(seed, 6, status="rejected", reason="superseded")
    simulated = corpus.sample(seed, 7, simulated=True)
    lenient = corpus.sample(seed, 8, reason="unverified")
    corpus.change("UPDATE verdict SET label = 'unscored' WHERE sample_id = :id AND name = 'judge'",
                  id=lenient)  # fmt: skip
    unchecked = corpus.sample(seed, 9, reason="not_verified", shaped_by={"respond": "r#1#2"})
    corpus.change("DELETE FROM verdict WHERE sample_id = :id AND kind = 'judge'", id=unchecked)
    corpus.change(
        "UPDATE score SET label = 'unscored', informativeness = NULL, helpfulness = NULL, "
        "generalisation = NULL WHERE sample_id = :id", id=unchecked,
    )  # fmt: skip
    corpus.change("UPDATE sample SET score_total = NULL WHERE id = :id", id=unchecked)
    corpus.seed("Unanswerable.", status="failed", reason="expansion_schema")
    walking = corpus.seed("Not yet.", status="pending", reason=None)
    pending = corpus.sample(walking, response=None, status="pending", reason=None)
    failed_attempt = corpus.add(
        AgentCall, id=digest("attempt"), run_id=corpus.run, recipe="tests", seed_id=walking,
        sample_id=pending, agent="response", prompt_name="p", prompt_version="1",
        prompt_hash="ab" * 16, teacher="big", model="tiny", endpoint="e", request_key="0" * 32,
        error_type="server_error", error_detail="500", latency_s=0.1,
    )  # fmt: skip
    evaluation = corpus.add(
        Evaluation, id=digest("evaluation"), benchmark="ifeval", model="small", endpoint="e",
        served="small", settings={}, status="finished", metrics={"prompt_strict": 50.0},
    )  # fmt: skip
    for item, column in (
        ("judged", {"status": "done", "verdict": {"strict": [True]}}),
        ("unanswered", {"status": "failed", "reason": "timed_out"}),
    ):
        corpus.add(EvaluationItem, evaluation_id=evaluation, item=item, ordinal=0, prompt="Say it.",
                   **column)  # fmt: skip
    answer = digest("an answer to an evaluation")
    corpus.add(Completion, key=answer, request={"messages": []}, content="It.")
    evaluation_call = corpus.add(
        EvaluationCall, id=digest("call"), evaluation_id=evaluation, item="judged", role="model",
        teacher="small", model="small", endpoint="e", request_key=answer,
    )  # fmt: skip
    corpus.end_run()
    return SimpleNamespace(
        seed=seed, walking=walking, sent_back=sent_back, corrected=corrected, variant=variant,
        duplicate=duplicate, held=held, approved=approved, simulated=simulated, pending=pending,
        lenient=lenient, unchecked=unchecked, failed_attempt=failed_attempt, run=corpus.run,
        evaluation=evaluation,
        judged=f"{evaluation} judged", unanswered=f"{evaluation} unanswered", answer=answer,
        evaluation_call=evaluation_call,
        no_owner='{"of":null}', lost_owner='{"of":"nobody"}',
    )  # fmt: skip


def broken(database: Database) -> dict[str, CheckResult]:
    return {check.name: check for check in examine(database).checks if not check.ok}


def test_a_sound_corpus_is_green_in_every_state(database: Database, sound: SimpleNamespace) -> None:
    report = examine(database)
    assert broken(database) == {} and report.ok
    assert report.seeds == {"done": 1, "failed": 1, "pending": 1}
    assert sum(report.samples.values()) == 12


def test_an_empty_corpus_is_sound(database: Database) -> None:
    report = examine(database)
    assert report.ok and report.calls == 0 and report.notes == ()


SAMPLE = "UPDATE sample SET {} WHERE id = :{}"
DAMAGE = [
    ("seed_states", "UPDATE seed SET status = 'lost' WHERE id = :seed", "seed"),
    ("sample_states", SAMPLE.format("status = 'lost'", "held"), "held"),
    ("parts_add_up", SAMPLE.format("status = 'lost'", "held"), "samples of tests"),
    ("end_reasons", "UPDATE seed SET reason = NULL WHERE id = :seed", "seed"),
    ("end_reasons", SAMPLE.format("reason = ' '", "variant"), "variant"),
    ("seeds_settled", SAMPLE.format("status = 'pending'", "held"), "held"),
    ("accepted_responses", SAMPLE.format("response = NULL", "variant"), "variant"),
    ("accepted_responses", SAMPLE.format("response = '\n '", "variant"), "variant"),
    (
        "accepted_calls",
        "DELETE FROM agent_call WHERE sample_id = :variant AND agent = 'response'",
        "variant",
    ),
    (
        "accepted_calls",
        "UPDATE agent_call SET error_type = 'transport' WHERE sample_id = :variant "
        "AND agent = 'response'",
        "variant",
    ),
    ("accepted_verdicts", "DELETE FROM verdict WHERE sample_id = :variant AND kind = 'judge'",
     "variant"),
    ("accepted_verdicts", "UPDATE verdict SET label = 'fail' WHERE sample_id = :corrected "
     "AND kind = 'judge'", "corrected"),
    ("accepted_verdicts", "DELETE FROM verdict WHERE sample_id = :approved AND kind = 'human'",
     "approved"),
    ("accepted_verdicts", "DELETE FROM verdict WHERE sample_id = :lenient AND kind = 'judge'",
     "lenient"),
    ("one_round_accepted", SAMPLE.format("status = 'accepted'", "sent_back"), None),
    ("answers_kept", "DELETE FROM completion WHERE key = (SELECT request_key FROM agent_call "
     "WHERE sample_id = :variant AND agent = 'response')", None),
    ("prompts_kept", "DELETE FROM prompt", None),
    ("completion_keys", "UPDATE completion SET key = 'short' WHERE key = (SELECT request_key FROM "
     "agent_call WHERE sample_id = :variant AND agent = 'response')", "short"),
    ("completion_keys", "UPDATE completion SET key = upper(key) WHERE key = (SELECT request_key "
     "FROM agent_call WHERE sample_id = :variant AND agent = 'response')", None),
    ("parents_exist", SAMPLE.format("parent_id = 'nobody'", "corrected"), "corrected"),
    ("rounds", SAMPLE.format("round = 3", "corrected"), "corrected"),
    ("rounds", SAMPLE.format("parent_id = NULL", "corrected"), "corrected"),
    ("families", SAMPLE.format("family_id = 'another'", "variant"), "variant"),
    ("families", SAMPLE.format("recipe = 'another'", "variant"), "variant"),
    ("families", SAMPLE.format("variant = 1", "sent_back"), "corrected"),
    ("duplicates", "UPDATE sample SET fingerprint = 'same' WHERE id IN (:variant, :approved)",
     None),
    ("duplicate_evidence", "UPDATE verdict SET evidence = :no_owner "
     "WHERE sample_id = :duplicate", "duplicate"),
    ("duplicate_evidence", "UPDATE verdict SET evidence = :lost_owner "
     "WHERE sample_id = :duplicate", "duplicate"),
    ("scores", "UPDATE score SET helpfulness = 10 WHERE sample_id = :variant", "variant"),
    ("scores", "UPDATE score SET helpfulness = -1 WHERE sample_id = :variant", "variant"),
    ("scores", "UPDATE score SET helpfulness = NULL WHERE sample_id = :variant", "variant"),
    ("scores", "UPDATE score SET label = 'unscored' WHERE sample_id = :variant", "variant"),
    ("scores", "UPDATE score SET label = 'good' WHERE sample_id = :variant", "variant"),
    ("list_columns", SAMPLE.format("score_total = 17", "variant"), "variant"),
    ("list_columns", SAMPLE.format("score_total = NULL", "variant"), "variant"),
    ("list_columns", SAMPLE.format("score_total = 0", "unchecked"), "unchecked"),
    ("list_columns", "DELETE FROM score WHERE sample_id = :variant", "variant"),
    ("list_columns", SAMPLE.format("responder = 'small'", "variant"), "variant"),
    ("list_columns", SAMPLE.format("responder = NULL", "variant"), "variant"),
    ("list_columns", SAMPLE.format("responder = 'big'", "duplicate"), "duplicate"),
    ("list_columns", SAMPLE.format("response_prompt = 'response/prompt#000000000000'", "variant"),
     "variant"),
    ("list_columns", SAMPLE.format("response_prompt = NULL", "variant"), "variant"),
    ("list_columns", SAMPLE.format("responder = NULL, response_prompt = NULL", "variant"),
     "variant"),
    ("list_columns", "UPDATE agent_call SET teacher = 'small' WHERE sample_id = :held "
     "AND agent = 'response'", "held"),
    ("simulation", SAMPLE.format("simulated = NOT simulated", "simulated"), "simulated"),
    ("simulation", SAMPLE.format("simulated = NOT simulated", "variant"), "variant"),
    ("simulation", "UPDATE completion SET simulated = NOT simulated WHERE key = (SELECT "
     "request_key FROM agent_call WHERE sample_id = :variant AND agent = 'response')", "variant"),
    ("costs", "UPDATE agent_call SET cost_usd = -0.01 WHERE id = :failed_attempt",
     "failed_attempt"),
    ("costs", "UPDATE run SET completion_tokens = -1", "run"),
    ("runs", "UPDATE run SET calls_made = calls_made + 1", "run"),
    ("runs", "DELETE FROM agent_call WHERE sample_id = :variant AND agent = 'selection'", "run"),
    ("evaluations_settled", "UPDATE evaluation_item SET status = 'pending' "
     "WHERE item = 'judged'", "evaluation"),
    ("evaluations_settled", "UPDATE evaluation SET metrics = NULL", "evaluation"),
    ("evaluation_verdicts", "UPDATE evaluation_item SET verdict = NULL WHERE item = 'judged'",
     "judged"),
    ("evaluation_verdicts", "UPDATE evaluation_item SET reason = NULL WHERE item = 'unanswered'",
     "unanswered"),
    ("evaluation_answers", "DELETE FROM completion WHERE key = :answer", "evaluation_call"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "statement", "row"), DAMAGE)
def test_damage_is_found_and_its_row_named(
    database: Database,
    corpus: CorpusMaker,
    sound: SimpleNamespace,
    name: str,
    statement: str,
    row: str | None,
) -> None:
    values = {key: value for key, value in vars(sound).items() if f":{key}" in statement}
    corpus.change(statement, **values)
    found = broken(database)
    assert name in found and found[name].violations == 1
    if row is not None:
        assert found[name].examples == (getattr(sound, row, row),)


def test_every_check_has_a_damage_that_trips_it(database: Database) -> None:
    names = {check.name for check in examine(database).checks}
    assert names - {name for name, *_ in DAMAGE} <= {"file", "references"}


def test_violations_are_counted_in_full_and_only_the_first_are_named(
    database: Database, corpus: CorpusMaker
) -> None:
    seed = corpus.seed()
    samples = sorted(corpus.sample(seed, n) for n in range(EXAMPLES + 3))
    corpus.change("UPDATE sample SET response = NULL")
    check = broken(database)["accepted_responses"]
    assert check.violations == EXAMPLES + 3
    assert check.examples == tuple(samples[:EXAMPLES])


def test_a_row_that_refers_to_nothing_is_found_in_a_sqlite_file(tmp_path: Any) -> None:
    database = Database.open(str(tmp_path / "corpus.db"), create=True)
    corpus = CorpusMaker(database)
    corpus.sample(corpus.seed())
    corpus.change("DELETE FROM seed")
    check = broken(database)["references"]
    assert check.violations == 4
    assert "missing seed" in " ".join(check.examples)
    database.close()


def test_a_damaged_sqlite_file_is_found(tmp_path: Any) -> None:
    path = tmp_path / "corpus.db"
    database = Database.open(str(path), create=True)
    corpus = CorpusMaker(database)
    for n in range(20):
        corpus.seed(f"Seed {n}.")
    # An index that no longer says what its table says.
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA writable_schema=ON")
        connection.exec_driver_sql(
            "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema "
            "WHERE name = 'ix_run_recipe') WHERE name = 'ix_seed_family'"
        )
        connection.commit()
    database.close()
    database = Database.open(str(path))
    assert "file" in broken(database)
    database.close()


def test_samples_of_one_fingerprint_are_sound_where_the_duplicate_gate_was_off(
    database: Database, corpus: CorpusMaker
) -> None:
    for n in range(2):
        corpus.sample(corpus.seed(f"S{n}"), fingerprint="same")
    corpus.change("DELETE FROM verdict WHERE name = 'duplicate'")
    corpus.end_run()
    assert broken(database) == {}


def test_a_later_round_inherits_the_duplicate_gates_decision(
    database: Database, corpus: CorpusMaker
) -> None:
    for n in range(2):
        seed = corpus.seed(f"S{n}")
        first = corpus.sample(seed, 0, 0, status="rejected", reason="verification_failed")
        corpus.verdict(first, "duplicate", "gate", "pass", {"fingerprint": "same"})
        child = corpus.sample(seed, 0, 1, "5", parent_id=first, fingerprint="same")
        corpus.change("DELETE FROM verdict WHERE sample_id = :id AND name = 'duplicate'", id=child)
    corpus.end_run()
    assert broken(database).keys() == {"duplicates"}


def test_one_sample_whose_teacher_became_real_is_sound(
    database: Database, corpus: CorpusMaker
) -> None:
    seed = corpus.seed()
    sample = corpus.sample(seed)
    corpus.call(seed, sample, "response", "An earlier answer.", simulated=True)
    corpus.end_run()
    assert broken(database) == {}


def test_a_sample_that_was_made_anew_with_an_earlier_prompt_is_sound(
    database: Database, corpus: CorpusMaker
) -> None:
    seed = corpus.seed()
    sample = corpus.sample(seed)
    corpus.call(seed, sample, "response", "Of a later prompt.", prompt_hash="ab" * 15 + "cd",
                prompt_name="response/other", teacher="small")  # fmt: skip
    corpus.add(Prompt, hash="ab" * 15 + "cd", name="response/other", version="1", text="Say.")
    corpus.end_run()
    assert broken(database) == {}


def test_a_pending_seed_may_have_rows_of_two_walks(database: Database, corpus: CorpusMaker) -> None:
    seed = corpus.seed(status="pending", reason=None)
    first = corpus.sample(seed, 0, 0)
    corpus.sample(seed, 0, 1, "6", parent_id=first)
    corpus.sample(seed, 1, status="pending", reason=None)
    corpus.end_run()
    assert broken(database) == {}


def test_a_run_that_was_cut_off_is_a_note_with_the_way_on(
    database: Database, corpus: CorpusMaker
) -> None:
    corpus.seed(status="pending", reason=None)
    report = examine(database)
    assert report.ok
    (note,) = report.notes
    assert "1 run was cut off in recipe 'tests'" in note
    assert "1 seeds are pending; resume with `stillhouse run`" in note


def test_runs_that_were_cut_off_and_finished_later_say_so(
    database: Database, corpus: CorpusMaker
) -> None:
    corpus.seed()
    corpus.add(Run, id=digest("again"), recipe="tests", recipe_hash="0" * 32, recipe_text="",
               started_at=utcnow().replace(year=2001))  # fmt: skip
    (note,) = examine(database).notes
    assert "2 runs were cut off" in note and "a later run has finished their work" in note


def test_the_run_that_writes_right_now_was_not_cut_off(
    database: Database, corpus: CorpusMaker
) -> None:
    with database.run_lock():
        (note,) = examine(database).notes
    assert note == f"a run is writing right now ({corpus.run[:12]})"


def test_held_samples_without_a_decision_are_a_note(
    database: Database, sound: SimpleNamespace
) -> None:
    assert examine(database).notes == ("1 held samples wait for a person; see `stillhouse review`",)


def test_examining_changes_nothing(database: Database, sound: SimpleNamespace) -> None:
    def everything() -> list[Any]:
        tables = ("seed", "sample", "agent_call", "completion", "verdict", "score", "run")
        with database.read() as connection:
            return [
                sorted(map(str, connection.execute(text(f"SELECT * FROM {table}"))))
                for table in tables
            ]

    before = everything()
    examine(database)
    assert everything() == before
