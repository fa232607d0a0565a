"""`stillhouse run`: reads the recipe, runs it with live progress, says what came of it.

Ctrl-C (and SIGTERM) ask the run to stop; a second one ends the process at once. Exit codes: 0 done,
1 failed, 3 budget reached, 130 interrupted.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.table import Table
from rich.text import Text

from cli.entry import at_work
from cli.plain import plain
from cli.progress import ProgressView
from cli.show import console, dollars, errors, print_json, show_error
from common.errors import StillhouseError
from graph.recipe import Recipe, load_recipe
from graph.run import Progress, RunOptions, RunResult, run_factory
from graph.stop import Stop
from storage import corpus
from storage.database import DEFAULT_DATABASE, Database, parse_url
from storage.locking import shown_url
from storage.tables import SAMPLE_STATUSES, SEED_STATUSES

EXIT_CODES = {"finished": 0, "failed": 1, "budget_reached": 3, "interrupted": 130}


def run_command(
    recipe_path: str, seeds: list[str], db: str, overrides: list[str], limit: int | None, json: bool
) -> int:
    """Runs a recipe; returns the exit code. With `json`, also a run that could not begin says so
    in an object on the last line."""
    try:
        recipe = load_recipe(recipe_path, overrides, seeds)
        return _run_and_show(recipe, db, limit, json)
    except StillhouseError as error:
        if not json:
            raise
        show_error(error)
        print_json({"run": None, "status": "failed", "error": error.code, "cause": error.cause})
        return error.exit_code


def _run_and_show(recipe: Recipe, db: str, limit: int | None, json: bool) -> int:
    at_work()
    progress = Progress()
    began = time.monotonic()
    view = ProgressView(recipe.name, progress)
    with Live(view, console=errors, refresh_per_second=4, transient=True) as live:
        if not errors.is_terminal:
            live.stop()
        result = _run_loop(RunOptions(recipe, db, limit), progress)
    report = _report(result, recipe, db)
    shown = _without_password(db)
    _show_intake(progress)
    for note in progress.notes:
        console.print(Text(plain(f"Note: {note}")))
    _show_result(report, result, time.monotonic() - began, shown)
    if result.error is not None:
        show_error(result.error)
    else:
        _show_next(recipe.name, db, shown)
    if json:
        print_json(report)
    if result.status == "interrupted":
        # A thread that still waits for a slow disk or hub would keep the process from ending.
        sys.stdout.flush()
        os._exit(EXIT_CODES[result.status])
    return EXIT_CODES[result.status]


def _run_loop(options: RunOptions, progress: Progress) -> RunResult:
    async def go() -> RunResult:
        return await run_factory(options, progress, listen_for_signals)

    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
    gc.enable()
    try:
        import uvloop
    except ImportError:
        return asyncio.run(go())
    loop = uvloop.new_event_loop()
    result: RunResult = loop.run_until_complete(go())
    if result.status != "interrupted":
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
    return result


def listen_for_signals(stop: Stop) -> None:
    """Ctrl-C and SIGTERM ask the run of this loop to stop; the second time they end the process."""
    loop = asyncio.get_running_loop()

    def asked() -> None:
        if stop.hurried:
            os._exit(130)
        stop.interrupt()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked)


def _report(result: RunResult, recipe: Recipe, db: str) -> dict[str, Any]:
    figures = result.progress.figures
    try:
        database = Database.open(db)
        with database.read() as connection:
            counts = corpus.status_counts(connection, recipe.name)
        database.close()
    except StillhouseError:
        counts = {"seeds": {}, "samples": {}}
    intake = result.progress.intake
    return {
        "run": result.run_id,
        "status": result.status,
        "error": result.error.code if result.error else None,
        "seeds": {s: counts["seeds"].get(s, 0) for s in SEED_STATUSES},
        "samples": {s: counts["samples"].get(s, 0) for s in SAMPLE_STATUSES},
        "reasons": dict(figures.reasons.most_common()),
        "calls": {"made": figures.calls_made, "cached": figures.calls_cached},
        "attempts_failed": dict(figures.attempts_failed),
        "tokens": {"prompt": figures.prompt_tokens, "completion": figures.completion_tokens},
        "cost": figures.cost_usd,
        "bad_rows": intake.bad_rows if intake else 0,
    }


def _without_password(db: str) -> str:
    """As `Database.name` has it; a path as it was typed."""
    return shown_url(parse_url(db)) if "://" in db else db


def _show_next(recipe: str, db: str, shown: str) -> None:
    """What a newcomer would type now, with a sample of this corpus that has something to tell."""
    database = Database.open(db)
    with database.read() as connection:
        sample = corpus.telling_sample(connection, recipe)
    database.close()
    if sample is None:
        return
    identifier, simulated = sample
    allow = " --allow-simulated" if simulated else ""
    at = "" if db == DEFAULT_DATABASE else f" --db {shown}"
    console.print(Text("\nNext", style="bold"))
    console.print(Text(f"  stillhouse trace {identifier[:12]}{at}      one sample's whole story"))
    console.print(Text(f"  stillhouse status{at}"))
    console.print(Text(f"  stillhouse export corpus.jsonl{at}{allow}"))


def _show_intake(progress: Progress) -> None:
    intake = progress.intake
    if intake is None:
        return
    if summary := plain(intake.report.summary):
        console.print(Text(summary))
    if intake.known:
        console.print(f"{intake.known} of these seeds were in the corpus already.")


def _show_result(report: dict[str, Any], result: RunResult, took_s: float, db: str) -> None:
    ended = {
        "finished": "done",
        "interrupted": "interrupted; the same command resumes it",
        "budget_reached": "stopped at the budget's cap; with a higher cap the same command resumes",
        "failed": "stopped early; once the cause is gone the same command resumes it",
    }[result.status]
    console.print(Text(f"\nRun {result.run_id[:12]} {ended} ({took_s:.1f} s).", style="bold"))
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for kind in ("seeds", "samples"):
        parts = [f"{n} {name}" for name, n in report[kind].items() if n]
        table.add_row(kind, ", ".join(parts) or "none")
    reasons = [f"{n} {reason.replace(':', ' ', 1)}" for reason, n in report["reasons"].items()]
    nothing = "nothing was left to do" if result.status == "finished" else "nothing was finished"
    table.add_row("in this run", ", ".join(reasons) or nothing)
    calls, failed = report["calls"], report["attempts_failed"]
    said = f"{calls['made']} made, {calls['cached']} answered from the corpus"
    if failed:
        said += "; failed attempts: " + ", ".join(f"{n} × {code}" for code, n in failed.items())
    table.add_row("calls", said)
    tokens = report["tokens"]
    table.add_row("tokens", f"{tokens['prompt']:,} asked, {tokens['completion']:,} answered")
    table.add_row("cost", dollars(report["cost"]))
    table.add_row("corpus", Text(plain(db)))
    console.print(table)
    logs = Path("runs") / result.run_id[:12]
    if logs.is_dir():
        console.print(f"Server logs: {logs}")
