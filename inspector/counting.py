"""Figures that take long to count on a large corpus, counted beside the pages and kept meanwhile.

In: a key and a way to count. Out: the latest result with its time. A page never waits for a slow
count: the first visitor waits a moment and is then told that counting goes on. A count is repeated
only after a hundred times as long as it took, so that it takes at most a hundredth of one core from
a run that goes on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

T = TypeVar("T")
_FIRST_WAIT_S = 0.15
_REST = 100
_SHORTEST_REST_S = 1.0
# A first count that failed while nobody waited is told to who asks within this time.
_TOLD_S = 10.0
_MOST_KEPT = 200


@dataclass(frozen=True, slots=True)
class Counted(Generic[T]):
    """A result; `at` is when counting it began, `took_s` how long it took."""

    value: T
    at: datetime
    took_s: float

    @property
    def age_s(self) -> float:
        """How long ago counting it ended."""
        return (datetime.now(UTC) - self.at).total_seconds() - self.took_s


class Counter(Generic[T]):
    """Counts by key, one count at a time."""

    def __init__(self, count: Callable[[Hashable], T]) -> None:
        self._count = count
        self._pool = ThreadPoolExecutor(1, "inspector-count")
        self._lock = threading.Lock()
        self._kept: dict[Hashable, Counted[T]] = {}
        self._failed: dict[Hashable, Counted[Exception]] = {}
        self._under_way: dict[Hashable, Future[Counted[T]]] = {}

    def get(self, key: Hashable) -> Counted[T] | None:
        """The latest result; None while the first is being counted. What went wrong in the first
        count is raised here; later failures keep the older result."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None and not self._is_due(kept):
                return kept
            future = self._under_way.get(key)
            if future is None:
                if kept is None and (failed := self._failed.get(key)) and failed.age_s < _TOLD_S:
                    raise failed.value
                future = self._under_way[key] = self._pool.submit(self._run, key)
        if kept is None or kept.took_s < _FIRST_WAIT_S:
            wait([future], timeout=_FIRST_WAIT_S)
        if not future.done() or (kept is not None and future.exception() is not None):
            return kept
        return future.result()

    def _run(self, key: Hashable) -> Counted[T]:
        begun, at = time.perf_counter(), datetime.now(UTC)
        # A count that has ended is under way no longer, whether or not somebody has asked for it:
        # hours later it would be an old answer.
        try:
            value = self._count(key)
        except Exception as error:
            with self._lock:
                self._under_way.pop(key, None)
                _keep(self._failed, key, Counted(error, at, time.perf_counter() - begun))
            raise
        counted = Counted(value, at, time.perf_counter() - begun)
        with self._lock:
            self._under_way.pop(key, None)
            self._failed.pop(key, None)
            _keep(self._kept, key, counted)
        return counted

    @staticmethod
    def _is_due(kept: Counted[T]) -> bool:
        return kept.age_s > max(_SHORTEST_REST_S, _REST * kept.took_s)

    def close(self) -> None:
        """Starts no further count."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _keep(kept: dict[Hashable, Any], key: Hashable, counted: Any) -> None:
    """Puts a result last; of too many the oldest goes."""
    kept.pop(key, None)
    kept[key] = counted
    while len(kept) > _MOST_KEPT:
        kept.pop(next(iter(kept)))
