"""`stillhouse eval compare|report`: declares the commands; the body is in `cli.eval_compare`."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Annotated, Any

import typer

DEFAULT_DB = "stillhouse.db"
DEFAULT_OUTPUT = "evaluation-report"
_DB_HELP = "SQLite file, or postgresql:// URL."

Names = Annotated[
    list[str],
    typer.Argument(
        metavar="A B [C…]",
        help="Evaluations by identifier or models by name (the newest evaluation of each counts); "
        "the first is what the others are held against.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on the last line.")]


def compare(
    names: Names,
    benchmark: Annotated[
        str | None, typer.Option(help="ifeval, ifeval_ja, alpaca_eval, mt_bench or sql; else all.")
    ] = None,
    db: Annotated[str, typer.Option("--db", envvar="STILLHOUSE_DB", help=_DB_HELP)] = DEFAULT_DB,
    json: Json = False,
) -> None:
    """Evaluations side by side: 95 % intervals, paired differences, items gained and lost."""
    raise typer.Exit(_bodies().compare_command(names, benchmark, db, json))


def report(
    output: Annotated[
        str, typer.Option("--output", "-o", help="The folder for the page and its pictures.")
    ] = DEFAULT_OUTPUT,
    before: Annotated[
        str | None, typer.Option(help="The model before training, or one of its evaluations.")
    ] = None,
    after: Annotated[str | None, typer.Option(help="The model after training.")] = None,
    teacher: Annotated[str | None, typer.Option(help="The teacher.")] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL=0.5B",
            help="A model's parameters, or a folder to count them in; models that a training run "
            "of the corpus left are counted anyway.",
        ),
    ] = None,
    series: Annotated[
        str | None, typer.Option(help="Curves over teacher or data: YAML or JSON.")
    ] = None,
    proving_ground: Annotated[
        str | None, typer.Option(help="A proving ground's report.json.")
    ] = None,
    db: Annotated[
        str | None,
        typer.Option(
            "--db",
            envvar="STILLHOUSE_DB",
            help=f"{_DB_HELP} Default: {DEFAULT_DB}; none, where --proving-ground stands alone.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """A page with tables and pictures that needs nothing else, and the pictures beside it."""
    from pathlib import Path

    roles = {"before": before, "after": after, "teacher": teacher}
    wishes: dict[str, Any] = {
        "roles": {role: name for role, name in roles.items() if name is not None},
        "series": Path(series) if series else None,
        "proving_ground": Path(proving_ground) if proving_ground else None,
    }
    if db is None and (proving_ground is None or series is not None or wishes["roles"]):
        db = DEFAULT_DB
    raise typer.Exit(_bodies().report_command(db, output, wishes, size or [], json))


def _bodies() -> ModuleType:
    """What does the work; it needs packages of the extra `eval`."""
    try:
        return importlib.import_module("cli.eval_compare")
    except ModuleNotFoundError as error:
        from evaluation.errors import EvaluationError

        raise EvaluationError(
            "Evaluations cannot be compared here.",
            cause=f"Python module '{error.name}' is missing.",
            solution="Install the extra `eval`.",
            command="pip install -c constraints.txt -e '.[eval]'",
        ) from error
