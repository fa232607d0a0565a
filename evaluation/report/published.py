"""The published figures of Qwen2.5 and DistilQwen2.5, as reference lines, with their source.

In: `published.json` beside this module. Out: `Published` rows. A rule looks for figures that cannot
be as printed; they are shown, and marked.

The rule. A response that follows all instructions of its prompt strictly follows them loosely too.
So of IFEval's 834 instructions at least those in the prompts that passed strictly are followed
loosely, and a strict share of prompts above the loose share of instructions leaves next to nothing
for the prompts that failed: see `followed_in_failed`. No real model does that.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from evaluation.report.sizes import number_of

_FILE = Path(__file__).with_name("published.json")
STRICT, LOOSE = "ifeval/prompt_strict", "ifeval/instruction_loose"
# IFEval's prompts by their number of instructions (its data file has 541 prompts).
_PROMPTS = {1: 305, 2: 179, 3: 57}


@dataclass(frozen=True, slots=True)
class Published:
    """One model's published figures, by `benchmark/metric`. `size` is the nominal one, in
    parameters; `stage` is `before` or `after` distillation."""

    model: str
    size: float
    stage: str
    scores: Mapping[str, float]

    @property
    def impossible(self) -> frozenset[str]:
        """Figures that cannot be as printed: a strict prompt-level score above the loose
        instruction-level one."""
        strict, loose = self.scores.get(STRICT), self.scores.get(LOOSE)
        return frozenset((STRICT,) if strict is not None and loose and strict > loose else ())


@dataclass(frozen=True, slots=True)
class Source:
    """All published figures, what their columns are called there, and where they stand."""

    source: str
    address: str
    paper: str
    columns: Mapping[str, str]
    models: tuple[Published, ...]


@functools.cache
def published() -> Source:
    """The figures."""
    said = orjson.loads(_FILE.read_bytes())
    columns = said["columns"]
    models = tuple(
        Published(
            row["model"],
            number_of(row["size"]) or 0.0,
            row["stage"],
            dict(zip(columns, row["scores"], strict=True)),
        )
        for row in said["models"]
    )
    return Source(said["source"], said["address"], said["paper"], columns, models)


def followed_in_failed(prompt_strict: float, instruction_loose: float) -> float:
    """The largest share, in [0, 1], of the instructions in IFEval's strictly failed prompts that
    can be followed loosely, given two scores in per cent. It is reached where the prompts that
    passed are those with the fewest instructions."""
    prompts = sum(_PROMPTS.values()) * prompt_strict / 100
    total = sum(number * count for number, count in _PROMPTS.items())
    held = 0.0
    for number, count in sorted(_PROMPTS.items()):
        taken = min(prompts, count)
        held += number * taken
        prompts -= taken
    left = total - held
    return max(0.0, total * instruction_loose / 100 - held) / left if left else 1.0
