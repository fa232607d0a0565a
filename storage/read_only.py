"""SQLite files that this program may read and not write: another user's, or on a read-only disk.

In: a path. Out: whether it is one, and the URL that opens it so. A file in WAL mode needs a helper
file beside it even for reading; where the folder does not allow one and nothing waits in the log,
the file is opened as one that does not change.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from sqlalchemy.engine import URL


def is_read_only(path: str) -> bool:
    """Whether a file may be read, and it or its folder not be written to."""
    folder = Path(path).resolve().parent
    return os.access(path, os.R_OK) and not (
        os.access(path, os.W_OK) and os.access(folder, os.W_OK)
    )


def read_only_url(path: str) -> URL:
    """The URL that opens the file for reading only."""
    whole = Path(path).resolve()
    query = {"mode": "ro", "uri": "true"}
    if not os.access(whole.parent, os.W_OK) and not Path(f"{whole}-wal").exists():
        query["immutable"] = "1"
    return URL.create("sqlite", database=f"file:{quote(str(whole))}", query=query)
