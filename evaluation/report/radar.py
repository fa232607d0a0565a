"""A radar: one spoke per category, one outline per model.

In: categories, and per model a figure by category. Out: a PNG. Two categories make no radar.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from common import pictures
from evaluation.report import canvas

FEWEST = 3
_HEIGHT, _SIDE, _LONGEST_LABEL = 330, 204, 20


def draw_radar(
    path: Path,
    title: str,
    categories: Sequence[str],
    models: Sequence[tuple[str, Mapping[str, float]]],
    top: float,
) -> None:
    """Draws the radar from 0 in the middle to `top` at the rim; categories that a model has no
    figure for are a gap in its outline.

    Raises:
        ValueError: there are fewer than three categories.
    """
    if len(categories) < FEWEST:
        raise ValueError(f"{len(categories)} categories make no radar")
    from matplotlib.projections.polar import PolarAxes

    names = [name for name, _ in models]
    rows = canvas.legend_rows(names)
    height = _HEIGHT + 18 * rows
    with canvas.sheet(path, height) as figure:
        canvas.panel(figure, title, left=16, names=rows).remove()
        canvas.legend(figure, names, [canvas.colour_of(n) for n in range(len(names))])
        box = ((canvas.WIDTH - _SIDE) / 2 / canvas.WIDTH, 32 / height,
               _SIDE / canvas.WIDTH, _SIDE / height)  # fmt: skip
        axes = figure.add_axes(box, projection="polar")
        assert isinstance(axes, PolarAxes)
        axes.set_theta_offset(math.pi / 2)
        axes.set_theta_direction(-1)
        angles = [2 * math.pi * n / len(categories) for n in range(len(categories))]
        axes.set_ylim(0, top)
        axes.set_yticks(
            [top * n / 4 for n in range(1, 5)], [f"{top * n / 4:g}" for n in range(1, 5)]
        )
        axes.tick_params(axis="y", labelsize=7, colors=pictures.GREY)
        axes.set_rlabel_position(math.degrees(math.pi / len(categories)))
        axes.grid(visible=True, color=pictures.RULE)
        axes.spines["polar"].set_color(pictures.RULE)
        axes.set_xticks(angles, ["" for _ in categories])
        for angle, category in zip(angles, categories, strict=True):
            side = math.sin(angle)
            axes.text(
                angle, top * 1.07, canvas.short_name(category, _LONGEST_LABEL), fontsize=8.5,
                ha="left" if side > 0.05 else "right" if side < -0.05 else "center",
                va="bottom" if math.cos(angle) > 0.95 else "top" if math.cos(angle) < -0.95
                else "center",
            )  # fmt: skip
        for place, (_, figures) in enumerate(models):
            values = [figures.get(category, math.nan) for category in categories]
            closed = [*values, values[0]], [*angles, angles[0]]
            axes.plot(closed[1], closed[0], color=canvas.colour_of(place), lw=1.8, marker="o", ms=3)
            if not any(math.isnan(value) for value in values):
                axes.fill(closed[1], closed[0], color=canvas.colour_of(place), alpha=0.07)
