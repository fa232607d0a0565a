"""Ends a wait for a vLLM engine that is no more.

vLLM 0.32's synchronous client marks its engine as dead when the process is killed (for want of
memory, say), and goes on waiting for its answer for ever; the asynchronous one is woken. This wakes
the other.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_EVERY_S = 1.0


@contextmanager
def woken_by_death(llm: Any) -> Iterator[None]:
    """While in it, a dead engine raises vLLM's `EngineDeadError` in whoever waits for an answer."""
    from vllm.v1.engine.exceptions import EngineDeadError

    client = llm.llm_engine.engine_core
    resources, waiting = getattr(client, "resources", None), getattr(client, "outputs_queue", None)
    if resources is None or waiting is None:
        # The engine runs in this process: nobody can kill it alone.
        yield
        return
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_EVERY_S):
            if resources.engine_dead:
                waiting.put_nowait(EngineDeadError())
                return

    watcher = threading.Thread(target=watch, name="vllm-watch", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
