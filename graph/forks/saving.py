"""Saves a fork's edited prompt as the file of that prompt: a new version, and the old one kept.

In: a `Draft` with an edited prompt. Out: the file, replaced in one step, or a new file under
another name. Where the file is not the text that the sample went through, somebody edited it since:
it is replaced only by who says which text that is (`over`). The saved text gets the next version.
The text that is replaced goes into the corpus's table of prompts first, unless it is there already.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from agents.prompts import parse_prompt
from common.hashing import digest_text
from graph.forks.errors import PromptNotSaved
from graph.forks.fork import Draft
from graph.forks.front_matter import as_new_prompt, as_next_version, is_same_prompt
from storage.database import Database
from storage.prompt_uses import prompt_t
from storage.tables import utcnow

_NAME = re.compile(r"[\w-]+/[\w-]+", re.ASCII)
_SHORTEST_HASH = 8
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True, slots=True)
class Saved:
    """What was written. `recipe_line` is the setting to change where the prompt got a name of its
    own, so that runs take it; None where they do so anyway."""

    name: str
    path: Path
    hash: str
    recipe_line: str | None


def save_prompt(
    database: Database,
    folder: Path,
    draft: Draft,
    name: str | None = None,
    over: str | None = None,
) -> Saved:
    """Writes the edited prompt into the folder of prompts.

    Args:
        database: the fork's original corpus, which keeps the text that is replaced.
        folder: the prompt files.
        draft: the fork.
        name: another name, `AGENT/NAME`, for a new file; the prompt's own where it is None.
        over: the hash, or its beginning, of the text that is replaced although it is not the one
            that the sample went through.

    Raises:
        PromptNotSaved: nothing was edited, the file is another text, or it cannot be written.
        PromptError: the text is no prompt.
    """
    facts = draft.facts
    if facts.prompt is None:
        raise PromptNotSaved(
            "There is no edited prompt to save.",
            cause=f"The fork {facts.id[:12]} changed: {facts.change}.",
            solution="Fork the sample with an edited prompt.",
        )
    name = name or facts.prompt_name
    if not _NAME.fullmatch(name):
        raise PromptNotSaved(
            f"'{name}' is no name for a prompt file.",
            cause="It is not of the form AGENT/NAME, in letters, digits, `_` and `-`.",
            solution=f"Give one such as {facts.prompt_name}_2.",
        )
    path = (folder / f"{name}.md").resolve()
    parse_prompt(name, path, facts.prompt)
    with _ONE_AT_A_TIME:
        if name == facts.prompt_name:
            was = _replaceable(path, draft, over)
            text = as_next_version(name, facts.prompt, was)
            _keep(database, name, was)
            _replace(path, text, was)
            return Saved(name, path, digest_text(text), None)
        text = as_new_prompt(name, facts.prompt)
        _create(path, name, text)
    line = f"agents.{facts.agent}.{facts.prompt_setting}: {name}"
    return Saved(name, path, digest_text(text), line)


def _replaceable(path: Path, draft: Draft, over: str | None) -> str:
    """The file's text, which has to be the one the sample went through, or the one in `over`."""
    facts = draft.facts
    name, fork = facts.prompt_name, facts.id[:12]
    try:
        was = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise PromptNotSaved(
            f"The prompt '{name}' has no file any more.",
            cause=f"{path} does not exist.",
            solution="Save it under another name, and give that name in the recipe.",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise _unwritable(path, f"It cannot be read either: {said}.") from error
    if facts.prompt is not None and is_same_prompt(was, facts.prompt):
        raise PromptNotSaved(
            f"The file of the prompt '{name}' has this text already.",
            cause="It was saved before.",
            solution="There is nothing left to do.",
        )
    hash = digest_text(was)
    said_so = over is not None and len(over) >= _SHORTEST_HASH and hash.startswith(over)
    if was != facts.old_prompt and not said_so:
        refused = PromptNotSaved(
            f"The file of the prompt '{name}' has changed.",
            cause="It is not the text that the sample went through: somebody edited it since, and "
            f"saving would undo that. It is {hash[:_SHORTEST_HASH]} now.",
            solution="Compare both, and fork again from the file as it is now, save under another "
            "name, or say that this very text is to be replaced.",
            command=f"stillhouse fork --save {fork} --over {hash[:_SHORTEST_HASH]} --db DB",
        )
        refused.newer = was
        raise refused
    return was


def _keep(database: Database, name: str, text: str) -> None:
    """Sees to it that the corpus has the text."""
    row = {
        "hash": digest_text(text),
        "name": name,
        "version": str(parse_prompt(name, Path(name), text).matter.version),
        "text": text,
        "first_used_at": utcnow(),
    }
    with database.write() as connection:
        known = select(prompt_t.c.hash).where(prompt_t.c.hash == row["hash"])
        if connection.execute(known).first() is None:
            connection.execute(prompt_t.insert(), row)


def _replace(path: Path, text: str, was: str) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & stat.S_IWUSR or not os.access(path, os.W_OK):
        raise _unwritable(path, "The file is read-only.")
    try:
        unfinished = _written(path, text, mode)
        try:
            if path.read_text(encoding="utf-8") != was:
                raise PromptNotSaved(
                    f"The file {path} has changed.",
                    cause="Somebody edited it at this moment.",
                    solution="Compare both, and save again.",
                )
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, f"The system says: {error.strerror}.") from error


def _create(path: Path, name: str, text: str) -> None:
    try:
        path.parent.mkdir(exist_ok=True)
        unfinished = _written(path, text, 0o644)
        try:
            # Unlike a rename, a link never takes the place of a file that is there.
            os.link(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
    except FileExistsError as error:
        raise PromptNotSaved(
            f"There is a prompt '{name}' already.",
            cause=f"{path} exists.",
            solution="Choose a name that is free.",
        ) from error
    except OSError as error:
        raise _unwritable(path, f"The system says: {error.strerror}.") from error


def _written(path: Path, text: str, mode: int) -> Path:
    """The text whole on the disk, under a passing name beside its place."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
    return Path(name)


def _unwritable(path: Path, cause: str) -> PromptNotSaved:
    return PromptNotSaved(
        f"The prompt file {path} cannot be written.",
        cause=cause,
        solution="Copy the folder of prompts to a place of your own and name it in "
        "$STILLHOUSE_PROMPTS, where the inspector and runs then take prompts from; or make the "
        "file writable.",
        command=f"cp -r {path.parent.parent} prompts-of-mine",
    )
