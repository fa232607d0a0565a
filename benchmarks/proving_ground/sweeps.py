"""The sweeps: which arms differ in one number only, in which order, and what each point is called.

In: the arms' names and the scale. Out: `Sweep`s with the whole recipe, `sft+kd`, at its own place
among the others.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.proving_ground.arms import DEFAULT_K
from benchmarks.proving_ground.results import Making
from benchmarks.proving_ground.scales import Scale

WHOLE = "sft+kd"


@dataclass(frozen=True)
class Sweep:
    """`points`: what stands below each, and its arm, in the order of what is varied."""

    title: str
    axis: str
    points: tuple[tuple[str, str], ...]

    @property
    def arms(self) -> list[str]:
        """The points' arms."""
        return [arm for _, arm in self.points]

    @property
    def labels(self) -> list[str]:
        """The points' labels."""
        return [label for label, _ in self.points]

    def as_document(self) -> dict[str, Any]:
        """As JSON says it."""
        points = [{"label": label, "arm": arm} for label, arm in self.points]
        return {"title": self.title, "axis": self.axis, "points": points}


def find_sweeps(
    arms: Collection[str], scale: Scale, made: Mapping[str, Making] | None = None
) -> list[Sweep]:
    """The sweeps of which at least one arm besides the whole recipe is there.

    Args:
        arms: the arms that are done.
        scale: which values were varied.
        made: how each arm was made, where that is known: samples are counted from it.
    """
    if WHOLE not in arms:
        return []
    known = made or {}
    teachers = {name: f"{WHOLE}:teacher-{name}" for name in scale.teachers}
    sizes = {str(size): f"{WHOLE}:data-{size}" for size in sorted({*scale.data_sizes, scale.seeds})}
    ks = {str(k): f"{WHOLE}:k-{k}" for k in sorted({*scale.ks, DEFAULT_K})}
    alphas = {f"{alpha:g}": f"{WHOLE}:alpha-{alpha:g}"
              for alpha in sorted({*scale.alphas, scale.alpha})}  # fmt: skip
    temperatures = {f"{t:g}": f"{WHOLE}:temperature-{t:g}"
                    for t in sorted({*scale.temperatures, 1.0})}  # fmt: skip
    sweeps = (
        _sweep("teacher size", "teacher whose rows are learnt (answers: the largest's)",
               teachers, scale.teacher, arms),
        _sweep("amount of KD data", "seeds asked (verified samples)",
               sizes, str(scale.seeds), arms, known),
        _sweep("k", "ids kept per row", ks, str(DEFAULT_K), arms),
        _sweep("α", "weight of KD, the rest CE's", alphas, f"{scale.alpha:g}", arms),
        _sweep("temperature", "of both distributions", temperatures, "1", arms),
    )  # fmt: skip
    return [each for each in sweeps if len(each.points) > 1]


def _sweep(
    title: str,
    axis: str,
    values: Mapping[str, str],
    whole: str,
    arms: Collection[str],
    made: Mapping[str, Making] | None = None,
) -> Sweep:
    points = []
    for value, name in values.items():
        arm = WHOLE if value == whole else name
        if arm in arms:
            making = (made or {}).get(arm)
            samples = None if making is None else making.samples
            points.append((value if samples is None else f"{value} ({samples})", arm))
    return Sweep(title, axis, tuple(points))
