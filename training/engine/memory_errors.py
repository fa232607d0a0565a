"""Out of memory, in the user's words: which setting to turn, in the order that costs least."""

from __future__ import annotations

import torch

from training.errors import OutOfMemory
from training.recipe import TrainRecipe

_ON_CPU = ("can't allocate memory", "not enough memory", "bad_alloc", "Cannot allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocator said no, on the device or on the host."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _ON_CPU)


def explained(error: BaseException, recipe: TrainRecipe) -> OutOfMemory:
    """An allocator's no as an `OutOfMemory` that says what to turn."""
    return OutOfMemory(
        "A rank ran out of memory while training.",
        cause=str(error).splitlines()[0] if str(error) else type(error).__name__,
        solution=_advice(recipe),
        command="stillhouse train plan RECIPE",
    )


def _advice(recipe: TrainRecipe) -> str:
    anew = _knobs_that_begin_anew(recipe)
    later = f"; or, begun anew with --restart, {', or '.join(anew)}" if anew else ""
    return f"{'; or '.join(_knobs(recipe))}, and run the same command to go on{later}."


def _knobs(recipe: TrainRecipe) -> list[str]:
    """What a run may change and go on from its last checkpoint."""
    engine, student = recipe.engine, recipe.student
    knobs = [
        f"Lower engine.tokens_per_micro_batch (now {engine.tokens_per_micro_batch}; a step takes "
        "more passes and gives the same result)"
    ]
    if engine.head_workspace_mib > 128:
        knobs.append(f"lower engine.head_workspace_mib (now {engine.head_workspace_mib})")
    if student.dtype == "bfloat16" and engine.head_accumulation == "float32":
        knobs.append("set engine.head_accumulation: weight")
    if not student.gradient_checkpointing:
        knobs.append("set student.gradient_checkpointing: true")
    return knobs


def _knobs_that_begin_anew(recipe: TrainRecipe) -> list[str]:
    """What a checkpoint's files depend on."""
    engine, student = recipe.engine, recipe.student
    knobs = []
    if engine.zero < 3 and engine.ranks > 1:
        knobs.append(f"raise engine.zero (now {engine.zero})")
    if not engine.offload_optimizer:
        knobs.append("set engine.offload_optimizer: true")
    elif not engine.offload_parameters and engine.zero == 3:
        knobs.append("set engine.offload_parameters: true")
    if student.lora is None:
        knobs.append("train adapters (student.lora)")
    return knobs
