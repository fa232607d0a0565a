"""What a stage begins with, and what made that: models know their course.

In: a recipe, a stage of it, the tokenised corpus. Out: the folder (or hub name) of the weights that
the stage begins with, and what identifies them. Every finished model keeps its course beside its
weights: what it began as, the corpus, and the settings of each stage that it went through. Where
the recipe's own course up to a stage is another, the model that lies there is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from common.hashing import digest
from training.capture.identity import find_tokenizer, teacher_identity
from training.data.tokenised import TokenisedCorpus
from training.errors import ModelRefused
from training.recipe import StageSettings, StudentSettings, TeacherModelSettings, TrainRecipe

MODEL = "model"
LINEAGE = "stillhouse.json"
_NAMED = 6


def stage_folder(recipe: TrainRecipe, stage: StageSettings) -> Path:
    """Where a stage's files are."""
    return Path(recipe.output) / recipe.name / stage.name


def start_of(recipe: TrainRecipe, stage: StageSettings, tokens: TokenisedCorpus) -> tuple[str, Any]:
    """The weights that a stage begins with, and what identifies them.

    Raises:
        ModelRefused: they are not there, or what lies there was made otherwise.
    """
    place = recipe.stages.index(stage)
    if place == 0:
        return recipe.student.model, _student_identity(recipe.student)
    before = recipe.stages[place - 1]
    model = stage_folder(recipe, before) / MODEL
    said = _lineage(model)
    if said is None:
        raise ModelRefused(
            f"Stage '{stage.name}' begins with what stage '{before.name}' leaves, which is not "
            "there yet.",
            cause=f"There is no finished model in {model}.",
            solution=f"Train '{before.name}' first, or all stages.",
            command=f"stillhouse train {before.kind} RECIPE",
        )
    others = list(_differences(said["course"], course(recipe, before, tokens)))
    if others:
        raise ModelRefused(
            f"The model in {model} is not what stage '{before.name}' of this recipe leaves.",
            cause=f"It was trained otherwise: {'; '.join(others[:_NAMED])}"
            f"{' …' if len(others) > _NAMED else ''}.",
            solution=f"Restore the recipe, or train '{before.name}' anew with --restart (the old "
            "files are kept under another name), or give that folder as `student.model`.",
            command=f"stillhouse train {before.kind} RECIPE --restart",
        )
    return str(model), said["identity"]


def course(recipe: TrainRecipe, stage: StageSettings, tokens: TokenisedCorpus) -> dict[str, Any]:
    """What a model has gone through when `stage` ends, but for how the ranks shared the work."""
    stages = recipe.stages[: recipe.stages.index(stage) + 1]
    student = recipe.student.model_dump(mode="json", include={"dtype", "lora", "random_init"})
    return {
        "student": {"start": _student_identity(recipe.student), **student},
        "corpus": tokens.meta["shaped_by"],
        "order": [each.name for each in stages],
        "stages": {each.name: each.model_dump(mode="json") for each in stages},
    }


def made_by(model: Path) -> str | None:
    """The identity of the stage that left this model; None where there is none.

    Raises:
        ModelRefused: it is damaged.
    """
    said = _lineage(model)
    return None if said is None else str(said["identity"])


def _lineage(model: Path) -> dict[str, Any] | None:
    try:
        said = json.loads((model / LINEAGE).read_text(encoding="utf-8"))
        return {"identity": str(said["identity"]), "course": dict(said["course"])}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ModelRefused(
            f"What made the model in {model} cannot be read.",
            cause=f"{LINEAGE} is damaged: {error!r}.",
            solution="Remove that folder; the stage goes on from its last checkpoint.",
        ) from error


def _differences(then: Any, now: Any, name: str = "") -> Iterator[str]:
    """Where two courses differ, as `stages.sft.learning_rate: 1e-05, now 0.01`."""
    if isinstance(then, dict) and isinstance(now, dict):
        for key in sorted({*then, *now}):
            yield from _differences(then.get(key), now.get(key), f"{name}.{key}".lstrip("."))
    elif then != now:
        yield f"{name}: {_short(then)}, now {_short(now)}"


def _short(value: Any) -> str:
    said = json.dumps(value, ensure_ascii=False)
    return said if len(said) <= 60 else f"{said[:57]}…"


def _student_identity(student: StudentSettings) -> list[Any]:
    """What pins the student's first weights. A local folder is pinned by its content, so that it
    may be moved and may not be changed.

    Raises:
        ModelRefused: a folder holds no checkpoint.
    """
    folder = Path(student.model).expanduser()
    if not folder.is_dir():
        return [student.model, student_revision(student)]
    if student.random_init:
        student_config(student)
        return [folder.resolve().name, digest((folder / "config.json").read_text("utf-8"))]
    said = TeacherModelSettings(model=student.model, dtype=student.dtype)
    return [folder.resolve().name, teacher_identity(said).revision]


def pinned(recipe: TrainRecipe) -> TrainRecipe:
    """The recipe with its student's commit, so that every rank loads the same weights."""
    student = recipe.student.model_copy(update={"revision": student_revision(recipe.student)})
    return recipe.model_copy(update={"student": student})


def student_revision(student: StudentSettings) -> str | None:
    """The commit of a student on the hub, for all that is loaded of it; None for a folder."""
    if Path(student.model).expanduser().is_dir():
        return None
    return find_tokenizer(student).name


def student_config(student: StudentSettings) -> Any:
    """The student's configuration.

    Raises:
        ModelRefused: there is none.
    """
    try:
        return AutoConfig.from_pretrained(student.model, revision=student.revision)
    except (OSError, ValueError) as error:
        raise ModelRefused(
            f"There is no configuration for '{student.model}'.",
            cause=str(error).splitlines()[0],
            solution="Give a folder with config.json, or a model that the hub (or its local "
            "cache) has.",
        ) from error
