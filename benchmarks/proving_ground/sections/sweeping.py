"""The sweeps: a table each, with what every point adds to the one before, and two pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.proving_ground.plots import draw_sweeps
from benchmarks.proving_ground.results import ArmResult, at_common_seeds, difference
from benchmarks.proving_ground.sections.words import Lines, gap, number, percent, seeds, table
from benchmarks.proving_ground.sweeps import Sweep


def sweeping(found: Mapping[str, ArmResult], sweeps: Sequence[Sweep], folder: Path) -> Lines:
    """The section."""
    if not sweeps:
        return []
    lines = ["", "## Sweeps"]
    drawn = []
    for sweep in sweeps:
        arms = at_common_seeds([found[name] for name in sweep.arms])
        drawn.append((sweep, arms))
        lines += ["", f"**{sweep.title}**, over {seeds(arms[0].seeds)}:", "", *_table(sweep, arms)]
    draw_sweeps(folder / "sweeps.png", drawn, "accuracy", "accuracy", 100)
    draw_sweeps(folder / "sweeps-nll.png", drawn, "nll", "NLL, nats per token")
    return [*lines, "", "![accuracy](sweeps.png)", "", "![NLL](sweeps-nll.png)"]


def _table(sweep: Sweep, arms: Sequence[ArmResult]) -> Lines:
    head = [sweep.axis, "arm", "accuracy", "over the one before, points", "NLL",
            "over the one before"]  # fmt: skip
    rows = []
    for place, (label, arm) in enumerate(zip(sweep.labels, arms, strict=True)):
        row = [label, f"`{arm.name}`"]
        for mark, said in (("accuracy", percent), ("nll", number)):
            more = gap(difference(arm, arms[place - 1], mark), mark) if place else ""
            row += [said(arm.of(mark)), more]
        rows.append(row)
    return table(head, rows)
