"""The schedules of a stage, made alike by the parent process and by every rank."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.data.schedule import Indices, Schedule
from training.data.tokenised import TokenisedCorpus
from training.recipe import StageSettings, TrainRecipe

_VALIDATION_SAMPLES = 1024


def training_schedule(
    corpus: TokenisedCorpus,
    recipe: TrainRecipe,
    stage: StageSettings,
    ranks: int,
    taught_E: NDArray[np.bool_] | None = None,
) -> Schedule:
    """Which samples each optimiser step takes, and how `ranks` share them; of a KD stage those that
    some teacher speaks at."""
    engine = recipe.engine
    numbers = _taught(corpus.train, taught_E)
    return Schedule(
        corpus.lengths[numbers],
        index=numbers,
        epochs=stage.epochs,
        samples_per_step=stage.samples_per_step,
        ranks=ranks,
        tokens_per_micro_batch=engine.tokens_per_micro_batch,
        samples_per_micro_batch=engine.samples_per_micro_batch,
        packing=recipe.data.packing,
        seed=stage.seed,
        max_steps=stage.max_steps,
    )


def held_out_schedule(
    corpus: TokenisedCorpus,
    recipe: TrainRecipe,
    ranks: int,
    taught_E: NDArray[np.bool_] | None = None,
) -> Schedule | None:
    """One pass over the held-out families; None where there are none."""
    numbers = _taught(corpus.validation, taught_E)
    if len(numbers) == 0:
        return None
    return Schedule(
        corpus.lengths[numbers],
        index=numbers,
        epochs=1,
        samples_per_step=_VALIDATION_SAMPLES,
        ranks=ranks,
        tokens_per_micro_batch=recipe.engine.tokens_per_micro_batch,
        packing=True,
    )


def _taught(numbers: Indices, taught_E: NDArray[np.bool_] | None) -> Indices:
    return numbers if taught_E is None else numbers[taught_E[numbers]]
