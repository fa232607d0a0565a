"""Why and when a run should stop, and waiting for something no longer than that."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, TypeVar

from common.errors import StillhouseError

Result = TypeVar("Result")


class Stop:
    """The wish that a run stop; the first reason counts."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.status = "finished"
        self.error: StillhouseError | None = None
        self.hurried = False

    def request(self, status: str, error: StillhouseError | None = None) -> None:
        """Asks the run to stop, gracefully."""
        if self.event.is_set():
            return
        self.status, self.error = status, error
        self.event.set()

    def interrupt(self) -> None:
        """Ctrl-C: stop within seconds, even if calls under way are lost."""
        self.hurried = True
        self.request("interrupted")


async def until_stopped(stop: Stop, work: Coroutine[Any, Any, Result]) -> Result | None:
    """What `work` brings; None where the run is asked to stop before that."""
    if stop.event.is_set():
        work.close()
        return None
    task = asyncio.create_task(work)
    waiter = asyncio.create_task(stop.event.wait())
    try:
        await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return None
    finally:
        waiter.cancel()
