"""When an endpoint's calls may be sent: adaptive concurrency, pauses, rates per minute.

In: every call asks for a slot before it is sent, and tells afterwards how it went. Out: a slot, in
the order of asking, however long that takes; waiting here never fails a call. Concurrency follows
AIMD (Chiu and Jain, 1989): one more after a window of successes, half when the endpoint complains.
There is one timer at most, and none while nobody waits.
"""

from __future__ import annotations

import asyncio
import math
import random
import re
import sys
import time
from collections import deque
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

LONGEST_RETRY_AFTER_S = 3600.0
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
# Stands in for the round-trip time until the first success has shown one.
PRESUMED_LATENCY_S = 1.0

_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_DURATION = re.compile(rf"(?:{_DURATION_PART.pattern})+")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class LimitSettings(BaseModel):
    """What a recipe may say about an endpoint's limits; everything may be left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_concurrency: int | None = Field(
        default=None, ge=1, description="Never more calls in flight than this."
    )
    initial_concurrency: int = Field(
        default=16, ge=1, description="Calls in flight before anything is known of the endpoint."
    )
    rpm: int | None = Field(default=None, ge=1, description="Requests per minute.")
    tpm: int | None = Field(default=None, ge=1, description="Tokens per minute, both ways.")


class Charge:
    """An amount taken out of a `RollingWindow` at one moment."""

    __slots__ = ("_window", "amount", "at", "counted")

    def __init__(self, window: RollingWindow, amount: int, at: float) -> None:
        self._window = window
        self.amount = amount
        self.at = at
        self.counted = True

    def correct(self, amount: int) -> None:
        """Replace the amount by what it turned out to be."""
        if self.counted:
            self._window.used += amount - self.amount
            self.amount = amount


class RollingWindow:
    """At most `limit` units in *any* span of `seconds`; the caller tells the time.

    (A bucket that starts full and refills meanwhile would let twice the limit through in its first
    minute.) An amount larger than the limit fits once the window is empty.
    """

    __slots__ = ("_charges", "_limit", "_seconds", "used")

    def __init__(self, limit: int, seconds: float) -> None:
        self._limit = limit
        self._seconds = seconds
        self.used = 0
        self._charges: deque[Charge] = deque()

    def free_at(self, amount: int, now: float) -> float:
        """The earliest time at which `amount` fits, if nothing else is taken; `now` if at once."""
        while self._charges and self._charges[0].at + self._seconds <= now:
            gone = self._charges.popleft()
            gone.counted = False
            self.used -= gone.amount
        excess = self.used + amount - self._limit
        if excess <= 0 or self.used <= 0:
            return now
        for charge in self._charges:
            excess -= charge.amount
            if excess <= 0:
                return charge.at + self._seconds
        return self._charges[-1].at + self._seconds

    def take(self, amount: int, now: float) -> Charge:
        """Count `amount` from `now` on."""
        charge = Charge(self, amount, now)
        self._charges.append(charge)
        self.used += amount
        return charge


def requests_window(rpm: int) -> RollingWindow:
    """A window that keeps to `rpm` and spreads the requests over the minute.

    Providers also enforce a limit of 60 per minute as one per second, so a burst is at most one
    second's share (or one request).
    """
    burst = max(1, rpm // 60)
    return RollingWindow(burst, 60.0 / (rpm // burst))


class Slot:
    """The right to have one call in flight, for the length of an `async with`."""

    __slots__ = ("_limiter", "estimated_tokens", "granted", "request", "started_at", "tokens")

    def __init__(self, limiter: AdaptiveLimiter, estimated_tokens: int) -> None:
        self._limiter = limiter
        self.estimated_tokens = estimated_tokens
        self.started_at = -math.inf
        self.granted: asyncio.Future[None] | None = None
        self.request: Charge | None = None
        self.tokens: Charge | None = None

    async def __aenter__(self) -> Self:
        limiter = self._limiter
        if limiter.waiting or not limiter._admit(self):
            await limiter._wait(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._limiter._release()

    def settle(self, actual_tokens: int | None) -> None:
        """Replace the estimate by the tokens the call took; None lets the estimate stand."""
        if actual_tokens is not None and self.tokens is not None:
            self.tokens.correct(actual_tokens)
            if self._limiter.waiting:
                self._limiter._dispatch()


class AdaptiveLimiter:
    """One endpoint's gate. Belongs to one event loop at a time, as everything in asyncio does.

    Args:
        settings: caps and rates from the recipe; without them only what the endpoint says counts.
    """

    def __init__(self, settings: LimitSettings | None = None) -> None:
        self.settings = settings = settings or LimitSettings()
        self._cap = settings.max_concurrency or sys.maxsize
        self._limit = min(settings.initial_concurrency, self._cap)
        self._requests = requests_window(settings.rpm) if settings.rpm else None
        self._tokens = RollingWindow(settings.tpm, 60.0) if settings.tpm else None
        self._queue: deque[Slot] = deque()
        self._waiting = 0
        self._in_flight = 0
        self._successes = 0
        self._saturated = False
        self._slowed_at = -math.inf
        self._paused_until = -math.inf
        self._pauses = 0
        self._latency_s = PRESUMED_LATENCY_S
        self._timer: asyncio.Handle | None = None
        self._timer_at = math.inf

    @property
    def limit(self) -> int:
        """Calls that may be in flight at present."""
        return self._limit

    @property
    def in_flight(self) -> int:
        """Slots held at present; more than `limit` for a while after it was halved."""
        return self._in_flight

    @property
    def waiting(self) -> int:
        """Calls waiting for a slot."""
        return self._waiting

    @property
    def paused_for_s(self) -> float:
        """Seconds until the endpoint is asked again; 0 where it isn't paused."""
        if self._paused_until == -math.inf:
            return 0.0
        return max(0.0, self._paused_until - _now())

    def slot(self, estimated_tokens: int = 0) -> Slot:
        """`async with limiter.slot(n) as slot:` waits for a slot and holds it.

        Args:
            estimated_tokens: prompt and answer together, counted against `tpm` until settled.
        """
        return Slot(self, estimated_tokens)

    def succeeded(self, latency_s: float) -> None:
        """A call was answered `latency_s` seconds after it was sent."""
        self._latency_s += (latency_s - self._latency_s) / 8
        if _now() - latency_s <= self._slowed_at:
            return  # Sent before the endpoint complained: says nothing about the new limit.
        self._pauses = 0
        self._successes += 1
        if self._successes < self._limit:
            return
        # A limit that was never reached has not been shown to be too small.
        if self._saturated and self._limit < self._cap:
            self._limit += 1
        self._start_window()
        if self._waiting:
            self._dispatch()

    def throttled(self, retry_after_s: float | None = None, slot: Slot | None = None) -> None:
        """A call got 429: halve the limit and let nobody ask before `retry_after_s` is over.

        Args:
            retry_after_s: as the server said; None or 0 pauses longer each time, until a success.
            slot: the call's; tells exactly whether it was sent before the limit was last halved
                (one burst of 429s halves once). Without it the usual latency has to do.
        """
        now = _now()
        news = self._slow_down(now, slot)
        if retry_after_s:
            pause = min(retry_after_s, LONGEST_RETRY_AFTER_S)
        elif news:
            longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(self._pauses, 30))
            pause = longest * random.uniform(0.5, 1.0)
            self._pauses += 1
        else:
            return
        self._paused_until = max(self._paused_until, now + pause)

    def overloaded(self, slot: Slot | None = None) -> None:
        """A call timed out or was refused for overload: halve the limit, without a pause."""
        self._slow_down(_now(), slot)

    def _slow_down(self, now: float, slot: Slot | None) -> bool:
        """Halve the limit, unless the call was sent before it was last halved."""
        if slot is not None:
            sent_at = slot.started_at
        elif self._slowed_at < self._paused_until <= now:
            sent_at = self._paused_until
        else:
            sent_at = now - self._latency_s
        if sent_at <= self._slowed_at:
            return False
        self._slowed_at = now
        self._limit = max(1, self._limit // 2)
        self._start_window()
        return True

    def _start_window(self) -> None:
        self._successes = 0
        self._saturated = self._in_flight >= self._limit

    def _admit(self, slot: Slot) -> bool:
        """Start `slot` now; if that can't be, make sure that the queue is looked at again."""
        if self._in_flight >= self._limit:
            return False
        now = _now()
        ready_at = self._paused_until
        if self._requests is not None:
            ready_at = max(ready_at, self._requests.free_at(1, now))
        if self._tokens is not None:
            ready_at = max(ready_at, self._tokens.free_at(slot.estimated_tokens, now))
        if ready_at > now:
            self._wake_at(ready_at)
            return False
        if self._requests is not None:
            slot.request = self._requests.take(1, now)
        if self._tokens is not None:
            slot.tokens = self._tokens.take(slot.estimated_tokens, now)
        slot.started_at = now
        self._in_flight += 1
        self._saturated |= self._in_flight >= self._limit
        return True

    async def _wait(self, slot: Slot) -> None:
        granted = slot.granted = asyncio.get_running_loop().create_future()
        self._queue.append(slot)
        self._waiting += 1
        try:
            await granted
        except asyncio.CancelledError:
            if granted.cancelled():
                self._waiting -= 1
                self._dispatch()
            else:
                self._give_back(slot)
            raise

    def _give_back(self, slot: Slot) -> None:
        """Undo a slot whose call was cancelled between being granted and being sent."""
        for charge in (slot.request, slot.tokens):
            if charge is not None:
                charge.correct(0)
        self._release()

    def _release(self) -> None:
        self._in_flight -= 1
        if self._waiting:
            self._dispatch()

    def _dispatch(self) -> None:
        """Start as many waiting calls as may start now, the longest waiting first."""
        while self._queue:
            slot = self._queue[0]
            granted = slot.granted
            if granted is not None and not granted.done():
                if not self._admit(slot):
                    return
                self._waiting -= 1
                granted.set_result(None)
            self._queue.popleft()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake_at(self, when: float) -> None:
        # A timer that fires too early sets itself again; only one that fires too late is replaced.
        # (The time is kept here, since uvloop's handles do not always tell it.)
        if self._timer is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(when, self._on_timer)
        self._timer_at = when

    def _on_timer(self) -> None:
        self._timer = None
        self._dispatch()


def _now() -> float:
    return asyncio.get_running_loop().time()


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Seconds to wait by a Retry-After value (RFC 9110, 10.2.3): a number or an HTTP date.

    At most an hour; 0 for a date gone by (`now`: seconds since the epoch); None for nonsense.
    """
    seconds = _number(value)
    if seconds is None and value is not None:
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = max(0.0, date.replace(tzinfo=date.tzinfo or UTC).timestamp() - now)
    return None if seconds is None else min(seconds, LONGEST_RETRY_AFTER_S)


def retry_after_from_headers(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by a 429's headers: `retry-after-ms`, `retry-after`, else OpenAI's resets.

    `x-ratelimit-reset-requests` and `-tokens` ("1s", "6m0s") tell when a limit is whole again.
    Those of spent limits count; where none is said to be spent, the sooner one.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    milliseconds = _number(lower.get("retry-after-ms"))
    if milliseconds is not None:
        return min(milliseconds / 1000, LONGEST_RETRY_AFTER_S)
    seconds = parse_retry_after(lower.get("retry-after"), time.time())
    if seconds is not None:
        return seconds
    spent: list[float] = []
    left: list[float] = []
    for kind in ("requests", "tokens"):
        reset = _duration_s(lower.get(f"x-ratelimit-reset-{kind}", ""))
        if reset is not None:
            remaining = lower.get(f"x-ratelimit-remaining-{kind}", "0").strip()
            (spent if remaining == "0" else left).append(reset)
    if not spent and not left:
        return None
    return min(max(spent) if spent else min(left), LONGEST_RETRY_AFTER_S)


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _duration_s(text: str) -> float | None:
    """Seconds of "6m0s" or "20ms"; None for anything else."""
    if not _DURATION.fullmatch(text.strip()):
        return None
    return sum(float(number) * _UNIT_S[unit] for number, unit in _DURATION_PART.findall(text))
