"""Figures over a quantity: size against score, with the published models as reference lines; and
curves over the teacher's size or the amount of data.

In: points with intervals. Out: a PNG.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common import pictures
from evaluation.report import canvas
from evaluation.report.resampling import Interval
from evaluation.report.sizes import written

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEIGHT = 320
_REFERENCE = (("#9aa1ab", "--"), ("#4b5563", "-"))


@dataclass(frozen=True, slots=True)
class Point:
    """One model: its name, its size (None: not known), its figure, and its place among all models,
    which gives it its colour."""

    name: str
    x: float | None
    figure: Interval
    place: int


@dataclass(frozen=True, slots=True)
class Reference:
    """A published line: (x, y, whether the figure cannot be as printed) by rising x."""

    name: str
    points: tuple[tuple[float, float, bool], ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """A figure at rising steps; `numbers` are the steps as numbers, None where they are names."""

    title: str
    step: str
    axis: str
    labels: tuple[str, ...]
    numbers: tuple[float, ...] | None
    figures: tuple[Interval, ...]


def draw_scatter(
    path: Path, title: str, axis: str, points: Sequence[Point], references: Sequence[Reference]
) -> None:
    """Size against score, sizes on a logarithmic scale; a model of unknown size is a line."""
    names = [point.name for point in points] + [each.name for each in references]
    colours = [canvas.colour_of(point.place) for point in points]
    colours += [_REFERENCE[n % len(_REFERENCE)][0] for n in range(len(references))]
    rows = canvas.legend_rows(names)
    with canvas.sheet(path, _HEIGHT + 18 * rows) as figure:
        axes = canvas.panel(figure, title, left=58, names=rows)
        canvas.legend(figure, names, colours)
        sizes = [point.x for point in points if point.x]
        sizes += [x for each in references for x, _, _ in each.points]
        axes.set_xscale("log")
        if sizes:
            axes.set_xlim(min(sizes) / 1.5, max(sizes) * 1.25)
        for n, each in enumerate(references):
            _draw_reference(axes, n, each)
        for point, shift in zip(points, _shifts(points), strict=True):
            _draw_point(axes, point, shift)
        _fit_heights(axes, points, references)
        ticks = sorted({*sizes}) or [1e9]
        axes.set_xticks(_apart(ticks), [written(tick) for tick in _apart(ticks)])
        axes.minorticks_off()
        doubtful = any(doubt for each in references for _, _, doubt in each.points)
        axes.set_xlabel("parameters (×: cannot be as printed)" if doubtful else "parameters")
        axes.set_ylabel(pictures.shown(axis))


def draw_curve(path: Path, curve: Curve) -> None:
    """One curve with its intervals."""
    step = canvas.folded(curve.step)
    with canvas.sheet(path, _HEIGHT - 30 + (len(step) - 1) * canvas.LINE) as figure:
        axes = canvas.panel(figure, curve.title, left=58, lines=len(step))
        places = list(curve.numbers or range(len(curve.labels)))
        if curve.numbers and min(places) > 0 and max(places) > 20 * min(places):
            axes.set_xscale("log")
        for x, made in zip(places, curve.figures, strict=True):
            if made.ends is not None:
                axes.plot([x, x], made.ends, color=pictures.BLUE, lw=1.4)
        heights = [made.value for made in curve.figures]
        axes.plot(places, heights, color=pictures.BLUE, lw=1.8, marker="o", ms=5)
        labels = [canvas.short_name(label, 16) for label in curve.labels]
        axes.set_xticks(places, labels)
        axes.minorticks_off()
        axes.margins(x=0.08, y=0.15)
        axes.set_xlabel("\n".join(step))
        axes.set_ylabel(pictures.shown(curve.axis))


def _draw_reference(axes: Axes, number: int, each: Reference) -> None:
    colour, style = _REFERENCE[number % len(_REFERENCE)]
    axes.plot([x for x, _, _ in each.points], [y for _, y, _ in each.points], style,
              color=colour, lw=1.1, alpha=0.8)  # fmt: skip
    for x, y, doubtful in each.points:
        axes.plot([x], [y], "x" if doubtful else "o", color=colour, ms=7 if doubtful else 3.5)


def _draw_point(axes: Axes, point: Point, shift: float) -> None:
    colour, made = canvas.colour_of(point.place), point.figure
    if point.x is None:
        axes.axhline(made.value, color=colour, lw=1.4, ls=":")
        return
    if made.ends is not None:
        axes.plot([point.x * shift] * 2, made.ends, color=colour, lw=1.6)
    axes.plot([point.x * shift], [made.value], "o", color=colour, ms=7)


def _shifts(points: Sequence[Point]) -> list[float]:
    """Factors that set models of the same size beside each other."""
    sizes = [point.x for point in points]
    return [
        1.06 ** (sizes[:n].count(size) - (sizes.count(size) - 1) / 2)
        for n, size in enumerate(sizes)
    ]


def _fit_heights(axes: Axes, points: Sequence[Point], references: Sequence[Reference]) -> None:
    heights = [y for each in references for _, y, _ in each.points]
    for point in points:
        heights += [point.figure.value, *(point.figure.ends or ())]
    low, high = min(heights), max(heights)
    room = 0.08 * (high - low) or 1.0
    axes.set_ylim(low - room, high + room)


def _apart(ticks: Sequence[float]) -> list[float]:
    """Without those that would lie on each other."""
    kept: list[float] = []
    for tick in ticks:
        if not kept or tick > 1.35 * kept[-1]:
            kept.append(tick)
    return kept
