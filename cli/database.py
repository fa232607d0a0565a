"""`stillhouse db upgrade`: brings a corpus of an older schema version to this program's.

A SQLite file is copied first, through SQLite's own backup, so that also what is still in the
write-ahead log is in the copy. While a run holds the corpus nothing is done.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from rich.text import Text

from cli.entry import at_work
from cli.show import console
from storage.database import Database, other_version, translated_errors
from storage.migrate import known_revisions, upgrade
from storage.schema import SCHEMA_VERSION


def upgrade_command(db: str) -> int:
    """Upgrades a corpus; returns the exit code."""
    at_work()
    database, found = Database.open_any_version(db)
    try:
        if found == SCHEMA_VERSION:
            console.print(f"The corpus has schema version {found} already; there is nothing to do.")
            return 0
        name = str(database.name)
        if found not in known_revisions():
            raise other_version(name, found)
        with database.run_lock(), translated_errors(name):
            if database.is_sqlite:
                copy = _copy(Path(str(database.url.database)), found)
                console.print(Text(f"A copy of it as it was: {copy}"))
            upgrade(database.engine)
    finally:
        database.close()
    console.print(f"The corpus went from schema version {found} to {SCHEMA_VERSION}.")
    return 0


def _copy(path: Path, version: str) -> Path:
    """A whole copy under a name that is not taken; it has that name only once it is whole."""
    target, number = path.with_name(f"{path.name}.bak-{version}"), 1
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}.bak-{version}-{number}")
    unfinished = target.with_name(f"{target.name}.tmp")
    unfinished.unlink(missing_ok=True)
    try:
        with (
            contextlib.closing(sqlite3.connect(path)) as source,
            contextlib.closing(sqlite3.connect(unfinished)) as copy,
        ):
            source.backup(copy)
        return unfinished.rename(target)
    finally:
        unfinished.unlink(missing_ok=True)
