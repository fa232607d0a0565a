"""Writing files: to the very disk, and what torch and the system say when they do not fit, as one
typed error."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from training.errors import CheckpointRefused

_WRITER = re.compile(r"PytorchStreamWriter|inline_container|file write failed|unexpected pos")


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Guards the writing of `what`, a sentence's subject with its path.

    Raises:
        CheckpointRefused: it cannot be written; what was whole before is intact.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        # torch's own writer says RuntimeError, and so does much else: a broken connection, say.
        if isinstance(error, RuntimeError) and not _WRITER.search(str(error)):
            raise
        raise CheckpointRefused(
            f"{what} cannot be written.",
            cause=first_line(error),
            solution="Free some disk space and run the same command again: it goes on from the "
            "last whole checkpoint.",
            command="df -h",
        ) from error


def sync_folder(folder: Path) -> None:
    """Forces a folder's files and their names to the disk, and the folder's own name."""
    for path in (*folder.iterdir(), folder, folder.parent):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def first_line(error: BaseException) -> str:
    """What an error says, on one line."""
    return next(iter(str(error).splitlines()), type(error).__name__)
