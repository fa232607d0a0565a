"""Flat files: columns of numbers and texts that are written in order and mapped into memory.

In: values, one after another. Out: files in a folder. Numbers are little-endian and raw; texts are
their UTF-8 bytes end to end, with a column of where each ends. Nothing here knows what they mean.
"""

from __future__ import annotations

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
        self._file(name).write(values.tobytes())

    def text(self, name: str, value: str) -> None:
        """Appends one text."""
        raw = value.encode()
        self._file(name).write(raw)
        self._ends[name] = self._ends.get(name, 0) + len(raw)
        self._file(name + _ENDS).write(self._ends[name].to_bytes(8, "little"))

    def sizes(self) -> dict[str, int]:
        """Bytes of every file so far."""
        return {name: file.tell() for name, file in sorted(self._files.items())}

    def _file(self, name: str) -> IO[bytes]:
        if name not in self._files:
            # 1 MiB: a dozen columns of small values would otherwise be a system call each.
            opened = (self._folder / name).open("xb", buffering=1 << 20)
            self._files[name] = self._stack.enter_context(opened)
        return self._files[name]


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
