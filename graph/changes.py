"""What has changed in a step since some samples went through it: prompt, teacher or settings.

In: a shape as a sample's lineage holds it, the recipe of the run that gave it, and the recipe as it
is now. Out: a `Change` in words. Settings are compared key by key; a teacher has changed where the
old settings with today's teacher don't give the old shape.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any, Literal

import yaml
from pydantic import ValidationError

from graph.recipe import Recipe
from graph.services import role_shape, shaping_settings
from teachers.identity import Identified

Kind = Literal["prompt", "teacher", "settings", "teacher or settings"]
_SHOWN_CHARACTERS = 40
# What a teacher's settings hold besides what shapes its answers.
_NOT_SHAPING = ("limits", "retry", "prices", "terms", "timeout_s", "family", "api_key_env")
_PROMPT_SETTINGS = ("prompt", "classify_prompt", "steps_prompt")


@dataclass(frozen=True, slots=True)
class StepChange:
    """How a step differs from what it was: `kinds` in short, `words` for people. `now` is the
    current shape; None where the recipe has no such step any more."""

    kinds: tuple[Kind, ...]
    words: tuple[str, ...]
    now: str | None


def read_resolved(text: str | None) -> Recipe | None:
    """A recipe as a run's row keeps it; None where this program can't read it any more."""
    try:
        return None if text is None else Recipe.model_validate(yaml.safe_load(text))
    except (ValidationError, yaml.YAMLError):
        return None


def explain(
    was: str,
    current: Set[str],
    role: str,
    *,
    before: Recipe | None,
    now: Recipe,
    teachers: Mapping[str, Identified],
) -> StepChange:
    """Says what makes `was` another shape than the `current` ones of its step.

    Args:
        was: the shape in a lineage; "" for a step that never touched the sample.
        current: the step's shapes in the recipe as it is now; several where it has prompts to
            choose from.
        role: who does the step.
        before: the resolved recipe of the run that gave `was`, as far as it is known.
        now: the recipe as it is now.
        teachers: who plays each role now.
    """
    if not current:
        return StepChange(("settings",), ("the recipe leaves this step out now",), None)
    if not was:
        return StepChange(
            ("settings",), ("the recipe did not have this step before",), min(current)
        )
    was_name, was_hash, was_role = was.split("#")
    now_shape = min(current, key=lambda shape: (shape.split("#")[0] != was_name, shape))
    now_name, now_hash, now_role = now_shape.split("#")
    kinds: list[Kind] = []
    words: list[str] = []
    if (was_name, was_hash) != (now_name, now_hash):
        kinds.append("prompt")
        words.append(
            f"prompt {was_name} was edited ({was_hash[:8]} → {now_hash[:8]})"
            if was_name == now_name
            else f"prompt {was_name} → {now_name}"
        )
    if was_role != now_role:
        if before is None:
            kinds.append("teacher or settings")
            words.append("its teacher or its settings")
        else:
            _compare(was_role, role, before, now, teachers[role], kinds, words)
    return StepChange(tuple(kinds), tuple(words), now_shape)


def _compare(
    was_role: str,
    role: str,
    before: Recipe,
    now: Recipe,
    teacher: Identified,
    kinds: list[Kind],
    words: list[str],
) -> None:
    old, new = (shaping_settings(recipe.agents.role(role)) for recipe in (before, now))
    if role_shape(teacher, old) != was_role:
        kinds.append("teacher")
        words.extend(_teacher_words(role, before, now))
    for key, was_value, now_value in _differences(old, new):
        if key in _PROMPT_SETTINGS:
            if "prompt" not in kinds:
                kinds.append("prompt")
                words.append(f"prompt {was_value} → {now_value}")
            continue
        if "settings" not in kinds:
            kinds.append("settings")
        words.append(f"agents.{role}.{key} {_shown(was_value)} → {_shown(now_value)}")


def _teacher_words(role: str, before: Recipe, now: Recipe) -> Iterator[str]:
    was_name, now_name = before.teacher_of(role), now.teacher_of(role)
    if was_name != now_name:
        yield f"teacher {was_name} → {now_name}"
        return
    assert now_name is not None, "an enabled role has a teacher"
    old, new = (
        recipe.teachers[now_name].model_dump(mode="json", exclude=set(_NOT_SHAPING))
        for recipe in (before, now)
    )
    found = False
    for key, was_value, now_value in _differences(old, new):
        found = True
        # A server's environment is the one place where somebody might have put a secret.
        hidden = key.startswith("server.env")
        values = "" if hidden else f" {_shown(was_value)} → {_shown(now_value)}"
        yield f"teachers.{now_name}.{key}{values or ' changed'}"
    if not found:
        yield f"teacher {now_name}: what it serves or holds"


def _differences(
    old: Mapping[str, Any], new: Mapping[str, Any], above: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    for key in dict.fromkeys((*old, *new)):
        was, now = old.get(key), new.get(key)
        if was == now:
            continue
        if isinstance(was, dict) and isinstance(now, dict):
            yield from _differences(was, now, f"{above}{key}.")
        else:
            yield f"{above}{key}", was, now


def _shown(value: Any) -> str:
    if value is None:
        return "(unset)"
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
