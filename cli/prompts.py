"""`stillhouse prompts`: lists the prompt files, shows one, and compares one with the corpus.

In: the prompts folder, and for `diff` a database. Out: tables and texts. A file that cannot be used
is listed with its fault and keeps no other from being shown.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator

from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from agents.prompts import Prompt, PromptError, PromptLibrary
from cli.plain import counted, plain
from cli.show import console, print_json
from common.paths import prompts_folder
from storage.database import Database
from storage.prompt_uses import PromptUse, prompt_uses

_SHOWN_HASH = 8


def list_command(json: bool) -> int:
    """Lists every prompt; returns the exit code, 1 where one cannot be used."""
    library = PromptLibrary(prompts_folder())
    prompts: list[Prompt] = []
    faults: list[tuple[str, PromptError]] = []
    for name in library.names():
        try:
            prompts.append(library.get(name))
        except PromptError as error:
            faults.append((name, error))
    if json:
        print_json(
            {
                "folder": str(library.folder),
                "prompts": [_as_dict(prompt) for prompt in prompts],
                "faults": {name: f"{fault.what} {fault.cause}" for name, fault in faults},
            }
        )
        return 1 if faults else 0
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("prompt", "hash", "purpose"):
        table.add_column(column, no_wrap=column != "purpose")
    for prompt in prompts:
        purpose = Text(plain(prompt.matter.purpose))
        table.add_row(Text(plain(prompt.label)), prompt.hash[:_SHOWN_HASH], purpose)
    for name, fault in faults:
        table.add_row(Text(plain(name)), "–", Text(plain(f"cannot be used: {fault.cause}")))
    console.print(table if table.row_count else f"There are no prompts in {library.folder}.")
    return 1 if faults else 0


def _as_dict(prompt: Prompt) -> dict[str, object]:
    return {
        "name": prompt.name,
        "version": prompt.version,
        "hash": prompt.hash,
        **prompt.matter.model_dump(include={"purpose", "inputs", "output", "references"}),
        "path": str(prompt.path),
    }


def show_command(name: str) -> int:
    """Shows one prompt: the bare file in a pipe, with colours in a terminal."""
    prompt = PromptLibrary(prompts_folder()).get(name)
    if not console.is_terminal:
        sys.stdout.write(prompt.text)
        return 0
    title = Text(f"{plain(prompt.label)}  {prompt.hash}\n{prompt.path}\n")
    console.print(title)
    # Only the terminal's own colours, whose ground may be light or dark.
    console.print(Syntax("", "jinja", theme="ansi_dark").highlight(plain(prompt.text)))
    return 0


def diff_command(name: str, db: str) -> int:
    """Compares a prompt's file with the text that the corpus was last made with."""
    prompt = PromptLibrary(prompts_folder()).get(name)
    database = Database.open(db)
    try:
        with database.read() as connection:
            uses = prompt_uses(connection, name)
    finally:
        database.close()
    if not uses:
        console.print(Text(f"Nothing in {database.name} was made with {name}."))
        return 0
    latest = uses[0]
    if latest.hash == prompt.hash:
        words = f"{prompt.label} is as it was when the corpus was last made with it"
        console.print(Text(f"{words} ({_moment(latest)})."))
    else:
        console.print(_difference(latest, prompt))
    _show_uses(uses, prompt)
    return 0


def _difference(latest: PromptUse, prompt: Prompt) -> Text:
    was = f"{prompt.name}@{latest.version} ({latest.hash[:_SHOWN_HASH]}, {_moment(latest)})"
    now = f"{prompt.label} ({prompt.hash[:_SHOWN_HASH]}, the file)"
    if latest.text is None:
        return Text(f"The corpus was last made with {was}.\nNo run left that text; now {now}.")
    styles = {"+": "green", "-": "red", "@": "cyan"}
    told = Text()
    for line in _unified(latest.text, prompt.text, was, now):
        style = "bold" if line.startswith(("+++", "---")) else styles.get(line[:1], "")
        told.append(f"{line}\n", style=style)
    return told


def _unified(was: str, now: str, was_name: str, now_name: str) -> Iterator[str]:
    old, new = (plain(text).split("\n") for text in (was, now))
    yield from difflib.unified_diff(old, new, was_name, now_name, lineterm="")
    if old == new:
        yield "Only characters that cannot be seen differ."


def _show_uses(uses: list[PromptUse], prompt: Prompt) -> None:
    stale = [use for use in uses if use.hash != prompt.hash]
    seeds, samples = sum(use.seeds for use in stale), sum(use.samples for use in stale)
    if seeds or samples:
        console.print(
            f"{counted(samples, 'sample')} and {counted(seeds, 'seed')} made with another text "
            "than the file's: the next run redoes them.\n"
            "What that costs: stillhouse status --stale --recipe RECIPE"
        )
    else:
        console.print("No sample or seed was made with another text than the file's.")
    if len(uses) == 1:
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("text")
    for column in ("calls", "seeds", "samples"):
        table.add_column(column, justify="right")
    table.add_column("last used")
    for use in uses:
        label = f"@{use.version} {use.hash[:_SHOWN_HASH]}"
        label += " (the file's)" if use.hash == prompt.hash else ""
        counts = (f"{n:,}" for n in (use.calls, use.seeds, use.samples))
        table.add_row(Text(plain(label)), *counts, _moment(use))
    console.print(table)


def _moment(use: PromptUse) -> str:
    return f"{use.last_used_at:%Y-%m-%d %H:%M} UTC"
