"""`stillhouse export`: writes samples to a file with a manifest, and says what stayed out."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table
from rich.text import Text

from cli.entry import at_work
from cli.plain import plain
from cli.show import console, print_json
from storage.database import Database
from storage.export import ExportOptions, ExportResult, export_samples, said_left_out


def export_command(
    out: str,
    db: str,
    recipe: str | None,
    format: str,
    reasoning: str,
    statuses: list[str] | None,
    allow_simulated: bool,
    terms: str,
    json: bool,
) -> int:
    """Exports; returns the exit code."""
    options = ExportOptions(
        out=out,
        recipe=recipe_name(recipe),
        format=format,
        reasoning=reasoning,
        statuses=tuple(statuses or ("accepted",)),
        allow_simulated=allow_simulated,
        terms=terms,
    )
    at_work()
    database = Database.open(db)
    try:
        result = export_samples(database, options)
    finally:
        database.close()
    _show(result)
    if json:
        files = {"path": str(result.path), "manifest_path": str(result.manifest_path)}
        print_json({**files, **result.manifest})
    return 0


def recipe_name(recipe: str | None) -> str | None:
    """The name behind a recipe's file or folder, as other commands take it; or the name itself."""
    if recipe is None or not any(p.is_file() for p in (Path(recipe), Path(recipe, "recipe.yaml"))):
        return recipe
    from graph.recipe import load_recipe

    return load_recipe(recipe).name


def _show(result: ExportResult) -> None:
    manifest = result.manifest
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(overflow="fold")
    table.add_row("rows", f"{result.rows:,} ({manifest['format']})")
    for kind in ("categories", "languages", "teachers"):
        table.add_row(kind, Text(_counts(manifest[kind])))
    if manifest["simulated"]:
        table.add_row(
            "simulated", f"{manifest['simulated']:,}: for rehearsal only, not for training"
        )
    table.add_row("may train", Text(_counts(manifest["allows_training"])))
    if result.left_out:
        table.add_row("left out", Text(said_left_out(result.left_out)))
    table.add_row("file", Text(str(result.path)))
    table.add_row("manifest", Text(str(result.manifest_path)))
    table.add_row("sha256", result.sha256)
    console.print(table)


def _counts(counts: dict[str, int]) -> str:
    most_first = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{n:,} {plain(word)}" for word, n in most_first)
