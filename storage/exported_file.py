"""The file that an export wrote, as long as it is still that file.

In: a path and the SHA-256 that the export's row notes. Out: the file, open for reading, or why it
is not to be believed: it is gone, is no regular file, or was written over since.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO


class ExportChanged(Exception):
    """The file is not what the export wrote; the text says what it is instead."""


@contextmanager
def opened(path: Path, sha256: str) -> Iterator[BinaryIO]:
    """The file, open at its beginning.

    Raises:
        OSError: it cannot be read.
        ExportChanged: it is another file than was written.
    """
    # A pipe without a writer would keep a plain `open` waiting for ever.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ExportChanged(f"{path} is no regular file")
        state = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        if _sha256_of(path, state) != sha256:
            raise ExportChanged(f"{path} was written over since: it is not the file of this export")
        yield file


@lru_cache(maxsize=64)
def _sha256_of(path: Path, state: tuple[int, ...]) -> str:
    """The digest of a file in this state; read once for each."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
