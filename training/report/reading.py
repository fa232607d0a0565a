"""Reads `metrics.jsonl` back: a whole file at once, or what a running trainer has added to it.

In: the file, which may end in half a line where its writer was killed. Out: records, one dictionary
per line.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from training.errors import TrainingError

Record = dict[str, Any]


class MetricsUnreadable(TrainingError):
    """A metrics file is missing, or broken otherwise than by half a last line."""

    code = "metrics_unreadable"


def read_metrics(path: Path) -> list[Record]:
    """All records of a metrics file, in the order written; half a last line is left out.

    Raises:
        MetricsUnreadable: there is no such file, or a line before the last one is broken.
    """
    if not path.is_file():
        raise MetricsUnreadable(
            f"There are no metrics at {path}.",
            cause="No run has written there, or the folder is another one.",
            solution="Name the folder of a trained stage; metrics.jsonl lies in it.",
        )
    return [record for _, record in whole_lines(path)]


def whole_lines(path: Path) -> Iterator[tuple[bytes, Record]]:
    """Every line with its record; half a last line is left out.

    Raises:
        MetricsUnreadable: a line before the last one is broken.
    """
    lines = path.read_bytes().split(b"\n")
    last = len(lines) - 1
    for index, line in enumerate(lines):
        record = _parse(line)
        if record is not None:
            yield line, record
        elif index < last:
            raise MetricsUnreadable(
                f"Line {index + 1} of {path} is broken.",
                cause="It is no JSON object with a kind and a step; a full or failing disk, or an "
                "editor, may have left it so.",
                solution="Remove that line, or move the file away; no training state is in it.",
            )


class MetricsTail:
    """Follows a metrics file that another process writes.

    It may begin before the file exists. Where the file was replaced (a resumed run rewrites it),
    the records come again from its beginning.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode: int | None = None
        self._offset = 0

    def read(self) -> list[Record]:
        """The records added since the last call; none while there is no file."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return []
        with file:
            status = os.fstat(file.fileno())
            if status.st_ino != self._inode or status.st_size < self._offset:
                self._inode, self._offset = status.st_ino, 0
            file.seek(self._offset)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        return [record for line in whole.split(b"\n") if (record := _parse(line)) is not None]


def _parse(line: bytes) -> Record | None:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    is_record = (
        isinstance(record, dict) and "kind" in record and isinstance(record.get("step"), int)
    )
    return record if is_record else None
