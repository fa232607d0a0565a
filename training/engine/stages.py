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

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from common.hashing import digest
from training.capture.authors import check_authors
from training.capture.sources import rows_source
from training.data.chat import ChatRenderer
from training.data.corpus import Corpus, read_corpus
from training.data.prepare import prepare
from training.data.split import Split
from training.data.tokenised import TokenisedCorpus
from training.engine.ancestry import (
    MODEL,
    course,
    made_by,
    pinned,
    stage_folder,
    start_of,
    student_config,
)
from training.engine.deepspeed_config import precision_warning
from training.engine.disk import first_line, writing
from training.engine.hosts import require_hosts
from training.engine.launch import launch
from training.engine.ledger import Ledger
from training.engine.saving import generation_config
from training.engine.schedules import training_schedule
from training.engine.spec import FIXED_ENGINE, SPEC, StageSpec
from training.engine.student import check_student
from training.engine.teaching import Teaching, teachers_of, weights_of
from training.engine.tether import Tether
from training.errors import CheckpointRefused, ModelRefused, RowsRefused
from training.recipe import StageSettings, TrainRecipe
from training.report.metrics import METRICS_FILE
from training.report.plots import plot_run
from training.report.reading import MetricsUnreadable, Record
from training.report.trackers import require_trackers
from training.store.store import RowStore

__all__ = [
    "MODEL",
    "StageReport",
    "draw",
    "load_tokenizer",
    "stage_folder",
    "stage_spec",
    "steps_of",
    "tokenised_corpus",
    "train",
]
# What drawing may meet: a full disk, or figures that matplotlib cannot place.
_PLOT_FAILURES = (OSError, ValueError, RuntimeError, MemoryError)


@dataclass(frozen=True, slots=True)
class StageReport:
    """What became of one stage: `trained`, or `kept` where it was done already. `untaught` are
    examples that no teacher can say, so that a KD stage leaves them out."""

    name: str
    outcome: str
    folder: Path
    model: Path
    steps: int
    seconds: float
    untaught: int = 0


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


def tokenised_corpus(
    recipe: TrainRecipe, on_corpus: Callable[[int, int], None] = lambda done, rows: None
) -> tuple[Corpus, TokenisedCorpus]:
    """The recipe's corpus in the student's tokens; made once and reused. While it is made,
    `on_corpus` is told how many of its rows are done.

    Raises:
        TrainingError: the corpus, the template or a sample is refused.
    """
    corpus = read_corpus(recipe.corpus)
    student = recipe.student
    tokenizer = load_tokenizer(student.model, student.revision)
    renderer = ChatRenderer(tokenizer, recipe.data.context, recipe.data.too_long)
    folder = Path(recipe.output) / recipe.name / "corpus"
    split = Split(recipe.corpus.validation)
    return corpus, prepare(corpus, renderer, split, folder, progress=on_corpus)


def train(
    recipe: TrainRecipe,
    stages: Sequence[StageSettings],
    *,
    restart: bool = False,
    on_corpus: Callable[[int, int], None] = lambda done, rows: None,
    on_stage: Callable[[StageSpec, int], None] = lambda spec, steps: None,
    on_record: Callable[[Record], None] = lambda record: None,
    on_note: Callable[[str], None] = lambda text: None,
) -> list[StageReport]:
    """Trains `stages` of `recipe` in order; each begins with the model of the stage before it.
    `on_note` is told what is no error and yet to be known.

    Raises:
        TrainingError: something is refused, or training failed; what was saved stays.
    """
    require_trackers(recipe.tracking)
    corpus, tokens = tokenised_corpus(recipe, on_corpus)
    warning = precision_warning(recipe.engine, recipe.student)
    if warning is not None:
        on_note(warning)
    reports = []
    for stage in stages:
        spec = stage_spec(recipe, stage, corpus, tokens, restart=restart)
        on_stage(spec, steps_of(spec, tokens))
        try:
            reports.append(_train_stage(spec, corpus, tokens, on_record))
        finally:
            # Also after a failure, when one wants them most, and never in its place.
            _try_to_draw(recipe, on_note)
    return reports


def _try_to_draw(recipe: TrainRecipe, on_note: Callable[[str], None]) -> None:
    try:
        with suppress(MetricsUnreadable):  # there may be nothing to draw yet
            draw(recipe)
    except _PLOT_FAILURES as error:
        on_note(f"The plots could not be drawn: {first_line(error)}")


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
        if made_by(model) == spec.identity:
            Ledger.settle(spec, model)
        else:
            outcome = "trained"
            with Ledger.entry(spec, corpus, model):
                launch(spec, on_record)
    seconds = time.monotonic() - began
    untaught = spec.lineage["untaught"]
    return StageReport(spec.name, outcome, spec.folder, model, steps, seconds, untaught)


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
        TrainingError: the stage before is missing or was another, hosts or teacher rows are
            missing, or the folder holds another training run.
    """
    require_hosts(recipe.engine)
    _can_be_trained(recipe, tokens)
    check_authors(recipe, stage, tokens)
    folder = stage_folder(recipe, stage)
    start, ancestor = start_of(recipe, stage, tokens)
    _can_be_saved(recipe, start, tokens)
    teaching = _teaching(recipe, stage, tokens) if stage.kind == "kd" else None
    sources = [source.as_dict() for source in teaching.sources] if teaching else []
    identity = digest(
        {
            "stage": stage.model_dump(mode="json"),
            "student": recipe.student.model_dump(mode="json", exclude=_NOT_THE_STUDENTS),
            "engine": recipe.engine.model_dump(mode="json", include=FIXED_ENGINE),
            "corpus": tokens.folder.name,
            "start": ancestor,
            "sources": sources,
            "weights": digest(teaching.weight_TE.tobytes().hex()) if teaching else None,
        }
    )
    with writing(f"The folder {folder}"):
        _make_room(folder, identity, restart=restart)
        written = teaching.write(folder) if teaching else None
    return StageSpec(
        recipe=pinned(recipe),
        name=stage.name,
        folder=folder,
        start=start,
        corpus=tokens.folder,
        teaching=written,
        identity=identity,
        lineage={
            "identity": identity,
            "recipe": recipe.name,
            "recipe_hash": recipe.hash(),
            "stage": stage.name,
            "kind": stage.kind,
            "start": ancestor,
            "course": course(recipe, stage, tokens),
            "export": corpus.export_id,
            "export_sha256": corpus.manifest.sha256,
            "examples": len(tokens.train),
            "held_out": len(tokens.validation),
            "untaught": int((~teaching.taught_E).sum()) if teaching else 0,
            "teacher_rows": sources,
        },
    )


# Its weights are known by `start`; what saves memory changes no result and no file.
_NOT_THE_STUDENTS = {"model", "revision", "gradient_checkpointing"}


def _can_be_trained(recipe: TrainRecipe, tokens: TokenisedCorpus) -> None:
    check_student(
        recipe.student,
        student_config(recipe.student),
        tokens=tokens.meta["shaped_by"]["tokenizer_size"],
        context=recipe.data.context,
    )


def _can_be_saved(recipe: TrainRecipe, start: str, tokens: TokenisedCorpus) -> None:
    """What is written beside the weights at the very end is tried before the first step."""
    revision = pinned(recipe).student.revision if start == recipe.student.model else None
    tokenizer = load_tokenizer(recipe.student.model, recipe.student.revision)
    generation_config(start, revision, tokenizer, tokens.meta["turn_end"]["id"])


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
    if not teaching.taught_E[tokens.train].any():
        raise RowsRefused(
            f"Nothing is left to train on in stage '{stage.name}'.",
            cause="No teacher's vocabulary can say any of the examples, so none of them is taught.",
            solution="Name a teacher whose tokenizer is closer to the student's, or raise "
            "capture.vocabulary_coverage, so that such a teacher is refused at the capture.",
        )
    teaching.check(tokens, names)
    return teaching


def steps_of(spec: StageSpec, tokens: TokenisedCorpus) -> int:
    """Optimiser steps of a stage."""
    taught_E = Teaching.taught_in(spec.teaching) if spec.teaching else None
    recipe = spec.recipe
    return training_schedule(tokens, recipe, spec.stage, recipe.engine.ranks, taught_E).steps
