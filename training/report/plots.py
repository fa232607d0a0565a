"""Pictures of a run and of a capture, as PNG.

In: the metrics of a run's stages, or the histogram of a capture. Out: `run.png` with everything on
one sheet, a PNG per panel beside it; `kept_mass.png` for a capture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from common import pictures as style
from training.report.panels import Panel, draw_panel, run_panels
from training.report.reading import MetricsUnreadable
from training.report.series import Floats, History

_WIDTH, _ROW, _HEAD = 1200, 260, 52
_COLUMNS = 3
_SINGLE_WIDTH, _SINGLE_HEIGHT = 900, 480


def plot_run(stages: Mapping[str, Path], folder: Path, name: str) -> list[Path]:
    """Draws a run: the overview first, then a picture per panel.

    Args:
        stages: the metrics file of every stage, in order of training.
        folder: where the PNGs go; made if it is missing.
        name: the run's name, for the headings.

    Raises:
        MetricsUnreadable: a metrics file is missing or broken, or no step was written yet.
    """
    history = History(stages)
    panels = run_panels(history)
    if not panels:
        raise MetricsUnreadable(
            f"There is nothing to draw of {name} yet.",
            cause="Its metrics hold no step.",
            solution="Draw it once training has begun.",
        )
    with style.house_style():
        paths = [_overview(history, panels, folder / "run.png", name)]
        paths += [_single(history, panel, folder, name) for panel in panels]
    return paths


def _overview(history: History, panels: list[Panel], path: Path, name: str) -> Path:
    """The loss takes two columns and two rows, two panels stand beside it, the others below."""
    loss, *others = panels
    beside, below = others[:2], others[2:]
    places = [(2, row) for row in range(len(beside))]
    places += [(index % _COLUMNS, 2 + index // _COLUMNS) for index in range(len(below))]
    column = _WIDTH // _COLUMNS
    rows = 1 + max((row for _, row in places), default=1)
    figure = style.new_figure(_WIDTH, _HEAD + max(rows, 2) * _ROW)
    style.heading(figure, name, _sentence(history))
    draw_panel(style.add_panel(figure, 0, _HEAD, 2 * column, 2 * _ROW), loss, history, large=True)
    for panel, (x, y) in zip(others, places, strict=True):
        axes = style.add_panel(figure, x * column, _HEAD + y * _ROW, column, _ROW)
        draw_panel(axes, panel, history, large=False)
    style.save(figure, path)
    return path


def _single(history: History, panel: Panel, folder: Path, name: str) -> Path:
    figure = style.new_figure(_SINGLE_WIDTH, _SINGLE_HEIGHT)
    style.heading(figure, name, _sentence(history))
    axes = style.add_panel(figure, 0, _HEAD, _SINGLE_WIDTH, _SINGLE_HEIGHT - _HEAD)
    draw_panel(axes, panel, history, large=True)
    style.save(figure, folder / panel.file)
    return folder / panel.file


def _sentence(history: History) -> str:
    lengths = [(span.name, span.end - span.begin) for span in history.spans]
    return " · ".join(f"{name}: {n:,} step{'' if n == 1 else 's'}" for name, n in lengths)


def plot_kept_mass(
    edges: Sequence[float], counts: Sequence[int], path: Path, *, k: int, name: str = ""
) -> Path:
    """Draws how much of the teacher's probability the kept ids hold: is k enough?

    Args:
        edges: borders of the kept mass P, ascending in [0, 1]; one more than `counts`.
        counts: rows whose P lies between two borders.
        path: the PNG.
        k: how many ids were kept.
        name: the teacher's name, for the heading.

    Raises:
        ValueError: the lengths do not fit, or there are no rows.
    """
    count_B = np.asarray(counts, dtype=np.float64)
    if len(edges) != len(count_B) + 1 or count_B.sum() <= 0:
        raise ValueError(f"{len(edges)} borders and {len(count_B)} counts make no histogram")
    share_B = 100 * count_B / count_B.sum()
    with style.house_style():
        figure = style.new_figure(_SINGLE_WIDTH, _SINGLE_HEIGHT)
        of = f"{name} · " if name else ""
        style.heading(figure, f"Is k = {k} enough?", of + _kept_sentence(edges, share_B))
        height = _SINGLE_HEIGHT - _HEAD
        axes = style.add_panel(figure, 0, _HEAD, _SINGLE_WIDTH, height, room_right=24)
        # Borders crowd towards 1, so every bin gets the same width and its borders in words.
        bars = axes.bar(np.arange(len(share_B)) + 0.5, share_B, 0.9, color=style.BLUE)
        axes.bar_label(bars, [_share(share) for share in share_B], padding=2, fontsize=9)
        axes.set_xticks(range(len(edges)), [f"{edge:g}" for edge in edges])
        axes.set_xlim(0, len(share_B))
        axes.set_ylim(0, 1.12 * float(share_B.max()))
        axes.set_xlabel("P, the teacher's probability on the kept ids")
        style.title(axes, f"{int(count_B.sum()):,} rows by the mass they keep", "% of rows")
        style.save(figure, path)
    return path


def _kept_sentence(edges: Sequence[float], share_B: Floats) -> str:
    """What nearly all rows keep at least, as far as the borders can tell."""
    above_B = np.cumsum(share_B[::-1])[::-1]
    parts = []
    for percent in (50, 90, 99):
        least = max(edge for edge, above in zip(edges, above_B, strict=False) if above >= percent)
        parts.append(f"{percent} % of rows keep {least:g} or more")
    return ", ".join(parts)


def _share(percent: float) -> str:
    if percent == 0:
        return ""
    return f"{percent:.2g} %" if percent >= 0.01 else "< 0.01 %"
