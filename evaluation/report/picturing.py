"""Which pictures a comparison has, drawn into a folder, each with alternative text and its rows.

In: a `Comparison`, names, sizes, and a folder. Out: `Picture`s. Colours follow the models' order.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evaluation.report.bars import BarChart, draw_bars
from evaluation.report.comparing import Comparison
from evaluation.report.content import Figures, Picture, as_rows, number
from evaluation.report.groups import by_group, grouping_of, ordered
from evaluation.report.lines import Curve, Point, Reference, draw_curve, draw_scatter
from evaluation.report.published import Source
from evaluation.report.radar import FEWEST, draw_radar

TITLES = {
    "ifeval": "IFEval",
    "ifeval_ja": "M-IFEval, Japanese",
    "mt_bench": "MT-Bench",
    "alpaca_eval": "AlpacaEval 2",
    "sql": "SQL completion",
}
_TOLD = 24
_STAGES = (("before", "Qwen2.5, published"), ("after", "DistilQwen2.5, published"))


def title_of(benchmark: str) -> str:
    """A benchmark's name for people."""
    return TITLES.get(benchmark, benchmark)


def comparison_pictures(
    made: Comparison,
    names: Sequence[str],
    sizes: Sequence[float | None],
    source: Source,
    folder: Path,
    stem: str,
) -> list[Picture]:
    """All pictures of one comparison; `stem` begins their files' names."""
    pictures = [_scores(made, names, folder / f"{stem}-scores.png")]
    pictures += _groups(made, names, folder, stem)
    if made.benchmark == "sql":
        pictures += _latencies(made, names, folder / f"{stem}-latency.png")
    return pictures + _scatters(made, names, sizes, source, folder, stem)


def curve_picture(curve: Curve, path: Path) -> Picture:
    """One curve."""
    draw_curve(path, curve)
    rows = as_rows([curve.axis], [dict(zip(curve.labels, curve.figures, strict=True))])
    alt = f"{curve.title}: {curve.axis} at each {curve.step or 'step'}. " + "; ".join(
        f"{label}: {number(each.value, 2)}"
        for label, each in zip(curve.labels, curve.figures, strict=True)
    )
    return Picture(path, f"{alt}.", f"{curve.title}, with 95 % intervals", rows)


def bar_picture(chart: BarChart, path: Path, caption: str) -> Picture:
    """One chart of bars."""
    draw_bars(chart, path)
    names = [name for name, _ in chart.models]
    figures = [dict(each) for _, each in chart.models]
    return Picture(path, _told(chart.title, chart.axis, names, figures, chart.digits), caption,
                   as_rows(names, figures))  # fmt: skip


def _scores(made: Comparison, names: Sequence[str], path: Path) -> Picture:
    first = made.lines[0].measure
    lines = [
        line for line in made.lines if line.measure.unit == first.unit and not line.measure.share
    ]
    chart = BarChart(
        f"{title_of(made.benchmark)}: figures",
        "%" if first.unit == "%" else "mean grade, 1 to 10",
        tuple(line.measure.title for line in lines),
        tuple(
            (name, {line.measure.title: line.cells[n] for line in lines})
            for n, name in enumerate(names)
        ),
        100.0 if first.unit == "%" else 10.0,
        first.digits,
    )
    return bar_picture(chart, path, "The figures, with 95 % intervals")


def _groups(made: Comparison, names: Sequence[str], folder: Path, stem: str) -> list[Picture]:
    grouping = grouping_of(made.benchmark)
    if grouping is None:
        return []
    figures = [by_group(each, made.keys) for each in made.evaluations]
    groups = ordered(group for each in figures for group in each)
    if len(groups) < 2:
        return []
    title = f"{title_of(made.benchmark)} by {grouping.title}"
    digits = 1 if grouping.unit else 2
    chart = BarChart(
        title, f"{grouping.unit} {grouping.measured}".strip(), tuple(groups),
        tuple(zip(names, figures, strict=True)), grouping.top, digits,
    )  # fmt: skip
    caption = f"{grouping.measured.capitalize()}, by {grouping.title}"
    found = [bar_picture(chart, folder / f"{stem}-groups.png", f"{caption}, with 95 % intervals")]
    if grouping.radar and len(groups) >= FEWEST:
        path = folder / f"{stem}-radar.png"
        values = [
            {group: each.value for group, each in own.items() if each is not None}
            for own in figures
        ]
        draw_radar(path, title, groups, list(zip(names, values, strict=True)), grouping.top)
        alt = _told(f"Radar. {title}", chart.axis, names, figures, digits)
        found.append(Picture(path, alt, f"The same as a radar, 0 to {grouping.top:g}",
                             as_rows(names, figures)))  # fmt: skip
    return found


def _latencies(made: Comparison, names: Sequence[str], path: Path) -> list[Picture]:
    lines = [line for line in made.lines if line.measure.share]
    if all(cell is None for line in lines for cell in line.cells):
        return []
    chart = BarChart(
        "SQL completion: latency of a whole answer", "seconds",
        tuple(line.measure.title for line in lines),
        tuple(
            (name, {line.measure.title: line.cells[n] for line in lines})
            for n, name in enumerate(names)
        ),
        None, 3,
    )  # fmt: skip
    return [bar_picture(chart, path, "Latency: less is better; with 95 % intervals")]


def _scatters(
    made: Comparison,
    names: Sequence[str],
    sizes: Sequence[float | None],
    source: Source,
    folder: Path,
    stem: str,
) -> list[Picture]:
    pictures = []
    for number_of_line, line in enumerate(made.lines):
        column = f"{made.benchmark}/{line.measure.name}"
        references = _references(source, column)
        if not references and (number_of_line or not any(sizes)):
            continue
        points = [
            Point(name, size, cell, place)
            for place, (name, size, cell) in enumerate(zip(names, sizes, line.cells, strict=True))
            if cell is not None
        ]
        if not points:
            continue
        path = folder / f"{stem}-size-{line.measure.name.replace('_', '-')}.png"
        title = f"{title_of(made.benchmark)}: {line.measure.title}, by size"
        draw_scatter(path, title, line.measure.unit or line.measure.title, points, references)
        figures = [
            {f"{size:,.0f} parameters" if size else "unknown size": cell}
            for size, cell in zip(sizes, line.cells, strict=True)
        ]
        caption = f"{line.measure.title.capitalize()} by size"
        if references:
            caption += f"; grey: {source.columns[column]}, as published"
        if any(not point.x for point in points):
            caption += "; a dotted line is a model of unknown size (--size gives it)"
        alt = _told(title, line.measure.unit, names, figures, line.measure.digits)
        data = {
            "models": as_rows(names, figures),
            "published": [
                {"line": each.name, "size": x, "value": y, "impossible": doubtful}
                for each in references
                for x, y, doubtful in each.points
            ],
        }
        pictures.append(Picture(path, alt, caption, data))
    return pictures


def _references(source: Source, column: str) -> list[Reference]:
    if column not in source.columns:
        return []
    return [
        Reference(
            name,
            tuple(
                (model.size, model.scores[column], column in model.impossible)
                for model in source.models
                if model.stage == stage
            ),
        )
        for stage, name in _STAGES
    ]


def _told(
    title: str, unit: str, names: Sequence[str], figures: Sequence[Figures], digits: int
) -> str:
    """A picture in words: what it shows and its figures, as many as a listener can bear."""
    said = [
        f"{name}, {group}: {number(made.value, digits)}"
        for name, own in zip(names, figures, strict=True)
        for group, made in own.items()
        if made is not None
    ]
    more = f"; and {len(said) - _TOLD} more" if len(said) > _TOLD else ""
    return f"{title} ({unit}). " + "; ".join(said[:_TOLD]) + f"{more}."
