"""Walks forks beside the pages: each in a thread with an event loop of its own, a few at a time.

In: prepared forks. Out: their progress while they walk; how they end is kept in the fork itself.
When the inspector ends, so do they: a fork that was not done goes on when it is asked to. One that
does not hear that it is to stop is left behind after a grace period, and ends with the process.
"""

from __future__ import annotations

import asyncio
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

from common.errors import StillhouseError
from graph.forks.fork import Draft, Told
from graph.forks.making import walk_fork
from graph.forks.shelf import tell_error
from graph.run import Progress
from graph.stop import Stop

_AT_ONCE = 4
_GRACE_S = 10.0


@dataclass
class Walk:
    """One fork under way, in a thread of its own. `end` asks it to stop, once it has begun."""

    progress: Progress = field(default_factory=Progress)
    end: Callable[[], object] | None = None
    ended: bool = False


class ForkDesk:
    """The forks that this server makes right now."""

    def __init__(self) -> None:
        self._places = threading.Semaphore(_AT_ONCE)
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()
        self._walks: dict[str, Walk] = {}

    def begin(self, draft: Draft) -> None:
        """Sees to it that the fork walks; once is enough."""
        id = draft.facts.id
        with self._lock:
            if id in self._walks:
                return
            walk = self._walks[id] = Walk()
            # Python waits for all other threads before it ends, even for one that never will.
            thread = threading.Thread(
                target=self._run, args=(draft, walk), name="inspector-fork", daemon=True
            )
            self._threads.add(thread)
        thread.start()

    def under_way(self, id: str) -> Progress | None:
        """How far a fork is; None where it is not walking here."""
        walk = self._walks.get(id)
        return walk.progress if walk is not None else None

    def stop(self, id: str) -> None:
        """Asks a fork to stop; it can go on later."""
        with self._lock:
            walk = self._walks.get(id)
            if walk is None:
                return
            walk.ended = True
            if walk.end is not None:
                walk.end()

    def close(self) -> None:
        """Stops every fork, and waits a while for it."""
        for id in list(self._walks):
            self.stop(id)
        until = time.monotonic() + _GRACE_S
        for thread in list(self._threads):
            thread.join(max(0.0, until - time.monotonic()))

    def _run(self, draft: Draft, walk: Walk) -> None:
        fault: Exception | None = None
        try:
            with self._places:
                if not walk.ended:
                    asyncio.run(self._walk(draft, walk))
        except Exception as error:  # noqa: BLE001 - told in the fork, whatever it is
            fault = error
        finally:
            with self._lock:
                self._walks.pop(draft.facts.id, None)
                self._threads.discard(threading.current_thread())
        # What stopped it is told in the fork, unless it is our own fault.
        if fault is not None and not isinstance(fault, StillhouseError):
            _tell_fault(draft, fault)

    async def _walk(self, draft: Draft, walk: Walk) -> None:
        loop = asyncio.get_running_loop()

        def ready(stop: Stop) -> None:
            with self._lock:
                walk.end = lambda: loop.call_soon_threadsafe(stop.interrupt)
                if walk.ended:
                    stop.interrupt()

        try:
            await walk_fork(draft, walk.progress, ready)
        finally:
            with self._lock:
                walk.end = None


def _tell_fault(draft: Draft, fault: Exception) -> None:
    traceback.print_exception(fault)
    told = Told(
        "fork",
        "The fork met a fault of this program.",
        f"{type(fault).__name__}; the inspector's console has the traceback.",
        "The corpus is untouched. Please report the traceback.",
        None,
    )
    tell_error(draft.folder, told)
