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


def explained(error: BaseException, recipe: TrainRecipe) -> BaseException:
    """`error` as an `OutOfMemory` with what to turn, where it is one; otherwise as it is."""
    if not is_out_of_memory(error):
        return error
    return OutOfMemory(
        "A rank ran out of memory while training.",
        cause=str(error).splitlines()[0] if str(error) else type(error).__name__,
        solution="; or ".join(_knobs(recipe)) + ".",
        command="stillhouse train plan RECIPE",
    )


def _knobs(recipe: TrainRecipe) -> list[str]:
    engine, student = recipe.engine, recipe.student
    knobs = [
        f"Lower engine.tokens_per_micro_batch (now {engine.tokens_per_micro_batch}; a step takes "
        "more passes and gives the same result)"
    ]
    if engine.head_workspace_mib > 128:
        knobs.append(f"lower engine.head_workspace_mib (now {engine.head_workspace_mib})")
    if not student.gradient_checkpointing:
        knobs.append("set student.gradient_checkpointing: true")
    if engine.zero < 3 and engine.ranks > 1:
        knobs.append(f"raise engine.zero (now {engine.zero})")
    if not engine.offload_optimizer:
        knobs.append("set engine.offload_optimizer: true")
    elif not engine.offload_parameters and engine.zero == 3:
        knobs.append("set engine.offload_parameters: true")
    if student.lora is None:
        knobs.append("train adapters (student.lora)")
    return knobs
