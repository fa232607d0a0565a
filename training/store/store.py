"""Reads teacher rows back, by key: a folder of shards as one store.

In: a folder and keys. Out: `TeacherRows`, checked against the checksum they were written with. The
store keeps about 80 bytes per sample in memory and maps the rows; it needs no database. Missing,
stale or corrupt rows are refused, naming the sample: nothing here ever falls back.
"""

from __future__ import annotations

import mmap
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.example import Example
from training.errors import RowsRefused
from training.store.key import RowsSource
from training.store.rows import TeacherRows
from training.store.shard import MAGIC, SUFFIX, Keys, Shard

# Each mapping holds a file descriptor, and a process may have about a thousand.
_MAPPED_AT_ONCE = 64


class RowStore:
    """All shards of a folder as they were when it was opened. Use `RowStore.open`.

    A key that several shards hold is found in one of them; equal keys mean equal rows.
    """

    def __init__(self, folder: Path, shards: Sequence[Shard]) -> None:
        self.folder = folder
        self.shards = tuple(shards)
        sizes = [len(shard) for shard in self.shards]
        self._first_S = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        keys = [shard.key_M for shard in self.shards]
        key_M: Keys = np.concatenate(keys) if keys else np.empty(0, "S16")
        order_M = np.argsort(key_M, kind="stable")
        self._key_M = key_M[order_M]
        self._place_M = order_M.astype(np.uint32)
        self._maps: OrderedDict[int, mmap.mmap] = OrderedDict()

    @classmethod
    def open(cls, folder: str | Path) -> RowStore:
        """Opens the shards in a folder; one that does not exist holds none.

        Raises:
            RowsRefused: naming the first file that is no whole shard of this format.
        """
        folder = Path(folder)
        return cls(folder, [Shard.open(path) for path in sorted(folder.glob(f"*{SUFFIX}"))])

    def __len__(self) -> int:
        """Samples, counting twice what two shards hold."""
        return len(self._key_M)

    def missing(self, keys: Sequence[str]) -> list[int]:
        """Which of the keys have no rows: their positions in `keys`, ascending."""
        missing: list[int] = np.flatnonzero(self._found(keys) < 0).tolist()
        return missing

    def read(self, example: Example, source: RowsSource) -> TeacherRows:
        """The source's rows for an example, one per trained token.

        Raises:
            RowsRefused: naming the sample, where its rows are missing, belong to something else
                (and what differs), or are corrupt.
        """
        found = int(self._found([source.key(example)])[0])
        if found < 0:
            raise self._missing(example, source)
        number = int(np.searchsorted(self._first_S, found, side="right")) - 1
        shard = self.shards[number]
        at = found - int(self._first_S[number])
        raw = self._raw(number, int(shard.start_M[at]), int(shard.length_M[at]))
        if zlib.crc32(raw) != shard.checksum_M[at] or shard.length_M[at] != len(example.row_N):
            raise RowsRefused(
                f"The teacher rows of sample {example.sample_id} are corrupt.",
                cause=f"In '{shard.path}' they do not match the checksum they were written with.",
                solution="Restore the file, or delete it and capture again: only its samples are "
                "redone.",
                command="stillhouse capture RECIPE",
            )
        packed = np.frombuffer(raw, np.uint8).reshape(-1, shard.codec.row_bytes)
        return shard.codec.decode(packed)

    def close(self) -> None:
        """Lets the mapped files go."""
        while self._maps:
            self._maps.popitem()[1].close()

    def _found(self, keys: Sequence[str]) -> NDArray[np.int64]:
        """Each key's place among all samples; -1 where it has none."""
        wanted_W = np.frombuffer(bytes.fromhex("".join(keys)), "S16")
        if not len(self._key_M):
            return np.full(len(wanted_W), -1, np.int64)
        at_W = np.minimum(np.searchsorted(self._key_M, wanted_W), len(self._key_M) - 1)
        same_W = self._key_M[at_W] == wanted_W
        return np.where(same_W, self._place_M[at_W].astype(np.int64), -1)

    def _raw(self, number: int, start: int, length: int) -> bytes:
        shard = self.shards[number]
        width = shard.codec.row_bytes
        first = len(MAGIC) + start * width
        view = self._maps.pop(number, None)
        if view is None:
            view = _map(shard.path)
            if len(self._maps) >= _MAPPED_AT_ONCE:
                self._maps.popitem(last=False)[1].close()
        self._maps[number] = view
        return view[first : first + length * width]

    def _missing(self, example: Example, source: RowsSource) -> RowsRefused:
        """Why there are none: other rows of the same sample tell what changed."""
        what = f"There are no teacher rows for sample {example.sample_id} in '{self.folder}'."
        others = [
            shard for shard in self.shards if example.sample_id in shard.sample_ids()
        ]  # fmt: skip
        if not others:
            cause = "It was never captured there."
        else:
            # Of several captures the one that comes nearest is the one that was meant.
            nearest = min((source.differences(shard.source) for shard in others), key=len)
            what = f"The teacher rows of sample {example.sample_id} are stale."
            cause = f"Those in '{self.folder}' were captured with " + (
                f"{', '.join(nearest)}." if nearest else "other token ids: its text has changed."
            )
        return RowsRefused(
            what,
            cause=cause,
            solution="Capture again; what is there already is kept, and only the rest is scored.",
            command="stillhouse capture RECIPE",
        )


def _map(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise RowsRefused(
            f"The shard '{path}' cannot be read any more.",
            cause=f"The system says: {error.strerror}.",
            solution="Restore the file, or capture again: only its samples are redone.",
            command="stillhouse capture RECIPE",
        ) from error
