"""The parts of a report: one per benchmark and set of comparable evaluations, the published
figures, curves, the proving ground.

In: what was chosen and read. Out: `Section`s, with their pictures drawn into a folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from evaluation.report.bars import BarChart
from evaluation.report.comparing import Comparison
from evaluation.report.content import Cell, Example, Picture, Section, Table, readable
from evaluation.report.lines import Curve
from evaluation.report.origins import contamination_notes, contamination_table, lineage_line
from evaluation.report.picturing import (
    bar_picture,
    comparison_pictures,
    curve_picture,
    title_of,
)
from evaluation.report.proving_ground import MARKS, ProvingGround
from evaluation.report.published import Source
from evaluation.report.sizes import counted, written
from evaluation.report.stored import Stored
from evaluation.report.tables import (
    comparison_table,
    ground_data,
    ground_table,
    impossible_notes,
    published_table,
    teachers_table,
)
from evaluation.sql.table import side_by_side

SIMULATED = "SIMULATED: a rehearsal; these figures say nothing about any model."
_EXAMPLES, _LONGEST = 3, 600
# Rows of SQL's own table that the comparison has with their intervals.
_SHOWN_ABOVE = {
    "Pass@1 (%)", "Adoption rate (%)", "Adoption rate, whole suggestions only (%)",
    "Latency p50 (s)", "Latency p95 (s)",
}  # fmt: skip


def comparison_section(
    made: Comparison,
    names: Sequence[str],
    said_sizes: Mapping[str, float],
    source: Source,
    folder: Path,
    stem: str,
) -> Section:
    """One benchmark's evaluations side by side.

    Args:
        made: the comparison.
        names: what the page calls the models, in order.
        said_sizes: parameters by label or served model's name, as the user gave them.
        source: the published figures.
        folder: where pictures go.
        stem: how their files' names begin.
    """
    sizes = [_size(each, said_sizes) for each in made.evaluations]
    known = [f"{name} {written(size)}" for name, size in zip(names, sizes, strict=True) if size]
    tables = [comparison_table(made, names)]
    if made.benchmark == "sql":
        tables.append(_sql_table(made, names))
    tables.append(contamination_table(made.evaluations, names))
    return Section(
        title_of(made.benchmark),
        f"Parameters: {', '.join(known)}." if known else "",
        SIMULATED if made.simulated else "",
        tuple(tables),
        tuple(comparison_pictures(made, names, sizes, source, folder, stem)),
        tuple(lineage_line(e, name) for e, name in zip(made.evaluations, names, strict=True)),
        tuple(readable(note) for note in (*made.notes, *_own_notes(made, names)))
        + tuple(contamination_notes(made.evaluations, names)),
        tuple(_examples(made, names)),
    )


def published_section(source: Source) -> Section:
    """The published figures, with those marked that cannot be as printed."""
    return Section(
        "Published: Qwen2.5 → DistilQwen2.5",
        f"{source.address} · {source.paper}. “MT-Bench (single)” is drawn beside turn 1.",
        tables=(published_table(source),),
        notes=tuple(impossible_notes(source)),
    )


def curves_section(curves: Sequence[Curve], folder: Path) -> Section:
    """The curves that the user asked for."""
    return Section(
        "Curves",
        pictures=tuple(
            curve_picture(curve, folder / f"curve-{number}.png")
            for number, curve in enumerate(curves, 1)
        ),
    )


def ground_section(ground: ProvingGround, folder: Path) -> Section:
    """The proving ground's before and after."""
    said = ground.document
    others = [arm for arm in ground.arms if arm not in ground.headline]
    tables = [ground_table(ground, ground.headline, "The arms of the claim")]
    if others:
        base = ground.headline[-1]
        tables.append(ground_table(ground, [base, *others], f"All other arms, against {base}"))
    if said.teachers:
        tables.append(teachers_table(ground))
    pictures = _ground_marks(ground, folder)
    pictures += _ground_groups(ground, folder)
    pictures += [
        curve_picture(curve, folder / f"proving-ground-sweep-{number}.png")
        for number, curve in enumerate(ground.sweeps(), 1)
    ]
    made_by = ", ".join(
        filter(None, (f"Scale {said.scale}" if said.scale else "", said.date,
                      f"commit {said.commit}" if said.commit else ""))
    )  # fmt: skip
    return Section(
        "Proving ground: before and after",
        f"95 % intervals by Student's t over training seeds ({ground.training_seeds} at most), "
        f"on one corpus and one exam; differences seed by seed. {readable(made_by)}.",
        tables=tuple(tables),
        pictures=tuple(pictures),
    )


def _ground_marks(ground: ProvingGround, folder: Path) -> list[Picture]:
    """A picture per mark, with the seeds as its rows."""
    arms, pictures = ground.headline, []
    seeds = ground.seeds(arms)
    for mark, title, factor, unit, digits, less in MARKS:
        chart = BarChart(
            f"Proving ground: {title}", unit or title, (title,),
            tuple((readable(arm), {title: ground.figure(arm, mark, factor, seeds)})
                  for arm in arms),
            None, digits,
        )  # fmt: skip
        caption = f"{title.capitalize()} of the arms of the claim" + (
            "; less is better" if less else ""
        )
        made = bar_picture(chart, folder / f"proving-ground-{mark}.png", caption)
        pictures.append(Picture(made.file, made.alt, made.caption, ground_data(ground, arms)))
    return pictures


def _ground_groups(ground: ProvingGround, folder: Path) -> list[Picture]:
    pictures = []
    seeds = ground.seeds(ground.headline)
    for kind, marks in ground.groups().items():
        labels = {mark: mark.partition(":")[2] for mark in marks}
        chart = BarChart(
            f"Proving ground: accuracy by {kind}", "%", tuple(labels.values()),
            tuple(
                (readable(arm), {labels[m]: ground.figure(arm, m, 100.0, seeds) for m in marks})
                for arm in ground.headline
            ),
        )  # fmt: skip
        path = folder / f"proving-ground-{'-'.join(kind.split())}.png"
        pictures.append(bar_picture(chart, path, f"Accuracy by {kind}"))
    return pictures


def _sql_table(made: Comparison, names: Sequence[str]) -> Table:
    stored = side_by_side(
        names,
        [each.metrics for each in made.evaluations],
        [each.row["details"] or {} for each in made.evaluations],
    )
    rows = tuple(
        (Cell(name), *(Cell(cell) for cell in cells))
        for name, cells in stored.rows
        if name not in _SHOWN_ABOVE
    )
    data = [{"model": name, "metrics": dict(each.metrics), "details": each.row["details"]}
            for name, each in zip(names, made.evaluations, strict=True)]  # fmt: skip
    return Table("More figures, as stored", ("", *stored.models), rows, "sql-stored", data)


def _own_notes(made: Comparison, names: Sequence[str]) -> list[str]:
    """What the evaluations' own notes say; once, where all say the same."""
    said: dict[str, list[str]] = {}
    for each, name in zip(made.evaluations, names, strict=True):
        for note in each.row["notes"] or ():
            said.setdefault(note, []).append(name)
    return [
        note if len(own) == len(names) else f"{', '.join(own)}: {note}"
        for note, own in said.items()
    ]


def _size(evaluation: Stored, said: Mapping[str, float]) -> float | None:
    for name in (evaluation.model, str(evaluation.row["served"])):
        if name in said:
            return said[name]
    output = (evaluation.origin or {}).get("output")
    return counted(Path(output)) if output else None


def _examples(made: Comparison, names: Sequence[str]) -> list[Example]:
    """The first items that the second model gained over the first, and lost."""
    moves = made.moves[1] if len(made.moves) > 1 else None
    if moves is None:
        return []
    pair = list(zip(made.evaluations, names, strict=True))[:2]
    examples = []
    for kind, keys in (("gained", moves.gained), ("lost", moves.lost)):
        for key in keys[:_EXAMPLES]:
            responses = tuple(
                (name, readable(each.items[key]["response"] or "(no answer)", _LONGEST))
                for each, name in pair
            )
            prompt = readable(made.evaluations[0].items[key]["prompt"], _LONGEST)
            examples.append(
                Example("gained" if kind == "gained" else "lost", readable(key), prompt, responses)
            )
    return examples
