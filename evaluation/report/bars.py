"""Bars with intervals: groups of them, a bar per model in each.

In: groups, and per model an interval by group. Out: a PNG. Bars lie, so that names of any length
and script can stand on their left.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common import pictures
from evaluation.report import canvas
from evaluation.report.content import number
from evaluation.report.resampling import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BAR, _BETWEEN = 17, 16
_LONGEST_LABEL, _LINE = 34, 18


@dataclass(frozen=True, slots=True)
class BarChart:
    """What is drawn. `top` is the scale's end, None: as far as needed."""

    title: str
    axis: str
    groups: tuple[str, ...]
    models: tuple[tuple[str, Mapping[str, Interval | None]], ...]
    top: float | None = None
    digits: int = 1


def draw_bars(chart: BarChart, path: Path) -> None:
    """Draws the bars; a figure that is not there leaves its place empty and says so."""
    names = [name for name, _ in chart.models]
    rows = canvas.legend_rows(names)
    each = max(_BAR * len(names) + _BETWEEN, 2 * _BAR)
    height = canvas.room(rows) + each * len(chart.groups)
    labels = [_wrapped(canvas.short_name(group, _LONGEST_LABEL)) for group in chart.groups]
    with canvas.sheet(path, height) as figure:
        left = 22 + max(_width(line) for label in labels for line in label.split("\n"))
        axes = canvas.panel(figure, chart.title, left=left, names=rows, right=52)
        canvas.legend(figure, names, [canvas.colour_of(n) for n in range(len(names))])
        axes.set_xlim(min(0.0, *_ends(chart)), chart.top or 1.06 * max(_ends(chart)) or 1.0)
        for place, (_, figures) in enumerate(chart.models):
            offset = (place - (len(names) - 1) / 2) * _BAR / each
            _draw_model(axes, chart, figures, offset, place, 0.82 * _BAR / each)
        axes.set_yticks(range(len(labels)), labels, color=pictures.INK)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.grid(visible=True, axis="x")
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(pictures.shown(chart.axis))


def _draw_model(
    axes: Axes,
    chart: BarChart,
    figures: Mapping[str, Interval | None],
    offset: float,
    place: int,
    thickness: float,
) -> None:
    end = axes.get_xlim()[1]
    for y, group in enumerate(chart.groups):
        made = figures.get(group)
        if made is None:
            axes.text(
                0.006 * end, y + offset, "no figure", fontsize=7.5, color=pictures.GREY, va="center"
            )
            continue
        axes.barh(y + offset, made.value, thickness, color=canvas.colour_of(place))
        reach = made.value
        if made.ends is not None:
            axes.plot(
                made.ends, [y + offset] * 2, color=pictures.INK, lw=1.1,
                solid_capstyle="butt", clip_on=False,
            )  # fmt: skip
            reach = max(reach, made.ends[1])
        axes.annotate(
            number(made.value, chart.digits), (max(reach, 0.0), y + offset), (5, 0),
            textcoords="offset points", fontsize=8, va="center", annotation_clip=False,
        )  # fmt: skip


def _ends(chart: BarChart) -> list[float]:
    """How far bars and intervals reach, either way; begins with 0."""
    made = [each for _, figures in chart.models for each in figures.values() if each is not None]
    return [0.0, *(end for each in made for end in (each.value, *(each.ends or ())))]


def _wrapped(label: str) -> str:
    """In two lines where it is long and has a blank."""
    return "\n".join(textwrap.wrap(label, _LINE, break_long_words=False, max_lines=2))


def _width(label: str) -> int:
    """Pixels that a label takes at the ticks' size, on the safe side."""
    return int(np.ceil(sum(12.5 if ord(character) > 0x2E7F else 6.8 for character in label)))
