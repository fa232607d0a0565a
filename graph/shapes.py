"""What every step's shape is right now, for telling stale samples from current ones.

A run knows from its open teachers; `status --stale` from the recipe and the teachers' identities
alone, so that nothing has to be started for it.
"""

from __future__ import annotations

from collections.abc import Mapping

from agents import expansion, rewriting, selection, verification
from agents.prompts import PromptLibrary
from graph.recipe import ROLES, AgentSettings, Recipe
from graph.services import role_shape, shaping_settings, step_shape
from storage.staleness import CurrentShapes
from teachers.identity import Identified, TeacherIdentity, identity_of


async def role_teachers(recipe: Recipe) -> dict[str, TeacherIdentity]:
    """Who plays each enabled role, without opening anybody.

    Raises:
        TeacherError: a managed server's checkpoint or a recording cannot be read.
    """
    known = {
        name: await identity_of(name, recipe.teachers[name]) for name in recipe.used_teachers()
    }
    return {
        role: known[name]
        for role in ROLES
        if recipe.agents.role(role).enabled and (name := recipe.teacher_of(role)) is not None
    }


def shapes_for(
    recipe: Recipe, prompts: PromptLibrary, teachers: Mapping[str, Identified]
) -> CurrentShapes:
    """The shapes of a run that began now, with these teachers by role."""
    shapes = {
        role: role_shape(teacher, shaping_settings(recipe.agents.role(role)))
        for role, teacher in teachers.items()
    }
    return shapes_of(recipe.agents, prompts, shapes)


def shapes_of(
    agents: AgentSettings, prompts: PromptLibrary, roles: Mapping[str, str]
) -> CurrentShapes:
    """The shapes of every step, from those of the enabled roles (`graph.services.role_shape`)."""

    def shape(role: str, prompt: str) -> str:
        return step_shape(prompts, prompt, roles[role])

    shapes: dict[str, frozenset[str]] = {}
    required = ["respond"]
    if expansion.ROLE in roles:
        settings = agents.expansion
        shapes["classify"] = frozenset({shape(expansion.ROLE, settings.classify_prompt)})
        if settings.variants:
            shapes["expand"] = frozenset({shape(expansion.ROLE, settings.prompt)})
    if rewriting.REWRITING_ROLE in roles:
        prompt = agents.rewriting.prompt
        shapes["rewrite"] = frozenset({shape(rewriting.REWRITING_ROLE, prompt)})
        required.append("rewrite")
    response = agents.response
    shapes["respond"] = frozenset(
        shape(rewriting.RESPONSE_ROLE, name) for name in (response.prompt, response.steps_prompt)
    )
    if selection.ROLE in roles:
        shapes["select"] = frozenset({shape(selection.ROLE, agents.selection.prompt)})
        required.append("select")
    if verification.ROLE in roles:
        shapes["verify"] = frozenset({shape(verification.ROLE, agents.verification.prompt)})
        required.append("verify")
    of_seeds = ("expand",) if "expand" in shapes else ()
    return CurrentShapes(shapes, tuple(required), of_seeds)
