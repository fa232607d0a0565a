"""What a disk refuses, in the user's words: the same for every file that a store's folder holds."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from training.errors import CaptureError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextlib.contextmanager
def file_errors(folder: Path) -> Iterator[None]:
    """Turns what the system says while a store is written to into a `CaptureError`."""
    try:
        yield
    except OSError as error:
        full = error.errno in _FULL
        raise CaptureError(
            f"Teacher rows cannot be written to '{folder}'.",
            cause=f"The system says: {error.strerror}.",
            solution=("Free some disk space" if full else "Make the folder one you may write to")
            + " and run the same command again; the shards written so far are kept.",
            command="df -h" if full else None,
        ) from error
