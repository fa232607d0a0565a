"""Students of other sizes: does the smaller gain more?

In: the arms that are done. Out: each student's gains in points, seed by seed, and how much more the
smaller of two gained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from benchmarks.proving_ground.results import ArmResult, difference
from benchmarks.proving_ground.scales import Scale
from benchmarks.proving_ground.sections.words import (
    Lines,
    gap,
    marks_table,
    named,
    seeds,
    sure,
    table,
)
from benchmarks.proving_ground.statistics import Estimate, paired

_ARMS = ("before", "sft", "sft+kd")
_GAINS = (("sft", "before"), ("sft+kd", "sft"), ("sft+kd", "before"))


def students(found: Mapping[str, ArmResult], scale: Scale) -> Lines:
    """The section; nothing where one student alone was trained."""
    trained = {student: _arms(found, scale, student) for student in scale.students}
    trained = {student: arms for student, arms in trained.items() if len(arms) > 1}
    if len(trained) < 2:
        return []
    every = [arm for arms in trained.values() for arm in arms.values()]
    fewest = min(arm.seeds for arm in every)
    head = ["points, seed by seed", *(f"`{a}` over `{b}`" for a, b in _GAINS)]
    rows = [
        [f"student {student}", *(_gain(arms, a, b, fewest) for a, b in _GAINS)]
        for student, arms in trained.items()
    ]
    lines = ["", "## Does the smaller student gain more?", "", *marks_table(every), "",
             f"Gains of accuracy over {seeds(fewest)}:", "", *table(head, rows), ""]  # fmt: skip
    names = list(trained)
    for small, large in pairwise(names):
        lines += _compared(small, trained[small], large, trained[large])
    return lines


def _arms(found: Mapping[str, ArmResult], scale: Scale, student: str) -> dict[str, ArmResult]:
    prefix = "" if student == scale.student else f"{student}:"
    return {name: arm for name in _ARMS for arm in named(found, f"{prefix}{name}")}


def _gain(arms: Mapping[str, ArmResult], after: str, before: str, count: int) -> str:
    if after not in arms or before not in arms:
        return "–"
    return gap(difference(arms[after].first(count), arms[before].first(count), "accuracy"), "")


def _compared(
    small: str, smaller: Mapping[str, ArmResult], large: str, larger: Mapping[str, ArmResult]
) -> Lines:
    """A sentence for each gain that both have."""
    lines = []
    for after, before in _GAINS:
        if all(name in arms for name in (after, before) for arms in (smaller, larger)):
            made = _more(smaller, larger, after, before)
            lines.append(
                f"- `{after}` over `{before}`: student {small} gains {gap(made, '')} points more "
                f"than student {large}, over {seeds(made.count)}{sure(made)}."
            )
    return lines


def _more(
    smaller: Mapping[str, ArmResult], larger: Mapping[str, ArmResult], after: str, before: str
) -> Estimate:
    """The difference of two gains, over the seeds that all four arms have."""
    four: Sequence[ArmResult] = [arms[name] for arms in (smaller, larger)
                                 for name in (after, before)]  # fmt: skip
    count = min(arm.seeds for arm in four)
    a, b, c, d = (arm.first(count).values("accuracy") for arm in four)
    return paired([x - y for x, y in zip(a, b, strict=True)],
                  [x - y for x, y in zip(c, d, strict=True)])  # fmt: skip
