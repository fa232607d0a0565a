"""What an evaluation looks like in a terminal: progress, contamination, figures."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cli.plain import one_line, plain
from cli.show import console, dollars
from evaluation.contamination import Contamination
from evaluation.run import EvaluationResult, Progress

_MATCHES_SHOWN = 5
_ENDED = {
    "finished": "done",
    "incomplete": "incomplete: some questions failed for reasons that may pass; the same command "
    "asks them again",
    "interrupted": "interrupted; the same command resumes it",
    "failed": "stopped early; once the cause is gone the same command resumes it",
}


class EvaluationView:
    """Renders a `Progress` whenever rich asks."""

    def __init__(self, name: str, progress: Progress) -> None:
        self._name = name
        self._progress = progress
        self._began = time.monotonic()

    def __rich__(self) -> RenderableType:
        figures = self._progress.figures
        title = Text.assemble((self._name, "bold"), f"  {self._progress.phase}")
        if not figures.total:
            return title
        ended = figures.done + sum(figures.failed.values())
        elapsed = max(time.monotonic() - self._began, 1e-6)
        bar = Table.grid(padding=(0, 2))
        bar.add_row(
            ProgressBar(total=figures.total, completed=ended, width=40),
            f"{ended}/{figures.total} items",
            f"{figures.calls_made} calls made ({figures.calls_made / elapsed:.1f}/s), "
            f"{figures.calls_cached} from the corpus",
        )
        return Group(title, bar)


def show_contamination(found: Contamination) -> None:
    """How many items are in the training corpus, and the worst matches with their spans."""
    said = f"contamination: {found.found} of {found.items} items in {found.samples:,} samples"
    console.print(Text(f"{said} ({found.corpus})"))
    if not found.found:
        return
    console.print(
        Text(f"  {found.exact} word for word, {found.inside} amid other words, {found.near} near")
    )
    for match in found.matches[:_MATCHES_SHOWN]:
        span = one_line(match.spans[0] if match.spans else "", 60)
        console.print(
            Text(
                f"  {match.item} ({match.of}) {match.kind}, {match.share:.0%}, in the "
                f"{match.where} of {match.sample[:12]}: “{span}”"
            )
        )


def show_result(result: EvaluationResult, db: str) -> None:
    """The figures, what to know about them, and where they are kept."""
    head = f"\n{result.benchmark} of {plain(result.model)} {_ENDED[result.status]}."
    console.print(Text(head, style="bold"))
    if result.simulated:
        console.print(Text("SIMULATED: a rehearsal; these figures say nothing about any model."))
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    if result.scores is not None:
        for name, value in result.scores.metrics.items():
            table.add_row(name.replace("_", " "), _number(value))
    figures = result.figures
    calls = f"{figures.calls_made} made, {figures.calls_cached} answered from the corpus"
    if figures.attempts_failed:
        failed = ", ".join(f"{n} × {code}" for code, n in figures.attempts_failed.items())
        calls += f"; failed attempts: {failed}"
    table.add_row("calls", calls)
    table.add_row("cost", dollars(figures.cost_usd))
    table.add_row("evaluation", result.evaluation_id)
    if result.lineage is not None:
        table.add_row("trained by", f"{result.lineage.stage} ({result.lineage.training_run_id})")
    table.add_row("corpus", Text(plain(db.rpartition("@")[2] if "://" in db else db)))
    console.print(table)
    if result.scores is None:
        return
    categories = result.scores.details.get("by_category")
    if isinstance(categories, dict) and categories:
        console.print(_categories(categories))
    for note in result.scores.notes:
        console.print(Text(plain(f"Note: {note}")))


def _categories(categories: dict[str, dict[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("category")
    for name in next(iter(categories.values())):
        table.add_column(name.replace("_", " "), justify="right")
    for category, values in categories.items():
        table.add_row(category, *map(_number, values.values()))
    return table


def _number(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, float):
        return f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
