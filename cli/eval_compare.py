"""`stillhouse eval compare|report`: evaluations side by side on the terminal, and as a page.

In: names of evaluations or models. Out: tables with intervals, or one JSON object; a folder with
the report. Exit codes: 0, and 1 for what cannot be compared or is not there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from cli.entry import at_work
from cli.plain import plain
from cli.show import console, print_json, show_error
from common.errors import StillhouseError
from evaluation.report.comparing import Comparison, Line, NotComparable, compare
from evaluation.report.content import figure_cell, gap_text, tone_of
from evaluation.report.making import Made, Wishes, make_report
from evaluation.report.resampling import Interval
from evaluation.report.sizes import sizes_of
from evaluation.report.stored import Stored, ended, load, named
from storage.database import Database

_STYLES = {"better": "green", "worse": "red"}
_LEFT_OUT_SHOWN = 5


def compare_command(names: list[str], benchmark: str | None, db: str, json: bool) -> int:
    """Compares; returns the exit code. The first name is what the others are held against."""
    try:
        made = _compared(names, benchmark, db)
    except StillhouseError as error:
        if not json:
            raise
        show_error(error)
        print_json({"comparisons": [], "error": error.code})
        return error.exit_code
    if json:
        print_json({"comparisons": [_as_json(each) for each in made], "error": None})
        return 0
    for each in made:
        _show(each)
    return 0


def report_command(
    db: str | None, output: str, wishes: dict[str, Any], sizes: list[str], json: bool
) -> int:
    """Makes the report; returns the exit code. Without `db` it is of the proving ground alone."""
    at_work()
    try:
        made = _report(db, Path(output), Wishes(sizes=sizes_of(sizes), **wishes))
    except StillhouseError as error:
        if not json:
            raise
        show_error(error)
        print_json({"page": None, "error": error.code})
        return error.exit_code
    for each in made.left_out[:_LEFT_OUT_SHOWN]:
        console.print(Text(plain(f"Left out, a benchmark that reports do not know: {each}")))
    if made.glyphs:
        console.print(
            Text(
                f"Pictures spell out {len(made.glyphs)} characters that no installed font has; "
                "install fonts such as fonts-noto-cjk and make the report again."
            )
        )
    console.print(Text(f"{made.page} ({len(made.pictures)} pictures beside it)"))
    if json:
        print_json({"page": str(made.page), "pictures": [str(path) for path in made.pictures],
                    "sections": list(made.sections), "left_out": list(made.left_out),
                    "characters_without_glyphs": made.glyphs, "error": None})  # fmt: skip
    return 0


def _report(db: str | None, folder: Path, wishes: Wishes) -> Made:
    if db is None:
        return make_report(None, wishes, folder)
    database = Database.open(db)
    try:
        return make_report(database, wishes, folder)
    finally:
        database.close()


def _compared(names: list[str], benchmark: str | None, db: str) -> list[Comparison]:
    """One comparison per benchmark that all of the named have."""
    database = Database.open(db)
    try:
        with database.read() as connection:
            rows = ended(connection, benchmark)
            meant = [{row["benchmark"]: row for row in named(rows, name)} for name in names]
            shared = [each for each in meant[0] if all(each in other for other in meant)]
            if not shared:
                had = "; ".join(
                    f"{name}: {', '.join(each)}" for name, each in zip(names, meant, strict=True)
                )
                raise NotComparable(
                    "There is no benchmark that all of these were evaluated on.",
                    cause=f"They have figures of {had}.",
                    solution="Evaluate the missing one, or name others.",
                    command="stillhouse eval show --db DB",
                )
            return [compare([load(connection, each[kind]) for each in meant]) for kind in shared]
    finally:
        database.close()


def _show(made: Comparison) -> None:
    console.print(Text(f"\n{made.benchmark}: {len(made.keys):,} items", style="bold"))
    if made.simulated:
        console.print(Text("SIMULATED: a rehearsal; these figures say nothing about any model."))
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("")
    for name, each in zip(made.names, made.evaluations, strict=True):
        table.add_column(Text(plain(f"{name}\n{each.id[:12]}")), justify="right")
    for line in made.lines:
        table.add_row(line.measure.title, *_cells(line))
    if any(made.moves):
        counts = [
            f"+{len(moves.gained)} −{len(moves.lost)}" if moves else "–" for moves in made.moves
        ]
        table.add_row("items gained, lost", *counts)
    console.print(table)
    first = made.names[0]
    if len(made.names) > 1:
        console.print(
            Text(plain(f"95 % intervals; in brackets the difference from {first}, item by item."))
        )
    for note in made.notes:
        console.print(Text(plain(f"Note: {note}")))


def _cells(line: Line) -> list[Text]:
    cells = []
    for made, gap in zip(line.cells, line.gaps, strict=True):
        shown = figure_cell(made, line.measure.digits)
        text = Text(shown.text)
        if shown.detail:
            text.append(f"  {shown.detail}")
        if gap is not None:
            style = _STYLES.get(tone_of(gap, line.measure), "")
            text.append(f"\n[{gap_text(gap, line.measure.digits)}]", style=style)
        cells.append(text)
    return cells


def _as_json(made: Comparison) -> dict[str, Any]:
    return {
        "benchmark": made.benchmark,
        "items": len(made.keys),
        "simulated": made.simulated,
        "evaluations": [_who(each, name) for each, name in zip(made.evaluations, made.names,
                                                               strict=True)],
        "figures": {
            line.measure.name: {
                "unit": line.measure.unit,
                "less_is_better": line.measure.less_is_better,
                "values": [_interval(cell) for cell in line.cells],
                "differences": [_interval(gap) for gap in line.gaps],
            }
            for line in made.lines
        },
        "moves": [
            {"gained": list(moves.gained), "lost": list(moves.lost), "same": moves.same}
            if moves
            else None
            for moves in made.moves
        ],
        "notes": list(made.notes),
    }  # fmt: skip


def _who(each: Stored, name: str) -> dict[str, Any]:
    return {
        "evaluation": each.id,
        "name": name,
        "model": each.model,
        "training_run": each.row["training_run_id"],
        "simulated": each.row["simulated"],
    }


def _interval(made: Interval | None) -> dict[str, float | None] | None:
    return None if made is None else {"value": made.value, "low": made.low, "high": made.high}
