"""`stillhouse eval ifeval|alpaca|mtbench|sql`: evaluates, shows it live, says what came of it.

First how much of the benchmark is in the training corpus, then the figures. Ctrl-C (and SIGTERM)
leave the evaluation resumable: the same command goes on. Exit codes: 0 finished, 1 failed or
incomplete, 3 budget reached, 130 interrupted.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.text import Text

from cli.entry import at_work
from cli.eval_view import EvaluationView, show_contamination, show_result
from cli.show import console, errors, print_json, show_error
from common.errors import StillhouseError
from evaluation.contamination import Contamination
from evaluation.run import EvaluationResult, Progress, evaluate
from evaluation.settings import EvaluationRecipe, load_evaluation, section
from storage.database import Database
from teachers.errors import BudgetReached

Evaluate = Callable[..., Coroutine[Any, Any, EvaluationResult]]
EXIT_CODES = {"finished": 0, "incomplete": 1, "failed": 1, "interrupted": 130}


def eval_command(
    benchmark: str,
    recipe_path: str | None,
    overrides: list[str],
    options: Mapping[str, Any],
    roles: Mapping[str, str | None],
    db: str,
    json: bool,
) -> int:
    """Evaluates; returns the exit code. With `json`, also an evaluation that could not begin or was
    interrupted says so in an object on the last line."""
    try:
        recipe = load_evaluation(recipe_path, overrides, options=options, roles=roles)
        return _evaluate_and_show(benchmark, recipe, db, json)
    except StillhouseError as error:
        if not json:
            raise
        show_error(error)
        print_json({"evaluation": None, "status": "failed", "error": error.code})
        return error.exit_code


def _evaluate_and_show(benchmark: str, recipe: EvaluationRecipe, db: str, json: bool) -> int:
    progress = Progress()
    view = EvaluationView(benchmark, progress)
    run = _runner(benchmark, recipe)
    at_work()
    database = Database.open(db, create=True)
    try:
        with Live(view, console=errors, refresh_per_second=4, transient=True) as live:
            if not errors.is_terminal:
                live.stop()
            result = asyncio.run(_until_ended(run(recipe, database, progress)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print(Text("Interrupted; the same command resumes it.", style="bold"))
        if json:
            print_json({"evaluation": None, "status": "interrupted", "error": None})
        return EXIT_CODES["interrupted"]
    finally:
        database.close()
    show_result(result, db)
    if result.error is not None:
        show_error(result.error)
    if json:
        print_json(_report(result))
    return 3 if isinstance(result.error, BudgetReached) else EXIT_CODES[result.status]


async def _until_ended(work: Coroutine[Any, Any, EvaluationResult]) -> EvaluationResult:
    """SIGTERM is a person's Ctrl-C."""
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def _runner(benchmark: str, recipe: EvaluationRecipe) -> Evaluate:
    if benchmark == "sql":
        from evaluation.sql.run import run as run_sql

        return lambda recipe, database, progress: run_sql(
            recipe, database, progress=progress, on_contamination=show_contamination
        )
    built = _benchmark(benchmark, recipe)
    return lambda recipe, database, progress: evaluate(
        built,
        recipe,
        database,
        log_folder=Path("runs"),
        progress=progress,
        on_contamination=show_contamination,
    )


def _benchmark(benchmark: str, recipe: EvaluationRecipe) -> Any:
    if benchmark == "ifeval":
        from evaluation.ifeval.benchmark import Ifeval, IfevalSettings

        return Ifeval(section(recipe, "ifeval", IfevalSettings))
    if benchmark == "alpaca":
        from evaluation.alpaca.benchmark import Alpaca, AlpacaSettings

        return Alpaca(section(recipe, "alpaca", AlpacaSettings))
    from evaluation.mtbench.benchmark import MtBench, MtBenchSettings

    return MtBench(section(recipe, "mtbench", MtBenchSettings))


def _report(result: EvaluationResult) -> dict[str, Any]:
    figures, scores = result.figures, result.scores
    found: Contamination | None = result.contamination
    return {
        "evaluation": result.evaluation_id,
        "benchmark": result.benchmark,
        "model": result.model,
        "status": result.status,
        "error": result.error.code if result.error else None,
        "metrics": dict(scores.metrics) if scores else None,
        "details": dict(scores.details) if scores else None,
        "notes": list(scores.notes) if scores else [],
        "contamination": found.as_dict() if found else None,
        "training_run": result.lineage.training_run_id if result.lineage else None,
        "simulated": result.simulated,
        "items": {
            "total": figures.total,
            "done": figures.done,
            "failed": dict(figures.failed),
        },
        "calls": {"made": figures.calls_made, "cached": figures.calls_cached},
        "attempts_failed": dict(figures.attempts_failed),
        "tokens": {"prompt": figures.prompt_tokens, "completion": figures.completion_tokens},
        "cost": figures.cost_usd,
    }
