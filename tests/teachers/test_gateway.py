"""Around one call, against real servers: retries, 429, cache, single flight, budget, reports."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from endpoints import Endpoint, Gate, completion, throttled, unused_port
from hypothesis import given
from hypothesis import strategies as st

from teachers.budget import Budget, BudgetSettings, UnpricedTeacher
from teachers.chat import TeacherChat
from teachers.config import RetrySettings
from teachers.errors import (
    BadRequest,
    BudgetReached,
    ContextExceeded,
    RateLimited,
    ServerFault,
    TeacherError,
    TransportFault,
    Unreachable,
)
from teachers.gateway import DEFAULT_COMPLETION_ROOM, Answer, Attempt, Backend, Gateway, NoCache
from teachers.limiter import AdaptiveLimiter, LimitSettings
from teachers.pricing import Prices, upper_bound_tokens
from teachers.simulated.server import SimulatedServer
from teachers.simulated.settings import SimulatedSettings
from teachers.terms import Terms
from teachers.types import Completion, Message, Request, Sampling

MODEL = "simulated-teacher"
ROOT = Path(__file__).resolve().parents[2]
QUICK = RetrySettings(attempts=4, first_wait_s=0.001, longest_wait_s=0.01)
PRICES = Prices(usd_per_million_prompt_tokens=1.0, usd_per_million_completion_tokens=2.0)
FREE = Prices(usd_per_million_prompt_tokens=0, usd_per_million_completion_tokens=0)


def request(text: str = "What is 6 * 7?", **more: Any) -> Request:
    given = {"endpoint": "here", "model": MODEL, "revision": None,
             "messages": (Message("user", text),)}  # fmt: skip
    return Request(**(given | more))


class Shelf:
    """A cache that holds what it is told to, as the corpus would."""

    def __init__(self) -> None:
        self.held: dict[str, Completion] = {}
        self.asked: list[str] = []

    def may_hold(self, key: str) -> bool:
        return key in self.held

    async def get(self, key: str) -> Completion | None:
        self.asked.append(key)
        await asyncio.sleep(0)
        return self.held.get(key)


@dataclass
class Caller:
    """A gateway with what it reports."""

    gateway: Gateway
    budget: Budget
    limiter: AdaptiveLimiter
    answers: list[Answer] = field(default_factory=list)
    failures: list[Attempt] = field(default_factory=list)
    on_failure: Callable[[Attempt], None] = lambda attempt: None

    async def ask(self, asked: Request | None = None) -> Answer:
        return await self.gateway.answer(asked or request(), self.answers.append, self._failed)

    def _failed(self, attempt: Attempt) -> None:
        self.failures.append(attempt)
        self.on_failure(attempt)

    def errors(self) -> list[str]:
        return [attempt.error.code for attempt in self.failures if attempt.error]


@asynccontextmanager
async def calling(
    url: str,
    *,
    retry: RetrySettings = QUICK,
    cache: Any = None,
    caps: BudgetSettings | None = None,
    limits: LimitSettings | None = None,
    prices: Prices = FREE,
    wrap: Callable[[TeacherChat], Backend] = lambda chat: chat,
    timeout_s: float = 10.0,
) -> AsyncIterator[Caller]:
    chat = TeacherChat.for_teacher(name="big", base_url=url, model=MODEL, timeout_s=timeout_s)
    budget, limiter = Budget(caps or BudgetSettings()), AdaptiveLimiter(limits)
    gateway = Gateway(
        name="big",
        endpoint="here",
        model=MODEL,
        revision=None,
        backend=wrap(chat),
        limiter=limiter,
        budget=budget,
        cache=cache or NoCache(),
        retry=retry,
        prices=prices,
        structured_mode="json_schema",
        contribution=Terms().contribution("big", MODEL, simulated=False),
        family=None,
    )
    try:
        yield Caller(gateway, budget, limiter)
    finally:
        await gateway.close()


@asynccontextmanager
async def simulated(**settings: Any) -> AsyncIterator[str]:
    server = SimulatedServer(SimulatedSettings(**settings))
    try:
        yield await server.start()
    finally:
        await server.stop()


async def stats(base_url: str) -> dict[str, Any]:
    url = base_url.removesuffix("/v1") + "/simulated/stats"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        told: dict[str, Any] = await response.json()
        return told


# Answers and failed attempts.


async def test_an_answer_is_reported_before_it_is_returned() -> None:
    async with Endpoint() as endpoint, calling(endpoint.url, prices=PRICES) as caller:
        answer = await caller.ask()
        assert caller.answers == [answer]
        assert caller.failures == []
        assert answer.completion.content == "Yes."
        assert answer.cached is False
        assert answer.cost_usd == pytest.approx((10 * 1.0 + 5 * 2.0) / 1e6)
        assert answer.attempt.number == 1
        assert answer.attempt.error is None
        assert answer.attempt.latency_s is not None


@pytest.mark.parametrize(
    ("fault", "code"), [("server_error", "server_error"), ("truncated_body", "transport")]
)
async def test_faults_are_tried_again_and_every_failed_attempt_is_reported(
    fault: str, code: str
) -> None:
    async with (
        simulated(**{fault: 1.0}, max_faults_in_a_row=3) as url,
        calling(url) as caller,
    ):
        answer = await caller.ask()
        assert "42" in answer.completion.content
        assert caller.errors() == [code] * 3
        assert [attempt.number for attempt in caller.failures] == [1, 2, 3]
        assert all(attempt.latency_s is not None for attempt in caller.failures)
        assert answer.attempt.number == 4
        assert (await stats(url))["requests"] == 4


async def test_a_timeout_is_tried_again_and_slows_the_endpoint_down() -> None:
    async def stalls(_: Any) -> Any:
        await asyncio.sleep(30)

    limits = LimitSettings(initial_concurrency=8)
    async with (
        Endpoint(stalls) as endpoint,
        calling(endpoint.url, timeout_s=0.3, limits=limits) as caller,
    ):
        answer = await caller.ask()
        assert answer.attempt.number == 2
        assert caller.errors() == ["timed_out"]
        assert caller.limiter.limit == 4


async def test_after_so_many_attempts_the_last_error_is_raised() -> None:
    script = [500, 500, 503, 502]
    async with Endpoint(*script) as endpoint, calling(endpoint.url) as caller:
        with pytest.raises(ServerFault) as caught:
            await caller.ask()
        assert len(endpoint.arrived) == QUICK.attempts == 4
        assert len(caller.failures) == 4
        assert caught.value is caller.failures[-1].error
        assert "502" in caught.value.cause
        assert caller.answers == []
        assert not caught.value.fatal


async def test_one_attempt_means_one_attempt() -> None:
    retry = QUICK.model_copy(update={"attempts": 1})
    async with Endpoint(500) as endpoint, calling(endpoint.url, retry=retry) as caller:
        with pytest.raises(ServerFault):
            await caller.ask()
        assert len(endpoint.arrived) == len(caller.failures) == 1


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 422])
async def test_a_refused_request_is_not_tried_again(status: int) -> None:
    async with Endpoint(status) as endpoint, calling(endpoint.url) as caller:
        with pytest.raises(TeacherError) as caught:
            await caller.ask()
        assert not caught.value.retryable
        assert len(endpoint.arrived) == 1
        assert [attempt.error for attempt in caller.failures] == [caught.value]


async def test_a_prompt_too_long_for_a_real_context_is_refused_once() -> None:
    async with simulated(context_length=16) as url, calling(url) as caller:
        with pytest.raises(ContextExceeded):
            await caller.ask(request("word " * 200))
        assert (await stats(url))["requests"] == 1


async def test_a_failed_call_leaves_nothing_in_flight() -> None:
    async with Endpoint(400) as endpoint, calling(endpoint.url) as caller:
        with pytest.raises(BadRequest):
            await caller.ask()
        assert caller.limiter.in_flight == 0
        assert (await caller.ask()).cached is False
        assert len(endpoint.arrived) == 2


# 429.


async def test_429_never_counts_as_an_attempt() -> None:
    retry = QUICK.model_copy(update={"attempts": 1})
    async with (
        simulated(rate_limited=1.0, max_faults_in_a_row=5, retry_after_s=0.01) as url,
        calling(url, retry=retry) as caller,
    ):
        answer = await caller.ask()
        assert "42" in answer.completion.content
        assert answer.attempt.number == 1
        assert caller.errors() == ["rate_limited"] * 5
        assert {attempt.number for attempt in caller.failures} == {1}
        assert (await stats(url))["requests"] == 6


async def test_429_and_server_errors_are_counted_apart() -> None:
    retry = QUICK.model_copy(update={"attempts": 3})
    script = [throttled(0.001), 500, throttled(0.001), 500, throttled(0.001)]
    async with Endpoint(*script) as endpoint, calling(endpoint.url, retry=retry) as caller:
        answer = await caller.ask()
        assert answer.attempt.number == 3
        assert [attempt.number for attempt in caller.failures] == [1, 1, 2, 2, 3]
        assert len(endpoint.arrived) == 6


async def test_nobody_asks_before_retry_after_is_over() -> None:
    async with (
        Endpoint(throttled(0.3)) as endpoint,
        calling(endpoint.url) as caller,
    ):
        pauses: list[float] = []
        endpoint.on_arrival = lambda: pauses.append(caller.limiter.paused_for_s)
        others: list[asyncio.Task[Answer]] = []

        def also_asked(attempt: Attempt) -> None:
            assert isinstance(attempt.error, RateLimited)
            assert attempt.error.retry_after_s == 0.3
            assert 0 < caller.limiter.paused_for_s <= 0.3
            others.extend(asyncio.create_task(caller.ask(request(f"{n}"))) for n in range(3))

        caller.on_failure = also_asked
        await caller.ask()
        await asyncio.gather(*others)
        assert len(pauses) == 5
        assert pauses == [0.0] * 5


async def test_429_makes_the_limiter_let_fewer_in() -> None:
    limits = LimitSettings(initial_concurrency=10)
    async with (
        Endpoint(throttled(0.001)) as endpoint,
        calling(endpoint.url, limits=limits) as caller,
    ):
        await caller.ask()
        assert caller.limiter.limit == 5


# No connection.


async def test_without_a_connection_a_call_tries_until_its_patience_is_over() -> None:
    retry = RetrySettings(
        attempts=2, first_wait_s=0.01, longest_wait_s=0.02, unreachable_patience_s=0.3
    )
    async with calling(f"http://127.0.0.1:{unused_port()}/v1", retry=retry) as caller:
        with pytest.raises(Unreachable) as caught:
            await caller.ask()
        assert caught.value.fatal
        assert "'big'" in caught.value.what
        assert caught.value.command == "stillhouse teacher check big"
        assert len(caller.failures) > retry.attempts
        assert set(caller.errors()) == {"unreachable"}


async def test_without_patience_the_first_missing_connection_is_the_last() -> None:
    retry = QUICK.model_copy(update={"unreachable_patience_s": 0.0})
    async with calling(f"http://127.0.0.1:{unused_port()}/v1", retry=retry) as caller:
        with pytest.raises(Unreachable):
            await caller.ask()
        assert len(caller.failures) == 1


async def test_attempts_are_counted_from_when_a_server_has_come_up() -> None:
    port = unused_port()
    retry = QUICK.model_copy(update={"attempts": 2})
    endpoint = Endpoint(500, port=port)
    starting: list[asyncio.Task[Endpoint]] = []

    def start(_: Attempt) -> None:
        if len(caller.failures) == 5:
            starting.append(asyncio.create_task(endpoint.__aenter__()))

    async with calling(f"http://127.0.0.1:{port}/v1", retry=retry) as caller:
        caller.on_failure = start
        try:
            answer = await caller.ask()
        finally:
            await asyncio.gather(*starting)
            await endpoint.__aexit__()
        assert caller.errors().count("unreachable") >= 5
        assert caller.errors()[-1] == "server_error"
        assert answer.attempt.number == len(caller.failures) + 1
        assert len(endpoint.arrived) == 2


async def test_waiting_in_our_own_queue_uses_up_no_patience() -> None:
    retry = RetrySettings(
        attempts=2, first_wait_s=0.01, longest_wait_s=0.02, unreachable_patience_s=0.3
    )
    limits = LimitSettings(max_concurrency=1)
    url = f"http://127.0.0.1:{unused_port()}/v1"
    async with calling(url, retry=retry, limits=limits) as caller:
        async with caller.limiter.slot():
            asking = asyncio.create_task(caller.ask())
            await asyncio.sleep(2 * retry.unreachable_patience_s)
            assert caller.limiter.waiting == 1
            assert caller.failures == []
        with pytest.raises(Unreachable):
            await asking
        assert len(caller.failures) > 1


# Cache and single flight.


async def test_what_the_corpus_holds_is_answered_without_sending_anything() -> None:
    shelf = Shelf()
    shelf.held[request().key] = Completion(content="Held.")
    caps = BudgetSettings(calls=1)
    async with Endpoint() as endpoint, calling(endpoint.url, cache=shelf, caps=caps) as caller:
        first, second = await caller.ask(), await caller.ask()
        assert first.completion == Completion(content="Held.")
        assert (first.cached, first.cost_usd) == (True, 0.0)
        assert first.attempt == Attempt(0, None)
        assert caller.answers == [first, second]
        assert endpoint.arrived == []
        assert caller.budget.charged_calls == 0


async def test_a_cache_that_only_might_hold_the_answer_is_no_answer() -> None:
    class Doubtful(Shelf):
        def may_hold(self, key: str) -> bool:
            return True

    shelf = Doubtful()
    async with Endpoint() as endpoint, calling(endpoint.url, cache=shelf) as caller:
        answer = await caller.ask()
        assert answer.cached is False
        assert shelf.asked == [request().key]
        assert len(endpoint.arrived) == 1


async def test_equal_requests_at_once_are_one_http_request() -> None:
    gate = Gate()
    async with Endpoint(gate) as endpoint, calling(endpoint.url, prices=PRICES) as caller:
        asking = [asyncio.create_task(caller.ask()) for _ in range(5)]
        await gate.reached.wait()
        gate.opened.set()
        answers = await asyncio.gather(*asking)
        assert len(endpoint.arrived) == 1
        assert [answer.cached for answer in answers] == [False, True, True, True, True]
        assert {answer.completion.content for answer in answers} == {"Yes."}
        assert [answer.cost_usd for answer in answers[1:]] == [0.0] * 4
        assert len(caller.answers) == 5
        assert caller.budget.charged_calls == 1


async def test_different_requests_at_once_are_sent_both() -> None:
    async with Endpoint() as endpoint, calling(endpoint.url) as caller:
        await asyncio.gather(caller.ask(request("a")), caller.ask(request("a", ask=1)))
        assert len(endpoint.arrived) == 2


async def test_after_an_answer_an_equal_request_is_not_answered_from_memory() -> None:
    async with Endpoint() as endpoint, calling(endpoint.url) as caller:
        assert [(await caller.ask()).cached for _ in range(2)] == [False, False]
        assert len(endpoint.arrived) == 2


async def test_where_the_first_asker_is_cancelled_the_second_asks_itself() -> None:
    gate = Gate()
    async with Endpoint(gate) as endpoint, calling(endpoint.url) as caller:
        first, second, third = (asyncio.create_task(caller.ask()) for _ in range(3))
        await gate.reached.wait()
        first.cancel()
        answers = await asyncio.gather(second, third)
        assert first.cancelled()
        assert [answer.cached for answer in answers] == [False, True]
        assert len(endpoint.arrived) == 2
        assert caller.budget.charged_calls == 1
        assert caller.limiter.in_flight == 0
        gate.opened.set()


async def test_where_the_first_asker_fails_the_second_asks_itself() -> None:
    gate = Gate(then=400)
    async with Endpoint(gate) as endpoint, calling(endpoint.url) as caller:
        first, second = (asyncio.create_task(caller.ask()) for _ in range(2))
        await gate.reached.wait()
        gate.opened.set()
        with pytest.raises(BadRequest):
            await first
        assert (await second).cached is False
        assert len(endpoint.arrived) == 2
        assert caller.errors() == ["bad_request"]


async def test_a_cancelled_second_asker_does_not_disturb_the_first() -> None:
    gate = Gate()
    async with Endpoint(gate) as endpoint, calling(endpoint.url) as caller:
        first, second = (asyncio.create_task(caller.ask()) for _ in range(2))
        await gate.reached.wait()
        second.cancel()
        await asyncio.wait([second])
        gate.opened.set()
        assert (await first).cached is False
        assert len(endpoint.arrived) == 1


class CancelledOnArrival:
    """A real chat whose caller is cancelled at the moment its answer has come."""

    def __init__(self, chat: TeacherChat) -> None:
        self._chat = chat

    async def complete(self, asked: Request) -> Completion:
        answer = await self._chat.complete(asked)
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return answer

    async def close(self) -> None:
        await self._chat.close()


@pytest.mark.parametrize("failures", [0, 2])
async def test_an_answer_that_has_come_is_booked_even_if_its_asker_is_cancelled_then(
    failures: int,
) -> None:
    script = [500] * failures
    async with (
        Endpoint(*script) as endpoint,
        calling(endpoint.url, wrap=CancelledOnArrival) as caller,
    ):
        asking = asyncio.create_task(caller.ask())
        await asyncio.wait([asking])
        assert asking.cancelled()
        assert [answer.completion.content for answer in caller.answers] == ["Yes."]
        assert caller.budget.charged_calls == 1


# Budget.


async def test_an_answer_is_charged_by_what_the_server_counted() -> None:
    caps = BudgetSettings(usd=1.0, tokens=100_000, calls=10)
    async with (
        Endpoint() as endpoint,
        calling(endpoint.url, caps=caps, prices=PRICES) as caller,
    ):
        answer = await caller.ask()
        assert caller.budget.charged_calls == 1
        assert caller.budget.charged_tokens == 15
        assert caller.budget.charged_usd == pytest.approx(answer.cost_usd)


async def test_an_answer_without_counts_is_charged_its_bound_and_costs_an_unknown_amount() -> None:
    caps = BudgetSettings(usd=1.0, tokens=100_000)
    async with (
        Endpoint(completion(usage=None)) as endpoint,
        calling(endpoint.url, caps=caps, prices=PRICES) as caller,
    ):
        asked = request(sampling=Sampling(max_tokens=100))
        answer = await caller.ask(asked)
        assert answer.cost_usd is None
        prompt, room = upper_bound_tokens(asked.messages, 100)
        assert caller.budget.charged_tokens == prompt + room
        assert caller.budget.charged_usd == pytest.approx((prompt * 1.0 + room * 2.0) / 1e6)


@pytest.mark.parametrize("script", [[400], [500] * 4])
async def test_a_call_that_failed_is_charged_nothing_and_gives_its_room_back(
    script: list[int],
) -> None:
    caps = BudgetSettings(calls=1)
    async with Endpoint(*script) as endpoint, calling(endpoint.url, caps=caps) as caller:
        with pytest.raises(TeacherError):
            await caller.ask()
        assert caller.budget.charged_calls == 0
        assert (await caller.ask()).completion.content == "Yes."
        assert caller.budget.charged_calls == 1


async def test_a_cancelled_call_gives_its_room_back() -> None:
    gate = Gate()
    caps = BudgetSettings(calls=1)
    async with Endpoint(gate) as endpoint, calling(endpoint.url, caps=caps) as caller:
        asking = asyncio.create_task(caller.ask())
        await gate.reached.wait()
        asking.cancel()
        await asyncio.wait([asking])
        gate.opened.set()
        assert (await caller.ask()).cached is False


@pytest.mark.parametrize(
    "caps", [BudgetSettings(calls=1), BudgetSettings(tokens=4300), BudgetSettings(usd=0.0085)]
)
async def test_a_call_that_does_not_fit_is_not_sent(caps: BudgetSettings) -> None:
    big = completion(usage={"prompt_tokens": 100, "completion_tokens": 4090})
    async with (
        Endpoint(big) as endpoint,
        calling(endpoint.url, caps=caps, prices=PRICES) as caller,
    ):
        await caller.ask()
        with pytest.raises(BudgetReached):
            await caller.ask(request("another"))
        assert len(endpoint.arrived) == 1
        assert caller.failures == []
        assert len(caller.answers) == 1


async def test_calls_at_once_cannot_pass_the_cap_together() -> None:
    caps = BudgetSettings(calls=3)
    async with simulated(latency_s=0.05) as url, calling(url, caps=caps) as caller:
        asking = [caller.ask(request(f"What is {n} + 1?")) for n in range(8)]
        results = await asyncio.gather(*asking, return_exceptions=True)
        assert sum(isinstance(result, Answer) for result in results) == 3
        assert sum(isinstance(result, BudgetReached) for result in results) == 5
        assert (await stats(url))["requests"] == 3


async def test_a_call_of_unknown_price_is_not_sent_under_a_cap_in_dollars() -> None:
    caps = BudgetSettings(usd=1.0)
    async with (
        Endpoint() as endpoint,
        calling(endpoint.url, caps=caps, prices=Prices()) as caller,
    ):
        with pytest.raises(UnpricedTeacher):
            await caller.ask()
        assert endpoint.arrived == []


async def test_without_a_limit_of_its_own_a_request_reserves_the_usual_room() -> None:
    prompt, _ = upper_bound_tokens(request().messages, 0)
    for room, fits in ((DEFAULT_COMPLETION_ROOM, True), (DEFAULT_COMPLETION_ROOM - 1, False)):
        caps = BudgetSettings(tokens=prompt + room)
        async with Endpoint() as endpoint, calling(endpoint.url, caps=caps) as caller:
            if fits:
                await caller.ask()
            else:
                with pytest.raises(BudgetReached):
                    await caller.ask()
            assert len(endpoint.arrived) == int(fits)


# What makes two requests the same.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
MESSAGES = st.lists(
    st.builds(Message, st.sampled_from(["system", "user", "assistant"]), st.text(max_size=20)),
    min_size=1,
    max_size=4,
).map(tuple)
SAMPLINGS = st.builds(
    Sampling,
    temperature=st.none() | st.floats(0, 2),
    top_p=st.none() | st.floats(0.1, 1),
    max_tokens=st.none() | st.integers(1, 10**6),
    seed=st.none() | st.integers(0, 2**31),
    top_logprobs=st.none() | st.integers(0, 20),
    extra=st.dictionaries(st.text(max_size=5), JSON, max_size=2).map(
        lambda extra: tuple(sorted(extra.items()))
    ),
)
REQUESTS = st.builds(
    Request,
    endpoint=st.text(max_size=10),
    model=st.text(max_size=10),
    revision=st.none() | st.text(max_size=10),
    messages=MESSAGES,
    sampling=SAMPLINGS,
    schema_name=st.none() | st.text(max_size=5),
    schema=st.none() | st.dictionaries(st.text(max_size=5), JSON, max_size=3),
    structured_mode=st.none() | st.sampled_from(["json_schema", "json_object", "prompt"]),
    ask=st.integers(0, 9),
)


@given(REQUESTS)
def test_equal_requests_have_equal_keys(made: Request) -> None:
    again = replace(made)
    assert again == made
    assert again.key == made.key
    assert len(made.key) == 32


@given(REQUESTS, REQUESTS)
def test_requests_that_differ_anywhere_have_different_keys(one: Request, other: Request) -> None:
    for name in (f.name for f in fields(Request)):
        changed = replace(one, **{name: getattr(other, name)})
        assert (changed.key == one.key) == (repr(changed) == repr(one))


SYSTEM = request(messages=(Message("system", "Be brief."), Message("user", "Why?")))


@pytest.mark.parametrize(
    "changed",
    [
        replace(SYSTEM, messages=(Message("system", "Be brief!"), SYSTEM.messages[1])),
        replace(SYSTEM, messages=SYSTEM.messages[1:]),
        replace(SYSTEM, messages=(Message("user", "Be brief."), SYSTEM.messages[1])),
        replace(SYSTEM, messages=tuple(reversed(SYSTEM.messages))),
        replace(SYSTEM, messages=(Message("system", "Be brief.Why?"),)),
        replace(SYSTEM, endpoint="there"),
        replace(SYSTEM, model="m2"),
        replace(SYSTEM, revision="main"),
        replace(SYSTEM, sampling=Sampling(temperature=0.0)),
        replace(SYSTEM, sampling=Sampling(top_p=0.0)),
        replace(SYSTEM, sampling=Sampling(max_tokens=7)),
        replace(SYSTEM, sampling=Sampling(seed=7)),
        replace(SYSTEM, sampling=Sampling(top_logprobs=7)),
        replace(SYSTEM, sampling=Sampling(extra=(("top_k", 7),))),
        replace(SYSTEM, sampling=Sampling(extra=(("top_k", 8),))),
        replace(SYSTEM, schema_name="selection"),
        replace(SYSTEM, schema={"type": "object"}),
        replace(SYSTEM, schema={"type": "array"}),
        replace(SYSTEM, structured_mode="prompt"),
        replace(SYSTEM, ask=1),
    ],
)
def test_everything_that_shapes_an_answer_is_in_its_key(changed: Request) -> None:
    others = {SYSTEM.key, replace(SYSTEM, ask=2).key, request().key}
    assert changed.key not in others


def test_the_order_in_which_a_schema_was_written_down_does_not_matter() -> None:
    one = request(schema={"type": "object", "required": ["a"]})
    assert request(schema={"required": ["a"], "type": "object"}).key == one.key


def test_a_key_is_the_same_in_every_process() -> None:
    code = (
        "from teachers.types import *\n"
        "print(Request(endpoint='e', model='m', revision=None, messages=(Message('user', '川'),),"
        " sampling=Sampling(temperature=0.7, extra=(('k', {'b': 1, 'a': 2}),)),"
        " schema={'z': 1, 'a': [True, None]}, ask=3).key)"
    )
    keys = set()
    for hash_seed in ("1", "2"):
        ended = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        keys.add(ended.stdout.strip())
    here = Request(
        endpoint="e",
        model="m",
        revision=None,
        messages=(Message("user", "川"),),
        sampling=Sampling(temperature=0.7, extra=(("k", {"a": 2, "b": 1}),)),
        schema={"a": [True, None], "z": 1},
        ask=3,
    )
    assert keys == {here.key}


async def test_the_number_of_an_ask_reaches_a_seeded_teacher() -> None:
    async with Endpoint() as endpoint, calling(endpoint.url) as caller:
        for ask in (0, 2):
            await caller.ask(request(sampling=Sampling(seed=40), ask=ask))
        assert [body["seed"] for body in endpoint.arrived] == [40, 42]


async def test_a_transport_fault_names_the_teacher_and_the_check_command() -> None:
    async def hangs_up(asked: Any) -> Any:
        asked.transport.close()

    retry = QUICK.model_copy(update={"attempts": 1})
    async with Endpoint(hangs_up) as endpoint, calling(endpoint.url, retry=retry) as caller:
        with pytest.raises(TransportFault, match="'big'") as caught:
            await caller.ask()
        assert caught.value.command == "stillhouse teacher check big"
