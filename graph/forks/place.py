"""Where a new fork is made: a folder beside its seed's others, by one process at a time.

In: the folder of forks and a seed. Out: an empty folder to fill; it is gone again where filling it
fails. Folders get the rights that the umask gives, as all other files of a corpus do.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from graph.forks.errors import ForkRefused
from storage.errors import StorageFull

_MAKING = ".making-"
_LEFT_BEHIND_S = 3600.0


@contextmanager
def one_at_a_time(folder: Path, seed_id: str) -> Iterator[Path]:
    """The folder of a seed's forks, in which nobody else makes one meanwhile.

    Raises:
        ForkRefused: the folder cannot be made or written to.
    """
    of_seed = folder / seed_id
    with _told(folder):
        of_seed.mkdir(parents=True, exist_ok=True)
        lock = os.open(of_seed / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield of_seed
    finally:
        os.close(lock)


@contextmanager
def filled(folder: Path, of_seed: Path, id: str) -> Iterator[Path]:
    """A folder that becomes the fork `id` once everything is in it.

    Raises:
        ForkRefused: it cannot be written.
    """
    with _told(folder):
        _sweep(of_seed)
        place = of_seed / f"{_MAKING}{uuid.uuid4().hex}"
        place.mkdir()
        try:
            yield place
            place.rename(of_seed / id)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, StorageFull) as error:
        said = error.strerror if isinstance(error, OSError) else error.what
        raise ForkRefused(
            f"No fork can be kept in {folder}.",
            cause=f"The system says: {said}",
            solution="Make room there, or make it a folder that may be written to; in a terminal "
            "--forks names another.",
            command="stillhouse fork SAMPLE --from AGENT --forks FOLDER",
        ) from error


def _sweep(of_seed: Path) -> None:
    """Deletes what a process that was killed while it prepared a fork left behind."""
    for place in of_seed.glob(f"{_MAKING}*"):
        try:
            age_s = time.time() - place.stat().st_mtime
        except FileNotFoundError:
            continue
        if age_s > _LEFT_BEHIND_S:
            shutil.rmtree(place, ignore_errors=True)
