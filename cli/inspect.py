"""`stillhouse inspect`: serves the inspector's pages until Ctrl-C.

In: a database, where to listen, and the training recipes whose captured rows are to be shown. Out:
the address on the console, then pages. The inspector and the trainer do not know each other: what
reads the rows is handed over here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from cli.entry import at_work
from cli.plain import plain
from cli.show import console
from inspector.errors import InspectorMissing
from inspector.settings import read_settings

if TYPE_CHECKING:
    from inspector.captures import RowsReader


def inspect_command(
    db: str, host: str, port: int, token_env: str | None, names: list[str], recipes: list[str]
) -> int:
    """Serves; returns the exit code."""
    settings = read_settings(host, port, token_env, names)
    rows = _rows(recipes) if recipes else None
    try:
        from inspector.serving import serve
    except ModuleNotFoundError as error:
        raise InspectorMissing(
            "The inspector's pages cannot be served.",
            cause=f"Python module '{error.name}' is missing.",
            solution="Install the extra `inspector`.",
            command="pip install -c constraints.txt -e '.[inspector]'",
        ) from error

    def ready(url: str, name: str) -> None:
        at_work()
        console.print(Text(f"The corpus {plain(name)} is shown at {url}", style="bold"))
        if settings.is_everywhere:
            console.print("From elsewhere it answers to the names that --allow-host gives.")
        console.print("Ctrl-C ends it.")

    serve(db, settings, ready, rows)
    return 0


def _rows(recipes: list[str]) -> RowsReader:
    """What reads the rows that these training recipes had captured."""
    from training.recipe import load_train_recipe

    loaded = [load_train_recipe(recipe) for recipe in recipes]
    try:
        from training.showing.rows import CapturedRows
    except ModuleNotFoundError as error:
        raise InspectorMissing(
            "Captured rows cannot be read.",
            cause=f"Python module '{error.name}' is missing.",
            solution="Install the extra `rows` (a trainer's environment has all of it), or leave "
            "--rows out.",
            command="pip install -c constraints.txt -e '.[inspector,rows]'",
        ) from error
    return CapturedRows(loaded)
