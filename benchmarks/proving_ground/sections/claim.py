"""The claim: do a teacher's answers help, and do its probabilities on top help more?

In: the arms that are done. Out: paired differences at equal steps first, then the arms' own
intervals, then a table and a picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.proving_ground.plots import draw_arms
from benchmarks.proving_ground.results import ArmResult, at_common_seeds
from benchmarks.proving_ground.sections.words import (
    Lines,
    marks_table,
    named,
    overlapping,
    seeds,
    sentences,
)

ARMS = ("before", "lessons", "sft", "lessons+lessons", "sft+sft", "sft+kd")
_EQUAL_STEPS = (("sft", "lessons"), ("sft+kd", "sft+sft"), ("sft+kd", "lessons+lessons"))
_STAGE_BY_STAGE = (("sft", "before"), ("sft+kd", "sft"))
_INTERVALS = (("sft", "before"), ("sft+kd", "sft"), ("sft+kd", "sft+sft"))


def claim(found: Mapping[str, ArmResult], folder: Path) -> Lines:
    """The section."""
    arms = named(found, *ARMS)
    if len(arms) < 2:
        return []
    most = max(arm.seeds for arm in arms)
    often = [arm for arm in arms if arm.seeds == most]
    draw_arms(folder / "headline.png", at_common_seeds(often))
    lines = ["", "## The claim"]
    for title, pairs in (
        ("Arms that took equally many steps, seed by seed:", _EQUAL_STEPS),
        ("What each stage adds, its own steps included, seed by seed:", _STAGE_BY_STAGE),
    ):
        if said := sentences(found, *pairs):
            lines += ["", title, "", *said]
    overlaps = [overlapping(found[a], found[b]) for a, b in _INTERVALS if a in found and b in found]
    if overlaps:
        lines += ["", "The arms' own intervals, which hold what seeds do to all arms alike:",
                  "", *overlaps]  # fmt: skip
    lines += ["", *marks_table(often), "", "![the arms of the claim](headline.png)"]
    if len(often) < len(arms):
        fewer = min(arm.seeds for arm in arms)
        lines += ["", f"All of them over the first {seeds(fewer)}:", "", *marks_table(arms)]
    return lines
