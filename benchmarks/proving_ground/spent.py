"""Where the time went: how long the steps that are done took, by kind, and on how many cores.

In: steps. Out: `Spent` by kind of step, and an estimate of the wall clock. A step's seconds are its
own, with whatever ran beside it; kinds of steps run beside each other, so their sums are no time
that passed on a clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.proving_ground.pipeline import Pipeline
from benchmarks.proving_ground.steps import Step, everything

# Exams and their marks are named after whose they are; they are of one kind each.
_KINDS = ("exam", "marks")


@dataclass(frozen=True)
class Spent:
    """All steps of one kind: their number, their seconds together, the cores that each one has."""

    kind: str
    steps: int
    seconds: float
    cores: int

    @property
    def core_seconds(self) -> float:
        """Seconds times cores."""
        return self.seconds * self.cores


@dataclass(frozen=True)
class Times:
    """What some arms took, with all that they need; `whole` where nothing of it is left to do."""

    kinds: tuple[Spent, ...]
    cores: int
    whole: bool

    @property
    def steps(self) -> int:
        """How many steps there are."""
        return sum(each.steps for each in self.kinds)

    @property
    def core_seconds(self) -> float:
        """Of all kinds together."""
        return sum(each.core_seconds for each in self.kinds)

    @property
    def wall_clock(self) -> float:
        """An estimate in seconds: as if every core had been busy all the time."""
        return self.core_seconds / self.cores

    def as_document(self) -> dict[str, Any]:
        """As JSON says it."""
        return {
            "cores": self.cores,
            "core_seconds": round(self.core_seconds, 1),
            "wall_clock_estimate_s": round(self.wall_clock) if self.whole else None,
            "kinds": [{**asdict(each), "seconds": round(each.seconds, 1)} for each in self.kinds],
        }


def times(pipeline: Pipeline, steps: Sequence[Step], cores: int) -> Times:
    """What `steps` and all that they need took on a machine of so many cores."""
    summed: dict[tuple[str, int], list[float]] = {}
    needed = everything(steps)
    for step in needed:
        seconds = step.seconds(pipeline.work)
        if seconds is not None:
            summed.setdefault((_kind(step), min(step.threads, cores)), []).append(seconds)
    kinds = (Spent(kind, len(each), sum(each), used) for (kind, used), each in summed.items())
    whole = all(step.seconds(pipeline.work) is not None for step in needed)
    return Times(tuple(kinds), cores, whole)


def _kind(step: Step) -> str:
    kind, dash, _ = step.name.partition("-")
    return kind if dash and kind in _KINDS else step.name
