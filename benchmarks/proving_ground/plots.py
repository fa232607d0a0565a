"""The report's pictures: arms as dots with their intervals, sweeps as lines, time as bars.

In: `ArmResult`s that are to be compared, so with equally many seeds; `Times`. Out: PNG files in the
house style (`common.pictures`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator

from benchmarks.proving_ground.results import ArmResult
from benchmarks.proving_ground.spent import Times
from benchmarks.proving_ground.sweeps import Sweep
from common.pictures import BLUE, GREY, SKY, VERMILION, house_style, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _ROW = 760, 34
_ABREAST = 3
# Mark, what its panel is called, its axis, its factor.
_PANELS = (
    ("accuracy", "accuracy", "% of the exam", 100.0),
    ("nll", "NLL (less is better)", "nats per token", 1.0),
    ("ece", "ECE (less is better)", "", 1.0),
)


def draw_arms(path: Path, arms: Sequence[ArmResult]) -> None:
    """One panel per mark: means with 95 % intervals, and every seed."""
    with house_style():
        figure = new_figure(_WIDTH, 110 + _ROW * len(arms))
        axes = figure.subplots(1, len(_PANELS), sharey=True, squeeze=False)[0]
        for axis, (mark, title, unit, factor) in zip(axes, _PANELS, strict=True):
            _dots(axis, arms, mark, factor)
            axis.set_title(title, loc="left", fontsize=9.5)
            axis.set_xlabel(unit)
        axes[0].set_yticks(range(len(arms)), [arm.name for arm in arms])
        axes[0].set_ylim(len(arms) - 0.5, -0.5)
        seeds = arms[0].seeds
        figure.text(0.99, 0.015, f"grey: each of {seeds} training seeds; bars: 95 % intervals",
                    ha="right", fontsize=7.5, color=GREY)  # fmt: skip
        figure.tight_layout(rect=(0, 0.03, 1, 1))
        save(figure, path)


def _dots(axis: Axes, arms: Sequence[ArmResult], mark: str, factor: float) -> None:
    axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.grid(axis="x")
    axis.grid(visible=False, axis="y")
    for place, arm in enumerate(arms):
        made = arm.of(mark)
        colour = VERMILION if "kd" in arm.name else BLUE
        values = [factor * value for value in arm.values(mark)]
        axis.plot(values, [place] * arm.seeds, "o", color=GREY, ms=3, alpha=0.6)
        if made.count > 1:
            ends = [factor * made.low, factor * made.high]
            axis.plot(ends, [place, place], color=colour, lw=2.5)
        axis.plot([factor * made.mean], [place], "o", color=colour, ms=6)


def draw_sweeps(
    path: Path,
    sweeps: Sequence[tuple[Sweep, Sequence[ArmResult]]],
    mark: str,
    title: str,
    factor: float = 1.0,
) -> None:
    """One panel per sweep: the mark over what was varied, with 95 % intervals over seeds."""
    with house_style():
        rows = -(-len(sweeps) // _ABREAST)
        figure = new_figure(_WIDTH, 320 * rows)
        grid = figure.subplots(rows, min(len(sweeps), _ABREAST), sharey=True, squeeze=False)
        for axis, (sweep, arms) in zip(grid.flat, sweeps, strict=False):
            _line(axis, sweep, arms, mark, factor)
        for axis in grid.flat[len(sweeps) :]:
            axis.remove()
        for axis in grid[:, 0]:
            axis.set_ylabel(title if factor == 1.0 else f"{title}, %")
        figure.tight_layout()
        save(figure, path)


def _line(
    axis: Axes, sweep: Sweep, arms: Sequence[ArmResult], mark: str, factor: float
) -> None:  # fmt: skip
    made = [arm.of(mark) for arm in arms]
    axis.errorbar(
        range(len(arms)),
        [factor * each.mean for each in made],
        yerr=[factor * each.half_width if each.count > 1 else 0 for each in made],
        color=VERMILION,
        marker="o",
        capsize=3,
        lw=1.5,
    )
    labels = [label.replace(" (", "\n(") for label in sweep.labels]
    axis.set_xticks(range(len(arms)), labels)
    axis.set_xlim(-0.4, len(arms) - 0.6)
    axis.set_title(sweep.title, loc="left", fontsize=9.5)
    axis.set_xlabel(f"{fill(sweep.axis, 34)}\n{arms[0].seeds} training seeds, 95 % intervals")


def draw_times(path: Path, headline: Times, everything: Times) -> None:
    """Core-minutes by kind of step: of all that is done, and of the headline's arms within it."""
    kinds = [each.kind for each in everything.kinds]
    own = {(each.kind, each.cores): each.core_seconds / 60 for each in headline.kinds}
    with house_style():
        figure = new_figure(_WIDTH, 100 + 26 * len(kinds))
        axis = figure.subplots()
        axis.grid(axis="x")
        axis.grid(visible=False, axis="y")
        places = range(len(kinds))
        every = [each.core_seconds / 60 for each in everything.kinds]
        mine = [own.get((each.kind, each.cores), 0.0) for each in everything.kinds]
        axis.barh(places, every, color=SKY, height=0.6, label="everything that is done")
        axis.barh(places, mine, color=BLUE, height=0.6, label="of it, the headline's arms")
        axis.set_yticks(places, kinds)
        axis.invert_yaxis()
        axis.set_xlabel("core-minutes: minutes of all steps of a kind × the cores of each")
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=8.5)
        figure.tight_layout()
        save(figure, path)
