"""Which settings make a student fit a GPU: the first that does alone, else the fewest in order.

In: a case that does not fit and the GPU's memory. Out: settings as `--set` takes them, or None
where not even all together help on so many ranks. The cheapest in time come first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from training.plan.memory import MemoryCase, training_memory

Knob = tuple[str, Callable[[MemoryCase], MemoryCase]]


def knobs_for(case: MemoryCase, memory: int, context: int) -> list[str] | None:
    """Settings to turn, empty where it fits as it is."""
    if _fits(case, memory):
        return []
    knobs = list(_knobs(case, context))
    for name, turn in knobs:
        if _fits(turn(case), memory):
            return _named(case, turn(case), [name])
    turned, names = case, []
    for name, turn in knobs:
        turned = turn(turned)
        names.append(name)
        if _fits(turned, memory):
            return _named(case, turned, names)
    return None


def _named(case: MemoryCase, turned: MemoryCase, names: list[str]) -> list[str]:
    """The settings that lead from `case` to `turned`: the last ZeRO stage alone, also where a knob
    implied it, because a recipe has to say it."""
    others = [name for name in names if not name.startswith("engine.zero=")]
    return ([f"engine.zero={turned.zero}"] if turned.zero != case.zero else []) + others


def _fits(case: MemoryCase, memory: int) -> bool:
    return training_memory(case).peak <= memory


def _knobs(case: MemoryCase, context: int) -> Iterator[Knob]:
    if case.zero < 2 and case.ranks > 1:
        yield "engine.zero=2", lambda c: c.with_zero(2)
    if case.tokens > context:
        yield f"engine.tokens_per_micro_batch={context}", lambda c: replace(c, tokens=context)
    if not case.checkpointing:
        yield "student.gradient_checkpointing=true", lambda c: replace(c, checkpointing=True)
    if case.head_in_float32 and case.bytes_per_weight < 4:
        yield "engine.head_accumulation=weight", lambda c: replace(c, head_in_float32=False)
    if case.zero < 3 and case.ranks > 1:
        yield "engine.zero=3", lambda c: c.with_zero(3)
    if case.zero == 0:
        yield "engine.zero=1", lambda c: c.with_zero(max(1, c.zero))
    if not case.offload_optimizer:
        yield (
            "engine.offload_optimizer=true",
            lambda c: replace(c, zero=max(c.zero, 1), offload_optimizer=True),
        )
    if not case.offload_parameters:
        yield (
            "engine.offload_parameters=true",
            lambda c: replace(c.with_zero(3), offload_parameters=True),
        )
