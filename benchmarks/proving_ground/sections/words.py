"""Figures and comparisons in words, and tables of arms, as every part of the report says them.

In: `ArmResult`s. Out: lines of Markdown. What compares arms takes the training seeds that all of
them have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.proving_ground.results import ArmResult, Making, at_common_seeds, difference
from benchmarks.proving_ground.statistics import Estimate

Lines = list[str]
_MARKS = {"accuracy": "accuracy", "nll": "NLL", "ece": "ECE"}


def percent(made: Estimate) -> str:
    """A share as a percentage with half its interval."""
    half = "" if made.count < 2 else f" ± {100 * made.half_width:.1f}"
    return f"{100 * made.mean:.1f}{half} %"


def number(made: Estimate) -> str:
    """A figure with half its interval."""
    half = "" if made.count < 2 else f" ± {made.half_width:.3f}"
    return f"{made.mean:.3f}{half}"


def gap(made: Estimate, mark: str) -> str:
    """A difference with its sign: of an accuracy in points, of NLL and ECE as it is."""
    factor, digits = (1, 3) if mark in ("nll", "ece", "entropy") else (100, 1)
    half = "" if made.count < 2 else f" ± {factor * made.half_width:.{digits}f}"
    return f"{factor * made.mean:+.{digits}f}{half}"


def sure(made: Estimate) -> str:
    """Whether a difference's interval excludes zero, as the end of a sentence."""
    if made.count < 2:
        return "; one seed has no interval"
    return f"; the interval {'excludes' if made.excludes_zero else 'does not exclude'} zero"


def compared(after: ArmResult, before: ArmResult, mark: str = "accuracy") -> str:
    """One sentence on the paired difference of two arms."""
    made = difference(after, before, mark)
    unit = f"{_MARKS[mark]}: " if mark != "accuracy" else ""
    points = " points" if mark == "accuracy" else ""
    return (
        f"- {unit}`{after.name}` over `{before.name}`: {gap(made, mark)}{points} over "
        f"{seeds(made.count)}{sure(made)}."
    )


def overlapping(after: ArmResult, before: ArmResult) -> str:
    """One sentence on whether two arms' own intervals of accuracy overlap."""
    a, b = at_common_seeds([after, before])
    if a.seeds < 2:
        return f"- `{a.name}` {percent(a.of('accuracy'))}, `{b.name}` {percent(b.of('accuracy'))}."
    apart = a.of("accuracy").apart_from(b.of("accuracy"))
    verb = "do not overlap" if apart else "overlap"
    return (
        f"- `{a.name}` {percent(a.of('accuracy'))} and `{b.name}` {percent(b.of('accuracy'))}: "
        f"the two intervals {verb}."
    )


def seeds(count: int) -> str:
    """So many training seeds."""
    return f"{count} seed" if count == 1 else f"{count} seeds"


def marks_table(
    arms: Sequence[ArmResult],
    labels: Sequence[str] | None = None,
    made: Mapping[str, Making] | None = None,
) -> Lines:
    """Arms with their marks over the training seeds that all have; with `made`, on how many samples
    each one's last stage was."""
    head = ["arm", "seeds", *(["samples"] if made else []), *_MARKS.values()]
    rows = []
    said = labels or [f"`{arm.name}`" for arm in arms]
    for label, arm in zip(said, at_common_seeds(arms), strict=True):
        samples = [_counted(made.get(arm.name))] if made else []
        marks = [percent(arm.of("accuracy")), number(arm.of("nll")), number(arm.of("ece"))]
        rows.append([label, str(arm.seeds), *samples, *marks])
    return table(head, rows)


def _counted(making: Making | None) -> str:
    return "–" if making is None or making.samples is None else f"{making.samples:,}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Lines:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def named(found: Mapping[str, ArmResult], *names: str) -> list[ArmResult]:
    """Those of these arms that there are."""
    return [found[name] for name in names if name in found]


def sentences(found: Mapping[str, ArmResult], *pairs: tuple[str, str]) -> Lines:
    """`compared` for every pair of arms that are both there."""
    return [compared(found[a], found[b]) for a, b in pairs if a in found and b in found]
