"""The budget: caps are never passed, waiting is fair and ends, and a refusal says what to do."""

from __future__ import annotations

import asyncio
import random
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from teachers.budget import Budget, BudgetSettings, Spend, UnpricedTeacher, require_prices
from teachers.errors import BudgetReached
from teachers.pricing import Prices


async def settled() -> None:
    """Lets every task run as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    "written", [{"usd": 0}, {"tokens": -1}, {"calls": 0}, {"euros": 5}, {"usd": float("inf")}]
)
def test_a_cap_that_is_not_positive_or_not_known_is_refused(written: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        BudgetSettings.model_validate(written)


async def test_a_call_that_fits_is_granted_and_charged_what_it_took() -> None:
    budget = Budget(BudgetSettings(usd=1, tokens=1000, calls=5))
    reservation = await budget.reserve(tokens=400, usd=0.4)
    reservation.settle(150, 0.125)
    assert (budget.charged_calls, budget.charged_tokens, budget.charged_usd) == (1, 150, 0.125)


async def test_unknown_usage_is_charged_at_the_reserved_bound() -> None:
    budget = Budget(BudgetSettings(usd=1, tokens=1000))
    (await budget.reserve(tokens=400, usd=0.25)).settle(None, None)
    assert (budget.charged_tokens, budget.charged_usd) == (400, 0.25)


async def test_a_released_reservation_costs_nothing() -> None:
    budget = Budget(BudgetSettings(calls=1))
    (await budget.reserve()).release()
    (await budget.reserve()).settle()
    assert budget.charged_calls == 1


async def test_settling_and_releasing_count_once() -> None:
    budget = Budget(BudgetSettings(tokens=1000))
    reservation = await budget.reserve(tokens=400)
    reservation.settle(100)
    reservation.settle(100)
    reservation.release()
    assert budget.charged_tokens == 100
    (await budget.reserve(tokens=900)).settle(900)
    assert budget.charged_tokens == 1000


async def test_what_earlier_invocations_spent_counts() -> None:
    budget = Budget(BudgetSettings(tokens=1000), Spend(calls=3, tokens=950))
    with pytest.raises(BudgetReached):
        await budget.reserve(tokens=51)
    assert budget.charged_tokens == 950


async def test_a_call_waits_while_calls_in_flight_may_leave_room() -> None:
    budget = Budget(BudgetSettings(tokens=1000))
    first = await budget.reserve(tokens=800)
    second = asyncio.create_task(budget.reserve(tokens=300))
    await settled()
    assert budget.waiting == 1
    first.settle(100)
    (await second).settle(300)
    assert budget.charged_tokens == 400
    assert not budget.exhausted


async def test_a_waiting_call_is_refused_once_settlements_leave_too_little() -> None:
    budget = Budget(BudgetSettings(tokens=1000))
    first = await budget.reserve(tokens=800)
    others = [asyncio.create_task(budget.reserve(tokens=300)) for _ in range(3)]
    await settled()
    first.settle(800)
    results = await asyncio.gather(*others, return_exceptions=True)
    assert [type(result) for result in results] == [BudgetReached] * 3
    assert budget.exhausted


async def test_a_call_that_no_settlement_can_make_room_for_does_not_wait() -> None:
    budget = Budget(BudgetSettings(tokens=1000))
    await budget.reserve(tokens=10)
    with pytest.raises(BudgetReached):
        await budget.reserve(tokens=1001)


async def test_after_the_first_refusal_even_small_calls_are_refused() -> None:
    budget = Budget(BudgetSettings(calls=10, tokens=100))
    with pytest.raises(BudgetReached):
        await budget.reserve(tokens=101)
    with pytest.raises(BudgetReached):
        await budget.reserve(tokens=1)
    assert budget.charged_calls == 0


async def test_calls_in_flight_still_settle_after_a_refusal() -> None:
    budget = Budget(BudgetSettings(tokens=100))
    reservation = await budget.reserve(tokens=60)
    with pytest.raises(BudgetReached):
        await budget.reserve(tokens=101)
    reservation.settle(50)
    assert budget.charged_tokens == 50


async def test_a_large_call_is_not_passed_by_small_ones() -> None:
    budget = Budget(BudgetSettings(tokens=100))
    first = await budget.reserve(tokens=60)
    order: list[int] = []

    async def call(tokens: int) -> None:
        reservation = await budget.reserve(tokens=tokens)
        order.append(tokens)
        reservation.settle(0)

    tasks = [asyncio.create_task(call(tokens)) for tokens in (90, 10, 20)]
    await settled()
    assert order == []
    first.settle(0)
    await asyncio.gather(*tasks)
    assert order == [90, 10, 20]


async def test_cancelling_the_first_in_line_lets_the_next_go() -> None:
    budget = Budget(BudgetSettings(tokens=100))
    first = await budget.reserve(tokens=60)
    large = asyncio.create_task(budget.reserve(tokens=90))
    small = asyncio.create_task(budget.reserve(tokens=40))
    await settled()
    large.cancel()
    await settled()
    assert small.done()
    assert budget.waiting == 0
    small.result().settle(40)
    first.settle(60)
    assert budget.charged_tokens == 100


async def test_a_grant_lost_to_a_cancellation_in_the_same_moment_goes_back() -> None:
    budget = Budget(BudgetSettings(tokens=100))
    first = await budget.reserve(tokens=100)
    waiter = asyncio.create_task(budget.reserve(tokens=100))
    await settled()
    first.release()
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    (await budget.reserve(tokens=100)).settle(100)
    assert budget.charged_tokens == 100


async def test_a_refusal_lost_to_a_cancellation_leaves_no_trace_but_the_flag() -> None:
    budget = Budget(BudgetSettings(tokens=100))
    first = await budget.reserve(tokens=100)
    waiter = asyncio.create_task(budget.reserve(tokens=100))
    await settled()
    first.settle(100)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert budget.exhausted
    assert budget.waiting == 0


async def test_as_a_guard_a_cancelled_call_is_released() -> None:
    budget = Budget(BudgetSettings(calls=1))

    async def call() -> None:
        with await budget.reserve():
            await asyncio.Event().wait()

    task = asyncio.create_task(call())
    await settled()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert budget.charged_calls == 0
    assert not (await asyncio.wait_for(_reserve_and_settle(budget), 5)).exhausted


async def _reserve_and_settle(budget: Budget) -> Budget:
    with await budget.reserve():
        pass
    return budget


async def test_as_a_guard_a_call_left_unsettled_is_charged_in_full() -> None:
    budget = Budget(BudgetSettings(tokens=100))
    with await budget.reserve(tokens=70):
        pass
    assert budget.charged_tokens == 70


async def test_many_small_sums_add_up_exactly() -> None:
    budget = Budget(BudgetSettings(usd=0.3))
    for _ in range(300):
        (await budget.reserve(usd=0.001)).settle(None, 0.001)
    assert budget.charged_usd == 0.3
    with pytest.raises(BudgetReached):
        await budget.reserve(usd=1e-9)


async def test_dollars_reserved_and_released_in_any_order_leave_the_whole_cap() -> None:
    rng = random.Random(3)
    budget = Budget(BudgetSettings(usd=10_000))
    reservations = [await budget.reserve(usd=rng.random() * 100) for _ in range(100)]
    rng.shuffle(reservations)
    for reservation in reservations:
        reservation.release()
    (await asyncio.wait_for(budget.reserve(usd=10_000), 5)).settle()
    assert budget.charged_usd == 10_000


async def test_without_caps_everything_is_granted_and_still_counted() -> None:
    budget = Budget(BudgetSettings())
    reservations = [await budget.reserve(tokens=10**9) for _ in range(1000)]
    for reservation in reservations:
        reservation.settle(7, None)
    assert (budget.charged_calls, budget.charged_tokens, budget.charged_usd) == (1000, 7000, 0.0)


@pytest.mark.parametrize(
    ("settings", "spent", "asked", "figures"),
    [
        (BudgetSettings(usd=5), Spend(usd=4.98), {"usd": 0.03}, ("5 dollars", "4.98", "0.03")),
        (BudgetSettings(usd=2e-7), Spend(), {"usd": 1e-6}, ("0.0000002 dollars", "0", "0.000001")),
        (BudgetSettings(tokens=100), Spend(1, 90), {"tokens": 11}, ("100 tokens", "90", "11")),
        (BudgetSettings(calls=3), Spend(calls=3), {}, ("3 calls", "3", "1")),
        (
            BudgetSettings(usd=5, tokens=100, calls=9),
            Spend(1, 90, 1.0),
            {"tokens": 11, "usd": 0.1},
            ("100 tokens", "90", "11"),
        ),
    ],
)
async def test_a_refusal_names_the_cap_the_spent_and_a_cap_that_would_do(
    settings: BudgetSettings, spent: Spend, asked: dict[str, Any], figures: tuple[str, str, str]
) -> None:
    with pytest.raises(BudgetReached) as caught:
        await Budget(settings, spent).reserve(**asked)
    error = caught.value
    cap, already, need = figures
    assert f"cap of {cap}." in error.what
    assert error.cause.startswith(f"{already} ")
    assert error.cause.endswith(f"up to {need}.")
    assert error.command is not None
    raised = re.fullmatch(r"stillhouse run RECIPE --set budget\.(\w+)=([\d.]+)", error.command)
    assert raised is not None
    assert f"budget.{raised[1]}" in error.solution
    written = settings.model_dump() | {raised[1]: float(raised[2])}
    (await Budget(BudgetSettings.model_validate(written), spent).reserve(**asked)).settle()


async def test_a_cap_in_dollars_refuses_a_call_without_a_price() -> None:
    with pytest.raises(UnpricedTeacher, match=r"budget\.tokens"):
        await Budget(BudgetSettings(usd=1)).reserve(tokens=10)


def test_a_cap_in_dollars_names_unpriced_teachers_and_their_keys_before_the_run() -> None:
    free = Prices(usd_per_million_prompt_tokens=0, usd_per_million_completion_tokens=0)
    half = Prices(usd_per_million_prompt_tokens=1)
    with pytest.raises(UnpricedTeacher) as caught:
        require_prices(BudgetSettings(usd=1), {"local": free, "api": half, "judge": None})
    assert "api, judge" in caught.value.what
    assert "local" not in str(caught.value)
    assert "teachers.api.prices.usd_per_million_completion_tokens" in caught.value.solution
    assert "teachers.judge.prices.usd_per_million_prompt_tokens" in caught.value.solution


def test_unknown_prices_are_no_matter_without_a_cap_in_dollars() -> None:
    require_prices(BudgetSettings(tokens=5), {"api": Prices()})
    free = Prices(usd_per_million_prompt_tokens=0, usd_per_million_completion_tokens=0)
    require_prices(BudgetSettings(usd=5), {"local": free})
    with pytest.raises(UnpricedTeacher):
        require_prices(BudgetSettings(usd=5), {"local": free, "api": Prices()})


CALLS = st.lists(
    st.tuples(
        st.integers(0, 60),  # tokens reserved
        st.floats(0, 1),  # share of them used
        st.sampled_from(["settle", "settle", "settle", "unknown", "fail", "cancel"]),
        st.integers(0, 3),  # turns of the event loop before asking
        st.integers(0, 5),  # and while in flight
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(CALLS, st.integers(1, 400), st.integers(1, 30))
def test_no_cap_is_ever_passed_and_every_call_ends(
    calls: list[tuple[int, float, str, int, int]], cap_tokens: int, cap_calls: int
) -> None:
    async def main() -> None:
        budget = Budget(BudgetSettings(tokens=cap_tokens, calls=cap_calls, usd=cap_tokens / 1000))
        used_tokens = used_calls = 0

        async def call(tokens: int, share: float, end: str, before: int, during: int) -> None:
            nonlocal used_tokens, used_calls
            for _ in range(before):
                await asyncio.sleep(0)
            with await budget.reserve(tokens=tokens, usd=tokens / 1000) as reservation:
                for _ in range(during):
                    await asyncio.sleep(0)
                if end == "fail":
                    raise ConnectionError
                used = tokens if end == "unknown" else int(tokens * share)
                known = end != "unknown"
                reservation.settle(used if known else None, used / 1000 if known else None)
                used_tokens += used
                used_calls += 1
                assert used_tokens <= cap_tokens
                assert used_calls <= cap_calls

        tasks = [asyncio.create_task(call(*spec)) for spec in calls]
        for _ in range(4):
            await asyncio.sleep(0)
        for task, spec in zip(tasks, calls, strict=True):
            if spec[2] == "cancel":
                task.cancel()
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)
        unexpected = [
            result
            for result in results
            if result is not None
            and not isinstance(result, BudgetReached | ConnectionError | asyncio.CancelledError)
        ]
        assert unexpected == []
        told = any(isinstance(result, BudgetReached) for result in results)
        # One that was refused and cancelled in the same turn of the loop is told the latter.
        cancelled = any(isinstance(result, asyncio.CancelledError) for result in results)
        assert budget.exhausted == told or (budget.exhausted and cancelled)
        assert budget.waiting == 0
        assert (budget.charged_tokens, budget.charged_calls) == (used_tokens, used_calls)
        assert budget.charged_usd == pytest.approx(used_tokens / 1000, abs=1e-12)

    asyncio.run(main())


async def test_a_thousand_tasks_use_the_cap_up_without_passing_it() -> None:
    rng = random.Random(7)
    budget = Budget(BudgetSettings(tokens=20_000))
    peak = 0

    async def call() -> None:
        nonlocal peak
        bound = rng.randint(1, 200)
        with await budget.reserve(tokens=bound) as reservation:
            await asyncio.sleep(0)
            reservation.settle(rng.randint(0, bound))
        peak = max(peak, budget.charged_tokens)

    results = await asyncio.gather(*(call() for _ in range(1000)), return_exceptions=True)
    assert {type(result) for result in results} == {type(None), BudgetReached}
    # The one that did not fit was at most 200 large, so no more than that is left.
    assert 20_000 - 200 < peak <= 20_000
