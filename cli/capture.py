"""`stillhouse capture`: scores a corpus with its teachers and says whether k was enough."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from cli.entry import at_work
from cli.show import console, errors, print_json
from cli.train import need_trainer
from common.recipes import RecipeError
from training.recipe import TrainRecipe, load_train_recipe

if TYPE_CHECKING:
    from training.capture.capture import CaptureProgress, CaptureReport
    from training.store.report import KeptMass


def capture_command(recipe_path: str, set_: list[str], teachers: list[str], json: bool) -> int:
    """Captures; returns the exit code."""
    recipe = load_train_recipe(recipe_path, set_)
    names = _wanted(recipe, teachers)
    need_trainer()
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    reports = []
    for name in names:
        report = _capture(recipe, name)
        _show(recipe, name, report)
        reports.append({"teacher": name, **report.as_dict()})
    if json:
        print_json({"recipe": recipe.name, "captures": reports})
    return 0


def _wanted(recipe: TrainRecipe, asked: list[str]) -> list[str]:
    """The teachers asked for, or those that the KD stages name."""
    named = dict.fromkeys(rule.teacher for stage in recipe.stages for rule in stage.teachers)
    for name in asked:
        if name not in recipe.teachers:
            raise RecipeError(
                f"The recipe has no teacher '{name}'.",
                cause=f"Its teachers: {', '.join(recipe.teachers) or 'none'}.",
                solution="Give one of those, or leave --teacher out.",
            )
    wanted = asked or list(named)
    if not wanted:
        raise RecipeError(
            "There is nothing to capture.",
            cause="No stage of the recipe is KD, so none names a teacher.",
            solution="Add a KD stage, or name a teacher with --teacher.",
        )
    return wanted


def _capture(recipe: TrainRecipe, name: str) -> CaptureReport:
    from storage.database import Database
    from training.capture.capture import capture
    from training.engine.stages import tokenised_corpus
    from training.report.progress import CorpusProgress

    at_work()
    _, tokens = tokenised_corpus(recipe, CorpusProgress(console.print))
    database = None if recipe.corpus.db is None else Database.open(recipe.corpus.db)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
               TextColumn("{task.fields[rate]}"), TimeRemainingColumn())  # fmt: skip
    try:
        with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task(f"loading {name}", total=None, rate="")

            def show(progress: CaptureProgress) -> None:
                bar.update(
                    task,
                    description=f"capturing {name}",
                    total=progress.tokens_total,
                    completed=progress.tokens,
                    rate=f"{progress.examples:,}/{progress.examples_total:,} samples",
                )

            return capture(recipe, tokens, name, database=database, on_progress=show)
    finally:
        if database is not None:
            database.close()


def _show(recipe: TrainRecipe, name: str, report: CaptureReport) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(overflow="fold")
    rate = f", {report.tokens / report.seconds:,.0f} tokens/s" if report.captured else ""
    table.add_row("teacher", Text(f"{name}: {report.teacher.model} ({report.teacher.engine})"))
    table.add_row("examples", f"{report.captured:,} captured now, {report.known:,} known{rate}")
    if report.unmapped:
        table.add_row("no rows", f"{len(report.unmapped):,} that its vocabulary cannot say")
    own, total = report.own, report.store.total
    table.add_row("its rows", f"{own.rows:,} rows of {own.samples:,} samples")
    table.add_row("size", f"{own.bytes_per_row:.1f} bytes per response token")
    for temperature, error in own.codec_error.items():
        table.add_row(f"codec error, T={temperature}", f"{error.mean:.1e} nats, mean")
    if own.nll is not None:
        table.add_row("its NLL", f"{own.nll:.3f} nats per response token")
    if own.kept_mass is not None:
        kept = own.kept_mass
        table.add_row(
            "kept mass",
            f"{kept.mean:.2%} mean; {kept.share_from_90:.1%} of rows keep 90 %, "
            f"{kept.share_from_99:.1%} keep 99 %",
        )
    whole = f"{total.rows:,} rows of {total.samples:,} samples, {total.file_bytes:,} bytes"
    table.add_row("store in all", Text(f"{total.name}: {whole}"))
    console.print(table)
    if own.kept_mass is not None:
        _draw(recipe, name, own.kept_mass)


def _draw(recipe: TrainRecipe, name: str, kept: KeptMass) -> None:
    """The histogram of the kept mass, as a picture beside the shards; the rows are safe already,
    so that a disk without room for it is no failure of the capture."""
    from training.report.plots import plot_kept_mass

    picture = Path(recipe.capture.store) / f"kept-mass-{name}.png"
    try:
        plot_kept_mass(kept.edges, kept.rows, picture, k=recipe.capture.k, name=name)
    except OSError as error:
        errors.print(Text(f"Warning: the picture {picture} cannot be written: {error.strerror}."))
    else:
        console.print(Text(f"is k enough? {picture}"))
