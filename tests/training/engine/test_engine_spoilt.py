"""Numbers that are none: training stops, and neither checkpoint nor model has spoilt weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from ranks import Ranks, kept, steps_of, weights_of
from transformers import AutoModelForCausalLM

from training.data.tokenised import TokenisedCorpus
from training.engine.schedules import training_schedule
from training.engine.spec import StageSpec

pytestmark = pytest.mark.slow

Specs = Callable[..., StageSpec]


def _poison(spec: StageSpec, made: Path, folder: Path) -> tuple[int, set[str]]:
    """A student for which one token is no number, one that no sample of the first step has.
    Returns the step (from 0) that meets it, and the samples there that have it."""
    corpus = TokenisedCorpus.open(spec.corpus)
    schedule = training_schedule(corpus, spec.recipe, spec.stage, 1)
    steps = [[corpus.example(n) for n in schedule.samples(step)] for step in range(schedule.steps)]
    seen: set[int] = set()
    for step, examples in enumerate(steps):
        prompts = [set(each.token_id_T[: each.row_N[0] + 1].tolist()) for each in examples]
        fresh = set().union(*prompts) - seen
        if step > 1 and fresh:
            token = min(fresh)
            break
        seen |= set().union(*(each.token_id_T.tolist() for each in examples))
    model = AutoModelForCausalLM.from_pretrained(made / "student")
    with torch.no_grad():
        model.get_input_embeddings().weight[token] = float("nan")
    model.save_pretrained(folder)
    names = {each.sample_id for each in examples if token in each.token_id_T.tolist()}
    return step, names


def test_a_loss_that_is_no_number_stops_at_its_samples_and_keeps_what_was_good(
    ranks: Ranks, spec: Specs, made: Path, tmp_path: Path
) -> None:
    poisoned = tmp_path / "poisoned"
    shutil.copytree(made / "student", poisoned)
    two = {"ranks": 2, "zero": 2, "tokens_per_micro_batch": 128}
    # Four samples a step, so that the first steps do not meet every token; none held out, because
    # one of those could.
    corpus = {"validation": 0.0}
    stage = {"samples_per_step": 4, "epochs": 3, "max_steps": 12}
    sick = spec(student={"model": str(poisoned)}, engine=two, stage=stage, corpus=corpus)
    step, names = _poison(sick, made, poisoned)
    error = ranks.run(sick)
    assert error["code"] == "not_finite"
    assert f"loss of step {step + 1} is not finite" in error["what"]
    assert set(error["cause"].removeprefix("Samples: ").rstrip(".").split(", ")) == names
    assert f"last good checkpoint is of step {step}" in error["solution"]
    assert steps_of(sick) == list(range(1, step + 1))
    assert kept(sick) == [step - 1, step]
    assert not (sick.folder / "model").exists()

    # The same command goes on from there and stops at the same samples.
    again = ranks.run(sick)
    assert (again["what"], again["cause"]) == (error["what"], error["cause"])
    assert steps_of(sick) == list(range(1, step + 1))

    # Mended and begun anew, it trains.
    shutil.rmtree(poisoned)
    shutil.copytree(made / "student", poisoned)
    stage["max_steps"] = step + 1
    sections = {"engine": two, "stage": stage, "corpus": corpus}
    well = spec(student={"model": str(poisoned)}, restart=True, **sections)
    assert ranks.run(well) == {}
    assert all(weight.isfinite().all() for weight in weights_of(well).values())


WILD = {"learning_rate": 1e30, "warmup": 0.0}


@pytest.mark.parametrize("engine", [{"ranks": 1, "zero": 0}, {"ranks": 2, "zero": 3}])
@pytest.mark.parametrize("validation", [0.0, 0.2])
def test_weights_that_a_step_has_spoilt_are_no_checkpoint(
    ranks: Ranks, spec: Specs, validation: float, engine: dict[str, int]
) -> None:
    # A checkpoint after every step, a validation only at the end, or never.
    wild = spec(stage=WILD, corpus={"validation": validation}, engine=engine)
    assert wild.recipe.engine.checkpoint_every < wild.recipe.engine.validate_every
    error = ranks.run(wild)
    assert error["code"] == "not_finite"
    assert "loss after the update of step 1 is not finite" in error["what"]
    assert "lower the learning rate; none was saved" in error["solution"]
    assert (steps_of(wild), kept(wild)) == ([1], [])


def test_without_a_checkpoint_between_an_absurd_rate_stops_at_the_next_loss(
    ranks: Ranks, spec: Specs
) -> None:
    wild = spec(stage=WILD, engine={"checkpoint_every": 200})
    error = ranks.run(wild)
    assert error["code"] == "not_finite"
    assert "The loss of step 2 is not finite" in error["what"]
    assert (steps_of(wild), kept(wild)) == ([1], [])


@pytest.mark.parametrize(
    ("validation", "said"), [(0.0, "loss after the update"), (0.2, "validation loss")]
)
def test_a_model_spoilt_by_its_last_step_is_never_saved(
    ranks: Ranks, spec: Specs, validation: float, said: str
) -> None:
    wild = spec(stage={**WILD, "max_steps": 1}, corpus={"validation": validation})
    error = ranks.run(wild)
    assert error["code"] == "not_finite"
    assert f"The {said} of step 1" in error["what"]
    assert kept(wild) == []
    assert not (wild.folder / "model").exists()


def test_a_checkpoint_whose_weights_are_no_numbers_becomes_no_model(
    ranks: Ranks, spec: Specs
) -> None:
    stage = spec(stage={"max_steps": 1})
    assert ranks.run(stage) == {}
    shutil.rmtree(stage.folder / "model")
    (file,) = (stage.folder / "checkpoints" / "step-00000001").glob("*model_states.pt")
    states = torch.load(file, weights_only=False)
    states["module"]["student.lm_head.weight"][:] = float("nan")
    torch.save(states, file)
    error = ranks.run(stage)
    assert error["code"] == "not_finite"
    assert "loss after the update of step 1" in error["what"]
    assert not (stage.folder / "model").exists()
