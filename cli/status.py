"""`stillhouse status`: how far a corpus is, and with `--stale` what edits have made stale.

In: a database, and for `--stale` the recipe as it is now. Out: tables for people, one JSON object
for programs. Only reads, so that it can be asked while a run goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import yaml
from rich.table import Table
from rich.text import Text

from cli.plain import plain
from cli.show import console, dollars, print_json
from common.errors import StillhouseError
from storage.database import Database
from storage.errors import NotFound
from storage.summary import LatestRun, RecipeFigures, TeacherFigures, summarize
from storage.tables import SAMPLE_STATUSES

if TYPE_CHECKING:
    from graph.stale import StaleState


class RecipeNeeded(StillhouseError):
    """An option concerns a recipe, and none was given."""

    code = "recipe_needed"
    exit_code = 2


def status_command(
    db: str, recipe_path: str | None, overrides: list[str], stale: bool, json: bool
) -> int:
    """Shows the state of every recipe's part of the corpus, or of one; returns the exit code."""
    database = Database.open(db)
    try:
        _check_options(database, recipe_path, overrides, stale)
        recipe = None
        if recipe_path is not None:
            from graph.recipe import load_recipe

            recipe = load_recipe(recipe_path, overrides)
        with database.read() as connection:
            found = summarize(connection, recipe.name if recipe else None)
        if recipe is not None and not found:
            raise NotFound(
                f"'{database.name}' holds nothing of the recipe '{recipe.name}'.",
                cause=f"It holds: {_names(database)}.",
                solution="Give another --db or --recipe, or run the recipe first.",
                command=f"stillhouse run {recipe_path} --db {database.name}",
            )
        state = None
        if stale and recipe is not None:
            from graph.stale import find_stale

            state = find_stale(database, recipe)
    finally:
        database.close()
    if json:
        print_json({"recipes": _reports(found, state)})
        return 0
    for name, figures in found.items():
        _show(name, figures)
    if not found:
        console.print("The corpus is empty: no run has taken in a seed yet.")
    if state is not None:
        from cli.stale import show_stale

        show_stale(state)
    return 0


def _reports(found: dict[str, RecipeFigures], state: StaleState | None) -> dict[str, Any]:
    reports = {name: _report(figures) for name, figures in found.items()}
    if state is not None:
        reports[state.recipe]["stale"] = state.report()
    return reports


def _names(database: Database) -> str:
    with database.read() as connection:
        return ", ".join(summarize(connection)) or "nothing yet"


def _check_options(
    database: Database, recipe_path: str | None, overrides: list[str], stale: bool
) -> None:
    if recipe_path is not None or not (stale or overrides):
        return
    raise RecipeNeeded(
        f"{'--stale' if stale else '--set'} needs the recipe as it is now.",
        cause="The corpus keeps what its recipes were when they ran, not where their files are. "
        f"It holds: {_names(database)}.",
        solution="Give the recipe's file or folder with --recipe.",
        command=f"stillhouse status --stale --recipe RECIPE --db {database.name}",
    )


def _report(figures: RecipeFigures) -> dict[str, Any]:
    total, run = figures.total, figures.run
    return {
        "seeds": figures.seeds,
        "seed_reasons": _joined(figures.seed_reasons),
        "samples": figures.samples,
        "reasons": _joined(figures.reasons),
        "simulated": figures.simulated,
        "categories": {word: dict(n) for word, n in figures.mix["category"].items()},
        "languages": {word: dict(n) for word, n in figures.mix["language"].items()},
        **_figures(total),
        "teachers": {
            name: {
                "models": sorted(teacher.models),
                **_figures(teacher),
                "mean_latency_s": teacher.mean_latency_s,
            }
            for name, teacher in figures.teachers.items()
        },
        "run": None
        if run is None
        else {
            "id": run.id,
            "status": run.status,
            "reason": run.reason,
            "started_at": run.started_at,
            "ended_at": run.ended_at,
            "last_call_at": figures.last_call_at,
            "budget": _budget(run),
        },
    }


def _figures(figures: TeacherFigures) -> dict[str, Any]:
    return {
        "calls": {"made": figures.calls_made, "cached": figures.calls_cached},
        "attempts_failed": dict(figures.attempts_failed.most_common()),
        "tokens": {"prompt": figures.prompt_tokens, "completion": figures.completion_tokens},
        "cost": figures.usd,
        "known_cost": figures.known_usd,
        "unpriced_calls": figures.unpriced_calls,
    }


def _joined(reasons: Counter[tuple[str, str]]) -> dict[str, int]:
    return {f"{status}:{reason}": n for (status, reason), n in reasons.most_common()}


def _budget(run: LatestRun) -> dict[str, float]:
    recipe = yaml.safe_load(run.recipe_text)
    budget = recipe.get("budget") if isinstance(recipe, dict) else None
    return budget if isinstance(budget, dict) else {}


def _show(name: str, figures: RecipeFigures) -> None:
    console.print(Text(name, style="bold"))
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    if figures.run is not None:
        facts.add_row("run", Text(_run_words(figures.run, figures.last_call_at)))
        facts.add_row("budget", Text(_budget_words(_budget(figures.run), figures.total)))
    facts.add_row("seeds", _states(figures.seeds))
    samples = _states(figures.samples)
    if figures.simulated:
        samples += f"  ({figures.simulated:,} simulated: for rehearsal only)"
    facts.add_row("samples", samples)
    facts.add_row("cost", _cost_words(figures.total))
    console.print(facts)
    for table in (_reasons(figures), _mix(figures), _teachers(figures)):
        if table.row_count:
            console.print()
            console.print(table)
    for line in _about_teachers(figures):
        console.print(Text(plain(line)))
    console.print()


def _states(counts: Mapping[str, int]) -> str:
    parts = [f"{n:,} {status}" for status, n in counts.items() if n]
    total = sum(counts.values())
    return f"{total:,}: {', '.join(parts)}" if parts else "none"


def _run_words(run: LatestRun, last_call: datetime | None) -> str:
    words = f"{run.id[:12]} {run.status.replace('_', ' ')}"
    if run.reason:
        words += f" ({plain(run.reason)})"
    if run.ended_at is not None:
        seconds = (run.ended_at - run.started_at).total_seconds()
        return f"{words} at {_time(run.ended_at)}, after {seconds:,.1f} s"
    words += f" since {_time(run.started_at)}"
    if last_call is not None and last_call >= run.started_at:
        words += f", last call at {_time(last_call)}"
    return f"{words}; if no such process is there any more, the same command resumes it"


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _budget_words(budget: Mapping[str, float], total: TeacherFigures) -> str:
    spent = {
        "usd": (dollars(total.known_usd), dollars),
        "tokens": (f"{total.prompt_tokens + total.completion_tokens:,}", _whole),
        "calls": (f"{total.calls_made:,}", _whole),
    }
    parts = []
    for unit, (so_far, words) in spent.items():
        cap = budget.get(unit)
        if cap is not None:
            parts.append(f"{so_far} of {words(cap)}{'' if unit == 'usd' else f' {unit}'}")
    return ", ".join(parts) or "no cap"


def _whole(number: float) -> str:
    return f"{number:,.0f}"


def _cost_words(figures: TeacherFigures) -> str:
    if not figures.unpriced_calls:
        return dollars(figures.usd)
    return (
        f"unknown: {figures.unpriced_calls:,} of {figures.calls_made:,} calls have no price; "
        f"the others come to {dollars(figures.known_usd)}"
    )


def _reasons(figures: RecipeFigures) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 2), header_style="bold")
    for column in ("ended", "reason"):
        table.add_column(column)
    table.add_column("count", justify="right")
    for (status, reason), n in figures.seed_reasons.most_common():
        if status == "failed":
            table.add_row("seed failed", Text(plain(reason)), f"{n:,}")
    order = {status: place for place, status in enumerate(SAMPLE_STATUSES)}
    for (status, reason), n in sorted(
        figures.reasons.items(), key=lambda item: (order[item[0][0]], -item[1], item[0][1])
    ):
        table.add_row(status, Text(plain(reason)), f"{n:,}")
    return table


def _mix(figures: RecipeFigures) -> Table:
    shown = [status for status, n in figures.samples.items() if n]
    table = Table(box=None, padding=(0, 2, 0, 2), header_style="bold")
    table.add_column("samples by")
    table.add_column("")
    for status in shown:
        table.add_column(status, justify="right")
    for what, words in figures.mix.items():
        label = what
        for word, counts in sorted(words.items(), key=lambda item: -item[1].total()):
            cells = (f"{counts[status]:,}" if counts[status] else "·" for status in shown)
            table.add_row(label, Text(plain(word)), *cells)
            label = ""
    return table


def _teachers(figures: RecipeFigures) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 2), header_style="bold")
    table.add_column("teacher", overflow="fold")
    for column in ("calls", "cached", "tokens asked", "answered", "cost", "mean"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, teacher in figures.teachers.items():
        latency = teacher.mean_latency_s
        table.add_row(
            Text(plain(name)),
            f"{teacher.calls_made:,}",
            f"{teacher.calls_cached:,}",
            f"{teacher.prompt_tokens:,}",
            f"{teacher.completion_tokens:,}",
            dollars(teacher.usd),
            "–" if latency is None else f"{latency:,.2f} s",
        )
    return table


def _about_teachers(figures: RecipeFigures) -> list[str]:
    lines = []
    for name, teacher in figures.teachers.items():
        failed = ", ".join(f"{n:,} {kind}" for kind, n in teacher.attempts_failed.most_common())
        parts = [
            f"served {', '.join(sorted(teacher.models))}" if teacher.models else "",
            f"failed attempts: {failed}" if failed else "",
        ]
        lines.append(f"  {name} {'; '.join(filter(None, parts))}")
    return lines
