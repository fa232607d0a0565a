"""Figures by category: MT-Bench's categories, IFEval's families of instructions, AlpacaEval's
datasets, SQL's query categories.

In: a stored evaluation. Out: an interval per group, in an order that is the same for every model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.mtbench.benchmark import CATEGORIES
from evaluation.report.measures import unit_of, unjudged
from evaluation.report.resampling import Interval, Ratio, interval
from evaluation.report.stored import Stored

_PERCENT = 100.0


@dataclass(frozen=True, slots=True)
class Grouping:
    """What a benchmark's groups are called, what is measured in them, in which unit, up to where;
    `radar` says whether they are drawn as one too."""

    title: str
    measured: str
    unit: str
    top: float
    radar: bool = False


GROUPINGS: Mapping[str, Grouping] = {
    "ifeval": Grouping("family of instructions", "instructions followed, strict", "%", 100, True),
    "mt_bench": Grouping("category", "mean grade, 1 to 10", "", 10, True),
    "alpaca_eval": Grouping("source dataset", "win rate", "%", 100),
    "sql": Grouping("query category", "Pass@1", "%", 100),
}


def grouping_of(benchmark: str) -> Grouping | None:
    """How a benchmark's items are grouped, if they are."""
    return GROUPINGS.get(benchmark.removesuffix("_ja"))


def by_group(evaluation: Stored, keys: Iterable[str]) -> dict[str, Interval]:
    """Every group's figure with its interval, over the items `keys`.

    An IFEval prompt without an answer follows nothing, but which instructions it had is not stored:
    it is left out here. Groups without a figure are left out too.
    """
    sums: dict[str, dict[str, list[float]]] = {}
    for key in keys:
        unit = unit_of(evaluation.benchmark, key)
        for group, above, below in _adds(evaluation.benchmark, evaluation.items[key]):
            both = sums.setdefault(group, {}).setdefault(unit, [0.0, 0.0])
            both[0] += above
            both[1] += below
    found = {
        group: interval(Ratio.of([(above, below) for above, below in units.values()]))
        for group, units in sums.items()
    }
    return {group: made for group, made in found.items() if made is not None}


def ordered(groups: Iterable[str]) -> list[str]:
    """MT-Bench's categories as published, all others by name."""
    found = set(groups)
    return [c for c in CATEGORIES if c in found] + sorted(found.difference(CATEGORIES))


def _adds(benchmark: str, item: Mapping[str, Any]) -> Iterator[tuple[str, float, float]]:
    """Per group that the item belongs to: what it adds above and below the line."""
    verdict = item["verdict"] if item["status"] == "done" else None
    category = item["category"] or "other"
    if benchmark.startswith("ifeval"):
        if verdict is not None:
            yield from _families(verdict["instructions"], verdict["strict"])
    elif benchmark == "mt_bench":
        grades = [turn["grade"] for turn in (verdict or {}).get("turns", ())]
        known = [float(grade) for grade in grades if grade is not None]
        yield category, sum(known), float(len(known))
    elif benchmark == "alpaca_eval":
        preference = 1.0 if verdict is None else verdict["preference"]
        if preference is not None and not unjudged(item):
            yield category, _PERCENT * ((preference or 1.5) - 1), 1.0
    elif benchmark == "sql":
        yield category, _PERCENT * bool((verdict or {}).get("passed")), 1.0


def _families(
    instructions: Sequence[str], followed: Sequence[bool]
) -> Iterator[tuple[str, float, float]]:
    for name, kept in zip(instructions, followed, strict=True):
        family = name.removeprefix("en:").removeprefix("ja:").partition(":")[0]
        yield family.replace("_", " "), _PERCENT * bool(kept), 1.0
