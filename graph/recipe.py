"""What the user writes: a recipe in YAML, and `--set key=value` on top of it.

In: a file (or a folder with `recipe.yaml`) and overrides. Out: a `Recipe`, every key checked; an
unknown key names the nearest known one. Relative paths in a recipe are meant from its own folder.
Each part of the code owns its own settings model; this module only puts them together.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from agents.categories import CATEGORIES, Category
from agents.expansion import ExpansionSettings
from agents.rewriting import ResponseSettings, RewritingSettings
from agents.selection import SelectionSettings
from agents.settings import RoleSettings
from agents.verification import VerificationSettings
from common.credentials import looks_like_credential, names_credential
from common.errors import StillhouseError
from common.hashing import digest
from graph.seeds import SeedSource
from teachers.budget import BudgetSettings
from teachers.config import AnyTeacher

ROLES = ("expansion", "rewriting", "response", "selection", "verification")


class RecipeError(StillhouseError):
    """The recipe cannot be used as it stands."""

    code = "recipe"


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
    file = _find(Path(path))
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(
            f"The recipe {file} cannot be read.",
            cause=error.strerror or str(error),
            solution="Check that it is a file and that you may read it.",
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"The recipe {file} is not valid YAML.",
            cause=str(error),
            solution="Correct the file; the position is given above.",
        ) from error
    if not isinstance(document, dict):
        raise RecipeError(
            f"The recipe {file} holds no settings.",
            cause="Its top level is not a mapping of keys.",
            solution="Begin with `name:`, `seeds:` and `teachers:`; recipes/quickstart shows how.",
        )
    for override in overrides:
        _apply(document, override)
    _resolve_paths(document, file.parent)
    if seeds:
        document["seeds"] = list(seeds)
    _refuse_credentials(document, file)
    try:
        return Recipe.model_validate(document)
    except ValidationError as error:
        raise _explain(error, file) from error


def _find(path: Path) -> Path:
    file = path / "recipe.yaml" if path.is_dir() else path
    if not file.is_file():
        raise RecipeError(
            f"There is no recipe at '{path}'.",
            cause=f"{file} does not exist.",
            solution="Give a YAML file, or a folder that holds recipe.yaml.",
            command="stillhouse run recipes/quickstart",
        )
    return file


def _apply(document: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator or not key.strip():
        raise RecipeError(
            f"'--set {override}' is not of the form key=value.",
            cause="There is no '=' with a key before it.",
            solution="Write, for example, --set agents.verification.teacher=api",
        )
    *parents, last = key.strip().split(".")
    place = document
    for parent in parents:
        inner = place[parent] = {} if place.get(parent) is None else place[parent]
        if not isinstance(inner, dict):
            raise RecipeError(
                f"'--set {override}' leads into '{parent}', which is not a section.",
                cause=f"'{parent}' holds the value {inner!r}.",
                solution="Set that key itself, or correct the path.",
            )
        place = inner
    try:
        place[last] = yaml.safe_load(value) if value else None
    except yaml.YAMLError as error:
        raise RecipeError(
            f"'--set {override}' gives a value that is not valid YAML.",
            cause=str(error),
            solution="Close every bracket and quotation mark; in a shell, quote the whole "
            "key=value.",
        ) from error


def _refuse_credentials(value: Any, file: Path, *place: str) -> None:
    """A recipe's text goes into the corpus, so a key that someone wrote into it may not pass."""
    if isinstance(value, str):
        named = any(names_credential(part) for part in (*place[-1:], *_argument_before(value)))
        if value and place[-1:] != ("api_key_env",) and (named or looks_like_credential(value)):
            raise RecipeError(
                f"The recipe {file} holds a credential: {'.'.join(place)}.",
                cause="Recipes are kept in the corpus and shown, so no key or password may stand "
                "in one.",
                solution="Put it into an environment variable; a teacher names its key's variable "
                "under api_key_env, and a managed server inherits the whole environment.",
            )
    elif isinstance(value, dict):
        for key, item in value.items():
            _refuse_credentials(item, file, *place, str(key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _refuse_credentials(item, file, *place, str(number))


def _argument_before(text: str) -> tuple[str, ...]:
    """The name of a command-line argument such as `--hf-token`, as it stands in a list of them."""
    return (text,) if text.startswith("--") else ()


def _resolve_paths(document: dict[str, Any], folder: Path) -> None:
    seeds = document.get("seeds")
    if isinstance(seeds, str | dict):
        seeds = [seeds]
    if isinstance(seeds, list):
        document["seeds"] = [_seed_path(seed, folder) for seed in seeds]
    teachers = document.get("teachers")
    if not isinstance(teachers, dict):
        return
    for teacher in teachers.values():
        if not isinstance(teacher, dict):
            continue
        if teacher.get("kind") == "recorded" and isinstance(teacher.get("path"), str):
            teacher["path"] = _beside(teacher["path"], folder)
        server = teacher.get("server")
        if isinstance(server, dict) and isinstance(server.get("model"), str):
            local = _beside(server["model"], folder)
            if Path(local).exists():
                server["model"] = local


def _seed_path(seed: Any, folder: Path) -> Any:
    if isinstance(seed, str):
        return _beside(seed, folder)
    if isinstance(seed, dict) and isinstance(seed.get("path"), str):
        return {**seed, "path": _beside(seed["path"], folder)}
    return seed


def _beside(path: str, folder: Path) -> str:
    if path.startswith("hf:") or Path(path).is_absolute():
        return path
    return os.path.normpath(folder / path)


def _explain(error: ValidationError, file: Path) -> RecipeError:
    # A misspelt key often also leaves a required one missing; the misspelling is the cause.
    first = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    where = ".".join(str(part) for part in first["loc"] if part not in _UNION_TAGS)
    if first["type"] == "extra_forbidden":
        wrong = str(first["loc"][-1])
        known = sorted(_keys_beside(first["loc"]))
        nearest = difflib.get_close_matches(wrong, known, n=1, cutoff=0.4)
        hint = f"Did you mean '{nearest[0]}'? " if nearest else ""
        return RecipeError(
            f"The recipe {file} has an unknown key: {where}.",
            cause=f"No setting is called '{wrong}' there.",
            solution=f"{hint}Known here: {', '.join(known)}.",
        )
    count = len(error.errors())
    more = f" ({count - 1} more after this one)" if count > 1 else ""
    return RecipeError(
        f"The recipe {file} has a value that cannot be used: {where or 'the whole'}{more}.",
        cause=str(first["msg"]).removeprefix("Value error, "),
        solution=f"Correct it{_as_read(first)}.",
    )


def _as_read(fault: ErrorDetails) -> str:
    """The value at fault, unless it is a whole section or may hold a key."""
    value, place = fault.get("input"), fault["loc"]
    if isinstance(value, dict | list) or (place and place[-1] in ("base_url", "api_key_env")):
        return ""
    return f"; what was read: {str(value)[:120]!r}"


_UNION_TAGS = ("openai", "vllm", "simulated", "recorded")


def _keys_beside(location: tuple[int | str, ...]) -> set[str]:
    model: Any = Recipe
    for part in location[:-1]:
        model = _inner(model, part)
        if model is None:
            return set(CATEGORIES)
    return set(model.model_fields)


def _inner(annotation: Any, part: int | str) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if part in annotation.model_fields:
            return _single_model(annotation.model_fields[str(part)].annotation)
        return annotation
    for candidate in annotation if isinstance(annotation, tuple) else ():
        kind = candidate.model_fields["kind"].annotation
        if part in get_args(kind):
            return candidate
    return annotation


def _single_model(annotation: Any) -> Any:
    models = list(_models_in(annotation))
    if len(models) == 1:
        return models[0]
    return tuple(models) if models else None


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    for argument in get_args(annotation):
        yield from _models_in(argument)
