"""The schedules of a stage, made alike by the parent process and by every rank."""

from __future__ import annotations

from training.data.schedule import Schedule
from training.data.tokenised import TokenisedCorpus
from training.recipe import StageSettings, TrainRecipe

_VALIDATION_SAMPLES = 1024


def training_schedule(
    corpus: TokenisedCorpus, recipe: TrainRecipe, stage: StageSettings, ranks: int
) -> Schedule:
    """Which samples each optimiser step takes, and how `ranks` share them."""
    engine = recipe.engine
    return Schedule(
        corpus.lengths[corpus.train],
        index=corpus.train,
        epochs=stage.epochs,
        samples_per_step=stage.samples_per_step,
        ranks=ranks,
        tokens_per_micro_batch=engine.tokens_per_micro_batch,
        samples_per_micro_batch=engine.samples_per_micro_batch,
        packing=recipe.data.packing,
        seed=stage.seed,
        max_steps=stage.max_steps,
    )


def held_out_schedule(corpus: TokenisedCorpus, recipe: TrainRecipe, ranks: int) -> Schedule | None:
    """One pass over the held-out families; None where there are none."""
    if len(corpus.validation) == 0:
        return None
    return Schedule(
        corpus.lengths[corpus.validation],
        index=corpus.validation,
        epochs=1,
        samples_per_step=_VALIDATION_SAMPLES,
        ranks=ranks,
        tokens_per_micro_batch=recipe.engine.tokens_per_micro_batch,
        packing=True,
    )
