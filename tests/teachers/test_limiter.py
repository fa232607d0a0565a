"""The limiter: caps hold, complaints slow everybody and fail nobody, rates are kept, nothing leaks.

Time-dependent tests run the real limiter on an event loop whose clock jumps to the next timer: an
hour's pause takes no time, and a test that waits for something that never comes fails at once.
"""

from __future__ import annotations

import asyncio
import random
import selectors
import time
from collections.abc import Coroutine
from email.utils import formatdate
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from teachers.limiter import (
    LONGEST_PAUSE_S,
    LONGEST_RETRY_AFTER_S,
    AdaptiveLimiter,
    LimitSettings,
    RollingWindow,
    parse_retry_after,
    requests_window,
    retry_after_from_headers,
)

Result = TypeVar("Result")


class JumpingSelector(selectors.DefaultSelector):
    """Where the loop would sleep, its clock moves on instead."""

    loop: JumpingLoop

    def select(self, timeout: float | None = None) -> Any:
        events = super().select(0)
        if not events:
            assert timeout is not None, "every task waits and no timer is set"
            if timeout > 0:
                # A little over: adding to a float must not fall short of the timer.
                self.loop.seconds += timeout + 1e-9
        return events


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        selector = JumpingSelector()
        selector.loop = self
        self.seconds = 1000.0
        super().__init__(selector)

    def time(self) -> float:
        return self.seconds


def in_jumping_time(main: Coroutine[Any, Any, Result]) -> Result:
    loop = JumpingLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()


def now() -> float:
    return asyncio.get_running_loop().time()


async def settled() -> None:
    """Lets every task run as far as it can without time passing."""
    for _ in range(20):
        await asyncio.sleep(0)


async def succeed(limiter: AdaptiveLimiter, times: int, latency_s: float = 1.0) -> None:
    """`times` successful calls at full concurrency."""
    left = times

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            async with limiter.slot():
                await asyncio.sleep(latency_s)
                limiter.succeeded(latency_s)

    await asyncio.gather(*(worker() for _ in range(min(times, 4 * limiter.limit))))


@pytest.mark.parametrize(
    "written",
    [{"max_concurrency": 0}, {"initial_concurrency": 0}, {"rpm": 0}, {"tpm": -5}, {"rps": 1}],
)
def test_limits_below_one_and_unknown_keys_are_refused(written: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        LimitSettings.model_validate(written)


@pytest.mark.parametrize("cap", [1, 8])
def test_two_hundred_tasks_never_exceed_the_cap(cap: int) -> None:
    async def main() -> tuple[int, int]:
        limiter = AdaptiveLimiter(LimitSettings(max_concurrency=cap))
        in_flight = peak = done = 0

        async def call(n: int) -> None:
            nonlocal in_flight, peak, done
            async with limiter.slot():
                in_flight += 1
                peak = max(peak, in_flight)
                await asyncio.sleep(1 + n % 7)
                in_flight -= 1
                done += 1
                limiter.succeeded(1 + n % 7)

        await asyncio.gather(*(call(n) for n in range(200)))
        assert limiter.limit == cap
        assert (limiter.in_flight, limiter.waiting) == (0, 0)
        return peak, done

    assert in_jumping_time(main()) == (cap, 200)


def test_slots_are_given_in_the_order_of_asking() -> None:
    async def main() -> list[int]:
        limiter = AdaptiveLimiter(LimitSettings(max_concurrency=3))
        order: list[int] = []

        async def call(n: int) -> None:
            async with limiter.slot():
                order.append(n)
                await asyncio.sleep(1)

        await asyncio.gather(*(call(n) for n in range(50)))
        return order

    assert in_jumping_time(main()) == list(range(50))


def test_the_limit_grows_by_one_per_window_of_successes() -> None:
    async def main() -> list[int]:
        limiter = AdaptiveLimiter(LimitSettings(initial_concurrency=4))
        seen = []
        for window in (4, 5, 6):
            await succeed(limiter, window)
            seen.append(limiter.limit)
        return seen

    assert in_jumping_time(main()) == [5, 6, 7]


def test_the_limit_does_not_grow_while_it_is_not_reached() -> None:
    async def main() -> int:
        limiter = AdaptiveLimiter(LimitSettings(initial_concurrency=4))
        for _ in range(100):
            async with limiter.slot():
                limiter.succeeded(0.1)
        return limiter.limit

    assert in_jumping_time(main()) == 4


def test_the_limit_never_grows_past_the_cap() -> None:
    async def main() -> int:
        limiter = AdaptiveLimiter(LimitSettings(initial_concurrency=40, max_concurrency=6))
        await succeed(limiter, 500)
        return limiter.limit

    assert in_jumping_time(main()) == 6


def test_a_raised_limit_lets_a_waiting_call_go_before_any_slot_is_given_back() -> None:
    async def main() -> tuple[int, int]:
        limiter = AdaptiveLimiter(LimitSettings(initial_concurrency=2))
        end = asyncio.Event()

        async def hold() -> None:
            async with limiter.slot():
                await end.wait()

        tasks = [asyncio.create_task(hold()) for _ in range(5)]
        await settled()
        limiter.succeeded(0.1)
        limiter.succeeded(0.1)
        await settled()
        seen = (limiter.in_flight, limiter.waiting)
        end.set()
        await asyncio.gather(*tasks)
        return seen

    assert in_jumping_time(main()) == (3, 2)


@pytest.mark.parametrize("tells_its_slot", [True, False])
@pytest.mark.parametrize("retry_after_s", [None, 7.0])
def test_a_burst_of_429s_of_one_round_trip_halves_once(
    tells_its_slot: bool, retry_after_s: float | None
) -> None:
    async def main() -> int:
        limiter = AdaptiveLimiter(LimitSettings(initial_concurrency=32))

        async def call(n: int) -> None:
            async with limiter.slot() as slot:
                await asyncio.sleep(0.5 + n / 100)
                limiter.throttled(retry_after_s, slot if tells_its_slot else None)

        await asyncio.gather(*(call(n) for n in range(32)))
        return limiter.limit

    assert in_jumping_time(main()) == 16


@pytest.mark.parametrize("tells_its_slot", [True, False])
def test_a_429_of_the_next_round_trip_halves_again(tells_its_slot: bool) -> None:
    async def main() -> list[int]:
        limiter = AdaptiveLimiter(LimitSettings(initial_concurrency=8))
        seen = []
        for _ in range(5):
            async with limiter.slot() as slot:
                await asyncio.sleep(0.2)
                limiter.throttled(None, slot if tells_its_slot else None)
            seen.append(limiter.limit)
        return seen

    assert in_jumping_time(main()) == [4, 2, 1, 1, 1]


@pytest.mark.parametrize("tells_its_slot", [True, False])
def test_timeouts_of_one_round_trip_halve_once_without_a_pause(tells_its_slot: bool) -> None:
    async def main() -> tuple[int, float]:
        limiter = AdaptiveLimiter(LimitSettings(initial_concurrency=8))

        async def call() -> None:
            async with limiter.slot() as slot:
                await asyncio.sleep(30)
                limiter.overloaded(slot if tells_its_slot else None)

        await asyncio.gather(*(call() for _ in range(8)))
        return limiter.limit, limiter.paused_for_s

    assert in_jumping_time(main()) == (4, 0.0)


def test_answers_sent_before_the_complaint_do_not_count_towards_growth() -> None:
    async def main() -> int:
        limiter = AdaptiveLimiter(LimitSettings(initial_concurrency=8))

        async def call(n: int) -> None:
            async with limiter.slot() as slot:
                await asyncio.sleep(1 + n)
                if n == 0:
                    limiter.throttled(None, slot)
                else:
                    limiter.succeeded(1 + n)

        await asyncio.gather(*(call(n) for n in range(8)))
        return limiter.limit

    assert in_jumping_time(main()) == 4


def test_a_429_pauses_everybody_and_nobody_fails() -> None:
    async def main() -> tuple[int, list[float], list[float]]:
        limiter = AdaptiveLimiter(LimitSettings(initial_concurrency=10))
        began = now()
        sent: list[float] = []
        attempts = 0
        pauses: list[float] = []

        async def call() -> None:
            nonlocal attempts
            while True:
                async with limiter.slot() as slot:
                    sent.append(now() - began)
                    attempts += 1
                    refused = attempts == 5
                    await asyncio.sleep(1)
                    if not refused:
                        limiter.succeeded(1)
                        return
                    limiter.throttled(20, slot)
                    pauses.append(limiter.paused_for_s)

        await asyncio.gather(*(call() for _ in range(100)))
        assert attempts == 101
        return limiter.waiting, sent, pauses

    waiting, sent, pauses = in_jumping_time(main())
    assert waiting == 0
    assert pauses == [20]
    assert sorted(sent)[:10] == [0] * 10
    # Answers that came just before the refusal had passed their slots on; then nobody asks.
    assert len([at for at in sent if at < 1.5]) < 20
    assert not [at for at in sent if 1.5 < at < 21]
    assert len(sent) == 101


def test_without_a_retry_after_pauses_lengthen_until_a_success() -> None:
    async def main() -> tuple[list[float], float]:
        limiter = AdaptiveLimiter()
        pauses = []
        for _ in range(12):
            async with limiter.slot() as slot:
                await asyncio.sleep(0.1)
                limiter.throttled(None, slot)
                pauses.append(limiter.paused_for_s)
        async with limiter.slot() as slot:
            await asyncio.sleep(0.1)
            limiter.succeeded(0.05)
        async with limiter.slot() as slot:
            await asyncio.sleep(0.1)
            limiter.throttled(None, slot)
        return pauses, limiter.paused_for_s

    pauses, after_success = in_jumping_time(main())
    longest = [min(LONGEST_PAUSE_S, 2.0**n) for n in range(12)]
    assert all(most / 2 <= pause <= most for pause, most in zip(pauses, longest, strict=True))
    assert after_success <= 1.0


def test_a_retry_after_of_zero_does_not_make_a_busy_loop() -> None:
    async def main() -> int:
        limiter = AdaptiveLimiter(LimitSettings(initial_concurrency=4))
        until = now() + 3600
        attempts = 0
        while now() < until:
            async with limiter.slot() as slot:
                attempts += 1
                limiter.throttled(0.0, slot)
        return attempts

    assert in_jumping_time(main()) < 3600 / LONGEST_PAUSE_S * 2 + 20


def test_a_later_429_never_shortens_a_pause() -> None:
    async def main() -> float:
        limiter = AdaptiveLimiter()
        async with limiter.slot() as first, limiter.slot() as second:
            await asyncio.sleep(1)
            limiter.throttled(30, first)
            limiter.throttled(2, second)
            return limiter.paused_for_s

    assert in_jumping_time(main()) == 30


def test_a_pause_lengthened_while_calls_wait_is_waited_out() -> None:
    async def main() -> float:
        limiter = AdaptiveLimiter()
        began = now()
        limiter.throttled(5)

        async def call() -> float:
            async with limiter.slot():
                return now() - began

        waiting = asyncio.create_task(call())
        await asyncio.sleep(3)
        limiter.throttled(60)
        return await waiting

    assert in_jumping_time(main()) == pytest.approx(63)


def test_requests_per_minute_are_kept_and_spread() -> None:
    async def main() -> list[float]:
        limiter = AdaptiveLimiter(LimitSettings(rpm=120, initial_concurrency=1000))
        began = now()
        sent: list[float] = []

        async def call() -> None:
            async with limiter.slot():
                sent.append(now() - began)

        await asyncio.gather(*(call() for _ in range(600)))
        return sent

    sent = in_jumping_time(main())
    assert len(sent) == 600
    assert max(_within(sent, start, 60) for start in sent) <= 120
    assert max(_within(sent, start, 1) for start in sent) <= 2
    assert sent[-1] < 300


def _within(times: list[float], start: float, seconds: float) -> int:
    return len([at for at in times if start <= at < start + seconds - 1e-6])


def test_tokens_per_minute_are_kept_and_a_call_larger_than_all_of_them_passes() -> None:
    async def main() -> list[tuple[int, float]]:
        limiter = AdaptiveLimiter(LimitSettings(tpm=1000, initial_concurrency=1000))
        began = now()
        sent: list[tuple[int, float]] = []

        async def call(tokens: int) -> None:
            async with limiter.slot(tokens):
                sent.append((tokens, now() - began))

        await asyncio.gather(*(call(tokens) for tokens in (600, 400, 5000, 300, 700, 1)))
        return sent

    sent = in_jumping_time(main())
    assert [tokens for tokens, _ in sent] == [600, 400, 5000, 300, 700, 1]
    assert [at for _, at in sent] == pytest.approx([0, 0, 60, 120, 120, 180])


def test_settling_below_the_estimate_makes_room_at_once() -> None:
    async def main() -> float:
        limiter = AdaptiveLimiter(LimitSettings(tpm=1000))
        began = now()

        async def first() -> None:
            async with limiter.slot(1000) as slot:
                await asyncio.sleep(2)
                slot.settle(100)
                await asyncio.sleep(2)

        async def second() -> float:
            async with limiter.slot(900):
                return now() - began

        return (await asyncio.gather(first(), second()))[1]

    assert in_jumping_time(main()) == pytest.approx(2)


def test_a_settlement_that_brings_the_next_call_forward_is_not_slept_through() -> None:
    async def main() -> float:
        limiter = AdaptiveLimiter(LimitSettings(tpm=1000))
        began = now()

        async def call(tokens: int, before_s: float = 0, settle_at_s: float = 0) -> float:
            await asyncio.sleep(before_s)
            async with limiter.slot(tokens) as slot:
                granted_at = now() - began
                if settle_at_s:
                    await asyncio.sleep(settle_at_s - before_s)
                    slot.settle(50)
            return granted_at

        # Until the second one settles, the third must wait for both to leave the minute.
        calls = (call(600), call(400, 10, 30), call(900, 20))
        return (await asyncio.gather(*calls))[2]

    assert in_jumping_time(main()) == pytest.approx(60)


def test_an_unknown_count_lets_the_estimate_stand() -> None:
    async def main() -> float:
        limiter = AdaptiveLimiter(LimitSettings(tpm=1000))
        began = now()
        async with limiter.slot(1000) as slot:
            slot.settle(None)
        async with limiter.slot(1):
            return now() - began

    assert in_jumping_time(main()) == pytest.approx(60)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.floats(0, 20)), max_size=60), st.integers(1, 250))
def test_no_span_of_a_rolling_window_holds_more_than_its_limit(
    asks: list[tuple[int, float]], limit: int
) -> None:
    window = RollingWindow(limit, 60.0)
    clock = 0.0
    taken: list[tuple[float, int]] = []
    for amount, gap in asks:
        clock += gap
        ready_at = window.free_at(amount, clock)
        assert clock <= ready_at <= clock + 60
        clock = ready_at
        assert window.free_at(amount, clock) == clock
        window.take(amount, clock)
        taken.append((clock, amount))
    for start, first in taken:
        held = [amount for at, amount in taken if start <= at and at < start + 60]
        assert sum(held) <= limit or sum(amount > 0 for amount in held) == 1 or first == 0


@given(st.integers(1, 5000))
def test_any_requests_per_minute_is_kept_and_nearly_used(rpm: int) -> None:
    window = requests_window(rpm)
    clock, sent = 0.0, 0
    while True:
        clock = window.free_at(1, clock)
        if clock >= 60 - 1e-6:
            break
        window.take(1, clock)
        sent += 1
    assert sent <= rpm
    assert sent > rpm * 0.98 - 1


def test_correcting_a_charge_that_has_left_the_window_changes_nothing() -> None:
    window = RollingWindow(100, 60.0)
    old = window.take(80, 0.0)
    assert window.free_at(100, 60.0) == 60.0
    window.take(100, 60.0)
    old.correct(0)
    assert window.free_at(1, 61.0) == 120.0


def test_cancelled_waiters_neither_keep_nor_lose_a_slot() -> None:
    async def main() -> tuple[int, int, int]:
        limiter = AdaptiveLimiter(LimitSettings(max_concurrency=2))
        done = 0

        async def call() -> None:
            nonlocal done
            async with limiter.slot():
                await asyncio.sleep(1)
                done += 1

        tasks = [asyncio.create_task(call()) for _ in range(20)]
        await settled()
        for task in tasks[2:12]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return done, limiter.in_flight, limiter.waiting

    assert in_jumping_time(main()) == (10, 0, 0)


def test_a_slot_granted_in_the_moment_of_cancellation_goes_to_the_next_with_its_rates() -> None:
    async def main() -> float:
        limiter = AdaptiveLimiter(LimitSettings(max_concurrency=1, tpm=1000))
        began = now()
        order: list[str] = []

        async def call(name: str, tokens: int) -> float:
            async with limiter.slot(tokens):
                order.append(name)
                return now() - began

        async with limiter.slot(0):
            lost = asyncio.create_task(call("lost", 1000))
            follower = asyncio.create_task(call("next", 1000))
            await settled()
        # The slot has just been granted to `lost`, which has not run since.
        assert limiter.in_flight == 1
        lost.cancel()
        at = await follower
        assert order == ["next"]
        assert lost.cancelled()
        assert limiter.in_flight == 0
        return at

    assert in_jumping_time(main()) == 0


def test_cancelling_a_large_call_at_the_head_lets_a_small_one_go() -> None:
    async def main() -> float:
        limiter = AdaptiveLimiter(LimitSettings(tpm=1000))
        began = now()

        async def call(tokens: int) -> float:
            async with limiter.slot(tokens):
                return now() - began

        await call(500)
        large = asyncio.create_task(call(900))
        small = asyncio.create_task(call(100))
        await asyncio.sleep(5)
        large.cancel()
        return await small

    assert in_jumping_time(main()) == pytest.approx(5)


def test_an_exception_in_the_call_gives_the_slot_back() -> None:
    async def main() -> int:
        limiter = AdaptiveLimiter(LimitSettings(max_concurrency=1))
        with pytest.raises(ConnectionError):
            async with limiter.slot():
                raise ConnectionError
        async with limiter.slot():
            return limiter.in_flight

    assert in_jumping_time(main()) == 1


def test_a_limiter_serves_a_second_event_loop_after_the_first_ended_in_a_pause() -> None:
    limiter = AdaptiveLimiter()

    async def interrupted() -> None:
        limiter.throttled(3600)
        waiter = asyncio.create_task(_hold(limiter))
        await settled()
        assert limiter.waiting == 1
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)

    in_jumping_time(interrupted())
    in_jumping_time(_hold(limiter))
    assert (limiter.in_flight, limiter.waiting) == (0, 0)


async def _hold(limiter: AdaptiveLimiter) -> None:
    async with limiter.slot():
        await asyncio.sleep(0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_under_random_faults_and_cancellations_every_call_ends_and_nothing_leaks(
    seed: int,
) -> None:
    async def main() -> None:
        rng = random.Random(seed)
        limiter = AdaptiveLimiter(
            LimitSettings(
                initial_concurrency=rng.randint(1, 8),
                max_concurrency=rng.choice([None, 3, 8]),
                rpm=rng.choice([None, 30, 600]),
                tpm=rng.choice([None, 500]),
            )
        )
        done = 0

        async def call() -> None:
            nonlocal done
            await asyncio.sleep(rng.choice([0, 0, rng.random() * 30]))
            while True:
                async with limiter.slot(rng.randint(0, 700)) as slot:
                    began = now()
                    await asyncio.sleep(rng.random() * 3)
                    fault = rng.random()
                    if fault < 0.1:
                        limiter.throttled(rng.choice([None, 0.0, 4.0]), rng.choice([None, slot]))
                    elif fault < 0.2:
                        limiter.overloaded(rng.choice([None, slot]))
                    else:
                        limiter.succeeded(now() - began)
                        slot.settle(rng.choice([None, rng.randint(0, 700)]))
                        done += 1
                        return

        tasks = [asyncio.create_task(call()) for _ in range(60)]
        for task in rng.sample(tasks, 20):
            await asyncio.sleep(rng.random())
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for result in results} <= {type(None), asyncio.CancelledError}
        assert done == results.count(None)
        assert done >= 40
        assert (limiter.in_flight, limiter.waiting) == (0, 0)

    in_jumping_time(main())


EPOCH = 1_700_000_000.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0.25", 0.25),
        (" 3 ", 3.0),
        ("0", 0.0),
        ("86400", LONGEST_RETRY_AFTER_S),
        (formatdate(EPOCH + 90, usegmt=True), 90.0),
        ("Tue, 14 Nov 2023 22:14:20 -0000", 60.0),
        (formatdate(EPOCH - 90, usegmt=True), 0.0),
        (formatdate(EPOCH + 86400, usegmt=True), LONGEST_RETRY_AFTER_S),
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("Tue, 99 Nov 2023 22:14:20 GMT", None),
    ],
)
def test_a_retry_after_is_seconds_or_a_date_or_nothing(
    value: str | None, seconds: float | None
) -> None:
    assert parse_retry_after(value, EPOCH) == seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "12"}, 12.0),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "2"}, 2.0),
        ({"retry-after-ms": "5000000"}, LONGEST_RETRY_AFTER_S * 1.0),
        ({"x-ratelimit-reset-requests": "1s"}, 1.0),
        ({"X-RateLimit-Reset-Requests": "6m0s"}, 360.0),
        ({"x-ratelimit-reset-requests": "120ms"}, 0.12),
        ({"x-ratelimit-reset-requests": "1h2m3.5s"}, LONGEST_RETRY_AFTER_S),
        ({"x-ratelimit-reset-requests": "2 moons"}, None),
        ({"x-ratelimit-reset-requests": "17"}, None),
        ({"retry-after": "5", "x-ratelimit-reset-requests": "1s"}, 5.0),
        (
            {
                "x-ratelimit-remaining-requests": "199",
                "x-ratelimit-reset-requests": "7m12s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "3s",
            },
            3.0,
        ),
        (
            {
                "x-ratelimit-remaining-requests": "10",
                "x-ratelimit-reset-requests": "7m",
                "x-ratelimit-remaining-tokens": "40",
                "x-ratelimit-reset-tokens": "3s",
            },
            3.0,
        ),
    ],
)
def test_the_wait_is_read_from_whichever_header_the_server_sends(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after_from_headers(headers) == seconds


def test_a_date_in_the_headers_is_compared_with_the_present() -> None:
    wait = retry_after_from_headers({"retry-after": formatdate(time.time() + 3000, usegmt=True)})
    assert wait is not None
    assert 2000 < wait <= 3000


def test_a_pause_wakes_its_waiters_on_uvloop_too() -> None:
    """uvloop's handle for a moment gone by has no `when`; a pause after a pause must not ask."""
    uvloop = pytest.importorskip("uvloop")

    async def paused_twice() -> int:
        limiter = AdaptiveLimiter(LimitSettings(initial_concurrency=2))
        served = 0

        async def call() -> None:
            nonlocal served
            async with limiter.slot():
                served += 1
                limiter.throttled(0.001)

        await asyncio.gather(*(call() for _ in range(20)))
        return served

    assert uvloop.run(paused_twice()) == 20
