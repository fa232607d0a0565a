"""`stillhouse fork`: asks a sample's agents again, with another teacher or an edited prompt.

In: a sample, an agent, a change. Out: old and new in sequence with every changed word marked; the
fork stays as a draft until it is dropped. The corpus is only read; only `--save` writes to it, the
text of the prompt that it replaces. Exit codes as for `run`.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.text import Text

from cli.entry import at_work
from cli.fork_view import show_comparison, show_list, show_newer
from cli.plain import plain
from cli.run import listen_for_signals
from cli.show import console, errors, print_json
from common.paths import prompts_folder
from graph.forks.comparing import Comparison, compare_fork
from graph.forks.errors import ForkRefused, PromptNotSaved
from graph.forks.fork import Draft, Dropped, Fork
from graph.forks.making import prepare_fork, walk_fork
from graph.forks.saving import save_prompt
from graph.forks.shelf import corpus_id, drop_fork, find_fork, forks_folder, list_forks
from storage.database import Database
from storage.trace import resolve, story

_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Asked:
    """The command's options: a fork to make, or `list`, `show`, `drop`, `save` for those there
    are. `prompt` is a file; `name` the name that a saved prompt gets,
    `over` the hash of the newer text that it may replace."""

    id: str | None
    agent: str | None
    teacher: str | None
    prompt: str | None
    list: bool
    show: str | None
    drop: str | None
    save: str | None
    name: str | None
    who: str | None
    forks: str | None
    full: bool
    over: str | None


def fork_command(db: str, asked: Asked, json: bool) -> int:
    """Does one of these things; returns the exit code."""
    at_work()
    database = Database.open(db)
    try:
        folder, own = forks_folder(database, asked.forks), corpus_id(database)
        if asked.drop is not None:
            return _drop(drop_fork(folder, asked.drop, own), json)
        if asked.save is not None:
            return _save(database, find_fork(folder, asked.save, own), asked, json)
        if asked.list:
            return _list(database, folder, asked.id, json)
        if asked.show is not None:
            return _show(database, find_fork(folder, asked.show, own), asked.full, json)
        return _make(database, folder, asked, json)
    finally:
        database.close()


def _make(database: Database, folder: Path, asked: Asked, json: bool) -> int:
    if asked.id is None or asked.agent is None:
        raise ForkRefused(
            "It is not said what to fork.",
            cause="A fork needs a sample or seed, and the agent to begin at.",
            solution="Give both, or --list for the forks that there are.",
            command="stillhouse fork SAMPLE --from response --teacher NAME",
        )
    prompts = prompts_folder()
    text = None if asked.prompt is None else _read(asked.prompt)
    fork = Fork(asked.id, asked.agent, asked.teacher, text, who=asked.who)
    draft = prepare_fork(database, folder, prompts, fork)
    with errors.status(f"Fork {draft.facts.id[:12]}: {plain(draft.facts.change)}"):
        result = asyncio.run(walk_fork(draft, on_ready=listen_for_signals))
    draft = find_fork(folder, draft.facts.id)
    if result is not None and result.status == "interrupted":
        errors.print(Text(f"Fork {draft.facts.id[:12]} interrupted; the same command goes on."))
        return _INTERRUPTED
    return _show(database, draft, asked.full, json)


def _show(database: Database, draft: Draft, full: bool, json: bool) -> int:
    told = compare_fork(database, draft)
    if json:
        print_json({**_as_dict(draft), **_compared(told)})
    else:
        show_comparison(draft, told, full)
    return 0


def _list(database: Database, folder: Path, id: str | None, json: bool) -> int:
    seed = None
    if id is not None:
        with database.read() as connection:
            seed = story(connection, *resolve(connection, id)).seed.id
    found = list_forks(folder, seed, corpus_id(database))
    if json:
        print_json({"folder": str(folder), "forks": [_as_dict(draft) for draft in found]})
    elif found:
        show_list(found)
    else:
        console.print(Text(f"There are no forks in {plain(str(folder))}."))
    return 0


def _drop(dropped: Dropped, json: bool) -> int:
    if json:
        print_json({"dropped": dropped.id})
    else:
        was = dropped.facts.change if dropped.facts is not None else "it could not be read"
        console.print(Text(f"Fork {dropped.id[:12]} is gone ({plain(was)})."))
    return 0


def _save(database: Database, draft: Draft, asked: Asked, json: bool) -> int:
    try:
        saved = save_prompt(database, prompts_folder(), draft, asked.name, asked.over)
    except PromptNotSaved as error:
        if error.newer is not None and draft.facts.prompt is not None and not json:
            show_newer(draft.facts.prompt_name, error.newer, draft.facts.prompt)
        raise
    if json:
        print_json({**asdict(saved), "path": str(saved.path)})
        return 0
    console.print(Text(f"{saved.path} is now {saved.name} ({saved.hash[:8]})."))
    if saved.recipe_line is not None:
        console.print(Text(f"Runs take it once the recipe says: {saved.recipe_line}"))
    else:
        console.print("The next run redoes what was made with another text; what that costs:\n"
                      "  stillhouse status --stale --recipe RECIPE")  # fmt: skip
    return 0


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "It is not UTF-8"
        raise ForkRefused(
            f"The prompt file {path} cannot be read.",
            cause=f"The system says: {said}.",
            solution="Write the edited prompt into a file, front matter and all; "
            "`stillhouse prompts show NAME` gives one to begin with.",
        ) from error


def _as_dict(draft: Draft) -> dict[str, Any]:
    return {
        "fork": asdict(draft.facts),
        "state": draft.state,
        "change": draft.facts.change,
        "spent": asdict(draft.spent),
        "error": asdict(draft.error) if draft.error is not None else None,
        "folder": str(draft.folder),
    }


def _compared(told: Comparison) -> dict[str, Any]:
    return {
        "same": told.same,
        "before": [
            {"agent": step.agent, "same": step.same, "parts": [asdict(p) for p in step.parts]}
            for step in told.before
        ],
        "candidates": [
            {
                "variant": pair.variant,
                "round": pair.round,
                "same": pair.same,
                "old": pair.old.id if pair.old is not None else None,
                "new": pair.new.id if pair.new is not None else None,
                "parts": [asdict(part) for part in pair.parts],
                "steps": [
                    {
                        "agent": step.agent,
                        "same": step.same,
                        "parts": [asdict(part) for part in step.parts],
                    }
                    for step in pair.steps
                ],
            }
            for pair in told.candidates
        ],
    }
