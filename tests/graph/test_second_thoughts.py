"""What changes between two invocations: swapped variants, later expansion, killed runs, budgets."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from common.recipes import RecipeError
from graph.recipe import load_recipe
from graph.run import Progress, RunOptions, run_factory

RECIPE = """
name: twice
seeds: [seeds.jsonl]
teacher: recording
teachers:
  recording: {kind: recorded, path: one.jsonl, model: recorded-model}
  rehearsal: {kind: simulated}
agents:
  expansion: {teacher: recording, variants: 2, prompt: rewriting/as_is}
  rewriting: {enabled: false}
  response: {teacher: rehearsal}
  selection: {enabled: false}
  verification: {enabled: false}
"""
SEED = {"instruction": "Describe a lake.", "category": "writing", "language": "en"}
X, Y = "Describe a quiet harbour at night.", "Describe a busy market at noon."


def recording(path: Path, *instructions: str) -> None:
    variants = [{"instruction": text, "category": "writing"} for text in instructions]
    row = {"prompt": SEED["instruction"], "response": json.dumps({"variants": variants})}
    path.write_text(json.dumps(row) + "\n")


async def walked(folder: Path, *overrides: str, **options: Any) -> dict[str, int]:
    recipe = load_recipe(folder, overrides)
    result = await run_factory(
        RunOptions(recipe, str(folder / "c.db"), log_folder=folder / "runs", **options), Progress()
    )
    assert result.status == "finished", result.error
    with closing(sqlite3.connect(folder / "c.db")) as corpus:
        query = "SELECT status || ':' || coalesce(reason, ''), count(*) FROM sample GROUP BY 1"
        return dict(corpus.execute(query).fetchall())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    prompts = tmp_path / "prompts"
    source = Path(__file__).resolve().parents[2] / "prompts"
    for file in source.glob("*/*.md"):
        target = prompts / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    as_is = prompts / "rewriting" / "as_is.md"
    text = as_is.read_text()
    inputs = "inputs: [instruction, input, category, categories, language, language_name, count]"
    head, _, body = text.partition("inputs: [")
    as_is.write_text(head + inputs + body[body.index("]") + 1 :])
    monkeypatch.setenv("STILLHOUSE_PROMPTS", str(prompts))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "seeds.jsonl").write_text(json.dumps(SEED) + "\n")
    return tmp_path


async def test_variants_that_come_in_another_order_are_no_duplicates_of_their_former_selves(
    folder: Path,
) -> None:
    recording(folder / "one.jsonl", X, Y)
    recording(folder / "two.jsonl", Y, X)
    assert await walked(folder) == {"accepted:not_verified": 3}
    again = await walked(folder, f"teachers.recording.path={folder / 'two.jsonl'}")
    assert again == {"accepted:not_verified": 3}


async def test_expansion_turned_on_later_reaches_the_seeds_that_are_done(folder: Path) -> None:
    recording(folder / "one.jsonl", X, Y)
    assert await walked(folder, "agents.expansion.variants=0") == {"accepted:not_verified": 1}
    assert await walked(folder) == {"accepted:not_verified": 3}


async def test_a_run_that_was_killed_is_closed_by_the_next_one(folder: Path) -> None:
    recording(folder / "one.jsonl", X, Y)
    await walked(folder)
    with closing(sqlite3.connect(folder / "c.db")) as corpus:
        corpus.execute("UPDATE run SET status = 'running', ended_at = NULL, calls_made = 0")
        corpus.commit()
    await walked(folder)
    with closing(sqlite3.connect(folder / "c.db")) as corpus:
        runs = corpus.execute(
            "SELECT status, reason, calls_made FROM run ORDER BY started_at"
        ).fetchall()
    assert runs == [("interrupted", "killed", 4), ("finished", None, 0)]


@pytest.mark.parametrize(
    "server",
    [
        '{model: m, extra_args: ["--hf-token", "abc"]}',
        '{model: m, extra_args: ["--x", "hf_abcdefghijklmnopqrstuv"]}',
        "{model: m, env: {OPENAI_KEY: abc}}",
    ],
)
def test_a_credential_for_a_managed_server_is_refused_wherever_it_stands(
    tmp_path: Path, server: str
) -> None:
    (tmp_path / "recipe.yaml").write_text(
        f"name: r\nteacher: t\nteachers: {{t: {{kind: vllm, server: {server}}}}}\n"
    )
    with pytest.raises(RecipeError, match="holds a credential") as raised:
        load_recipe(tmp_path)
    assert "abc" not in str(raised.value)


async def test_a_sample_that_one_teacher_failed_is_tried_again_with_another(folder: Path) -> None:
    (folder / "one.jsonl").write_text(json.dumps({"prompt": "Other.", "response": "Yes."}) + "\n")
    failing = ["agents.response.teacher=recording", "agents.expansion.variants=0"]
    assert await walked(folder, *failing) == {"failed:not_recorded": 1}
    assert await walked(folder, failing[1]) == {"accepted:not_verified": 1}
