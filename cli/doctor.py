"""`stillhouse doctor`: proves from the tables that a corpus adds up, and says what does not.

Exit codes: 0 when every check is sound, 1 when one is not. Only reads, so that it can be asked
while a run goes on.
"""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from cli.plain import one_line
from cli.show import console, print_json
from storage.database import Database
from storage.doctor import Report, examine

_EXAMPLE_CHARACTERS = 80


def doctor_command(db: str, json: bool) -> int:
    """Examines a corpus; returns the exit code."""
    database = Database.open(db)
    try:
        report = examine(database)
    finally:
        database.close()
    _show(report)
    if json:
        print_json(report.as_dict())
    return 0 if report.ok else 1


def _show(report: Report) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in report.checks:
        state = Text("ok", style="green")
        if not check.ok:
            state = Text(f"{check.violations:,} violations", style="bold red")
        table.add_row(state, check.name, check.says)
        for example in check.examples:
            table.add_row("", "", Text(one_line(example, _EXAMPLE_CHARACTERS), style="red"))
    console.print(table)
    console.print()
    for kind, counts in (("seeds", report.seeds), ("samples", report.samples)):
        parts = ", ".join(f"{n:,} {status}" for status, n in sorted(counts.items()))
        console.print(Text(f"{sum(counts.values()):,} {kind}" + (f": {parts}" if parts else "")))
    console.print(f"{report.calls:,} calls, {report.completions:,} completions")
    for note in report.notes:
        console.print(Text(f"Note: {note}."))
    broken = sum(not check.ok for check in report.checks)
    if report.ok:
        console.print(Text(f"Sound: all {len(report.checks)} checks hold.", style="bold green"))
        return
    console.print(
        Text(f"Not sound: {broken} of {len(report.checks)} checks fail.", style="bold red")
    )
    console.print(
        "Look at the rows above with `stillhouse trace ID`. If nobody edited the database"
    )
    console.print("by hand, this is a fault of Stillhouse: please report it with this page.")
