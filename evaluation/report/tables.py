"""A comparison, the published models and the proving ground's arms as tables of cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.report.comparing import Comparison
from evaluation.report.content import (
    Cell,
    Table,
    as_rows,
    figure_cell,
    gap_text,
    number,
    readable,
    tone_of,
)
from evaluation.report.measures import Measure, outcome
from evaluation.report.proving_ground import MARKS, ProvingGround
from evaluation.report.published import LOOSE, STRICT, Source, followed_in_failed
from evaluation.report.resampling import Interval
from evaluation.report.sizes import written


def comparison_table(made: Comparison, names: Sequence[str]) -> Table:
    """A row per figure, a column per model; below each the difference from the first by the same
    items. Can be downloaded with every item's outcome."""
    rows = []
    for line in made.lines:
        title = f"{line.measure.title} ({line.measure.unit})" if line.measure.unit else (
            line.measure.title
        )  # fmt: skip
        cells = [Cell(title)]
        for cell, gap in zip(line.cells, line.gaps, strict=True):
            shown = figure_cell(cell, line.measure.digits)
            cells.append(shown)
            if gap is not None:
                tone = tone_of(gap, line.measure)
                gap_said = gap_text(gap, line.measure.digits)
                cells[-1] = Cell(shown.text, shown.detail, gap_said, tone)
        rows.append(tuple(cells))
    rows.append(_moved(made))
    return Table(
        f"{len(made.keys):,} items; 95 % intervals; below them the difference from {names[0]}, "
        "item by item"
        if len(names) > 1
        else f"{len(made.keys):,} items; 95 % intervals",
        ("", *names),
        tuple(row for row in rows if row),
        f"{made.benchmark}-figures",
        {
            "benchmark": made.benchmark,
            "evaluations": [each.id for each in made.evaluations],
            "models": list(names),
            "figures": as_rows(
                names,
                [
                    {line.measure.name: line.cells[n] for line in made.lines}
                    for n in range(len(names))
                ],
            ),
            "items": [
                {"item": key, "outcomes": [outcome(e, e.items[key]) for e in made.evaluations]}
                for key in made.keys
            ],
        },
    )


def _moved(made: Comparison) -> tuple[Cell, ...]:
    if all(moves is None for moves in made.moves):
        return ()
    cells = [Cell("items gained, lost, as before")]
    for moves in made.moves:
        if moves is None:
            cells.append(Cell("–"))
        else:
            gained, lost = (f"{len(keys):,}" for keys in (moves.gained, moves.lost))
            cells.append(Cell(f"+{gained}  −{lost}", f"{moves.same:,} as before"))
    return tuple(cells)


def published_table(source: Source) -> Table:
    """The published figures as they stand, with those marked that cannot be."""
    rows = []
    for model in source.models:
        cells = [Cell(model.model, written(model.size))]
        for column in source.columns:
            doubtful = column in model.impossible
            cells.append(
                Cell(number(model.scores[column], 2), "impossible" if doubtful else "",
                     tone="doubt" if doubtful else "")
            )  # fmt: skip
        rows.append(tuple(cells))
    data = [
        {"model": m.model, "size": m.size, "stage": m.stage, "scores": dict(m.scores),
         "impossible": sorted(m.impossible)}
        for m in source.models
    ]  # fmt: skip
    return Table(
        f"As published: {source.source}", ("model", *source.columns.values()), tuple(rows),
        "published", data,
    )  # fmt: skip


def impossible_notes(source: Source) -> list[str]:
    """Why each marked figure cannot be as printed."""
    return [
        f"{model.model}: {model.scores[STRICT]:.2f} % of prompts strict lies above "
        f"{model.scores[LOOSE]:.2f} % of instructions loose. With both true, at most "
        f"{100 * followed_in_failed(model.scores[STRICT], model.scores[LOOSE]):.1f} % of the "
        "instructions in the failed prompts were followed"
        for model in source.models
        if model.impossible
    ]


def ground_table(ground: ProvingGround, arms: Sequence[str], caption: str) -> Table:
    """Arms with their marks over the training seeds that all of them have; below each the
    difference from the first arm, seed by seed."""
    seeds = ground.seeds(arms)
    rows = []
    for arm in arms:
        cells = [Cell(readable(arm))]
        for mark, title, factor, unit, digits, less in MARKS:
            made = ground.figure(arm, mark, factor, seeds)
            shown = figure_cell(made, digits)
            gap = ground.gap(arm, arms[0], mark, factor, seeds) if arm != arms[0] else None
            if gap is not None:
                measure = Measure(mark, title, unit, digits, less)
                gap_said = gap_text(gap, digits)
                shown = Cell(shown.text, shown.detail, gap_said, tone_of(gap, measure))
            cells.append(shown)
        rows.append(tuple(cells))
    head = ("arm", *(f"{title} ({unit})" if unit else title for _, title, _, unit, _, _ in MARKS))
    said = f"{caption}, over {seeds} training seed{'' if seeds == 1 else 's'}"
    return Table(said, head, tuple(rows), "proving-ground", ground_data(ground, arms))


def ground_data(ground: ProvingGround, arms: Sequence[str]) -> dict[str, Any]:
    """The arms' rows, as the file has them."""
    chosen: Mapping[str, Any] = ground.document.arms
    return {
        arm: {mark: found.model_dump(mode="json") for mark, found in chosen[arm].items()}
        for arm in arms
    }


def teachers_table(ground: ProvingGround) -> Table:
    """The proving ground's teachers, whose marks are single measurements."""
    rows = [
        (
            Cell(readable(name)),
            *(
                figure_cell(Interval(factor * marks[mark]) if mark in marks else None, digits)
                for mark, _, factor, _, digits, _ in MARKS
            ),
        )
        for name, marks in ground.document.teachers.items()
    ]
    head = ("teacher", *(f"{title} ({u})" if u else title for _, title, _, u, _, _ in MARKS))
    return Table("Teachers", head, tuple(rows), "proving-ground-teachers",
                 ground.document.teachers)  # fmt: skip
