"""What `stillhouse eval sql` calls: opens the benchmark of a recipe and evaluates on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from evaluation.contamination import Contamination
from evaluation.run import EvaluationResult, Progress, evaluate
from evaluation.settings import EvaluationRecipe, section
from evaluation.sql.completion import SqlCompletion
from evaluation.sql.settings import SqlSettings
from storage.database import Database


async def run(
    recipe: EvaluationRecipe,
    database: Database,
    *,
    log_folder: Path = Path("runs"),
    progress: Progress | None = None,
    on_contamination: Callable[[Contamination], None] = lambda found: None,
) -> EvaluationResult:
    """Evaluates the recipe's model on SQL completion; arguments as `evaluation.run.evaluate`'s.

    Raises:
        StillhouseError: when it could not even begin.
    """
    with SqlCompletion(section(recipe, "sql", SqlSettings)) as benchmark:
        return await evaluate(
            benchmark,
            recipe,
            database,
            log_folder=log_folder,
            progress=progress,
            on_contamination=on_contamination,
        )
