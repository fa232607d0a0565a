"""What changed in a step: told from shapes and recipes alone, and never with a secret in it."""

from __future__ import annotations

from typing import Any

from graph.changes import explain, read_resolved
from graph.recipe import Recipe
from graph.services import role_shape, shaping_settings
from teachers.identity import TeacherIdentity

LOCAL = TeacherIdentity("simulated:1", "simulated-teacher", None, "json_schema")
NAME = "verification/judge"


def recipe(teacher: dict[str, Any] | None = None, **verification: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "small",
            "teacher": "local",
            "teachers": {"local": teacher or {"kind": "simulated"}},
            "agents": {"verification": verification},
        }
    )


def shape(of: Recipe, teacher: TeacherIdentity = LOCAL, prompt: str = f"{NAME}#aaaaaaaa") -> str:
    settings = shaping_settings(of.agents.verification)
    return f"{prompt}#{role_shape(teacher, settings)}"


def explained(was: str, before: Recipe | None, now: Recipe) -> Any:
    return explain(
        was,
        {shape(now)},
        "verification",
        before=before,
        now=now,
        teachers={"verification": LOCAL},
    )


def test_a_step_that_never_touched_the_sample_is_new() -> None:
    now = recipe()
    change = explained("", None, now)
    assert (change.kinds, change.now) == (("settings",), shape(now))
    assert change.words == ("the recipe did not have this step before",)


def test_without_the_recipe_of_then_teacher_and_settings_are_not_told_apart() -> None:
    change = explained(shape(recipe(max_rounds=0)), None, recipe())
    assert change.kinds == ("teacher or settings",)


def test_another_prompt_is_told_by_both_names_and_only_once() -> None:
    before = recipe(prompt="verification/strict")
    change = explained(shape(before, prompt="verification/strict#bbbbbbbb"), before, recipe())
    assert change.kinds == ("prompt",)
    assert change.words == ("prompt verification/strict → verification/judge",)


def test_of_several_prompts_the_one_of_the_same_name_is_compared() -> None:
    now = recipe()
    current = {shape(now, prompt="verification/a#1"), shape(now, prompt="verification/b#2")}
    change = explain(
        shape(now, prompt="verification/b#0"), current, "verification",
        before=now, now=now, teachers={"verification": LOCAL},
    )  # fmt: skip
    assert change.words == ("prompt verification/b was edited (0 → 2)",)


def test_a_teacher_that_serves_something_else_is_told_without_a_setting() -> None:
    now = recipe()
    elsewhere = TeacherIdentity("simulated:2", "simulated-teacher", None, "json_schema")
    change = explained(shape(now, elsewhere), now, now)
    assert change.kinds == ("teacher",)
    assert change.words == ("teacher local: what it serves or holds",)


def test_a_servers_environment_is_named_but_its_values_are_not_shown() -> None:
    def served(secret: str) -> Recipe:
        return recipe({"kind": "vllm", "server": {"model": "hub/tiny", "env": {"A": secret}}})

    elsewhere = TeacherIdentity("vllm:2", "hub/tiny", None, "json_schema")
    before = served("hunter2")
    change = explained(shape(before, elsewhere), before, served("hunter3"))
    assert change.words == ("teachers.local.server.env.A changed",)


def test_long_values_are_cut() -> None:
    before, now = (
        recipe(sampling={"extra": {"stop": word * 100}, "max_tokens": 5}) for word in ("a", "b")
    )
    (word,) = explained(shape(before), before, now).words
    assert "agents.verification.sampling.extra.stop" in word
    assert len(word) < 200


def test_a_recipe_that_this_program_cannot_read_any_more_is_no_error() -> None:
    assert read_resolved("name: small\nunheard_of: 1\n") is None
    assert read_resolved("{") is None
    assert read_resolved(None) is None


def test_a_recipe_reads_back_from_the_runs_row() -> None:
    original = recipe(max_rounds=3)
    assert read_resolved(original.text()) == original
