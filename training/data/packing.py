"""Packs sequences into bins of bounded tokens, and spreads bins over ranks.

In: lengths in tokens. Out: bins of positions into them. Best-fit-decreasing (arXiv 2404.10830)
takes the longest first and puts each into the fullest bin that still has room; none is ever cut.
O(n log n): a sorted list holds the distinct amounts of room, at most `capacity` of them. Ties are
broken by position, so the result depends on the arguments alone.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Bin:
    """Some sequences that go through the model together."""

    items: list[int] = field(default_factory=list)
    tokens: int = 0

    def add(self, item: int, length: int) -> None:
        """Puts one sequence in."""
        self.items.append(item)
        self.tokens += length


def _longest_first(lengths: Sequence[int]) -> list[int]:
    return sorted(range(len(lengths)), key=lambda item: (-lengths[item], item))


def pack(lengths: Sequence[int], capacity: int, max_items: int | None = None) -> list[Bin]:
    """Best-fit-decreasing bins of at most `capacity` tokens and `max_items` sequences.

    A sequence longer than `capacity` gets a bin of its own.
    """
    bins: list[Bin] = []
    rooms: list[int] = []
    open_by_room: dict[int, list[Bin]] = {}
    for item in _longest_first(lengths):
        length = lengths[item]
        place = bisect_left(rooms, length)
        if place == len(rooms):
            chosen = Bin()
            bins.append(chosen)
        else:
            room = rooms[place]
            chosen = open_by_room[room].pop()
            if not open_by_room[room]:
                del open_by_room[room], rooms[place]
        chosen.add(item, length)
        left = capacity - chosen.tokens
        if left > 0 and (max_items is None or len(chosen.items) < max_items):
            if left not in open_by_room:
                open_by_room[left] = []
                insort(rooms, left)
            open_by_room[left].append(chosen)
    return bins


def level(
    lengths: Sequence[int], bins: int, capacity: int, max_items: int | None = None
) -> list[Bin] | None:
    """Exactly `bins` bins as even in tokens as longest-first filling makes them, each sequence into
    the emptiest bin; None where that breaks a bound that `pack` keeps."""
    made = [Bin() for _ in range(bins)]
    heap = [(0, number) for number in range(bins)]
    for item in _longest_first(lengths):
        if not heap:
            return None
        tokens, number = heap[0]
        if tokens and tokens + lengths[item] > capacity:
            return None
        made[number].add(item, lengths[item])
        if max_items is not None and len(made[number].items) >= max_items:
            heapq.heappop(heap)
        else:
            heapq.heapreplace(heap, (made[number].tokens, number))
    return made


def spread(bins: Sequence[Bin], ranks: int) -> list[list[Bin]]:
    """Bins for each rank: equally many (empty ones where needed), alike in size at each turn, and
    even in total. Within a turn the fullest bin goes to the rank that has the least so far."""
    shares: list[list[Bin]] = [[] for _ in range(ranks)]
    totals = [0] * ranks
    by_size = sorted(bins, key=lambda each: (-each.tokens, each.items))
    for start in range(0, len(by_size), ranks):
        turn = by_size[start : start + ranks]
        turn += [Bin() for _ in range(ranks - len(turn))]
        emptiest_first = sorted(range(ranks), key=lambda rank: (totals[rank], rank))
        for rank, given in zip(emptiest_first, turn, strict=True):
            shares[rank].append(given)
            totals[rank] += given.tokens
    return shares
