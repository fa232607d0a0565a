"""Counts what reached a simulated server and what it gave back, in a fixed few bytes per body.

In: each request's identity and outcome. Out: the numbers of `GET /simulated/stats`. A body is
known by 64 bits of its hash; its arrivals, faults in a row and answers share one integer, so that
a run of a hundred thousand bodies stays at a dozen megabytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

_ANSWERED_BITS = 2
_ROW_BITS = 8
_ANSWERED = (1 << _ANSWERED_BITS) - 1
_ROW = (1 << _ROW_BITS) - 1


class Arrivals:
    """The counts of one server since it started. `answered` counts full 200 bodies only."""

    def __init__(self) -> None:
        self._bodies: dict[int, int] = {}
        self._statuses: Counter[int] = Counter()
        self._faults: Counter[str] = Counter()
        self.requests = 0
        self.answered = 0
        self.answered_more_than_once = 0
        self.disconnected = 0

    def arrive(self, body: int) -> tuple[int, int]:
        """Notes one arrival of `body`; gives its number and the faults in a row before it."""
        packed = self._bodies.get(body, 0) + (1 << (_ANSWERED_BITS + _ROW_BITS))
        self._bodies[body] = packed
        return packed >> (_ANSWERED_BITS + _ROW_BITS), packed >> _ANSWERED_BITS & _ROW

    def transport(self, body: int, fault: str | None) -> None:
        """Notes whether a transport fault met the last arrival of `body`."""
        packed = self._bodies[body]
        row = packed >> _ANSWERED_BITS & _ROW
        if fault is not None:
            self._faults[fault] += 1
            self._bodies[body] = packed + (1 << _ANSWERED_BITS)
        elif row:
            self._bodies[body] = packed - (row << _ANSWERED_BITS)

    def content(self, injected: Iterable[str]) -> None:
        """Notes what was put into an answer on purpose."""
        self._faults.update(injected)

    def status(self, status: int) -> None:
        """Notes the status line of one reply."""
        self._statuses[status] += 1

    def full_answer(self, body: int) -> None:
        """Notes that `body` has been answered in full."""
        self.answered += 1
        times = self._bodies[body] & _ANSWERED
        if times < 2:
            self._bodies[body] += 1
        if times == 1:
            self.answered_more_than_once += 1

    def stats(self) -> dict[str, Any]:
        """The counts as a JSON object."""
        return {
            "simulated": True,
            "requests": self.requests,
            "answered": self.answered,
            "disconnected": self.disconnected,
            "by_status": {str(status): n for status, n in sorted(self._statuses.items())},
            "faults": dict(sorted(self._faults.items())),
            "bodies": len(self._bodies),
            "answered_more_than_once": self.answered_more_than_once,
        }
