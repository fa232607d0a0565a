"""KD's objectives and orders: what each does to accuracy, and to calibration against `renorm`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.proving_ground.plots import draw_arms
from benchmarks.proving_ground.results import (
    SURENESS,
    ArmResult,
    Making,
    at_common_seeds,
    difference,
)
from benchmarks.proving_ground.sections.words import (
    Lines,
    compared,
    gap,
    marks_table,
    named,
    number,
    table,
)
from benchmarks.proving_ground.statistics import paired
from benchmarks.proving_ground.sweeps import WHOLE

_BASE = f"{WHOLE}:renorm"
_OBJECTIVES = (WHOLE, f"{WHOLE}:label_tail", f"{WHOLE}:sampled")
_ARMS = (WHOLE, _BASE, *_OBJECTIVES[1:], "kd-only", f"{WHOLE}:fused")


def objectives(
    found: Mapping[str, ArmResult], made: Mapping[str, Making], folder: Path
) -> Lines:  # fmt: skip
    """The section on all of them."""
    arms = named(found, *_ARMS)
    if len(arms) < 2 or WHOLE not in found:
        return []
    draw_arms(folder / "objectives.png", at_common_seeds(arms))
    labels = [_label(arm.name, made) for arm in arms]
    lines = ["", "## Objectives and orders", "", *marks_table(arms, labels), ""]
    lines += [compared(arm, found[WHOLE]) for arm in arms if arm.name != WHOLE]
    return [*lines, "", "![objectives](objectives.png)"]


def calibration(found: Mapping[str, ArmResult], made: Mapping[str, Making]) -> Lines:
    """The section on what each objective does to ECE and NLL against `renorm`."""
    others = named(found, *_OBJECTIVES)
    if _BASE not in found or not others:
        return []
    base = found[_BASE]
    arms = at_common_seeds([base, *others])
    rows = [[_label(base.name, made), str(arms[0].seeds), number(arms[0].of("ece")), "",
             number(arms[0].of("nll")), ""]]  # fmt: skip
    for arm in arms[1:]:
        row = [_label(arm.name, made), str(arm.seeds)]
        for mark in ("ece", "nll"):
            row += [number(arm.of(mark)), gap(difference(arm, arms[0], mark), mark)]
        rows.append(row)
    head = ["arm", "seeds", "ECE", "over `renorm`, seed by seed", "NLL",
            "over `renorm`, seed by seed"]  # fmt: skip
    lines = ["", "## Calibration against renorm", "",
             "Less is better in both; a difference below zero speaks for the arm.", "",
             *table(head, rows), ""]  # fmt: skip
    for mark in ("ece", "nll"):
        lines += [compared(arm, arms[0], mark) for arm in arms[1:]]
    return [*lines, *_sureness(arms, made)]


def _sureness(arms: Sequence[ArmResult], made: Mapping[str, Making]) -> Lines:
    """How sure each is, and how often right: what ECE is made of."""
    if any(len(arm.values(mark)) < arm.seeds for arm in arms for mark in SURENESS):
        return []
    rows = [
        [_label(arm.name, made), *(number(arm.of(mark)) for mark in SURENESS),
         number(paired(*(arm.values(mark) for mark in SURENESS))), number(arm.of("entropy"))]
        for arm in arms
    ]  # fmt: skip
    head = ["arm", "probability of its best token", "its best token is right", "excess", "entropy"]
    said = "What that is made of: how sure each is, on average, and how often it is right:"
    return ["", said, "", *table(head, rows)]


def _label(name: str, made: Mapping[str, Making]) -> str:
    if name == WHOLE:
        return f"`{name}` (`tail_bucket`)"
    making = made.get(name)
    if making is not None and making.draws is not None:
        return f"`{name}` ({making.draws} draws per position)"
    return f"`{name}`"
