"""Processor time that a process and all that it starts take while something else goes on.

In: a process. Out: seconds, user and system. Processes that end meanwhile are counted as they were
last seen, twice a second.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from types import TracebackType

import psutil

_EVERY_S = 0.5


class Spent:
    """A context; `seconds` is what was spent in it."""

    def __init__(self, process: psutil.Process) -> None:
        self.seconds = 0.0
        self._process = process
        self._seen: dict[tuple[int, float], float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Spent:
        self._look()
        self._before = sum(self._seen.values())
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._look()
        self.seconds = sum(self._seen.values()) - self._before

    def _watch(self) -> None:
        while not self._stop.wait(_EVERY_S):
            self._look()

    def _look(self) -> None:
        with suppress(psutil.Error):
            for each in (self._process, *self._process.children(recursive=True)):
                with suppress(psutil.Error):
                    times = each.cpu_times()
                    self._seen[each.pid, each.create_time()] = times.user + times.system
