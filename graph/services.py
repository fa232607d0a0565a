"""What the nodes work with, put together once per run and handed to the graph's builder."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from agents.prompts import PromptLibrary
from agents.settings import RoleSettings
from common.hashing import digest
from graph.books import Books
from graph.gates import Gates
from graph.history import PriorSample
from graph.recipe import ROLES, AgentSettings, Recipe
from teachers.gateway import Gateway
from teachers.identity import Identified
from teachers.types import Sampling


@dataclass(frozen=True)
class Binding:
    """One role with its teacher. `shape` names, in short, the teacher and the settings."""

    role: str
    gateway: Gateway
    sampling: Sampling
    shape: str


@dataclass(frozen=True)
class Services:
    """Everything a node may use. `find_owner` says which sample was let in with a fingerprint.
    `history` holds what earlier invocations decided about the samples
    of the seeds that walk right now. With `only_variant`, no other draft of a seed walks (0: its
    own instruction)."""

    recipe: Recipe
    prompts: PromptLibrary
    bindings: dict[str, Binding]
    books: Books
    gates: Gates
    find_owner: Callable[[str], Awaitable[str | None]]
    history: dict[str, PriorSample] = field(default_factory=dict)
    only_variant: int | None = None

    @property
    def agents(self) -> AgentSettings:
        """The five roles' settings."""
        return self.recipe.agents

    def shape(self, role: str, prompt_name: str | None) -> str:
        """What shapes a step's outcome, in short: prompt hash, then teacher and settings."""
        return step_shape(self.prompts, prompt_name, self.bindings[role].shape)


def bind_roles(recipe: Recipe, gateways: dict[str, Gateway]) -> dict[str, Binding]:
    """One binding for every enabled role."""
    bindings = {}
    for role in ROLES:
        settings = recipe.agents.role(role)
        name = recipe.teacher_of(role)
        if not settings.enabled or name is None:
            continue
        gateway = gateways[name]
        shape = role_shape(gateway, shaping_settings(settings))
        bindings[role] = Binding(role, gateway, settings.sampling.build(), shape)
    return bindings


def shaping_settings(settings: RoleSettings) -> dict[str, Any]:
    """Everything of a role's settings that shapes an outcome; who plays it is said apart."""
    return settings.model_dump(mode="json", exclude={"teacher"})


def role_shape(teacher: Identified, shaping: dict[str, Any]) -> str:
    """A teacher and a role's settings, in short."""
    identity = [teacher.endpoint, teacher.model, teacher.revision, teacher.structured_mode]
    return digest([identity, shaping])[:12]


def step_shape(prompts: PromptLibrary, prompt_name: str | None, of_role: str) -> str:
    """What shapes a step's outcome, in short: prompt, its hash, then teacher and settings."""
    prompt_hash = prompts.get(prompt_name).hash[:12] if prompt_name else ""
    return f"{prompt_name or ''}#{prompt_hash}#{of_role}"
