"""The folder in which a corpus's forks lie: listing them, finding one, dropping one.

In: the corpus. Out: `Draft`s, newest first. They lie by seed, `SEED/FORK/`, so that a seed's are
found as fast among many. A fork's folder gets its name only when everything is in it, and loses it
before anything is deleted, so a half-made or half-dropped one is never listed. Forks of several
corpora may lie in one folder; each corpus has only its own.
"""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import orjson
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import select

from graph.forks.errors import ForkBusy, ForkError, ForkNotFound
from graph.forks.fork import Draft, Dropped, Facts, Spent, State, Told
from graph.forks.steps import AGENT_OF_STEP
from storage import corpus
from storage.corpus import seed_t
from storage.database import Database
from storage.errors import StorageError

SEED_ID = _ID = re.compile(r"[0-9a-f]{32}")
_PREFIX = re.compile(r"[0-9a-f]{1,32}")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")
_POSTGRES_PORT = 5432
_FACTS, _TOLD = TypeAdapter(Facts), TypeAdapter(Told)


def forks_folder(database: Database, given: str | Path | None = None) -> Path:
    """Where the forks of a corpus lie: where it was said, else beside a SQLite file, else for a
    server's database under `forks/` where the command stands."""
    if given is not None:
        return Path(given)
    if database.is_sqlite:
        return Path(f"{database.url.database}.forks")
    url = database.url
    name = f"{url.host or 'local'}-{url.port or _POSTGRES_PORT}-{url.database}"
    return Path("forks") / _NOT_IN_NAMES.sub("_", name)


def corpus_id(database: Database) -> str:
    """What tells a corpus from others with the same seeds; empty before its first run."""
    with database.read() as connection:
        return corpus.first_run(connection) or ""


def list_forks(
    folder: Path, seed_id: str | None = None, corpus_id: str | None = None
) -> list[Draft]:
    """Every fork, or those of one seed or of one corpus, newest first. What cannot be read, or
    claims to be another than its folder says, is left out."""
    found = []
    if seed_id is not None and not SEED_ID.fullmatch(seed_id):
        return []
    for place in folder.glob(f"{seed_id or '*'}/*"):
        facts = _facts(place) if _ID.fullmatch(place.name) else None
        if facts is not None and corpus_id in (None, facts.corpus_id):
            draft = _draft(place, facts)
            found += [draft] if draft is not None else []
    return sorted(found, key=lambda draft: (draft.facts.created_at, draft.facts.id), reverse=True)


def find_fork(folder: Path, id: str, corpus_id: str | None = None) -> Draft:
    """The fork with this identifier, or this beginning of one.

    Args:
        folder: where forks lie.
        id: the identifier.
        corpus_id: the corpus whose fork it has to be, see `corpus_id`; any where it is None.

    Raises:
        ForkNotFound: there is none that can be read, or more than one.
    """
    place = find_place(folder, id, corpus_id)
    facts = _facts(place)
    draft = _draft(place, facts) if facts is not None else None
    if draft is None:
        raise ForkNotFound(
            f"The fork {place.name[:12]} cannot be read.",
            cause=f"What lies in {place} is not, or no more, what was written there.",
            solution="Drop it, and make it anew.",
            command=f"stillhouse fork --drop {place.name[:12]} --db DB",
        )
    return draft


def find_place(folder: Path, id: str, corpus_id: str | None = None) -> Path:
    """The folder of a fork, be it readable or not; see `find_fork`.

    Raises:
        ForkNotFound: there is none, or more than one.
    """
    places = []
    if _PREFIX.fullmatch(id):
        for place in folder.glob(f"*/{id}*"):
            facts = _facts(place) if _ID.fullmatch(place.name) else None
            foreign = facts is not None and corpus_id not in (None, facts.corpus_id)
            if _ID.fullmatch(place.name) and not foreign:
                places.append(place)
    if len(places) != 1:
        raise ForkNotFound(
            f"'{id}' means several forks." if places else f"'{id}' means no fork.",
            cause=f"It was looked for in {folder}; a fork that was dropped is gone.",
            solution="Take an identifier from the list.",
            command="stillhouse fork --list --db DB",
        )
    return places[0]


def drop_fork(folder: Path, id: str, corpus_id: str | None = None) -> Dropped:
    """Deletes a fork with all that it made, be it readable or not.

    Raises:
        ForkNotFound: there is none, or more than one.
        ForkBusy: it is being made right now.
    """
    place = find_place(folder, id, corpus_id)
    facts = _facts(place)
    if _is_walked(place):
        raise ForkBusy(
            f"The fork {place.name[:12]} is being made right now.",
            cause="Its walk has not ended.",
            solution="Wait for it, or stop it, and drop it then.",
        )
    put_aside = place.with_name(f".dropped-{place.name}")
    try:
        place.rename(put_aside)
    except FileNotFoundError as error:
        raise ForkNotFound(
            f"The fork {place.name[:12]} is gone.",
            cause="Somebody else dropped it meanwhile.",
            solution="There is nothing left to do.",
        ) from error
    except OSError as error:
        raise ForkError(
            f"The fork {place.name[:12]} cannot be dropped.",
            cause=f"The system says: {error.strerror}.",
            solution=f"Make {place.parent} writable.",
        ) from error
    shutil.rmtree(put_aside, ignore_errors=True)
    return Dropped(place.name, facts)


def tell_error(folder: Path, told: Told | None) -> None:
    """Keeps what stopped a fork, or forgets it; a fork that is gone has nothing to be told in."""
    path = folder / "error.json"
    with suppress(OSError):
        if told is None:
            path.unlink(missing_ok=True)
        else:
            write_json(path, told)


def write_json(path: Path, value: Facts | Told) -> None:
    """Writes a file that is there whole or not at all."""
    unfinished = path.with_name(f".{path.name}.tmp")
    unfinished.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2))
    unfinished.replace(path)


def _facts(place: Path) -> Facts | None:
    """What `fork.json` says; None where that is not what this program writes there."""
    try:
        facts = _FACTS.validate_json((place / "fork.json").read_bytes(), strict=True)
        datetime.fromisoformat(facts.created_at)
    except (OSError, ValueError):
        return None
    known = AGENT_OF_STEP.get(facts.step) == facts.agent
    in_place = (facts.id, facts.seed_id) == (place.name, place.parent.name)
    return facts if known and in_place else None


def _is_walked(place: Path) -> bool:
    """Whether somebody makes the fork right now, so far as its database can be opened."""
    try:
        database = Database.open(str(place / "corpus.db"))
    except StorageError:
        return False
    try:
        return database.run_lock().is_held()
    finally:
        database.close()


def _draft(place: Path, facts: Facts) -> Draft | None:
    try:
        database = Database.open(str(place / "corpus.db"))
    except StorageError:
        return None
    try:
        with database.read() as connection:
            status = connection.execute(select(seed_t.c.status)).scalar()
            spent = corpus.spent(connection, facts.recipe)
        state: State = "finished" if status in ("done", "failed") else "unfinished"
        if database.run_lock().is_held():
            state = "running"
    except StorageError:
        return None
    finally:
        database.close()
    told = None
    with suppress(OSError, ValidationError):
        told = _TOLD.validate_json((place / "error.json").read_bytes(), strict=True)
    tokens = (spent["prompt_tokens"], spent["completion_tokens"])
    return Draft(place, facts, state, Spent(spent["calls"], *tokens, spent["usd"]), told)
