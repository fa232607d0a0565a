"""One shard: a file of packed rows that says by itself what they are and where each sample's lie.

Layout, all little-endian:

    magic                8 bytes
    rows                 row_bytes each, sample after sample
    keys                 16 bytes per sample
    token id hashes      16 bytes per sample
    lengths              uint32 per sample, in rows
    checksums            uint32 per sample, CRC-32 of its packed rows
    sample ids           zlib of the ids, joined by line feeds
    description          JSON: the source, the codec, the statistics, sizes
    trailer              lengths of the table (keys to sample ids) and of the description (uint64
                         each), CRC-32 of both (uint32), format version (uint32), magic

What is written last says how much came before, so a file cut short is never taken for whole. Rows
come first because they are written as they are made.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import orjson
from numpy.typing import NDArray

from training.errors import RowsRefused
from training.store.codec import Codec
from training.store.key import RowsSource
from training.store.statistics import RowStatistics

MAGIC = b"STLHROWS"
FORMAT_VERSION = 1
SUFFIX = ".rows"
_TRAILER = struct.Struct("<QQII8s")

Keys = NDArray[np.bytes_]


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    """A shard's description and its samples, M of them, without the rows.

    - `key_M`, `token_ids_hash_M`: 16 bytes each. Single elements lose zero bytes at their end, so
      compare whole arrays only, and take text from `keys` and `token_ids_hashes`.
    - `start_M`: int64, the first row of each sample, counted in rows from the file's first.
    - `length_M`: uint32, rows.
    - `checksum_M`: uint32.
    """

    path: Path
    source: RowsSource
    codec: Codec
    statistics: RowStatistics
    file_bytes: int
    key_M: Keys
    token_ids_hash_M: Keys
    start_M: NDArray[np.int64]
    length_M: NDArray[np.uint32]
    checksum_M: NDArray[np.uint32]
    packed_sample_ids: bytes

    @classmethod
    def open(cls, path: Path) -> Self:
        """Reads a shard's end; its rows stay where they are.

        Raises:
            RowsRefused: naming the file, where it is cut short, changed, or of another format.
        """
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size < len(MAGIC) + _TRAILER.size:
                    raise _broken(path, "It is too short.")
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
                    described, table = _read_end(path, view, size)
        except OSError as error:
            raise _broken(path, f"The system says: {error.strerror}.") from error
        return cls._from(path, size, described, table)

    @classmethod
    def _from(cls, path: Path, size: int, described: dict[str, Any], table: bytes) -> Self:
        codec = Codec(**described["codec"])
        samples = int(described["samples"])
        columns = []
        start = 0
        for dtype in ("S16", "S16", "<u4", "<u4"):
            columns.append(np.frombuffer(table, dtype, samples, start))
            start += samples * np.dtype(dtype).itemsize
        key_M, token_ids_hash_M, length_M, checksum_M = columns
        end_M = np.cumsum(length_M, dtype=np.int64)
        return cls(
            path=path,
            source=RowsSource.from_dict(described["source"]),
            codec=codec,
            statistics=RowStatistics.from_dict(described["statistics"]),
            file_bytes=size,
            key_M=key_M,
            token_ids_hash_M=token_ids_hash_M,
            start_M=end_M - length_M,
            length_M=length_M,
            checksum_M=checksum_M,
            packed_sample_ids=table[start:],
        )

    def __len__(self) -> int:
        return len(self.key_M)

    @property
    def name(self) -> str:
        """The file's name: content-addressed, so it is the same wherever the folder lies."""
        return self.path.name

    def keys(self) -> list[str]:
        """Each entry's key, 32 hexadecimal digits."""
        return _hexadecimal(self.key_M)

    def token_ids_hashes(self) -> list[str]:
        """Each entry's hash of token ids, 32 hexadecimal digits."""
        return _hexadecimal(self.token_ids_hash_M)

    def sample_ids(self) -> list[str]:
        """The sample that each entry belongs to."""
        return zlib.decompress(self.packed_sample_ids).decode().split("\n") if len(self) else []


@dataclass(frozen=True, slots=True)
class Entry:
    """One sample's place in a shard that is being written."""

    key: str
    token_ids_hash: str
    sample_id: str
    length: int
    checksum: int


def shard_end(
    source: RowsSource, codec: Codec, statistics: RowStatistics, entries: list[Entry]
) -> bytes:
    """Everything that follows the rows."""
    sample_ids = "\n".join(entry.sample_id for entry in entries)
    table = b"".join(
        (
            bytes.fromhex("".join(entry.key for entry in entries)),
            bytes.fromhex("".join(entry.token_ids_hash for entry in entries)),
            np.array([entry.length for entry in entries], "<u4").tobytes(),
            np.array([entry.checksum for entry in entries], "<u4").tobytes(),
            zlib.compress(sample_ids.encode(), 9),
        )
    )
    described = {
        "source": source.as_dict(),
        "codec": codec.as_dict(),
        "statistics": statistics.as_dict(),
        "samples": len(entries),
        "rows": sum(entry.length for entry in entries),
    }
    description = orjson.dumps(described)
    body = table + description
    lengths = (len(table), len(description))
    return body + _TRAILER.pack(*lengths, zlib.crc32(body), FORMAT_VERSION, MAGIC)


def _read_end(path: Path, view: mmap.mmap, size: int) -> tuple[dict[str, Any], bytes]:
    end = size - _TRAILER.size
    table, description, checksum, version, magic = _TRAILER.unpack(view[end:])
    if view[: len(MAGIC)] != MAGIC or magic != MAGIC:
        raise _broken(path, "It is cut short, or no shard of teacher rows.")
    if version != FORMAT_VERSION:
        raise RowsRefused(
            f"'{path}' has format version {version}; this Stillhouse reads {FORMAT_VERSION}.",
            cause="It was made by another version of Stillhouse.",
            solution="Use the version that made it, or delete the file and capture again.",
            command="stillhouse capture RECIPE",
        )
    start = end - table - description
    if start < len(MAGIC) or zlib.crc32(view[start:end]) != checksum:
        raise _broken(path, "Its table of samples does not match its checksum.")
    described: dict[str, Any] = orjson.loads(view[end - description : end])
    if start != len(MAGIC) + described["rows"] * Codec(**described["codec"]).row_bytes:
        raise _broken(path, "Rows are missing from it.")
    return described, view[start : start + table]


def _hexadecimal(digest_M: Keys) -> list[str]:
    text = digest_M.tobytes().hex()
    return [text[start : start + 32] for start in range(0, len(text), 32)]


def _broken(path: Path, cause: str) -> RowsRefused:
    return RowsRefused(
        f"'{path}' is no readable shard of teacher rows.",
        cause=cause,
        solution="Restore the file, or delete it and capture again: only its samples are redone.",
        command="stillhouse capture RECIPE",
    )
