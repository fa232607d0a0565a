"""Writes rows into a store's folder, shard by shard; a shard is there when it is whole.

In: examples and their rows, one after another. Out: shards under names that follow from their
content. The open shard is a `*.tmp` file that is renamed when it is on the disk, so a writer that
is killed loses that one only, and the next writer removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import uuid
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from training.data.example import Example
from training.errors import CaptureError
from training.store.codec import Codec
from training.store.disk import file_errors
from training.store.key import RowsSource, token_ids_hash
from training.store.rows import TeacherRows
from training.store.shard import MAGIC, SUFFIX, Entry, Shard, shard_end
from training.store.statistics import RowStatistics

TEMPORARY = ".tmp"
_LOCK = "writer.lock"
_BUFFER_BYTES = 1 << 20


class ShardWriter:
    """Context manager that takes the folder for itself; leaving it closes the open shard.

    Also when an exception leaves the block: what was appended is whole and worth keeping. Only a
    failed write gives the open shard up.

    Args:
        folder: the store; made if need be.
        source: what all rows belong to.
        vocab_size: width of the teacher's head.
        rows_per_shard: a shard is closed by the sample that brings it to so many.
        on_shard: called with every finished shard (to write its index rows).

    Raises (on entering):
        CaptureError: another process writes there, or the folder cannot be used.
    """

    def __init__(
        self,
        folder: str | Path,
        source: RowsSource,
        vocab_size: int,
        *,
        rows_per_shard: int = 1_000_000,
        on_shard: Callable[[Shard], None] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.source = source
        self.codec = source.codec(vocab_size)
        self._rows_per_shard = rows_per_shard
        self._on_shard = on_shard
        self._lock: int | None = None
        self._open: _OpenShard | None = None

    def __enter__(self) -> Self:
        with file_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = _take_lock(self.folder)
            for left_over in self.folder.glob(f"*{SUFFIX}{TEMPORARY}"):
                left_over.unlink()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def append(self, example: Example, rows: TeacherRows, nll: float | None = None) -> str:
        """Adds one example's rows and returns their key.

        Args:
            example: what was scored.
            rows: one row per trained token, in order.
            nll: the teacher's negative log-likelihood of those tokens, summed, in nats.

        Raises:
            CaptureError: the rows do not fit the example or the form, or cannot be written. After
                a failed write the shards written before are intact and this writer is of no use.
        """
        if len(rows) != len(example.row_N):
            raise CaptureError(
                f"{len(rows)} teacher rows for sample {example.sample_id} were to be stored.",
                cause=f"It has {len(example.row_N)} trained tokens, and each has one row.",
                solution="Nothing of it was stored. Please report this.",
            )
        packed_NB = self.codec.encode(rows)
        statistics = RowStatistics.of(rows, self.codec.decode(packed_NB), nll)
        raw = packed_NB.tobytes()
        key = self.source.key(example)
        ids_hash, checksum = token_ids_hash(example), zlib.crc32(raw)
        entry = Entry(key, ids_hash, example.sample_id, len(rows), checksum)
        with self._giving_up_on_failure():
            if self._open is None:
                self._open = _OpenShard(self.folder, self.source, self.codec)
            self._open.add(entry, raw, statistics)
        if self._open.rows >= self._rows_per_shard:
            self.flush()
        return key

    def flush(self) -> None:
        """Closes the open shard, if there is one: from here on what it holds is safe."""
        if self._open is None:
            return
        with self._giving_up_on_failure():
            shard = Shard.open(self._open.finish())
        self._open = None
        if self._on_shard is not None:
            self._on_shard(shard)

    def close(self) -> None:
        """Closes the open shard and lets the folder go."""
        try:
            self.flush()
        finally:
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    @contextlib.contextmanager
    def _giving_up_on_failure(self) -> Iterator[None]:
        try:
            with file_errors(self.folder):
                yield
        except CaptureError:
            if self._open is not None:
                self._open.discard()
                self._open = None
            raise


class _OpenShard:
    """The shard being written. Its samples are those in `_entries`: appending there is what counts,
    so that an interrupt at any moment leaves whole samples."""

    def __init__(self, folder: Path, source: RowsSource, codec: Codec) -> None:
        self._folder = folder
        self._source = source
        self._codec = codec
        self._path = folder / f"{uuid.uuid4().hex}{SUFFIX}{TEMPORARY}"
        self._file = self._path.open("w+b", buffering=_BUFFER_BYTES)
        self._file.write(MAGIC)
        self._entries: list[tuple[Entry, RowStatistics, int]] = []
        self._named: Path | None = None

    @property
    def rows(self) -> int:
        """Rows of whole samples so far."""
        return self._entries[-1][2] if self._entries else 0

    def add(self, entry: Entry, raw: bytes, statistics: RowStatistics) -> None:
        self._drop_unfinished()
        self._file.write(raw)
        self._entries.append((entry, statistics, self.rows + entry.length))

    def finish(self) -> Path:
        """Writes the end, brings all to the disk and gives the shard its name.

        Interrupted at any moment, it may be called again.
        """
        if self._named is None or self._path.exists():
            self._named = self._folder / f"{self._write_end()}{SUFFIX}"
            self._path.replace(self._named)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._file.close()
        return self._named

    def _write_end(self) -> str:
        """What stands behind the rows; returns the hash of the whole file."""
        self._drop_unfinished()
        statistics = RowStatistics.total(statistics for _, statistics, _ in self._entries)
        entries = [entry for entry, _, _ in self._entries]
        self._file.write(shard_end(self._source, self._codec, statistics, entries))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.seek(0)
        content = hashlib.blake2b(digest_size=16)
        while block := self._file.read(_BUFFER_BYTES):
            content.update(block)
        return content.hexdigest()

    def discard(self) -> None:
        """Nothing of it stays. Closing writes out what is buffered, which may fail once more."""
        with contextlib.suppress(OSError):
            self._file.close()
        self._path.unlink(missing_ok=True)

    def _drop_unfinished(self) -> None:
        end = len(MAGIC) + self.rows * self._codec.row_bytes
        if self._file.tell() != end:
            self._file.seek(end)
            self._file.truncate()


def _take_lock(folder: Path) -> int:
    """The folder's lock; the system lets go of it when the process ends, however it ends."""
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise CaptureError(
            f"Another capture is writing to '{folder}'.",
            cause=f"It is held by process {holder or 'unknown'}; one store takes one writer at a "
            "time.",
            solution="Wait for it, stop it with Ctrl-C, or give this capture another store.",
            command="stillhouse capture RECIPE --set capture.store=FOLDER",
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor
