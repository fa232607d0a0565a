"""Ties the ranks to the process that started them: one trainer per stage, and no orphans.

The parent holds a lock on a file in the stage's folder, with a word of its own in it. A second
parent is refused. A rank on the parent's machine that finds the lock free, or another word in the
file, knows that its parent is dead, and ends; a kill leaves nothing behind that goes on training.
And a rank that finds another's error ends too, where it would wait for it in a collective.
"""

from __future__ import annotations

import fcntl
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from training.engine.disk import writing
from training.engine.last_words import ERRORS
from training.errors import LaunchFailed

LOCK = "training.lock"
_EVERY_S, _GRACE_S = 0.5, 3.0


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
            CheckpointRefused: there is no room for so much as a name.
        """
        file = folder / LOCK
        with ExitStack() as stack:
            with writing(f"The folder {folder}"):
                # Without a buffer, which would fail a second time when the file is closed.
                handle = stack.enter_context(file.open("a+b", buffering=0))
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise LaunchFailed(
                    f"Another process is training in {folder}.",
                    cause=f"It holds {LOCK} there.",
                    solution="Wait until it is done, or end it.",
                ) from error
            word = f"{uuid.uuid4().hex} {socket.gethostname()}"
            with writing(f"The folder {folder}"):
                handle.truncate(0)
                handle.write(word.encode())
            yield cls(file, word)


def end_with_others(folder: Path) -> None:
    """In a rank: ends this process soon after another rank has left an error, on any host, or the
    parent has died, on its own host."""
    lock = folder / LOCK
    if not lock.exists():  # started by hand, without a parent
        return
    word = lock.read_text()
    threading.Thread(target=_watch, args=(folder, word), name="tether", daemon=True).start()


def _watch(folder: Path, word: str) -> None:
    here = word.endswith(f" {socket.gethostname()}")
    while not any(folder.glob(ERRORS)):
        if here and not _held(folder / LOCK, word):
            os._exit(1)
        time.sleep(_EVERY_S)
    # A rank that failed as well may say so first.
    time.sleep(_GRACE_S)
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
