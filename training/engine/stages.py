"""A recipe's stages, one after another: checked, trained, recorded; what is done is not redone.

In: a training recipe and which stages. Out: for each a folder `OUTPUT/RECIPE/STAGE` with metrics,
plots, checkpoints and the model. Everything that can be refused is refused here, in the parent
process, before a rank is started.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase

from common.hashing import digest
from training.capture.identity import find_tokenizer, teacher_identity
from training.capture.sources import rows_source
from training.data.chat import ChatRenderer
from training.data.corpus import Corpus, read_corpus
from training.data.prepare import prepare
from training.data.split import Split
from training.data.tokenised import TokenisedCorpus
from training.engine.launch import launch
from training.engine.ledger import Ledger
from training.engine.schedules import training_schedule
from training.engine.spec import SPEC, StageSpec
from training.engine.teaching import Teaching, teachers_of, weights_of
from training.engine.tether import Tether
from training.errors import CheckpointRefused, ModelRefused
from training.recipe import StageSettings, StudentSettings, TeacherModelSettings, TrainRecipe
from training.report.metrics import METRICS_FILE
from training.report.plots import plot_run
from training.report.reading import MetricsUnreadable, Record
from training.report.trackers import require_trackers
from training.store.store import RowStore

MODEL = "model"
LINEAGE = "stillhouse.json"


@dataclass(frozen=True, slots=True)
class StageReport:
    """What became of one stage: `trained`, or `kept` where it was done already."""

    name: str
    outcome: str
    folder: Path
    model: Path
    steps: int
    seconds: float


def load_tokenizer(model: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer beside a model.

    Raises:
        ModelRefused: there is none.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, revision=revision)
    except (OSError, ValueError) as error:
        raise ModelRefused(
            f"There is no tokenizer for '{model}'.",
            cause=str(error).splitlines()[0],
            solution="Give a folder that holds one, or a model that the hub (or its local cache) "
            "has.",
        ) from error
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    return tokenizer


def tokenised_corpus(recipe: TrainRecipe) -> tuple[Corpus, TokenisedCorpus]:
    """The recipe's corpus in the student's tokens; made once and reused.

    Raises:
        TrainingError: the corpus, the template or a sample is refused.
    """
    corpus = read_corpus(recipe.corpus)
    student = recipe.student
    tokenizer = load_tokenizer(student.model, student.revision)
    renderer = ChatRenderer(tokenizer, recipe.data.context, recipe.data.too_long)
    folder = Path(recipe.output) / recipe.name / "corpus"
    return corpus, prepare(corpus, renderer, Split(recipe.corpus.validation), folder)


def train(
    recipe: TrainRecipe,
    stages: Sequence[StageSettings],
    *,
    restart: bool = False,
    on_stage: Callable[[StageSpec, int], None] = lambda spec, steps: None,
    on_record: Callable[[Record], None] = lambda record: None,
) -> list[StageReport]:
    """Trains `stages` of `recipe` in order; each begins with the model of the stage before it.

    Raises:
        TrainingError: something is refused, or training failed; what was saved stays.
    """
    require_trackers(recipe.tracking)
    corpus, tokens = tokenised_corpus(recipe)
    reports = []
    for stage in stages:
        spec = stage_spec(recipe, stage, corpus, tokens, restart=restart)
        on_stage(spec, steps_of(spec, tokens))
        try:
            reports.append(_train_stage(spec, corpus, tokens, on_record))
        finally:
            # Also after a failure, when one wants them most; there may be nothing to draw yet.
            with suppress(MetricsUnreadable):
                draw(recipe)
    return reports


def draw(recipe: TrainRecipe) -> list[Path]:
    """Plots every stage that has metrics, together; returns the pictures."""
    files = {stage.name: stage_folder(recipe, stage) / METRICS_FILE for stage in recipe.stages}
    known = {name: file for name, file in files.items() if file.exists()}
    return plot_run(known, Path(recipe.output) / recipe.name / "plots", recipe.name)


def _train_stage(
    spec: StageSpec, corpus: Corpus, tokens: TokenisedCorpus, on_record: Callable[[Record], None]
) -> StageReport:
    began = time.monotonic()
    steps = steps_of(spec, tokens)
    model = spec.folder / MODEL
    outcome = "kept"
    with Tether.hold(spec.folder):
        if _made_by(model) == spec.identity:
            Ledger.settle(spec, model)
        else:
            outcome = "trained"
            with Ledger.entry(spec, corpus) as entry:
                launch(spec, on_record)
                entry.finished(model)
    seconds = time.monotonic() - began
    return StageReport(spec.name, outcome, spec.folder, model, steps, seconds)


def stage_spec(
    recipe: TrainRecipe,
    stage: StageSettings,
    corpus: Corpus,
    tokens: TokenisedCorpus,
    *,
    restart: bool = False,
) -> StageSpec:
    """What the ranks need for one stage, after everything that could be refused was.

    Raises:
        TrainingError: the stage before is missing, teacher rows are, or the folder holds another
            training run.
    """
    folder = stage_folder(recipe, stage)
    start, ancestor = _start(recipe, stage)
    teaching = _teaching(recipe, stage, tokens) if stage.kind == "kd" else None
    sources = [source.as_dict() for source in teaching.sources] if teaching else []
    identity = digest(
        {
            "stage": stage.model_dump(mode="json"),
            "student": recipe.student.model_dump(mode="json", exclude={"model", "revision"}),
            "engine": recipe.engine.model_dump(mode="json", include=_SHAPES_RESULT),
            "packing": recipe.data.packing,
            "corpus": tokens.folder.name,
            "start": ancestor,
            "sources": sources,
            "weights": digest(teaching.weight_TE.tobytes().hex()) if teaching else None,
        }
    )
    _make_room(folder, identity, restart=restart)
    return StageSpec(
        recipe=_pinned(recipe),
        name=stage.name,
        folder=folder,
        start=start,
        corpus=tokens.folder,
        teaching=teaching.write(folder) if teaching else None,
        identity=identity,
        lineage={
            "identity": identity,
            "recipe": recipe.name,
            "recipe_hash": recipe.hash(),
            "stage": stage.name,
            "kind": stage.kind,
            "start": ancestor,
            "export": corpus.export_id,
            "export_sha256": corpus.manifest.sha256,
            "examples": len(tokens.train),
            "held_out": len(tokens.validation),
            "untaught": int((~teaching.taught_E).sum()) if teaching else 0,
            "teacher_rows": sources,
        },
    )


_SHAPES_RESULT = {
    "ranks", "zero", "offload_optimizer", "offload_parameters", "tokens_per_micro_batch",
    "samples_per_micro_batch", "head_workspace_mib", "head_accumulation",
}  # fmt: skip


def stage_folder(recipe: TrainRecipe, stage: StageSettings) -> Path:
    """Where a stage's files are."""
    return Path(recipe.output) / recipe.name / stage.name


def _start(recipe: TrainRecipe, stage: StageSettings) -> tuple[str, Any]:
    """The weights that a stage begins with, and what identifies them."""
    place = recipe.stages.index(stage)
    if place == 0:
        return recipe.student.model, _student_identity(recipe.student)
    before = recipe.stages[place - 1]
    model = stage_folder(recipe, before) / MODEL
    made_by = _made_by(model)
    if made_by is None:
        raise ModelRefused(
            f"Stage '{stage.name}' begins with what stage '{before.name}' leaves, which is not "
            "there yet.",
            cause=f"There is no finished model in {model}.",
            solution=f"Train '{before.name}' first, or all stages.",
            command=f"stillhouse train {before.kind} RECIPE",
        )
    return str(model), made_by


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


def _pinned(recipe: TrainRecipe) -> TrainRecipe:
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


def _made_by(model: Path) -> str | None:
    """The identity of the stage that left this model; None where there is none.

    Raises:
        ModelRefused: it is damaged.
    """
    try:
        said = json.loads((model / LINEAGE).read_text(encoding="utf-8"))
        return str(said["identity"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ModelRefused(
            f"What made the model in {model} cannot be read.",
            cause=f"{LINEAGE} is damaged: {error!r}.",
            solution="Remove that folder; the stage goes on from its last checkpoint.",
        ) from error


def _make_room(folder: Path, identity: str, *, restart: bool) -> None:
    """The stage's folder: new, or the same stage's; another's is refused, or put aside."""
    if restart and folder.exists():
        names = (folder.with_name(f"{folder.name}.old-{number}") for number in count(1))
        with Tether.hold(folder):
            folder.rename(next(name for name in names if not name.exists()))
    elif _begun_by(folder) not in (None, identity):
        raise CheckpointRefused(
            f"The folder {folder} holds another training run.",
            cause="Recipe, data, teacher rows, ranks or ZeRO stage have changed since it began.",
            solution="Restore them to go on with it, or begin anew with --restart (the old files "
            "are kept under another name), or give the stage another name.",
        )
    folder.mkdir(parents=True, exist_ok=True)


def _begun_by(folder: Path) -> str | None:
    """The identity of the training run in this folder; None where there is none."""
    file = folder / SPEC
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["identity"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointRefused(
            f"The folder {folder} holds a training run that cannot be read.",
            cause=f"{SPEC} is damaged: {error!r}.",
            solution="Begin anew with --restart (the old files are kept under another name).",
        ) from error


def _teaching(recipe: TrainRecipe, stage: StageSettings, tokens: TokenisedCorpus) -> Teaching:
    """The stage's teachers and their rows, every one of them there."""
    names = teachers_of(stage)
    teaching = Teaching(
        store=RowStore.open(recipe.capture.store),
        sources=tuple(rows_source(recipe, name, tokens) for name in names),
        weight_TE=weights_of(stage, tokens.columns, len(tokens)),
        temperature=stage.temperature,
        width=student_config(recipe.student).get_text_config().vocab_size,
    )
    teaching = teaching.without_unsayable(tokens)
    teaching.check(tokens, names)
    return teaching


def steps_of(spec: StageSpec, tokens: TokenisedCorpus) -> int:
    """Optimiser steps of a stage."""
    taught_E = Teaching.taught_in(spec.teaching) if spec.teaching else None
    recipe = spec.recipe
    return training_schedule(tokens, recipe, spec.stage, recipe.engine.ranks, taught_E).steps
