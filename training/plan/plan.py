"""Puts a plan together: vocabulary, memory, tokens, hours and cost of a recipe.

In: a `TrainRecipe` and what the user says beside it. Out: a `Plan`, from configurations alone: no
weight is read, nothing is downloaded, and neither torch nor transformers is imported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training.plan.gpus import GPUS, Gpu, PlanRefused
from training.plan.hours import ASSUMED_MFU, Hours, Work, capture_work, hours_on, stage_work
from training.plan.knobs import knobs_for
from training.plan.memory import MIB, Memory, MemoryCase, teacher_memory, training_memory
from training.plan.sources import Source, find_model
from training.plan.tokens import TokenEstimate, TokenOptions, estimate_tokens
from training.plan.vocabularies import VocabularyCheck, check_vocabulary
from training.recipe import EngineSettings, TeacherModelSettings, TrainRecipe

# What the torch engine takes for a chunk's logits on a GPU (`training.capture.torch_engine`).
_CAPTURE_WORKSPACE = 1024 * MIB


@dataclass(frozen=True, slots=True)
class TeacherPlan:
    """A teacher: where it was found, its vocabulary against the student's, bytes per GPU."""

    name: str
    source: Source
    vocabulary: VocabularyCheck
    gpus: int
    memory: int
    knob: str


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether the student fits a GPU as the recipe has it; `knobs` None where nothing helps."""

    gpu: Gpu
    fits: bool
    knobs: list[str] | None


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is printed. `hours` is by work's position and GPU's key."""

    recipe: str
    student: Source
    ranks: int
    case: MemoryCase
    memory: dict[int, Memory]
    fits: list[Fit]
    teachers: list[TeacherPlan]
    corpus: TokenEstimate | None
    works: list[Work]
    mfu: tuple[float, float]
    hours: list[dict[str, Hours]]
    warnings: list[str]

    def as_dict(self) -> dict[str, Any]:
        """The plan for programs: bytes, FLOPs, hours and US dollars, as the keys say."""
        return {
            "recipe": self.recipe,
            "student": _model(self.student) | {"trained_parameters": self.case.trained},
            "ranks": self.ranks,
            "memory": {
                "zero": self.case.zero,
                "tokens_per_micro_batch": self.case.tokens,
                "bytes_by_zero": {str(z): m.as_dict() for z, m in self.memory.items()},
                "fits": {
                    fit.gpu.key: {
                        "memory_bytes": fit.gpu.memory,
                        "fits": fit.fits,
                        "settings": fit.knobs,
                    }
                    for fit in self.fits
                },
            },
            "teachers": [_teacher(each) for each in self.teachers],
            "corpus": None
            if self.corpus is None
            else asdict(self.corpus) | {"tokens": self.corpus.tokens, "rows": self.corpus.rows},
            "warnings": self.warnings,
            "assumed_mfu": list(self.mfu),
            "works": [
                asdict(work) | {"on": {key: asdict(each) for key, each in hours.items()}}
                for work, hours in zip(self.works, self.hours, strict=True)
            ],
        }


def make_plan(
    recipe: TrainRecipe,
    options: TokenOptions | None = None,
    *,
    mfu: float | None = None,
    prices: Mapping[str, float] | None = None,
) -> Plan:
    """What the recipe will need.

    Args:
        options: what is said of the corpus, in place of or before an export.
        mfu: the share of the GPUs' peak to reckon with; None takes the stated range.
        prices: US dollars per GPU-hour, by GPU.

    Raises:
        ModelRefused: a model's configuration is not at hand, or cannot be counted.
        PlanRefused: an option cannot be, or the hostfile is not readable.
        CorpusRefused: the export that the recipe names is broken.
    """
    if mfu is not None and not 0 < mfu <= 1:
        raise PlanRefused(
            f"'--mfu {mfu}' cannot be.",
            cause="It is a share of the GPU's peak: above 0, at most 1.",
            solution="Leave it out for the stated range, or give what your runs reported.",
        )
    student = find_model(recipe.student)
    ranks = ranks_of(recipe.engine)
    case = MemoryCase.of(student.shape, recipe.student, recipe.engine, recipe.data, ranks)
    teachers = [_plan_teacher(recipe, name, student) for name in recipe.teachers]
    corpus = estimate_tokens(recipe, options or TokenOptions())
    works = _works(recipe, student, teachers, corpus, ranks)
    shares = ASSUMED_MFU if mfu is None else (mfu, mfu)
    priced = prices or {}
    return Plan(
        recipe=recipe.name,
        student=student,
        ranks=ranks,
        case=case,
        memory={zero: training_memory(case.with_zero(zero)) for zero in range(4)},
        fits=[_fit(case, gpu, recipe.data.context) for gpu in GPUS],
        teachers=teachers,
        corpus=corpus,
        works=works,
        mfu=shares,
        hours=[
            {gpu.key: hours_on(work, gpu, shares, priced.get(gpu.key)) for gpu in GPUS}
            for work in works
        ],
        warnings=_warnings(recipe, [student, *(each.source for each in teachers)]),
    )


def _warnings(recipe: TrainRecipe, models: list[Source]) -> list[str]:
    context = recipe.data.context
    return [
        f"data.context is {context:,} tokens, {each.name} was configured for "
        f"{each.shape.positions:,}"
        for each in models
        if 0 < each.shape.positions < context
    ]


def ranks_of(engine: EngineSettings) -> int:
    """The ranks of one machine, or the slots of a hostfile (`host slots=8`, a line each).

    Raises:
        PlanRefused: the hostfile cannot be read, or names no slots.
    """
    if engine.hostfile is None:
        return engine.ranks
    try:
        text = Path(engine.hostfile).read_text(encoding="utf-8")
    except OSError as error:
        raise PlanRefused(
            f"The hostfile '{engine.hostfile}' cannot be read.",
            cause=error.strerror or str(error),
            solution="Correct engine.hostfile, or leave it out and set engine.ranks.",
        ) from error
    slots = [int(n) for n in re.findall(r"^[^#\n]*\bslots=(\d+)", text, re.MULTILINE)]
    if not sum(slots):
        raise PlanRefused(
            f"The hostfile '{engine.hostfile}' names no devices.",
            cause="None of its lines reads like `host slots=8`.",
            solution="Correct engine.hostfile, or leave it out and set engine.ranks.",
        )
    return sum(slots)


def _fit(case: MemoryCase, gpu: Gpu, context: int) -> Fit:
    knobs = knobs_for(case, gpu.memory, context)
    return Fit(gpu, knobs == [], knobs)


def _plan_teacher(recipe: TrainRecipe, name: str, student: Source) -> TeacherPlan:
    settings = recipe.teachers[name]
    source = find_model(settings)
    gpus = settings.tensor_parallel if settings.engine == "vllm" else 1
    return TeacherPlan(
        name=name,
        source=source,
        vocabulary=check_vocabulary(student, source, name),
        gpus=gpus,
        memory=_teacher_bytes(recipe, settings, source, gpus),
        knob=_teacher_knob(recipe, name, source),
    )


def _teacher_bytes(
    recipe: TrainRecipe, settings: TeacherModelSettings, source: Source, gpus: int
) -> int:
    return teacher_memory(
        source.shape,
        bytes_per_weight=2 if settings.dtype == "bfloat16" else 4,
        tokens=max(recipe.capture.tokens_per_batch, recipe.data.context),
        head_workspace=_CAPTURE_WORKSPACE,
        parallel=gpus,
        cached=settings.engine == "vllm",
    )


def _teacher_knob(recipe: TrainRecipe, name: str, source: Source) -> str:
    """The fewest GPUs, a power of two, that make the teacher fit the smallest one named."""
    settings, smallest = recipe.teachers[name], min(gpu.memory for gpu in GPUS)
    gpus = 1
    while gpus < 64 and _teacher_bytes(recipe, settings, source, gpus) > smallest:
        gpus *= 2
    if gpus == 1:
        return ""
    return f"teachers.{name}.engine=vllm teachers.{name}.tensor_parallel={gpus}"


def _works(
    recipe: TrainRecipe,
    student: Source,
    teachers: list[TeacherPlan],
    corpus: TokenEstimate | None,
    ranks: int,
) -> list[Work]:
    if corpus is None:
        return []
    asked = {rule.teacher for stage in recipe.stages for rule in stage.teachers}
    captures = [
        capture_work(each.name, each.source.shape, corpus, each.gpus)
        for each in teachers
        if each.name in asked
    ]
    stages = [
        stage_work(
            stage,
            recipe.student,
            student.shape,
            corpus,
            validation=recipe.corpus.validation,
            ranks=ranks,
        )
        for stage in recipe.stages
    ]
    return captures + stages


def _model(source: Source) -> dict[str, Any]:
    return {
        "model": source.name,
        "found": source.found,
        "licence": source.licence,
        "parameters": source.shape.parameters,
        "vocabulary_width": source.shape.vocabulary,
        "tokenizer_tokens": source.tokens,
    }


def _teacher(each: TeacherPlan) -> dict[str, Any]:
    return _model(each.source) | {
        "name": each.name,
        "gpus": each.gpus,
        "memory_bytes_per_gpu": each.memory,
        "fits": {gpu.key: each.memory <= gpu.memory for gpu in GPUS},
        "vocabulary": {
            "verdict": each.vocabulary.verdict,
            "shared_width": each.vocabulary.shared_width,
            "text": each.vocabulary.text,
        },
    }
