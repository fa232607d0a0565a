"""Sums over all calls, kept call by call: by kind of call, and by second for each latest run.

In: rows as `inspector.new_calls` gives them, each once. Out: sums from which every figure about
calls can be put together without looking at a call again.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from inspector.new_calls import Call, moment_of


class Kind(NamedTuple):
    """What calls are told apart by."""

    recipe: str
    agent: str
    teacher: str
    model: str
    prompt_name: str
    prompt_hash: str
    prompt_version: str
    cached: Any
    error_type: str | None


_KIND = len(Kind._fields)


@dataclass(slots=True)
class Sums:
    """All calls of one kind. `first` and `last` are as the driver gives times; `latencies` counts
    by milliseconds, see `rounded`; `groups` is the caller's."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0
    priced: int = 0
    latency_s: float = 0.0
    latencies: Counter[int] = field(default_factory=Counter)
    first: Any = None
    last: Any = None
    groups: int | None = None

    @property
    def timed(self) -> int:
        """How many calls have a latency."""
        return self.latencies.total()


@dataclass(slots=True)
class Seconds:
    """One run's calls by the second: for each its calls, failed attempts and tokens, one after
    another. `begin` is the first second, in seconds since 1970; `last` the latest call's time, as
    the driver gives it."""

    begin: int
    last: Any
    counts: array[int] = field(default_factory=lambda: array("q"))

    def add(self, second: int, failed: bool, tokens: int) -> None:
        """One call."""
        if second < self.begin:
            self.counts = array("q", bytes(24 * (self.begin - second))) + self.counts
            self.begin = second
        place = 3 * (second - self.begin)
        if place >= len(self.counts):
            self.counts.frombytes(bytes(8 * (place + 3 - len(self.counts))))
        self.counts[place] += 1
        self.counts[place + 1] += failed
        self.counts[place + 2] += tokens


class CallSums:
    """Everything that is known of calls. `forgotten` are runs whose seconds nobody asks for."""

    def __init__(self) -> None:
        self.kinds: dict[tuple[Any, ...], Sums] = {}
        self.seconds: dict[str, Seconds] = {}
        self._forgotten: set[str] = set()

    def keep_seconds_of(self, latest: set[str], all_runs: set[str]) -> None:
        """Of these runs only the latest ones are told apart by seconds."""
        self._forgotten = all_runs - latest
        for run in self._forgotten & self.seconds.keys():
            del self.seconds[run]

    def add(self, row: Sequence[Any]) -> Sums:
        """One call that was not added before; the sums of its kind."""
        (*_, error, run, _, prompt, completion, usd, latency, at, _) = row[: len(Call._fields)]
        kind = tuple(row[:_KIND])
        sums = self.kinds.get(kind)
        if sums is None:
            sums = self.kinds[kind] = Sums(first=at, last=at)
        tokens = (prompt or 0) + (completion or 0)
        sums.calls += 1
        sums.prompt_tokens += prompt or 0
        sums.completion_tokens += completion or 0
        if usd is not None:
            sums.usd += usd
            sums.priced += 1
        if latency is not None:
            sums.latency_s += latency
            sums.latencies[rounded(latency)] += 1
        if at < sums.first:
            sums.first = at
        elif at > sums.last:
            sums.last = at
        if run not in self._forgotten:
            second = math.floor(moment_of(at).timestamp())
            seconds = self.seconds.get(run)
            if seconds is None:
                seconds = self.seconds[run] = Seconds(second, at)
            seconds.add(second, error is not None, tokens)
            seconds.last = max(seconds.last, at)
        return sums


def rounded(latency_s: float) -> int:
    """Milliseconds: to one below a second, to ten above it. That is finer than what is shown, and
    a year of calls has few different ones."""
    return round(1000 * latency_s) if latency_s < 1 else 10 * round(100 * latency_s)


def percentiles(latencies: Counter[int], shares: Sequence[int]) -> dict[int, float]:
    """The latency in seconds that covers each share (in per cent) of the calls, by nearest rank;
    nothing where there were no calls."""
    total, found = latencies.total(), dict[int, float]()
    if not total:
        return found
    ranks = {share: (total * share + 99) // 100 for share in shares}
    passed = 0
    for milliseconds in sorted(latencies):
        passed += latencies[milliseconds]
        for share, rank in ranks.items():
            if share not in found and passed >= rank:
                found[share] = milliseconds / 1000
    return found
