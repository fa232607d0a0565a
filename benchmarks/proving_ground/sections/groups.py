"""The breakdown: accuracy by family, language and level, and what KD adds there at equal steps."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.proving_ground.results import ArmResult, at_common_seeds, difference
from benchmarks.proving_ground.sections.words import Lines, gap, named, percent, seeds, table

_ARMS = ("before", "sft", "sft+sft", "sft+kd")
_GAP = ("sft+kd", "sft+sft")


def groups(found: Mapping[str, ArmResult]) -> Lines:
    """The section."""
    arms = at_common_seeds(named(found, *_ARMS))
    if not arms:
        return []
    head = ["", *(f"`{arm.name}`" for arm in arms)]
    both = all(name in found for name in _GAP)
    if both:
        head.append(f"`{_GAP[0]}` over `{_GAP[1]}`, points")
    rows = []
    for group in arms[0].groups:
        row = [group.replace(":", " "), *(percent(arm.of(group)) for arm in arms)]
        if both:
            row.append(gap(difference(found[_GAP[0]], found[_GAP[1]], group), group))
        rows.append(row)
    said = f"Accuracy over {seeds(arms[0].seeds)}"
    if both:
        said += (
            "; the last column is seed by seed, and of so many intervals about one in twenty "
            "misses the truth by chance"
        )
    return ["", "## By family, language, level", "", f"{said}.", "", *table(head, rows)]
