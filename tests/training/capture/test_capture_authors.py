"""`label_tail` is refused where the corpus knows that its teacher did not draw the responses."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from trainer import exported_corpus, recipe_document, tiny_model, write_recipe

from training.capture.authors import check_authors
from training.engine.stages import stage_spec, tokenised_corpus
from training.errors import CorpusRefused
from training.recipe import TrainRecipe, load_train_recipe

AT_ONE = """UPDATE agent_call SET parameters = '{"temperature": 1.0, "max_tokens": 500}'"""
ONE_OF_THEM = (
    "WHERE agent = 'response' AND sample_id = "
    "(SELECT min(sample_id) FROM agent_call WHERE agent = 'response')"
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("student", "big", "mid")):
        tiny_model(folder / name, seed)
    return folder


Refusals = Callable[..., str]


@pytest.fixture
def refusal(models: Path, tmp_path: Path) -> Refusals:
    """What is said against `label_tail` after these changes to the database; empty: nothing."""
    manifest = exported_corpus(tmp_path / "data", 12)
    db = tmp_path / "data" / "corpus.db"

    def found(*statements: str, **stage: Any) -> str:
        with closing(sqlite3.connect(db)) as connection:
            for statement in (AT_ONE, *statements):
                connection.execute(statement)
            connection.commit()
        recipe, (_, tokens) = prepared(models, tmp_path, manifest, str(db), **stage)
        try:
            check_authors(recipe, recipe.stages[0], tokens)
        except CorpusRefused as error:
            return f"{error.what} {error.cause}"
        return ""

    return found


def prepared(
    models: Path, folder: Path, manifest: Path, db: str | None, **stage: Any
) -> tuple[TrainRecipe, Any]:
    goal = {"name": "kd", "kind": "kd", "objective": "label_tail", "teachers": [{"teacher": "big"}]}
    document = recipe_document(
        manifest,
        models / "student",
        corpus={"manifest": str(manifest), "db": db},
        teachers={name: {"model": str(models / name)} for name in ("big", "mid")},
        stages=[goal | stage],
    )
    recipe = load_train_recipe(write_recipe(folder, document))
    return recipe, tokenised_corpus(recipe)


def test_responses_at_temperature_one_are_taken(refusal: Refusals) -> None:
    assert refusal() == ""


@pytest.mark.parametrize(
    "parameters", ["NULL", "'{}'", """'{"temperature": 1, "top_p": 1.0, "top_k": -1}'"""], ids=str
)
def test_what_was_not_stated_is_the_recipes_word(refusal: Refusals, parameters: str) -> None:
    assert refusal(f"UPDATE agent_call SET parameters = {parameters}") == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("""UPDATE agent_call SET parameters = '{"temperature": 0.7}' """, "at temperature 0.7"),
        ("""UPDATE agent_call SET parameters = '{"top_p": 0.95}' """, "at top_p 0.95"),
        ("""UPDATE agent_call SET parameters = '{"top_k": 20}' """, "at top_k 20"),
        ("UPDATE agent_call SET model = 'org/mid' ", "by mid"),
        (
            "UPDATE completion SET simulated = 1 WHERE key = (SELECT request_key FROM agent_call ",
            "by a simulated teacher",
        ),
    ],
    ids=["temperature", "top_p", "top_k", "another of the recipe's teachers", "simulated"],
)
def test_one_response_that_is_certainly_another_is_refused(
    refusal: Refusals, change: str, said: str
) -> None:
    found = refusal(f"{change}{ONE_OF_THEM}{')' if '(' in change else ''}")
    assert "1 of 12 responses" in found and "'big'" in found
    assert f"1 {said}" in found


def test_a_model_under_another_name_may_be_this_teacher(refusal: Refusals) -> None:
    assert refusal("UPDATE agent_call SET model = 'the-served-name'") == ""


def test_only_the_last_call_wrote_the_response_and_other_agents_wrote_none(
    refusal: Refusals,
) -> None:
    columns = "run_id, recipe, seed_id, sample_id, agent, round, prompt_name, prompt_version, "
    columns += "prompt_hash, teacher, model, endpoint, request_key, cached, attempt, charged_tokens"
    earlier = (
        f"INSERT INTO agent_call (id, parameters, created_at, {columns}) SELECT 'x' || id, "
        f"'{{\"temperature\": 0.2}}', '2020-01-01', {columns} FROM agent_call "
        "WHERE agent = 'response'"
    )
    judge = """UPDATE agent_call SET parameters = '{"temperature": 0}' WHERE agent <> 'response'"""
    assert refusal(earlier, judge) == ""


def test_failed_calls_wrote_nothing(refusal: Refusals) -> None:
    cold = """UPDATE agent_call SET parameters = '{"temperature": 0}', error_type = 'timeout'"""
    assert refusal(cold) == ""


def test_another_objective_takes_any_corpus(refusal: Refusals) -> None:
    cold = """UPDATE agent_call SET parameters = '{"temperature": 0}'"""
    assert refusal(cold, objective="tail_bucket") == ""


def test_training_is_refused_before_it_begins(models: Path, tmp_path: Path) -> None:
    """The maker of the tests' corpus asked at 0.7."""
    manifest = exported_corpus(tmp_path / "data", 12)
    db = str(tmp_path / "data" / "corpus.db")
    recipe, (corpus, tokens) = prepared(models, tmp_path, manifest, db)
    with pytest.raises(CorpusRefused, match="12 of 12 responses") as caught:
        stage_spec(recipe, recipe.stages[0], corpus, tokens)
    assert "tail_bucket" in caught.value.solution
