"""Flat files: columns of numbers and texts that are written in order and mapped into memory.

In: values, one after another. Out: files in a folder, and what each must be found to be. Numbers
are little-endian and raw; texts are their UTF-8 bytes end to end, with a column of where each ends.
Nothing here knows what they mean.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_ENDS = ".ends"


class FlatWriter:
    """Appends to columns of one folder; files are on the disk when the block ends."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._files: dict[str, IO[bytes]] = {}
        self._hashes: dict[str, Any] = {}
        self._ends: dict[str, int] = {}

    @classmethod
    @contextmanager
    def into(cls, folder: Path) -> Iterator[FlatWriter]:
        """A writer for new files in `folder`."""
        with ExitStack() as stack:
            writer = cls(folder, stack)
            yield writer
            for file in writer._files.values():
                file.flush()
                os.fsync(file.fileno())

    def numbers(self, name: str, values: NDArray[Any]) -> None:
        """Appends an array as it lies in memory; always give the same type."""
        self._append(name, values.tobytes())

    def text(self, name: str, value: str) -> None:
        """Appends one text."""
        raw = value.encode()
        self._append(name, raw)
        self._ends[name] = self._ends.get(name, 0) + len(raw)
        self._append(name + _ENDS, self._ends[name].to_bytes(8, "little"))

    def files(self) -> dict[str, dict[str, Any]]:
        """Every file so far: how many bytes, and their hash."""
        return {
            name: {"bytes": file.tell(), "sha256": self._hashes[name].hexdigest()}
            for name, file in sorted(self._files.items())
        }

    def _append(self, name: str, raw: bytes) -> None:
        if name not in self._files:
            # 1 MiB: a dozen columns of small values would otherwise be a system call each.
            opened = (self._folder / name).open("xb", buffering=1 << 20)
            self._files[name] = self._stack.enter_context(opened)
            self._hashes[name] = hashlib.sha256()
        self._files[name].write(raw)
        self._hashes[name].update(raw)


def sha256_of(file: Path) -> str:
    """A file's hash, to be compared with what `FlatWriter.files` said of it."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def map_numbers(folder: Path, name: str, dtype: DTypeLike) -> NDArray[Any]:
    """A column of numbers, read-only, from the page cache."""
    return np.memmap(folder / name, dtype=dtype, mode="r")


class TextColumn(Sequence[str]):
    """A column of texts, decoded as they are asked for."""

    def __init__(self, folder: Path, name: str) -> None:
        self._bytes: NDArray[np.uint8] = map_numbers(folder, name, np.uint8)
        self._ends: NDArray[np.int64] = map_numbers(folder, name + _ENDS, np.dtype("<i8"))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, place: Any) -> Any:
        start = int(self._ends[place - 1]) if place else 0
        return self._bytes[start : int(self._ends[place])].tobytes().decode()

    def places(self, text: str) -> list[int]:
        """Where this very text stands in the column, ascending."""
        wanted, raw = text.encode(), self._bytes.tobytes()
        found = []
        at = raw.find(wanted)
        while wanted and at >= 0:
            place = int(np.searchsorted(self._ends, at, side="right"))
            start = int(self._ends[place - 1]) if place else 0
            if start == at and int(self._ends[place]) == at + len(wanted):
                found.append(place)
            at = raw.find(wanted, at + 1)
        return found
