"""What a rank that fails leaves for its parent: a typed error in a file of the stage's folder.

In: an error. Out: `error-<rank>.json`, whole or not there, which the parent reads back as the same
error. Room for it is taken when the rank starts, because a full disk is one of the things to say.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from common.errors import StillhouseError
from training.engine.disk import writing
from training.errors import TrainingError

ERRORS = "error-*.json"
_LEFTOVERS = "error-*"
_ROOM_BYTES = 16 * 1024


def clear(folder: Path) -> None:
    """Removes what earlier ranks left."""
    for old in folder.glob(_LEFTOVERS):
        old.unlink()


def reserve(folder: Path, rank: str) -> None:
    """Takes room for this rank's error.

    Raises:
        CheckpointRefused: there is none already.
    """
    with writing(f"The folder {folder}"), _reserved(folder, rank).open("wb") as file:
        file.write(bytes(_ROOM_BYTES))
        file.flush()
        os.fsync(file.fileno())  # only now the file system has to have found the blocks


def release(folder: Path, rank: str) -> None:
    """Gives the room back, when all went well."""
    _reserved(folder, rank).unlink(missing_ok=True)


def leave(error: StillhouseError, folder: Path, rank: str) -> None:
    """Writes the error into the room that was taken for it, or into a new file."""
    said = {
        "code": error.code,
        "what": error.what,
        "cause": error.cause,
        "solution": error.solution,
        "command": error.command,
    }
    room = _reserved(folder, rank)
    # Over the old bytes: a file that is cut first gives its blocks back.
    with room.open("r+b" if room.exists() else "wb") as file:
        file.write(json.dumps(said, ensure_ascii=False).encode())
        file.truncate()
    room.replace(folder / ERRORS.replace("*", rank))


def left_in(folder: Path) -> TrainingError | None:
    """The first error that a rank left, as it was raised there; None where there is none."""
    left = sorted(folder.glob(ERRORS), key=lambda file: file.stat().st_mtime_ns)
    if not left:
        return None
    said = json.loads(left[0].read_text(encoding="utf-8"))
    kinds = {kind.code: kind for kind in _subclasses(TrainingError)}
    kind = kinds.get(said["code"], TrainingError)
    return kind(
        said["what"], cause=said["cause"], solution=said["solution"], command=said["command"]
    )


def _reserved(folder: Path, rank: str) -> Path:
    return folder / f"error-{rank}.room"


def _subclasses(kind: type[TrainingError]) -> Iterator[type[TrainingError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _subclasses(each)
