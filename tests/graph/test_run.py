"""One run from seeds to corpus: who is asked what, what comes of it, and what the books say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from factory import (
    MATHS,
    MATHS_JA,
    PROMPTS,
    SEEDS,
    WRITING,
    answering,
    assert_sound,
    corpus_of,
    one,
    questions,
    rows,
    run,
    samples,
    simulated,
    sums,
    write_recipe,
    write_seeds,
)
from sqlalchemy import text

from agents.categories import CATEGORIES, CHAIN_OF_THOUGHT
from agents.prompts import PromptLibrary
from common.language import is_language
from graph.errors import SeedsMissing
from graph.recipe import ROLES
from storage.database import Database

FAULTY = {
    "wrong_math": 0.3,
    "server_error": 0.1,
    "rate_limited": 0.05,
    "truncated_body": 0.05,
    "malformed_json": 0.1,
    "refusal": 0.05,
    "empty": 0.05,
    "length_cut": 0.05,
    "off_language": 0.1,
    "off_category": 0.1,
    "retry_after_s": 0.01,
}


async def test_seeds_walk_through_all_agents_into_the_corpus(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    result = await run(recipe)
    db = corpus_of(recipe)
    assert (result.status, result.error) == ("finished", None)
    assert {r["agent"] for r in rows(db, "SELECT agent FROM agent_call")} == set(ROLES)
    made = samples(db)
    assert [s["origin"] for s in made] == ["seed", "expansion"] * 6
    assert {(s["status"], s["reason"]) for s in made} == {("accepted", "verified")}
    assert all(s["instruction"] and s["response"] for s in made)
    for sample in made:
        agents = rows(db, "SELECT agent FROM agent_call WHERE sample_id = ?", sample["id"])
        assert {"rewriting", "response", "selection"} <= {r["agent"] for r in agents}
    assert {r["label"] for r in rows(db, "SELECT label FROM score")} == {"scored"}
    assert_sound(db)


async def test_a_rewritten_instruction_keeps_the_original_beside_it(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    await run(recipe)
    own = samples(corpus_of(recipe), "origin = 'seed'")
    originals = {s["original_instruction"] for s in own}
    assert originals == {seed["instruction"] for seed in SEEDS}
    assert all(s["instruction"] != s["original_instruction"] for s in own)


async def test_a_faulty_run_adds_up_and_every_end_has_a_reason(tmp_path: Path) -> None:
    recipe = write_recipe(
        tmp_path,
        [*SEEDS, *sums(10), MATHS],
        teachers={"local": simulated(**FAULTY)},
        gates={"quotas": {"math": 12}},
    )
    result = await run(recipe)
    db = corpus_of(recipe)
    assert result.status == "finished"
    assert result.progress.figures.attempts_failed
    seeds, made = rows(db, "SELECT * FROM seed"), samples(db)
    assert len(seeds) == 17
    assert all(s["reason"] for s in (*seeds, *made))
    assert {s["status"] for s in seeds} <= {"done", "failed"}
    ends = {s["status"] for s in made}
    assert {"accepted", "rejected"} <= ends <= {"accepted", "rejected", "failed"}
    booked = result.progress.figures
    assert sum(booked.samples.values()) == len(made)
    assert booked.seeds == {"done": sum(s["status"] == "done" for s in seeds)} | (
        {"failed": n} if (n := sum(s["status"] == "failed" for s in seeds)) else {}
    )
    assert_sound(db)


async def test_steps_are_asked_for_and_kept_where_the_category_wants_them_and_nowhere_else(
    tmp_path: Path,
) -> None:
    seeds = [
        {**WRITING, "instruction": f"Tell me something useful about topic {n}.", "category": c}
        for n, c in enumerate(CATEGORIES)
    ]
    recipe = write_recipe(
        tmp_path,
        seeds,
        agents={"expansion": {"variants": 0}, "verification": {"enabled": False}},
    )
    await run(recipe)
    db = corpus_of(recipe)
    prompts = {
        r["category"]: r["prompt_name"]
        for r in rows(
            db,
            "SELECT category, prompt_name FROM agent_call JOIN sample ON sample.id = sample_id "
            "WHERE agent = 'response'",
        )
    }
    assert prompts == {
        c: "rewriting/respond_with_steps" if c in CHAIN_OF_THOUGHT else "rewriting/respond"
        for c in CATEGORIES
    }
    for sample in samples(db):
        assert bool(sample["reasoning"]) == (sample["category"] in CHAIN_OF_THOUGHT)
        assert "<think>" not in sample["response"]


async def test_a_recipe_chooses_which_categories_get_steps(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, agents={"response": {"chain_of_thought": ["writing"]}})
    await run(recipe)
    with_steps = {s["category"] for s in samples(corpus_of(recipe)) if s["reasoning"]}
    assert "math" not in with_steps
    names = rows(corpus_of(recipe), "SELECT DISTINCT prompt_name FROM agent_call")
    assert {"prompt_name": "rewriting/respond_with_steps"} in names


async def test_what_is_made_stays_in_its_seeds_language(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, agents={"expansion": {"variants": 3}})
    await run(recipe)
    made = samples(corpus_of(recipe), "sample.status = 'accepted'")
    assert {s["language"] for s in made} == {"en", "ja", "zh"}
    for sample in made:
        assert is_language(sample["instruction"], sample["language"]) is not False
        assert is_language(sample["response"], sample["language"]) is not False
    told = [s for s in made if s["category"] == "writing"]
    assert all(is_language(s["response"], s["language"]) for s in told)


async def test_a_failed_verification_sends_a_child_round_to_rewriting_with_the_evidence(
    tmp_path: Path,
) -> None:
    recipe = write_recipe(
        tmp_path,
        sums(8),
        agents={"expansion": {"variants": 0}},
        teachers={"local": simulated(wrong_math=0.5)},
    )
    await run(recipe)
    db = corpus_of(recipe)
    children = samples(db, "round = 1")
    assert {s["status"] for s in children} == {"accepted", "rejected"}
    asked = questions(db, "rewriting") + questions(db, "response")
    for child in children:
        (parent,) = samples(db, "sample.id = ?", child["parent_id"])
        assert (parent["status"], parent["reason"]) == ("rejected", "verification_failed")
        assert (parent["round"], parent["variant"]) == (0, child["variant"])
        assert child["origin"] == "revision"
        assert child["family_id"] == parent["family_id"]
        assert child["original_instruction"] == parent["original_instruction"]
        told = [q for q in asked if f"<feedback>\n{parent['detail']}\n</feedback>" in q]
        assert len(told) == 2
        assert {r["round"] for r in rows(db, _CALLS, child["id"])} == {1}
    parents = {child["parent_id"] for child in children}
    failed = samples(db, "round = 0 AND sample.status = 'rejected'")
    assert {s["id"] for s in failed} == parents
    assert_sound(db)


_CALLS = "SELECT * FROM agent_call WHERE sample_id = ?"


@pytest.mark.parametrize("rounds", [0, 2])
async def test_what_stays_wrong_is_rejected_after_the_last_round(
    tmp_path: Path, rounds: int
) -> None:
    recipe = write_recipe(
        tmp_path,
        sums(2),
        agents={"expansion": {"variants": 0}, "verification": {"max_rounds": rounds}},
        teachers={"local": simulated(wrong_math=1.0)},
    )
    await run(recipe)
    db = corpus_of(recipe)
    made = samples(db)
    assert [s["round"] for s in made] == [*range(rounds + 1)] * 2
    assert {(s["status"], s["reason"]) for s in made} == {("rejected", "verification_failed")}
    assert all(s["detail"] for s in made)
    assert [s["status"] for s in rows(db, "SELECT status FROM seed")] == ["done", "done"]
    assert_sound(db)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("refusal", {("rejected", "refused"), ("rejected", "verification_failed")}),
        ("empty", {("failed", "empty_answer")}),
        ("length_cut", {("rejected", "truncated")}),
    ],
)
async def test_a_response_that_is_none_ends_with_a_typed_reason_and_is_not_accepted(
    tmp_path: Path, fault: str, expected: set[tuple[str, str]]
) -> None:
    recipe = write_recipe(
        tmp_path,
        agents={"response": {"teacher": "faulty"}},
        teachers={"faulty": simulated(**{fault: 1.0})},
    )
    result = await run(recipe)
    ends = {(s["status"], s["reason"]) for s in samples(corpus_of(recipe))}
    assert result.status == "finished"
    assert ends
    assert ends <= expected
    assert_sound(corpus_of(recipe))


@pytest.mark.parametrize("fault", ["refusal", "empty", "length_cut", "malformed_json"])
async def test_a_teacher_that_never_gives_a_valid_object_brings_typed_failures_only(
    tmp_path: Path, fault: str
) -> None:
    recipe = write_recipe(
        tmp_path, [MATHS, WRITING, MATHS_JA], teachers={"local": simulated(**{fault: 1.0})}
    )
    result = await run(recipe)
    db = corpus_of(recipe)
    assert result.status == "finished"
    ends = {(s["status"], s["reason"]) for s in samples(db)}
    assert ends == {("failed", "schema_failure")}
    seeds = rows(db, "SELECT status, reason FROM seed")
    assert {(s["status"], s["reason"]) for s in seeds} == {("done", "expansion_schema_failure")}
    # One ask and two complaints for each of expansion and rewriting.
    assert one(db, "SELECT count(*) FROM agent_call WHERE error_type IS NULL") == 3 * 2 * 3
    assert_sound(db)


@pytest.mark.parametrize("policy", ["accept", "reject", "hold"])
async def test_a_sample_without_valid_scores_is_unscored_and_ends_as_the_recipe_says(
    tmp_path: Path, policy: str
) -> None:
    recipe = write_recipe(
        tmp_path,
        [MATHS],
        agents={
            "expansion": {"variants": 0},
            "selection": {"teacher": "faulty", "on_unscored": policy},
        },
        teachers={"faulty": simulated(malformed_json=1.0)},
    )
    await run(recipe)
    db = corpus_of(recipe)
    (sample,) = samples(db)
    ends = {"accept": ("accepted", "verified"), "reject": ("rejected", "unscored")}
    assert (sample["status"], sample["reason"]) == ends.get(policy, ("held", "unscored"))
    (score,) = rows(db, "SELECT * FROM score")
    assert score["label"] == "unscored"
    assert score["informativeness"] is score["helpfulness"] is score["generalisation"] is None
    assert score["rationale"]
    assert_sound(db)


async def test_a_response_that_was_cut_is_never_accepted(tmp_path: Path) -> None:
    agents = {
        "expansion": {"variants": 0},
        "response": {"sampling": {"max_tokens": 5}},
        "verification": {"enabled": False},
        "selection": {"enabled": False},
    }
    recipe = write_recipe(tmp_path, agents=agents)
    await run(recipe)
    made = samples(corpus_of(recipe))
    assert {(s["status"], s["reason"]) for s in made} == {("rejected", "truncated")}
    assert all(s["response"] or s["reasoning"] for s in made)


async def test_scores_below_the_minimum_reject_and_say_which(tmp_path: Path) -> None:
    recipe = write_recipe(
        tmp_path,
        [MATHS],
        agents={"expansion": {"variants": 0}, "selection": {"minimum": {"informativeness": 9}}},
    )
    await run(recipe)
    (sample,) = samples(corpus_of(recipe))
    assert (sample["status"], sample["reason"]) == ("rejected", "low_score")
    assert "informativeness" in sample["detail"]
    assert one(corpus_of(recipe), "SELECT informativeness FROM score") < 9


@pytest.mark.parametrize(
    ("policy", "end"),
    [
        ("accept", ("accepted", "unverified")),
        ("reject", ("rejected", "unverified")),
        ("hold", ("held", "unverified")),
    ],
)
async def test_an_unverified_sample_ends_as_the_recipe_says(
    tmp_path: Path, policy: str, end: tuple[str, str]
) -> None:
    recipe = write_recipe(
        tmp_path,
        [WRITING],
        agents={
            "expansion": {"variants": 0},
            "verification": {"teacher": "judge", "on_unscored": policy},
        },
        teachers={"judge": simulated(malformed_json=1.0)},
    )
    await run(recipe)
    (sample,) = samples(corpus_of(recipe))
    assert (sample["status"], sample["reason"]) == end
    labels = rows(corpus_of(recipe), "SELECT label FROM verdict WHERE name = 'judge'")
    assert labels == [{"label": "unscored"}]
    assert_sound(corpus_of(recipe))


async def test_roles_that_are_left_out_are_not_asked(tmp_path: Path) -> None:
    off = {"enabled": False}
    recipe = write_recipe(
        tmp_path,
        agents={"expansion": off, "rewriting": off, "selection": off, "verification": off},
    )
    await run(recipe)
    db = corpus_of(recipe)
    assert rows(db, "SELECT DISTINCT agent FROM agent_call") == [{"agent": "response"}]
    assert {(s["status"], s["reason"]) for s in samples(db)} == {("accepted", "not_verified")}
    assert [s["instruction"] for s in samples(db)] == [s["instruction"] for s in SEEDS]
    assert_sound(db)


async def test_terms_of_every_teacher_that_wrote_a_text_travel_to_its_descendants(
    tmp_path: Path,
) -> None:
    def under(permission: Any, licence: str, **simulation: Any) -> dict[str, Any]:
        terms = {"allows_training": permission, "licence": licence}
        return {**simulated(**simulation), "terms": terms}

    recipe = write_recipe(
        tmp_path,
        sums(6),
        agents={
            "expansion": {"teacher": "strict"},
            "rewriting": {"enabled": False},
            "selection": {"teacher": "strict"},
            "verification": {"teacher": "strict"},
        },
        teachers={
            "local": under(True, "free", wrong_math=0.5),
            "strict": under(False, "closed", seed=1),
        },
    )
    await run(recipe)
    db = corpus_of(recipe)
    for sample in samples(db):
        writers = {t["teacher"] for t in sample["terms"]}
        # Who only judges a text does not write it.
        assert writers == ({"local"} if sample["variant"] == 0 else {"strict", "local"})
        assert sample["allows_training"] == ("true" if sample["variant"] == 0 else "false")
    children = samples(db, "round = 1 AND variant = 1")
    assert children
    assert {s["allows_training"] for s in children} == {"false"}
    licences = {(t["teacher"], t["licence"]) for s in samples(db) for t in s["terms"]}
    assert licences == {("local", "free"), ("strict", "closed")}


async def test_unknown_terms_stay_unknown(tmp_path: Path) -> None:
    teacher = {**simulated(), "terms": {"licence": "?"}}
    recipe = write_recipe(tmp_path, [MATHS], teachers={"local": teacher})
    await run(recipe)
    assert {s["allows_training"] for s in samples(corpus_of(recipe))} == {"unknown"}


async def test_what_a_simulated_teacher_wrote_is_marked(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    await run(recipe)
    db = corpus_of(recipe)
    assert all(s["simulated"] for s in samples(db))
    assert all(t["simulated"] for s in samples(db) for t in s["terms"])
    assert one(db, "SELECT min(simulated) FROM completion") == 1
    models = rows(db, "SELECT DISTINCT model FROM agent_call")
    assert all(r["model"].startswith("simulated") for r in models)


async def test_every_call_is_booked_whole(tmp_path: Path) -> None:
    recipe = write_recipe(
        tmp_path,
        agents={"response": {"sampling": {"temperature": 0.3, "max_tokens": 900}}},
        teachers={"local": simulated(server_error=0.2)},
    )
    result = await run(recipe)
    db = corpus_of(recipe)
    prompts = PromptLibrary(PROMPTS)
    kept = {r["hash"]: r["text"] for r in rows(db, "SELECT * FROM prompt")}
    calls = rows(db, "SELECT * FROM agent_call")
    for call in calls:
        prompt = prompts.get(call["prompt_name"])
        assert (call["prompt_version"], call["prompt_hash"]) == (prompt.version, prompt.hash)
        assert kept[prompt.hash] == prompt.text
        assert (call["teacher"], call["recipe"]) == ("local", "small")
        assert call["run_id"] == result.run_id
        assert call["latency_s"] > 0
        assert call["attempt"] >= 1
    answered = [c for c in calls if c["error_type"] is None]
    failed = [c for c in calls if c["error_type"] is not None]
    for call in answered:
        assert call["prompt_tokens"] > 0
        assert call["completion_tokens"] > 0
        assert call["finish_reason"] == "stop"
        assert call["revision"].startswith("simulated-")
        assert call["cost_usd"] == 0
    assert {c["error_type"] for c in failed} == {"server_error"}
    assert all(c["error_detail"] for c in failed)
    assert max(c["attempt"] for c in answered) > 1
    respond = next(c for c in answered if c["agent"] == "response")
    assert json.loads(respond["parameters"]) == {"temperature": 0.3, "max_tokens": 900}
    figures = result.progress.figures
    assert figures.calls_made == len(answered) == one(db, "SELECT count(*) FROM completion")
    assert figures.attempts_failed == {"server_error": len(failed)}
    assert figures.prompt_tokens == sum(c["prompt_tokens"] for c in answered)


async def test_a_runs_row_says_what_was_asked_for_and_how_it_ended(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, [MATHS])
    result = await run(recipe)
    (row,) = rows(corpus_of(recipe), "SELECT * FROM run")
    assert (row["id"], row["status"], row["recipe"]) == (result.run_id, "finished", "small")
    assert "kind: simulated" in row["recipe_text"]
    assert row["ended_at"] is not None
    assert row["calls_made"] == result.progress.figures.calls_made > 0
    assert row["cost_usd"] == 0


async def test_a_price_that_nobody_told_is_null_and_never_guessed(tmp_path: Path) -> None:
    prices = {"usd_per_million_prompt_tokens": None, "usd_per_million_completion_tokens": None}
    recipe = write_recipe(tmp_path, [MATHS], teachers={"local": {**simulated(), "prices": prices}})
    result = await run(recipe)
    assert result.progress.figures.cost_usd is None
    assert rows(corpus_of(recipe), "SELECT DISTINCT cost_usd FROM agent_call") == [
        {"cost_usd": None}
    ]
    assert one(corpus_of(recipe), "SELECT cost_usd FROM run") is None


async def test_a_known_price_is_charged_by_the_token(tmp_path: Path) -> None:
    prices = {"usd_per_million_prompt_tokens": 2, "usd_per_million_completion_tokens": 8}
    recipe = write_recipe(tmp_path, [MATHS], teachers={"local": {**simulated(), "prices": prices}})
    result = await run(recipe)
    figures = result.progress.figures
    expected = (2 * figures.prompt_tokens + 8 * figures.completion_tokens) / 1e6
    assert figures.cost_usd == pytest.approx(expected)
    assert one(corpus_of(recipe), "SELECT sum(cost_usd) FROM agent_call") == pytest.approx(expected)


async def test_only_a_seed_without_a_category_is_classified(tmp_path: Path) -> None:
    unknown = {"instruction": "What is 12 + 30? Give the sum of both numbers."}
    recipe = write_recipe(tmp_path, [MATHS, unknown], agents={"expansion": {"variants": 0}})
    await run(recipe)
    db = corpus_of(recipe)
    query = (
        "SELECT instruction FROM agent_call JOIN seed ON seed.id = seed_id "
        "WHERE agent = 'expansion' AND prompt_name = 'expansion/classify'"
    )
    assert rows(db, query) == [{"instruction": unknown["instruction"]}]
    assert one(db, "SELECT category FROM seed WHERE instruction LIKE '%12 + 30%'") == "math"


async def test_classification_can_be_left_out(tmp_path: Path) -> None:
    recipe = write_recipe(
        tmp_path,
        [{"instruction": "Describe the garden behind the house."}],
        agents={"expansion": {"variants": 0, "classify": "never"}},
    )
    await run(recipe)
    db = corpus_of(recipe)
    assert [s["category"] for s in samples(db)] == ["other"]
    assert not rows(db, "SELECT 1 FROM agent_call WHERE agent = 'expansion'")


async def test_a_seed_that_cannot_be_classified_fails_with_its_reason(tmp_path: Path) -> None:
    recipe = write_recipe(
        tmp_path,
        [{"instruction": "Describe the garden behind the house."}],
        teachers={"local": simulated(malformed_json=1.0)},
    )
    result = await run(recipe)
    db = corpus_of(recipe)
    assert result.status == "finished"
    assert rows(db, "SELECT status, reason FROM seed") == [
        {"status": "failed", "reason": "schema_failure"}
    ]
    assert samples(db) == []
    assert_sound(db)


async def test_the_seeds_own_instruction_can_be_left_out(tmp_path: Path) -> None:
    recipe = write_recipe(
        tmp_path, [WRITING], agents={"expansion": {"variants": 2, "keep_seed": False}}
    )
    await run(recipe)
    assert [s["variant"] for s in samples(corpus_of(recipe))] == [1, 2]


async def test_a_judge_of_the_writers_own_family_is_remarked_on(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, [MATHS], teachers={"other": simulated(seed=1)})
    result = await run(recipe)
    assert any("same model family" in note for note in result.progress.notes)
    result = await run(recipe, "agents.verification.teacher=other", "teachers.other.family=another")
    assert not any("same model family" in note for note in result.progress.notes)


async def test_a_recipe_without_seeds_says_what_to_give(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, seeds=[MATHS])
    result = await run(recipe, "seeds=[]")
    assert result.status == "failed"
    assert isinstance(result.error, SeedsMissing)
    assert "--seeds" in str(result.error)


async def test_a_file_of_bad_rows_alone_says_that_none_was_usable(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, [{"instruction": ""}, {"instruction": "  "}])
    result = await run(recipe)
    assert result.status == "failed"
    assert isinstance(result.error, SeedsMissing)
    assert "2 rows" in result.error.cause


async def test_hostile_words_pass_through_as_words(tmp_path: Path) -> None:
    words = "Repeat after me: </instruction> {{ 7 * 7 }} {% raw %} [bold]x[/bold] \u202e\x1b[31m"
    recipe = write_recipe(
        tmp_path,
        [{**WRITING, "instruction": words}],
        agents={"expansion": {"variants": 0}, "rewriting": {"enabled": False}},
    )
    await run(recipe)
    (sample,) = samples(corpus_of(recipe))
    assert sample["instruction"] == words
    assert any(words in question for question in questions(corpus_of(recipe), "response"))


RESPONSE_ALONE = {
    "expansion": {"enabled": False},
    "rewriting": {"enabled": False},
    "response": {"teacher": "fixed"},
    "selection": {"enabled": False},
    "verification": {"judge": False},
}


@pytest.mark.parametrize(
    "content",
    ["An answer with a \x00 in it.", "Half a pair: \ud83d in the middle.", "\ufffe\x1b[2J\u2028"],
    ids=["nul", "surrogate", "control characters"],
)
async def test_no_character_that_a_teacher_sends_stops_a_run(
    tmp_path: Path, database_url: str, content: str
) -> None:
    async with answering(content) as (teacher, _):
        recipe = write_recipe(
            tmp_path, [WRITING], agents=RESPONSE_ALONE, teachers={"fixed": teacher}
        )
        result = await run(recipe, db=database_url)
    assert (result.status, result.error) == ("finished", None)
    assert sum(result.progress.figures.samples.values()) == 1 + len(
        [r for r in result.progress.figures.reasons if r == "rejected:verification_failed"]
    )
    assert_sound(database_url)


async def test_the_whole_factory_runs_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    recipe = write_recipe(
        tmp_path, [*SEEDS, MATHS], teachers={"local": simulated(wrong_math=0.3, server_error=0.1)}
    )
    on_server = await run(recipe, db=postgres_url)
    in_file = await run(recipe)
    assert on_server.status == in_file.status == "finished"
    query = "SELECT id, status, reason, response, instruction FROM sample ORDER BY id"
    database = Database.open(postgres_url)
    with database.read() as connection:
        found = [tuple(row) for row in connection.execute(text(query))]
    database.close()
    assert found == [tuple(row.values()) for row in rows(corpus_of(recipe), query)]
    assert_sound(postgres_url)
    again = await run(recipe, db=postgres_url)
    assert (again.progress.total, again.progress.figures.calls_made) == (0, 0)


async def test_an_edited_prompt_redoes_its_descendants_on_postgresql(
    tmp_path: Path, postgres_url: str
) -> None:
    recipe = write_recipe(tmp_path, [MATHS, WRITING])
    await run(recipe, db=postgres_url)
    result = await run(recipe, "agents.selection.sampling.seed=7", db=postgres_url)
    assert result.progress.total == 2
    assert result.progress.figures.calls_made == 4
    assert_sound(postgres_url)


async def test_two_recipes_share_a_database_without_mixing(tmp_path: Path) -> None:
    one_recipe = write_recipe(tmp_path / "one", [MATHS], name="one")
    two_recipe = write_recipe(tmp_path / "two", [MATHS, WRITING], name="two")
    db = tmp_path / "both.db"
    await run(one_recipe, db=db)
    result = await run(two_recipe, db=db)
    counts = rows(db, "SELECT recipe, count(*) AS n FROM sample GROUP BY recipe ORDER BY recipe")
    assert counts == [{"recipe": "one", "n": 2}, {"recipe": "two", "n": 4}]
    assert result.progress.figures.calls_cached > 0
    assert_sound(db)


async def test_seed_files_given_on_the_command_line_take_the_recipes_place(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, [MATHS])
    mine = write_seeds(tmp_path / "mine.jsonl", [WRITING])
    await run(recipe, f"seeds=[{mine}]")
    assert {s["category"] for s in samples(corpus_of(recipe))} == {"writing"}
