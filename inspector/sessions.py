"""Who has shown the token: a random identifier per sign-in, kept here until it is taken back.

In: sign-ins, sign-outs, and the identifiers that browsers bring. Out: whether one is still good.
They live in this process only; a new one asks everybody again.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

LIFE_S = 12 * 3600
_MOST = 1000


class Sessions:
    """The sign-ins that count. `clock` gives seconds that never run backwards."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends: dict[str, float] = {}

    def begin(self) -> str:
        """A new sign-in's identifier; it is good for `LIFE_S` seconds."""
        now = self._clock()
        self._ends = {name: end for name, end in self._ends.items() if end > now}
        while len(self._ends) >= _MOST:
            self._ends.pop(next(iter(self._ends)))
        identifier = secrets.token_urlsafe(24)
        self._ends[identifier] = now + LIFE_S
        return identifier

    def is_good(self, identifier: str) -> bool:
        """Whether this sign-in was begun here, has not been ended, and is not too old."""
        return self._ends.get(identifier, 0.0) > self._clock()

    def end(self, identifier: str) -> None:
        """Signs out: whoever holds the identifier is asked for the token again."""
        self._ends.pop(identifier, None)
