"""Reads the rows of a JSON array, or the members of a JSON object, without holding the file.

A byte scanner finds where each element begins and ends by following brackets and strings; only then
is that element parsed. So memory is one element's, and a malformed element whose brackets balance
costs itself and not the rest. Bytes in, `Element`s and `Member`s out; what an element's bytes mean
is left to the caller.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_CHUNK = 1 << 16
LARGEST_ELEMENT = 64 << 20

# A JSON string holds no raw line break. One that meets a break before its closing quote is broken,
# and ending it there keeps the damage to its own element. A lone quote may continue in what has not
# been read yet. The quantifiers are possessive: no string is scanned twice.
_TOKEN = re.compile(
    rb'"[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+(?:"|\\?\n)|"|[{}\[\],:]',
)


class JsonBroken(Exception):
    """The scanner cannot go on: the text ends early, or no element ends within reason."""

    def __init__(self, row: int, problem: str) -> None:
        super().__init__(problem)
        self.row = row
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Element:
    """One element of an array: its position, from 1, and its bytes."""

    row: int
    text: bytes


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a top-level object: its key's bytes, its value's first byte, where it begins.

    `offset` counts bytes from the start of the (decompressed) file to the value's first byte.
    """

    key: bytes
    opens: bytes
    offset: int


class _Scanner:
    """Structural tokens of a stream, with the bytes since `keep_from` still at hand."""

    def __init__(self, stream: BinaryIO, offset: int) -> None:
        stream.seek(offset)
        self._stream = stream
        self._data = b""
        self._base = offset
        self._position = 0
        self._kept = 0

    def next_token(self) -> tuple[int, bytes] | None:
        """The next token and its absolute offset; None at the end of the stream."""
        while True:
            found = _TOKEN.search(self._data, self._position)
            if found and found.group() != b'"':
                self._position = found.end()
                return self._base + found.start(), found.group()
            self._position = found.start() if found else len(self._data)
            if not self._read_more():
                return None

    def keep_from(self, offset: int) -> None:
        """Let go of everything before `offset`."""
        self._kept = offset - self._base

    def between(self, start: int, end: int) -> bytes:
        """The bytes from `start` to `end`, both still kept."""
        return self._data[start - self._base : end - self._base]

    def first_byte_after(self, offset: int) -> tuple[int, bytes]:
        """The first byte that is not white space at or after `offset`, and where it is."""
        while True:
            at = offset - self._base
            rest = self._data[at:].lstrip()
            if rest:
                return self._base + len(self._data) - len(rest), rest[:1]
            if not self._read_more():
                return offset, b""

    def _read_more(self) -> bool:
        kept = min(self._kept, self._position)
        if self._position - kept > LARGEST_ELEMENT:
            return False
        # Reading as much again as is held keeps a large element's cost linear in its size.
        chunk = self._stream.read(max(_CHUNK, len(self._data) - kept))
        self._data = self._data[kept:] + chunk
        self._base += kept
        self._position -= kept
        self._kept -= kept
        return bool(chunk)


def read_elements(stream: BinaryIO, offset: int = 0) -> Iterator[Element]:
    """Every element of the array whose `[` is the first token at or after `offset`.

    Raises:
        JsonBroken: the array does not end, after the elements before the break were yielded.
    """
    scanner = _Scanner(stream, offset)
    opening = scanner.next_token()
    if opening is None or opening[1] != b"[":
        raise JsonBroken(1, "the array does not begin with [")
    start, depth, row = opening[0] + 1, 0, 1
    while True:
        scanner.keep_from(start)
        token = scanner.next_token()
        if token is None:
            raise JsonBroken(row, f"element {row} of the array has no end: a bracket is missing")
        at, kind = token
        if depth == 0 and kind in (b",", b"]"):
            text = scanner.between(start, at).strip()
            if text or kind == b",":
                yield Element(row, text)
            if kind == b"]":
                return
            start, row = at + 1, row + 1
        elif kind in (b"{", b"["):
            depth += 1
        elif kind in (b"}", b"]"):
            depth = max(0, depth - 1)


def read_members(stream: BinaryIO) -> list[Member]:
    """The members of the object whose `{` is the stream's first token, values unread.

    Raises:
        JsonBroken: the object does not end.
    """
    scanner = _Scanner(stream, 0)
    members: list[Member] = []
    depth, key = 0, b""
    while True:
        token = scanner.next_token()
        if token is None:
            raise JsonBroken(1, "the object is not closed: a bracket is missing")
        at, kind = token
        scanner.keep_from(at)
        if kind in (b"{", b"["):
            depth += 1
        elif kind in (b"}", b"]"):
            depth -= 1
            if depth == 0:
                return members
        elif depth == 1 and kind == b":":
            offset, opens = scanner.first_byte_after(at + 1)
            members.append(Member(key, opens, offset))
        elif depth == 1 and kind not in (b",", b":"):
            key = kind
