"""The same command again: nothing is repeated, only what is new or stale is worked on, and a run
that had to stop goes on where it stopped."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from factory import (
    MATHS,
    MATHS_JA,
    PROMPTS,
    SEEDS,
    WRITING,
    WRITING_JA,
    assert_sound,
    corpus_of,
    one,
    outcomes,
    rows,
    run,
    samples,
    simulated,
    stoppable_run,
    sums,
    until,
    write_recipe,
    write_seeds,
)
from sqlalchemy import text

from graph.run import Progress, RunResult
from graph.stop import Stop
from storage.database import Database
from teachers.errors import BudgetReached, Unreachable
from teachers.simulated.server import SimulatedServer
from teachers.simulated.settings import SimulatedSettings

QUICK = {"first_wait_s": 0.01, "longest_wait_s": 0.05, "unreachable_patience_s": 0.3}


def made_by(db: Path, result: RunResult) -> Counter[str]:
    """The calls that one run really made, by agent."""
    query = "SELECT agent FROM agent_call WHERE run_id = ? AND error_type IS NULL AND cached = 0"
    return Counter(row["agent"] for row in rows(db, query, result.run_id))


@pytest.fixture
def prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """The prompts of this test alone; a call edits one of them."""
    folder = tmp_path / "prompts"
    shutil.copytree(PROMPTS, folder)
    monkeypatch.setenv("STILLHOUSE_PROMPTS", str(folder))

    def edit(name: str) -> None:
        path = folder / f"{name}.md"
        path.write_text(path.read_text(encoding="utf-8") + "\nTake care.\n", encoding="utf-8")

    return edit


@asynccontextmanager
async def served(**settings: Any) -> AsyncIterator[tuple[dict[str, Any], Callable[[], Any]]]:
    """A simulated teacher that outlives runs, and what its server counted."""
    server = SimulatedServer(SimulatedSettings(**settings))
    base_url = await server.start()

    async def stats() -> dict[str, Any]:
        async with aiohttp.ClientSession() as session:
            url = base_url.removesuffix("/v1") + "/simulated/stats"
            async with session.get(url) as response:
                found: dict[str, Any] = json.loads(await response.read())
                return found

    try:
        yield {**simulated(), "base_url": base_url, "retry": QUICK}, stats
    finally:
        await server.stop()


async def interrupted_after(recipe: Path, calls: int, *overrides: str) -> RunResult:
    """A run that is asked to stop, as by Ctrl-C, once so many calls were answered."""
    progress = Progress()
    stops: list[Stop] = []
    task = asyncio.create_task(stoppable_run(recipe, stops.append, *overrides, progress=progress))
    await until(lambda: task.done() or progress.figures.calls_made >= calls)
    stops[0].interrupt()
    return await task


async def test_the_same_recipe_again_makes_no_call_and_changes_nothing(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, teachers={"local": simulated(wrong_math=0.3)})
    await run(recipe)
    db = corpus_of(recipe)
    tables = ("seed", "sample", "agent_call", "completion", "score", "verdict", "prompt")
    before = {t: rows(db, f"SELECT * FROM {t} ORDER BY 1, 2") for t in tables}
    result = await run(recipe)
    assert result.status == "finished"
    assert (result.progress.figures.calls_made, result.progress.total) == (0, 0)
    assert {t: rows(db, f"SELECT * FROM {t} ORDER BY 1, 2") for t in tables} == before
    assert one(db, "SELECT count(*) FROM run") == 2


async def test_a_raised_limit_goes_on_where_the_lower_one_ended(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, sums(6))
    assert (await run(recipe, limit=2)).progress.total == 2
    db = corpus_of(recipe)
    assert one(db, "SELECT count(*) FROM seed WHERE status = 'done'") == 2
    first = outcomes(db)
    assert (await run(recipe, limit=5)).progress.total == 3
    assert outcomes(db).items() >= first.items()
    await run(recipe)
    assert one(db, "SELECT count(*) FROM seed WHERE status = 'done'") == 6
    assert_sound(db)
    whole = write_recipe(tmp_path / "whole", sums(6))
    await run(whole)
    assert outcomes(db) == outcomes(corpus_of(whole))


async def test_an_extended_seed_file_brings_only_what_is_new(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, sums(3))
    await run(recipe)
    db, first = corpus_of(recipe), outcomes(corpus_of(recipe))
    write_seeds(tmp_path / "seeds.jsonl", [WRITING, *sums(3)])
    result = await run(recipe)
    assert result.progress.total == 1
    assert {s["category"] for s in samples(db, "sample.run_id = ?", result.run_id)} == {"writing"}
    assert outcomes(db).items() >= first.items()


async def test_a_seed_that_left_the_file_keeps_its_samples(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, sums(3))
    await run(recipe)
    first = outcomes(corpus_of(recipe))
    write_seeds(tmp_path / "seeds.jsonl", sums(1))
    await run(recipe)
    assert outcomes(corpus_of(recipe)) == first


@pytest.mark.parametrize(
    ("prompt", "agent"),
    [("selection/score", "selection"), ("verification/judge", "verification")],
)
async def test_an_edited_last_step_is_redone_alone(
    tmp_path: Path, prompts: Callable[[str], None], prompt: str, agent: str
) -> None:
    recipe = write_recipe(tmp_path)
    first = await run(recipe)
    db, before = corpus_of(recipe), outcomes(corpus_of(recipe))
    prompts(prompt)
    again = await run(recipe)
    assert made_by(db, again) == {agent: made_by(db, first)[agent]}
    assert any(prompt in note for note in again.progress.notes)
    assert outcomes(db) == before
    assert (await run(recipe)).progress.figures.calls_made == 0
    assert_sound(db)


async def test_an_edited_response_prompt_is_redone_for_the_categories_that_use_it(
    tmp_path: Path, prompts: Callable[[str], None]
) -> None:
    recipe = write_recipe(tmp_path)
    await run(recipe)
    db = corpus_of(recipe)
    untouched = {s["id"]: s for s in samples(db, "sample.category = 'writing'")}
    prompts("rewriting/respond_with_steps")
    again = await run(recipe)
    made = made_by(db, again)
    assert made["response"] == 6
    assert "expansion" not in made
    assert "rewriting" not in made
    shown = "instruction", "response", "run_id", "updated_at"
    for sample in samples(db, "sample.category = 'writing'"):
        assert [sample[c] for c in shown] == [untouched[sample["id"]][c] for c in shown]
    assert_sound(db)


async def test_an_edited_rewriting_prompt_leaves_expansion_alone(
    tmp_path: Path, prompts: Callable[[str], None]
) -> None:
    recipe = write_recipe(tmp_path)
    await run(recipe)
    prompts("rewriting/rewrite")
    again = await run(recipe)
    made = made_by(corpus_of(recipe), again)
    assert made["rewriting"] == 12
    assert made["expansion"] == 0
    assert_sound(corpus_of(recipe))


async def test_an_edited_expansion_prompt_redoes_variants_but_not_the_seeds_own_instruction(
    tmp_path: Path, prompts: Callable[[str], None]
) -> None:
    recipe = write_recipe(tmp_path)
    await run(recipe)
    db = corpus_of(recipe)
    own = {s["id"]: s["response"] for s in samples(db, "origin = 'seed'")}
    prompts("expansion/expand")
    again = await run(recipe)
    assert made_by(db, again)["expansion"] == 6
    redone = {
        r["origin"]
        for r in rows(
            db,
            "SELECT DISTINCT origin FROM agent_call JOIN sample ON sample.id = sample_id "
            "WHERE agent_call.run_id = ? AND cached = 0",
            again.run_id,
        )
    }
    assert redone == {"expansion"}
    assert {s["id"]: s["response"] for s in samples(db, "origin = 'seed'")} == own
    assert_sound(db)


async def test_an_edited_classification_concerns_only_what_was_classified(
    tmp_path: Path, prompts: Callable[[str], None]
) -> None:
    unknown = {"instruction": "Write a story about a lighthouse keeper and a storm at sea."}
    recipe = write_recipe(tmp_path, [MATHS, unknown])
    await run(recipe)
    prompts("expansion/classify")
    again = await run(recipe)
    assert made_by(corpus_of(recipe), again) == {"expansion": 1}


async def test_an_edit_taken_back_costs_nothing(
    tmp_path: Path, prompts: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_recipe(tmp_path)
    await run(recipe)
    before = outcomes(corpus_of(recipe))
    prompts("rewriting/rewrite")
    await run(recipe)
    monkeypatch.setenv("STILLHOUSE_PROMPTS", str(PROMPTS))
    again = await run(recipe)
    assert again.progress.figures.calls_made == 0
    assert again.progress.figures.calls_cached > 0
    assert outcomes(corpus_of(recipe)) == before
    assert_sound(corpus_of(recipe))


async def test_fewer_variants_supersede_those_that_are_made_no_more(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, [WRITING, WRITING_JA], agents={"expansion": {"variants": 3}})
    await run(recipe)
    db = corpus_of(recipe)
    await run(recipe, "agents.expansion.variants=1")
    ends = {(s["variant"], s["status"], s["reason"]) for s in samples(db)}
    assert {e for e in ends if e[0] > 1} == {
        (2, "rejected", "superseded"),
        (3, "rejected", "superseded"),
    }
    assert all(e[1] == "accepted" for e in ends if e[0] <= 1)
    assert_sound(db)
    assert (await run(recipe, "agents.expansion.variants=1")).progress.total == 0


async def test_another_teacher_redoes_what_the_first_one_did(tmp_path: Path) -> None:
    recipe = write_recipe(
        tmp_path,
        sums(3),
        agents={"expansion": {"variants": 0}},
        teachers={
            "local": simulated(wrong_math=1.0),
            "other": simulated(seed=1, model="simulated-other"),
        },
    )
    first = await run(recipe)
    db = corpus_of(recipe)
    assert {(s["status"], s["round"]) for s in samples(db)} == {("rejected", 0), ("rejected", 1)}
    again = await run(recipe, "agents.response.teacher=other")
    made = made_by(db, again)
    assert made["response"] == 3
    assert made["rewriting"] == 0
    assert {(s["status"], s["reason"], s["round"]) for s in samples(db)} == {
        ("accepted", "verified", 0),
        ("rejected", "superseded", 1),
    }
    models = rows(
        db, "SELECT DISTINCT model FROM agent_call WHERE agent = 'response' ORDER BY model"
    )
    assert [m["model"] for m in models] == ["simulated-other", "simulated-teacher"]
    assert {t["teacher"] for s in samples(db, "round = 0") for t in s["terms"]} == {
        "local",
        "other",
    }
    assert first.run_id != again.run_id
    assert_sound(db)


async def test_what_was_found_out_about_other_words_does_not_stay_with_a_sample(
    tmp_path: Path,
) -> None:
    recipe = write_recipe(
        tmp_path,
        [WRITING, MATHS],
        agents={"expansion": {"variants": 0}},
        teachers={"local": simulated(wrong_math=1.0), "cut": simulated(length_cut=1.0)},
    )
    await run(recipe)
    db = corpus_of(recipe)
    found = "SELECT DISTINCT name FROM verdict WHERE kind != 'gate'"
    assert {"name": "judge"} in rows(db, found)
    gates = rows(db, "SELECT * FROM verdict WHERE kind = 'gate' ORDER BY sample_id")
    await run(recipe, "agents.response.teacher=cut")
    first_round = samples(db, "round = 0")
    assert {(s["status"], s["reason"]) for s in first_round} == {("rejected", "truncated")}
    for sample in first_round:
        by_sample = "SELECT name FROM verdict WHERE kind != 'gate' AND sample_id = ?"
        assert rows(db, by_sample, sample["id"]) == []
        assert rows(db, "SELECT 1 FROM score WHERE sample_id = ?", sample["id"]) == []
    again = rows(db, "SELECT * FROM verdict WHERE kind = 'gate' ORDER BY sample_id")
    kept = ("sample_id", "name", "label", "evidence")
    assert [[v[k] for k in kept] for v in again] == [[v[k] for k in kept] for v in gates]
    assert_sound(db)


@pytest.mark.parametrize("cap", [1, 7, 20])
async def test_at_the_cap_a_run_stops_and_a_higher_cap_brings_it_to_the_same_end(
    tmp_path: Path, cap: int
) -> None:
    async with served(latency_s=0.02, wrong_math=0.3) as (teacher, stats):
        recipe = write_recipe(tmp_path, sums(6), teachers={"local": teacher})
        result = await run(recipe, f"budget.calls={cap}")
        db = corpus_of(recipe)
        assert result.status == "budget_reached"
        assert isinstance(result.error, BudgetReached)
        assert "budget.calls" in str(result.error)
        asked = (await stats())["requests"]
        booked = one(db, "SELECT count(*) FROM agent_call WHERE error_type IS NULL")
        assert 0 < booked == asked <= cap
        assert_sound(db, pending=True)
        again = await run(recipe, f"budget.calls={cap}")
        assert again.status == "budget_reached"
        assert (await stats())["requests"] <= cap
        finished = await run(recipe, "budget.calls=1000")
        assert finished.status == "finished"
        assert (await stats())["answered_more_than_once"] == 0
        assert_sound(db)
        whole = write_recipe(tmp_path / "whole", sums(6), teachers={"local": teacher})
        await run(whole)
    assert outcomes(db) == outcomes(corpus_of(whole))


async def test_a_cap_on_tokens_is_kept(tmp_path: Path) -> None:
    bounded = {"sampling": {"max_tokens": 300}}
    roles = ("expansion", "rewriting", "response", "selection", "verification")
    recipe = write_recipe(tmp_path, sums(6), agents=dict.fromkeys(roles, bounded))
    result = await run(recipe, "budget.tokens=8000")
    db = corpus_of(recipe)
    spent = one(db, "SELECT sum(prompt_tokens + completion_tokens) FROM agent_call")
    assert result.status == "budget_reached"
    assert 0 < spent <= 8000
    assert (await run(recipe, "budget.tokens=1000000")).status == "finished"
    assert_sound(db)


async def test_a_cap_in_dollars_wants_prices(tmp_path: Path) -> None:
    bounded = {"sampling": {"max_tokens": 300}}
    roles = ("expansion", "rewriting", "response", "selection", "verification")
    teacher = {"prices": {"usd_per_million_prompt_tokens": None}}
    recipe = write_recipe(
        tmp_path, agents=dict.fromkeys(roles, bounded), teachers={"local": teacher}
    )
    with pytest.raises(Exception, match=r"teachers\.local\.prices"):
        await run(recipe, "budget.usd=1")


async def test_an_interrupted_run_ends_sound_and_goes_on_to_the_same_end(tmp_path: Path) -> None:
    async with served(latency_s=0.02, wrong_math=0.3) as (teacher, stats):
        recipe = write_recipe(tmp_path, sums(8), teachers={"local": teacher})
        db = corpus_of(recipe)
        result = await interrupted_after(recipe, 20)
        assert (result.status, result.error) == ("interrupted", None)
        assert_sound(db, pending=True)
        assert one(db, "SELECT count(*) FROM seed WHERE status = 'pending'") > 0
        assert rows(db, "SELECT status FROM run") == [{"status": "interrupted"}]
        booked = one(db, "SELECT count(*) FROM completion")
        assert booked == (await stats())["answered"]
        assert (await run(recipe)).status == "finished"
        assert (await stats())["answered_more_than_once"] == 0
        whole = write_recipe(tmp_path / "whole", sums(8), teachers={"local": teacher})
        await run(whole)
    assert outcomes(db) == outcomes(corpus_of(whole))
    assert_sound(db)


async def test_a_run_can_be_stopped_before_it_began(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    result = await stoppable_run(recipe, lambda stop: stop.interrupt())
    assert result.status == "interrupted"
    assert result.progress.figures.calls_made == 0
    assert (await run(recipe)).status == "finished"


async def test_a_server_that_dies_for_good_stops_the_run_which_then_resumes(
    tmp_path: Path,
) -> None:
    recipe = write_recipe(
        tmp_path,
        sums(8),
        teachers={"local": {**simulated(latency_s=0.05), "retry": QUICK}},
    )
    progress = Progress()
    task = asyncio.create_task(stoppable_run(recipe, lambda stop: None, progress=progress))
    await until(lambda: progress.figures.calls_made >= 12)
    (child,) = [p for p in psutil.Process().children() if "teachers.simulated" in p.cmdline()]
    child.send_signal(signal.SIGKILL)
    result = await asyncio.wait_for(task, 20)
    db = corpus_of(recipe)
    assert result.status == "failed"
    assert isinstance(result.error, Unreachable)
    assert "local" in result.error.what
    assert result.error.cause and result.error.solution
    (row,) = rows(db, "SELECT status, reason FROM run")
    assert row == {"status": "failed", "reason": "unreachable"}
    assert_sound(db, pending=True)
    assert not rows(db, "SELECT 1 FROM sample WHERE status = 'failed'")
    again = await run(recipe)
    assert again.status == "finished"
    assert {s["status"] for s in samples(db)} == {"accepted"}
    assert_sound(db)


async def test_an_unreachable_teacher_is_named_at_the_start_and_nothing_is_lost(
    tmp_path: Path,
) -> None:
    teacher = {**simulated(), "base_url": "http://127.0.0.1:9/v1", "retry": QUICK}
    recipe = write_recipe(tmp_path, teachers={"away": teacher})
    await run(recipe)
    before = outcomes(corpus_of(recipe))
    result = await run(recipe, "agents.verification.teacher=away")
    assert result.status == "failed"
    assert isinstance(result.error, Unreachable)
    assert "'away'" in result.error.what
    assert result.error.command == "stillhouse teacher check away"
    assert outcomes(corpus_of(recipe)) == before
    assert_sound(corpus_of(recipe))


async def test_samples_whose_failure_may_have_passed_are_tried_again(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, [MATHS, MATHS_JA])
    broken = "teachers.local.simulation={server_error: 1.0, max_faults_in_a_row: 255}"
    few = "teachers.local.retry.attempts=2"
    result = await run(recipe, broken, few)
    db = corpus_of(recipe)
    assert result.status == "finished"
    assert {(s["status"], s["reason"]) for s in samples(db)} == {("failed", "server_error")}
    assert {s["reason"] for s in rows(db, "SELECT reason FROM seed")} == {"expansion_server_error"}
    assert_sound(db)
    again = await run(recipe)
    assert any("may have passed" in note for note in again.progress.notes)
    assert {(s["status"], s["reason"]) for s in samples(db)} == {("accepted", "verified")}
    assert len(samples(db)) == 4
    assert_sound(db)


async def test_a_run_that_was_killed_is_closed_by_the_next_with_the_figures_of_its_calls(
    tmp_path: Path, database_url: str
) -> None:
    recipe = write_recipe(tmp_path, [MATHS])
    killed = await run(recipe, db=database_url)
    figures = killed.progress.figures
    database = Database.open(database_url)
    with database.write() as connection:
        connection.execute(
            text(
                "UPDATE run SET status = 'running', ended_at = NULL, calls_made = 0, "
                "prompt_tokens = 0, completion_tokens = 0, cost_usd = NULL"
            )
        )
    await run(recipe, db=database_url)
    with database.read() as connection:
        row = (
            connection.execute(text("SELECT * FROM run WHERE id = :id"), {"id": killed.run_id})
            .mappings()
            .one()
        )
    database.close()
    assert (row["status"], row["reason"]) == ("interrupted", "killed")
    assert row["ended_at"] is not None
    assert row["calls_made"] == figures.calls_made > 0
    assert row["prompt_tokens"] == figures.prompt_tokens
    assert row["completion_tokens"] == figures.completion_tokens
    assert row["cost_usd"] == 0
    assert_sound(database_url)


async def test_failures_that_would_come_again_are_left_alone(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, teachers={"local": simulated(malformed_json=1.0)})
    await run(recipe)
    assert (await run(recipe)).progress.total == 0


async def test_nobody_is_left_behind_after_a_run(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, [MATHS])
    await run(recipe)
    left = [p for p in psutil.Process().children() if "teachers.simulated" in p.cmdline()]
    assert left == []
    assert all(t is asyncio.current_task() for t in asyncio.all_tasks())


@pytest.mark.parametrize("rounds", [1, 2])
async def test_a_run_stopped_again_and_again_ends_like_an_unbroken_one(
    tmp_path: Path, rounds: int
) -> None:
    faults = {"wrong_math": 0.4, "server_error": 0.1, "truncated_body": 0.05, "seed": rounds}
    async with served(latency_s=0.005, **faults) as (teacher, _):
        changes = {
            "agents": {"verification": {"max_rounds": rounds}},
            "teachers": {"local": teacher},
            "gates": {"duplicates": False},
        }
        seeds = [*SEEDS, *sums(6)]
        recipe = write_recipe(tmp_path, seeds, **changes)
        stopped = 0
        for calls in (1, 5, 9, 14, 20):
            stopped += (await interrupted_after(recipe, calls)).status == "interrupted"
        assert stopped >= 3
        await run(recipe)
        whole = write_recipe(tmp_path / "whole", seeds, **changes)
        await run(whole)
    assert outcomes(corpus_of(recipe)) == outcomes(corpus_of(whole))
    assert_sound(corpus_of(recipe))
