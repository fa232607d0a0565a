"""A small number for each of millions of keys, in two arrays.

In: keys and numbers. Out: the number that was last put under a key. Every full garbage collection
goes through a dictionary entry by entry, and no page is answered meanwhile; an array's elements are
no objects. Keys are known by 64 bits, their hash; each takes 24 to 48 bytes.
"""

from __future__ import annotations

from array import array
from collections.abc import Hashable

_FEWEST = 1 << 10


class CompactMap:
    """Numbers from 1 to 4,294,967,295 by key; 0 stands for nothing."""

    def __init__(self) -> None:
        self._used = 0
        self._make(_FEWEST)

    def place(self, key: Hashable) -> int:
        """Where a key's number is, or the free place where it belongs; until the next `put`."""
        hashed = hash(key)
        place = hashed & self._last
        numbers = self._numbers
        while numbers[place] and self._hashes[place] != hashed:
            place = (place + 1) & self._last
        return place

    def __getitem__(self, place: int) -> int:
        """The number at a place; 0 where it is free."""
        return self._numbers[place]

    def put(self, place: int, key: Hashable, number: int) -> None:
        """Makes this the number of the key whose place it is."""
        if not self._numbers[place]:
            self._hashes[place] = hash(key)
            self._used += 1
        self._numbers[place] = number
        # Half of the places stay free, so that a search is short.
        if 2 * self._used > self._last:
            self._grow()

    def _make(self, places: int) -> None:
        """`places` is a power of two."""
        self._last = places - 1
        self._hashes = array("q", bytes(8 * places))
        self._numbers = array("I", bytes(4 * places))

    def _grow(self) -> None:
        kept = zip(self._hashes, self._numbers, strict=True)
        self._make(2 * len(self._numbers))
        hashes, numbers, last = self._hashes, self._numbers, self._last
        for hashed, number in kept:
            if number:
                place = hashed & last
                while numbers[place]:
                    place = (place + 1) & last
                hashes[place] = hashed
                numbers[place] = number
