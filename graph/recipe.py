"""What the user writes: a recipe in YAML, and `--set key=value` on top of it.

In: a file (or a folder with `recipe.yaml`) and overrides. Out: a `Recipe`, every key checked; an
unknown key names the nearest known one. Relative paths in a recipe are meant from its own folder.
Each part of the code owns its own settings model; this module only puts them together.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from agents.categories import CATEGORIES, Category
from agents.expansion import ExpansionSettings
from agents.rewriting import ResponseSettings, RewritingSettings
from agents.selection import SelectionSettings
from agents.settings import RoleSettings
from agents.verification import VerificationSettings
from common.hashing import digest
from common.recipes import beside, explain, read_document, refuse_credentials
from graph.seeds import SeedSource
from teachers.budget import BudgetSettings
from teachers.config import AnyTeacher, teachers_beside

ROLES = ("expansion", "rewriting", "response", "selection", "verification")


_UNION_TAGS = ("openai", "vllm", "simulated", "recorded")


class AgentSettings(BaseModel):
    """The five roles of the factory."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    expansion: ExpansionSettings = ExpansionSettings()
    rewriting: RewritingSettings = RewritingSettings()
    response: ResponseSettings = ResponseSettings()
    selection: SelectionSettings = SelectionSettings()
    verification: VerificationSettings = VerificationSettings()

    def role(self, name: str) -> RoleSettings:
        """One role's settings."""
        settings: RoleSettings = getattr(self, name)
        return settings


class GateSettings(BaseModel):
    """What is rejected before a teacher token is spent on it. `quotas`: at most so many live
    samples per category."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    language: bool = True
    category: bool = True
    duplicates: bool = True
    quotas: dict[Category, int] = Field(default_factory=dict)


class DrivingSettings(BaseModel):
    """`seeds_in_flight` is how many seeds walk at once: it bounds memory, limiters bound calls."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seeds_in_flight: int = Field(default=128, ge=1, le=10_000)


class Recipe(BaseModel):
    """A whole recipe. `teacher` plays every role that names no teacher of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    description: str = ""
    seeds: list[SeedSource] = Field(default_factory=list)
    teacher: str | None = None
    teachers: dict[str, AnyTeacher]
    agents: AgentSettings = AgentSettings()
    gates: GateSettings = GateSettings()
    budget: BudgetSettings = BudgetSettings()
    run: DrivingSettings = DrivingSettings()

    @model_validator(mode="after")
    def _roles_have_teachers(self) -> Recipe:
        known = ", ".join(sorted(self.teachers))
        for role in ROLES:
            if not self.agents.role(role).enabled:
                continue
            name = self.teacher_of(role)
            if name is None:
                raise ValueError(
                    f"role '{role}' has no teacher: give `teacher: NAME` for all roles or "
                    f"`agents.{role}.teacher`; teachers here: {known}"
                )
            if name not in self.teachers:
                raise ValueError(f"role '{role}' names teacher '{name}'; teachers here: {known}")
        return self

    @model_validator(mode="after")
    def _caps_can_be_kept(self) -> Recipe:
        if self.budget.usd is None and self.budget.tokens is None:
            return self
        for role in ROLES:
            settings = self.agents.role(role)
            if settings.enabled and settings.sampling.max_tokens is None:
                raise ValueError(
                    "a cap on tokens or dollars can only be kept where every answer has a bound: "
                    f"give agents.{role}.sampling.max_tokens"
                )
        return self

    def teacher_of(self, role: str) -> str | None:
        """The name of the teacher who plays a role."""
        return self.agents.role(role).teacher or self.teacher

    def used_teachers(self) -> list[str]:
        """The teachers that some enabled role names, in order of roles."""
        names = [self.teacher_of(role) for role in ROLES if self.agents.role(role).enabled]
        return list(dict.fromkeys(name for name in names if name))

    def text(self) -> str:
        """The recipe as resolved, for the books; it holds no secret, since none may stand in it."""
        return yaml.safe_dump(
            self.model_dump(mode="json", exclude_defaults=True), allow_unicode=True, sort_keys=False
        )

    def hash(self) -> str:
        """Identity of the resolved recipe."""
        return digest(self.model_dump(mode="json"))


def load_recipe(
    path: str | Path, overrides: Sequence[str] = (), seeds: Sequence[str] = ()
) -> Recipe:
    """Reads a recipe, lays `overrides` (`a.b.c=value`, YAML values) over it and checks it all."""
    file, document = read_document(
        path,
        overrides,
        begin="`name:`, `seeds:` and `teachers:`; recipes/quickstart shows how",
        example="stillhouse run recipes/quickstart",
    )
    _resolve_paths(document, file.parent)
    if seeds:
        document["seeds"] = list(seeds)
    refuse_credentials(document, file)
    try:
        return Recipe.model_validate(document)
    except ValidationError as error:
        raise explain(error, file, Recipe, tags=_UNION_TAGS, free_keys=CATEGORIES) from error


def _resolve_paths(document: dict[str, Any], folder: Path) -> None:
    seeds = document.get("seeds")
    if isinstance(seeds, str | dict):
        seeds = [seeds]
    if isinstance(seeds, list):
        document["seeds"] = [_seed_path(seed, folder) for seed in seeds]
    teachers_beside(document.get("teachers"), folder)


def _seed_path(seed: Any, folder: Path) -> Any:
    if isinstance(seed, str):
        return beside(seed, folder)
    if isinstance(seed, dict) and isinstance(seed.get("path"), str):
        return {**seed, "path": beside(seed["path"], folder)}
    return seed
