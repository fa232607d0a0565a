"""What a user writes about an evaluation: an evaluation recipe, or options that stand for one.

In: YAML with `teachers:` as in every other recipe, `model:` and `judge:` naming two of them, and a
section per benchmark. Out: an `EvaluationRecipe`. Without a file, a model's folder or hub id
(served by vLLM), or a name at a base URL, is enough: `document_of` writes the recipe that they
stand for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from common.recipes import RecipeError, beside, explain, overlay, read_document, refuse_credentials
from evaluation.errors import JudgeMissing
from teachers.budget import BudgetSettings
from teachers.config import AnyTeacher, teachers_beside
from teachers.types import Sampling

OPTIONS_FILE = Path("(options)")
_UNION_TAGS = ("openai", "vllm", "simulated", "recorded")
# A benchmark's setting whose name ends so is a path.
_PATH_KEYS = ("data", "file", "folder", "outputs")
_URL_OPTIONS = {"model": "--base-url", "judge": "--judge-url"}
Section = TypeVar("Section", bound=BaseModel)


class ModelSampling(BaseModel):
    """How the model under test decodes, where it shall differ from the benchmark's own way."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    seed: int | None = None
    extra: dict[str, Any] = Field(
        default_factory=dict,
        description="further fields of the request body, as the server names them",
    )

    def over(self, sampling: Sampling) -> Sampling:
        """The benchmark's sampling with what is set here laid over it."""
        set_here = self.model_dump(exclude_none=True, exclude={"extra"})
        extra = tuple(sorted({**dict(sampling.extra), **self.extra}.items()))
        named = {
            name: set_here.get(name, getattr(sampling, name))
            for name in ("temperature", "top_p", "max_tokens", "seed", "top_logprobs")
        }
        return Sampling(**named, extra=extra)


class ContaminationSettings(BaseModel):
    """What counts as an item in the training corpus; see `evaluation.contamination`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = True
    files: list[str] = Field(
        default_factory=list,
        description="exported JSONL files to look through instead of the corpus database",
    )
    ngram: int = Field(default=8, ge=3, le=50, description="tokens that must agree in a row")
    share: float = Field(
        default=0.6, gt=0, le=1, description="of a prompt's tokens that such runs must cover"
    )


class EvaluationRecipe(BaseModel):
    """A whole evaluation recipe. `sections` of the benchmarks are checked by the benchmarks."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str = Field(default="evaluation", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    description: str = ""
    model: str = Field(description="the teacher under test, by its name under `teachers`")
    judge: str | None = Field(default=None, description="the judge, by its name under `teachers`")
    label: str | None = Field(default=None, description="what reports call the model")
    teachers: dict[str, AnyTeacher]
    sampling: ModelSampling = ModelSampling()
    repetition: int = Field(default=0, ge=0, description="ask anew, apart from earlier answers")
    items_in_flight: int = Field(default=64, ge=1, le=10_000)
    limit: int | None = Field(default=None, ge=1, description="only the first so many items")
    budget: BudgetSettings = BudgetSettings()
    contamination: ContaminationSettings = ContaminationSettings()
    ifeval: dict[str, Any] = Field(default_factory=dict)
    alpaca: dict[str, Any] = Field(default_factory=dict)
    mtbench: dict[str, Any] = Field(default_factory=dict)
    sql: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_are_known(self) -> EvaluationRecipe:
        known = ", ".join(sorted(self.teachers))
        for role, name in (("model", self.model), ("judge", self.judge)):
            if name is not None and name not in self.teachers:
                raise ValueError(f"`{role}` names '{name}'; teachers here: {known}")
        return self

    def teacher_of(self, role: str) -> str:
        """The name of the teacher who plays a role.

        Raises:
            JudgeMissing: there is no judge.
        """
        if role == "model":
            return self.model
        if self.judge is None:
            raise JudgeMissing(
                "This benchmark needs a judge, and none was named.",
                cause="Its answers are graded by a language model.",
                solution="Name one: `judge:` in the recipe, or --judge with --judge-url. "
                "A simulated one rehearses: --judge simulated.",
            )
        return self.judge


def load_evaluation(
    path: str | Path | None = None,
    overrides: Sequence[str] = (),
    *,
    options: Mapping[str, Any] | None = None,
    roles: Mapping[str, str | None] | None = None,
) -> EvaluationRecipe:
    """Reads a recipe, if there is one, and checks it.

    Args:
        path: the recipe's file or folder.
        overrides: `a.b.c=value`, laid over everything else.
        options: parts of a recipe, laid over the file's.
        roles: the arguments of `document_of`.
    """
    document: dict[str, Any] = {}
    if path is None:
        file = OPTIONS_FILE
    else:
        file, document = read_document(
            path, (), begin="`model:` and `teachers:`; docs/evaluation.md shows one"
        )
        _resolve_paths(document, file.parent)
    known = document.get("teachers") or {}
    named = document_of(known=known, **(roles or {}))
    for part in (named, options or {}):
        for key, value in part.items():
            old = document.get(key)
            if isinstance(value, dict) and isinstance(old, dict):
                value = {**old, **value}
            document[key] = value
    for override in overrides:
        overlay(document, override)
    if "model" not in document:
        raise RecipeError(
            "No model to evaluate was named.",
            cause="Neither a recipe's `model:` nor --model says which.",
            solution="Give a model's folder, or a name at --base-url, or a recipe.",
            command="stillhouse eval ifeval --model FOLDER",
        )
    refuse_credentials(document, file)
    try:
        return EvaluationRecipe.model_validate(document)
    except ValidationError as error:
        raise explain(error, file, EvaluationRecipe, tags=_UNION_TAGS) from error


def section(recipe: EvaluationRecipe, name: str, model: type[Section]) -> Section:
    """One benchmark's section of the recipe, checked by the benchmark's own model."""
    try:
        return model.model_validate(getattr(recipe, name))
    except ValidationError as error:
        raise explain(error, Path(f"section {name}:"), model) from error


def document_of(
    *,
    known: Collection[str] = (),
    model: str | None = None,
    base_url: str | None = None,
    api_key_env: str | None = None,
    judge: str | None = None,
    judge_url: str | None = None,
    judge_key_env: str | None = None,
) -> dict[str, Any]:
    """The part of a recipe that command-line options stand for.

    A model without a base URL is one of the `known` teachers of a recipe, or else served by vLLM
    here (a folder, or an id on the hub); with one, it is the name that the server there knows. The
    word `simulated` stands for a simulated teacher.

    Raises:
        RecipeError: an endpoint or a key's variable is given, and nothing would use it.
    """
    document: dict[str, Any] = {}
    teachers: dict[str, Any] = {}
    for role, name, url, key_env in (
        ("model", model, base_url, api_key_env),
        ("judge", judge, judge_url, judge_key_env),
    ):
        if (url and name is None) or (key_env and url is None):
            raise _idle(role, f"--{role}" if url else _URL_OPTIONS[role])
        if name is None:
            continue
        if url is None and name in known:
            document[role] = name
            continue
        teachers[role] = _teacher(name, url, key_env)
        document[role] = role
    if teachers:
        document["teachers"] = teachers
    return document


def _idle(role: str, missing: str) -> RecipeError:
    return RecipeError(
        f"An endpoint for the {role} is told in part.",
        cause=f"Without {missing} nothing would use it.",
        solution=f"Give {missing} too, or put the whole teacher into a recipe.",
    )


def _teacher(name: str, url: str | None, key_env: str | None) -> dict[str, Any]:
    if url is not None:
        found = {"kind": "openai", "base_url": url, "model": name}
        return found | ({"api_key_env": key_env} if key_env else {})
    if name == "simulated":
        return {"kind": "simulated"}
    return {"kind": "vllm", "server": {"model": name}}


def _resolve_paths(document: dict[str, Any], folder: Path) -> None:
    """Paths in a recipe are beside the recipe."""
    teachers_beside(document.get("teachers"), folder)
    contamination = document.get("contamination")
    if isinstance(contamination, dict) and isinstance(contamination.get("files"), list):
        contamination["files"] = [beside(str(each), folder) for each in contamination["files"]]
    for name in ("ifeval", "alpaca", "mtbench", "sql"):
        part = document.get(name)
        if isinstance(part, dict):
            for key, value in part.items():
                if key.endswith(_PATH_KEYS) and isinstance(value, str):
                    part[key] = beside(value, folder)
