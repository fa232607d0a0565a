"""`stillhouse status`: the figures add up, nothing unknown is guessed, and edits are explained."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import CorpusMaker
from factory import PROMPTS, corpus_of, one, rows, run, simulated, write_recipe

from cli.status import RecipeNeeded, status_command
from common.hashing import digest
from storage.database import Database
from storage.errors import NotFound
from storage.tables import AgentCall, Run


@pytest.fixture
def ask(database_url: str, capsys: pytest.CaptureFixture[str]) -> Any:
    """The JSON of `status` on `database`."""

    def asked(recipe: Path | None = None) -> dict[str, Any]:
        path = None if recipe is None else str(recipe)
        assert status_command(database_url, path, [], False, True) == 0
        answer: dict[str, Any] = json.loads(capsys.readouterr().out)
        return answer

    return asked


@pytest.fixture
def tell(database_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> Any:
    """What `status` tells people about `database`."""
    monkeypatch.setenv("COLUMNS", "200")

    def told() -> str:
        assert status_command(database_url, None, [], False, False) == 0
        return capsys.readouterr().out

    return told


def failed_call(corpus: CorpusMaker, seed: str, error: str, **columns: Any) -> None:
    given = {
        "id": digest([seed, error, columns]), "run_id": corpus.run, "recipe": corpus.recipe,
        "seed_id": seed, "agent": "expansion", "prompt_name": "p", "prompt_version": "1",
        "prompt_hash": "0", "teacher": "big", "model": "tiny", "endpoint": "e",
        "request_key": digest(error), "error_type": error, "latency_s": 9.0,
    }  # fmt: skip
    corpus.add(AgentCall, **(given | columns))


def test_every_state_is_there_even_where_it_is_zero(corpus: CorpusMaker, ask: Any) -> None:
    corpus.sample(corpus.seed())
    recipe = ask()["recipes"]["tests"]
    assert recipe["seeds"] == {"pending": 0, "done": 1, "failed": 0}
    assert recipe["samples"] == {
        "pending": 0, "accepted": 1, "rejected": 0, "held": 0, "failed": 0,
    }  # fmt: skip
    assert recipe["calls"] == {"made": 3, "cached": 0}
    assert recipe["tokens"] == {"prompt": 30, "completion": 15}
    assert recipe["cost"] == pytest.approx(0.003)


def test_samples_are_counted_by_reason_category_and_language(corpus: CorpusMaker, ask: Any) -> None:
    seed = corpus.seed()
    corpus.sample(seed)
    corpus.sample(seed, 1, status="rejected", reason="duplicate", response=None)
    corpus.sample(seed, 2, status="rejected", reason="duplicate", response=None, language="ja")
    corpus.sample(seed, 3, category=None, status="failed", reason="transport", response=None)
    recipe = ask()["recipes"]["tests"]
    assert recipe["reasons"] == {
        "rejected:duplicate": 2, "accepted:verified": 1, "failed:transport": 1,
    }  # fmt: skip
    assert recipe["languages"] == {
        "en": {"accepted": 1, "rejected": 1, "failed": 1}, "ja": {"rejected": 1},
    }  # fmt: skip
    assert recipe["categories"] == {
        "math": {"accepted": 1, "rejected": 2}, "unknown": {"failed": 1},
    }  # fmt: skip


def test_failed_attempts_and_cached_answers_are_no_calls(corpus: CorpusMaker, ask: Any) -> None:
    seed = corpus.seed()
    corpus.call(seed, None, "expansion", "{}")
    corpus.call(
        seed, None, "expansion", "again", cached=True, latency_s=None, cost_usd=0.0,
        prompt_tokens=None, completion_tokens=None,
    )  # fmt: skip
    failed_call(corpus, seed, "server_error")
    failed_call(corpus, seed, "rate_limited")
    failed_call(corpus, seed, "server_error", attempt=2)
    recipe = ask()["recipes"]["tests"]
    assert recipe["calls"] == {"made": 1, "cached": 1}
    assert recipe["attempts_failed"] == {"server_error": 2, "rate_limited": 1}
    assert recipe["tokens"] == {"prompt": 10, "completion": 5}
    assert recipe["teachers"]["big"]["mean_latency_s"] == pytest.approx(0.5)


def test_every_teacher_has_figures_of_its_own(corpus: CorpusMaker, ask: Any) -> None:
    seed = corpus.seed()
    corpus.call(seed, None, "expansion", "{}")
    corpus.call(seed, None, "response", "5", teacher="other", model="huge", latency_s=1.5)
    teachers = ask()["recipes"]["tests"]["teachers"]
    assert {name: (t["models"], t["calls"]["made"]) for name, t in teachers.items()} == {
        "big": (["tiny"], 1),
        "other": (["huge"], 1),
    }
    assert teachers["other"]["mean_latency_s"] == pytest.approx(1.5)


def test_one_call_without_a_price_makes_the_cost_unknown(
    corpus: CorpusMaker, ask: Any, tell: Any
) -> None:
    seed = corpus.seed()
    corpus.call(seed, None, "expansion", "{}", cost_usd=0.25)
    corpus.call(seed, None, "response", "5", cost_usd=None)
    recipe = ask()["recipes"]["tests"]
    assert recipe["cost"] is None
    assert (recipe["known_cost"], recipe["unpriced_calls"]) == (0.25, 1)
    assert "unknown: 1 of 2 calls have no price; the others come to $0.2500" in tell()


def test_recipes_in_one_database_are_kept_apart(
    corpus: CorpusMaker, ask: Any, tmp_path: Path
) -> None:
    corpus.sample(corpus.seed())
    corpus.seed("Another one.", recipe="small", status="failed", reason="transport")
    assert set(ask()["recipes"]) == {"small", "tests"}
    only = ask(write_recipe(tmp_path / "recipe"))["recipes"]
    assert set(only) == {"small"}
    assert only["small"]["seeds"] == {"pending": 0, "done": 0, "failed": 1}
    assert only["small"]["seed_reasons"] == {"failed:transport": 1}
    assert only["small"]["run"] is None


def test_the_latest_run_is_told_with_its_end_and_its_budget(
    corpus: CorpusMaker, ask: Any, tell: Any
) -> None:
    corpus.call(corpus.seed(), None, "expansion", "{}")
    corpus.add(
        Run, id="later", recipe="tests", recipe_hash="0" * 32, status="budget_reached",
        recipe_text="name: tests\nbudget: {usd: 2.5, calls: 4}\n", reason="budget_reached",
    )  # fmt: skip
    latest = ask()["recipes"]["tests"]["run"]
    assert (latest["id"], latest["status"]) == ("later", "budget_reached")
    assert latest["budget"] == {"usd": 2.5, "calls": 4}
    told = tell()
    assert "budget reached" in told
    assert "$0.0010 of $2.50, 1 of 4 calls" in told


def test_a_run_that_was_killed_does_not_look_finished(corpus: CorpusMaker, tell: Any) -> None:
    corpus.call(corpus.seed(), None, "expansion", "{}")
    told = tell()
    assert "running since" in told
    assert "the same command resumes it" in told


def test_simulated_samples_are_marked(corpus: CorpusMaker, ask: Any, tell: Any) -> None:
    corpus.sample(corpus.seed(), simulated=True)
    assert ask()["recipes"]["tests"]["simulated"] == 1
    assert "1 simulated: for rehearsal only" in tell()


def test_an_empty_corpus_says_so(database: Database, ask: Any, tell: Any) -> None:
    assert ask() == {"recipes": {}}
    assert "The corpus is empty" in tell()


def test_what_a_server_calls_its_model_cannot_recolour_the_terminal(
    corpus: CorpusMaker, tell: Any
) -> None:
    corpus.call(corpus.seed(), None, "response", "5", model="\x1b[31m[bold]tiny\u202e")
    told = tell()
    assert "served [bold]tiny" in told
    assert "\x1b" not in told and "\u202e" not in told


@pytest.mark.parametrize(("stale", "overrides"), [(True, []), (False, ["teacher=other"])])
def test_what_needs_a_recipe_says_so_and_names_those_in_the_corpus(
    tmp_path: Path, stale: bool, overrides: list[str]
) -> None:
    path = tmp_path / "corpus.db"
    database = Database.open(str(path), create=True)
    CorpusMaker(database, "apples").seed()
    database.close()
    with pytest.raises(RecipeNeeded) as caught:
        status_command(str(path), None, overrides, stale, False)
    assert "apples" in caught.value.cause
    assert "--recipe" in caught.value.solution


def test_a_recipe_that_never_ran_on_the_corpus_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "corpus.db"
    database = Database.open(str(path), create=True)
    CorpusMaker(database, "apples").seed()
    database.close()
    with pytest.raises(NotFound) as caught:
        status_command(str(path), str(write_recipe(tmp_path / "r")), [], False, False)
    assert "'small'" in caught.value.what
    assert "apples" in caught.value.cause


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe that has run to its end; tests copy its folder."""
    recipe = write_recipe(
        tmp_path_factory.mktemp("finished"),
        teachers={"local": simulated(), "other": simulated(model="simulated-other")},
    )
    asyncio.run(run(recipe))
    return recipe


@pytest.fixture
def recipe(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of it, with prompts of its own to edit."""
    shutil.copytree(finished.parent, tmp_path / "recipe")
    shutil.copytree(PROMPTS, tmp_path / "prompts")
    monkeypatch.setenv("STILLHOUSE_PROMPTS", str(tmp_path / "prompts"))
    yield tmp_path / "recipe" / "recipe.yaml"


@pytest.fixture
def stale(recipe: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """The `stale` part of `status --stale --json`, with these overrides."""

    def asked(*overrides: str) -> dict[str, Any]:
        db = str(corpus_of(recipe))
        assert status_command(db, str(recipe), list(overrides), True, True) == 0
        part: dict[str, Any] = json.loads(capsys.readouterr().out)["recipes"]["small"]["stale"]
        return part

    return asked


def edit(recipe: Path, name: str) -> None:
    path = recipe.parent.parent / "prompts" / f"{name}.md"
    path.write_text(path.read_text(encoding="utf-8") + "\nBe kind.\n", encoding="utf-8")


def test_nothing_is_stale_where_nothing_changed(stale: Any) -> None:
    found = stale()
    assert (found["seeds"], found["samples"], found["steps"]) == (0, 0, [])
    assert found["redo"]["calls"] == 0


def test_an_edited_prompt_is_named_with_what_it_makes_stale(recipe: Path, stale: Any) -> None:
    edit(recipe, "selection/score")
    found = stale()
    db = corpus_of(recipe)
    scored = one(db, "SELECT count(*) FROM sample WHERE shaped_by LIKE '%selection/score%'")
    (step,) = found["steps"]
    assert (step["step"], step["kinds"]) == ("select", ["prompt"])
    assert step["words"][0].startswith("prompt selection/score was edited")
    assert (step["seeds"], step["samples"]) == (0, scored)
    calls = "SELECT count(*) FROM agent_call WHERE agent IN ('selection', 'verification')"
    assert found["redo"]["calls"] == one(db, f"{calls} AND error_type IS NULL AND NOT cached")
    assert found["redo"]["cost"] == 0.0


async def test_the_next_run_walks_what_status_announced_and_takes_no_more_calls(
    recipe: Path, stale: Any
) -> None:
    edit(recipe, "rewriting/respond")
    found = await asyncio.to_thread(stale)
    assert found["seeds"] > 0
    result = await run(recipe)
    assert result.progress.total == found["seeds"]
    assert 0 < result.progress.figures.calls_made <= found["redo"]["calls"]
    again = await asyncio.to_thread(stale)
    assert (again["seeds"], again["steps"]) == (0, [])


def test_an_edited_expansion_prompt_counts_no_call_twice(recipe: Path, stale: Any) -> None:
    edit(recipe, "expansion/expand")
    found = stale()
    db = corpus_of(recipe)
    variants = rows(db, "SELECT id FROM sample WHERE variant > 0")
    made = "SELECT count(*) FROM agent_call WHERE error_type IS NULL AND NOT cached AND "
    marks = ", ".join("?" for _ in variants)
    expected = one(db, f"{made} agent = 'expansion'") + one(
        db, f"{made} sample_id IN ({marks})", *(row["id"] for row in variants)
    )
    assert found["redo"]["calls"] == expected
    (step,) = found["steps"]
    assert (step["seeds"], step["samples"]) == (6, len(variants))


def test_a_changed_setting_is_told_with_both_values(stale: Any) -> None:
    (step,) = stale("agents.verification.max_rounds=3")["steps"]
    assert (step["step"], step["kinds"]) == ("verify", ["settings"])
    assert step["words"] == ["agents.verification.max_rounds 1 → 3"]


def test_another_teacher_is_told_by_name(stale: Any) -> None:
    (step,) = stale("agents.verification.teacher=other")["steps"]
    assert (step["step"], step["kinds"]) == ("verify", ["teacher"])
    assert step["words"] == ["teacher local → other"]


def test_a_changed_teacher_touches_every_step_it_plays(stale: Any) -> None:
    steps = stale("teachers.local.simulation.wrong_math=0.5")["steps"]
    assert {step["step"] for step in steps} == {
        "expand", "rewrite", "respond", "select", "verify",
    }  # fmt: skip
    words = {word for step in steps for word in step["words"]}
    assert words == {"teachers.local.simulation.wrong_math 0.0 → 0.5"}


def test_what_shapes_no_answer_makes_nothing_stale(stale: Any) -> None:
    found = stale("teachers.local.simulation.server_error=0.5", "run.seeds_in_flight=2")
    assert found["seeds"] == 0


def test_prompt_teacher_and_settings_are_told_together(recipe: Path, stale: Any) -> None:
    edit(recipe, "verification/judge")
    (step,) = stale("agents.verification.teacher=other", "agents.verification.max_rounds=0")[
        "steps"
    ]
    assert step["kinds"] == ["prompt", "teacher", "settings"]


def test_a_step_that_is_left_out_is_told(stale: Any) -> None:
    (step,) = stale("agents.rewriting.enabled=false")["steps"]
    assert (step["step"], step["now"]) == ("rewrite", None)
    assert step["words"] == ["the recipe leaves this step out now"]


def test_people_are_told_what_redoing_took(
    recipe: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    edit(recipe, "rewriting/rewrite")
    assert status_command(str(corpus_of(recipe)), str(recipe), [], True, False) == 0
    told = capsys.readouterr().out
    assert "The next run walks 6 seeds again" in told
    assert "prompt rewriting/rewrite was edited" in told
    assert "$0.0000 the first time" in told
