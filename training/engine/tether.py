"""Ties the ranks to the process that started them: one trainer per stage, and no orphans.

The parent holds a lock on a file in the stage's folder, with a word of its own in it. A second
parent is refused. A rank on the parent's machine that finds the lock free, or another word in the
file, knows that its parent is dead, and ends; a kill leaves nothing behind that goes on training.
"""

from __future__ import annotations

import fcntl
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from training.errors import LaunchFailed

LOCK = "training.lock"
_FILE, _WORD, _HOST = "STILLHOUSE_TETHER", "STILLHOUSE_TETHER_WORD", "STILLHOUSE_TETHER_HOST"
_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Tether:
    """One parent's hold on a stage's folder."""

    file: Path
    word: str

    @classmethod
    @contextmanager
    def hold(cls, folder: Path) -> Iterator[Tether]:
        """Holds the folder for as long as the block runs.

        Raises:
            LaunchFailed: another process holds it.
        """
        file = folder / LOCK
        with file.open("a+") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise LaunchFailed(
                    f"Another process is training in {folder}.",
                    cause=f"It holds {LOCK} there.",
                    solution="Wait until it is done, or end it.",
                ) from error
            word = uuid.uuid4().hex
            handle.truncate(0)
            handle.write(word)
            handle.flush()
            yield cls(file, word)

    def environment(self) -> dict[str, str]:
        """What the ranks need to know of it."""
        return {_FILE: str(self.file), _WORD: self.word, _HOST: socket.gethostname()}


def end_with_parent() -> None:
    """In a rank: ends this process soon after the parent has died. Does nothing on other hosts."""
    if _FILE not in os.environ or os.environ.get(_HOST) != socket.gethostname():
        return
    file, word = Path(os.environ[_FILE]), os.environ[_WORD]
    threading.Thread(target=_watch, args=(file, word), name="tether", daemon=True).start()


def _watch(file: Path, word: str) -> None:
    while _held(file, word):
        time.sleep(_EVERY_S)
    os._exit(1)


def _held(file: Path, word: str) -> bool:
    try:
        with file.open() as handle:
            if handle.read() != word:
                return False
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return True
            return False
    except FileNotFoundError:
        return False
