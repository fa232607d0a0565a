"""A set of 64-bit numbers in about 8 bytes each, for fingerprints that a long run must remember.

New numbers gather in an ordinary set; every so often they are merged into one sorted array.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable

MERGE_AT = 8192


class CompactSet:
    """Membership and adding, nothing else; the numbers are 0 to 2⁶⁴ − 1."""

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._sorted = array("Q", sorted(set(numbers)))
        self._recent: set[int] = set()

    def __contains__(self, number: int) -> bool:
        if number in self._recent:
            return True
        place = bisect_left(self._sorted, number)
        return place < len(self._sorted) and self._sorted[place] == number

    def __len__(self) -> int:
        return len(self._sorted) + len(self._recent)

    def add(self, number: int) -> bool:
        """Adds `number`; whether it was new."""
        if number in self:
            return False
        self._recent.add(number)
        if len(self._recent) >= MERGE_AT:
            self._merge()
        return True

    def _merge(self) -> None:
        merged, start = array("Q"), 0
        for number in sorted(self._recent):
            place = bisect_left(self._sorted, number, start)
            merged.extend(self._sorted[start:place])
            merged.append(number)
            start = place
        merged.extend(self._sorted[start:])
        self._sorted, self._recent = merged, set()
