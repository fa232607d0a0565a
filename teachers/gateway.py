"""Everything around one teacher call: cache, single flight, budget, limits, retries, accounting.

In: a `Request`. Out: an `Answer`, or a typed `TeacherError`. In order: a completion that is already
in the corpus answers at once; an equal request under way is waited for; the budget reserves the
most the call can cost; the endpoint's limiter gives a slot, for which a call waits as long as it
takes; transport faults and 5xx are tried again by tenacity with jitter; 429 goes to the limiter and
is no attempt. Every attempt is reported, also the failed ones.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    wait_random_exponential,
)

from teachers.budget import Budget
from teachers.config import RetrySettings
from teachers.errors import RateLimited, TeacherError, Unreachable
from teachers.limiter import AdaptiveLimiter
from teachers.pricing import Prices, cost, upper_bound_cost, upper_bound_tokens
from teachers.terms import Contribution
from teachers.types import Completion, Request, Usage

DEFAULT_COMPLETION_ROOM = 4096


class Backend(Protocol):
    """What answers a request: a chat endpoint or a recording."""

    async def complete(self, request: Request) -> Completion:
        """One attempt; raises a `TeacherError`."""
        ...

    async def close(self) -> None:
        """Lets go of connections."""
        ...


class CompletionCache(Protocol):
    """The completions that are in the corpus already."""

    def may_hold(self, key: str) -> bool:
        """False only when the corpus surely has no completion under this key."""
        ...

    async def get(self, key: str) -> Completion | None:
        """The completion, read from the corpus."""
        ...


class NoCache:
    """For calls outside a run, such as `teacher check`."""

    def may_hold(self, key: str) -> bool:
        """Nothing is held."""
        return False

    async def get(self, key: str) -> Completion | None:
        """Nothing is held."""
        return None


@dataclass(frozen=True, slots=True)
class Charge:
    """What counts against a budget: tokens, and US dollars where the prices are known."""

    tokens: int
    usd: float | None


NO_CHARGE = Charge(0, 0.0)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at one request as the books want it. `error` is None when it was answered.

    `charged` is what it took from the budget: what the server reported, or the most it can have
    been where the server did not say or was not heard out.
    """

    number: int
    latency_s: float | None
    error: TeacherError | None = None
    charged: Charge = NO_CHARGE


@dataclass(frozen=True, slots=True)
class Answer:
    """A completion with how it came: `cached` (nothing was sent), cost in US dollars or None."""

    completion: Completion
    cached: bool
    cost_usd: float | None
    attempt: Attempt


class Gateway:
    """One teacher with everything around it. `identity` and the contribution name it in the books.

    Args:
        name: what the recipe calls the teacher.
        endpoint: its stable identity, which request keys hash.
        limiter: shared by all teachers on one endpoint.
    """

    def __init__(
        self,
        *,
        name: str,
        endpoint: str,
        model: str,
        revision: str | None,
        backend: Backend,
        limiter: AdaptiveLimiter,
        budget: Budget,
        cache: CompletionCache,
        retry: RetrySettings,
        prices: Prices,
        structured_mode: str,
        contribution: Contribution,
        family: str | None,
    ) -> None:
        self.name = name
        self.endpoint = endpoint
        self.model = model
        self.revision = revision
        self.structured_mode = structured_mode
        self.contribution = contribution
        self.family = family
        self.limiter = limiter
        self.prices = prices
        self._backend = backend
        self._budget = budget
        self._cache = cache
        self._retry = retry
        self._under_way: dict[str, asyncio.Future[Answer]] = {}

    async def answer(
        self,
        request: Request,
        on_answer: Callable[[Answer], None],
        on_failure: Callable[[Attempt], None],
    ) -> Answer:
        """Answers `request`. Each attempt that fails, and the answer, are reported as they come:
        an answer must reach the books before anything, even a cancellation, can lose it."""
        while True:
            if self._cache.may_hold(request.key):
                held = await self._cache.get(request.key)
                if held is not None:
                    answer = Answer(held, True, 0.0, Attempt(0, None))
                    on_answer(answer)
                    return answer
            pending = self._under_way.get(request.key)
            if pending is None:
                break
            # Whoever asked first may fail or be cancelled; then this request asks for itself.
            await asyncio.wait([pending])
            if not pending.cancelled() and pending.exception() is None:
                first = pending.result()
                answer = Answer(first.completion, True, 0.0, Attempt(0, None))
                on_answer(answer)
                return answer
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._under_way[request.key] = future
        try:
            completion, attempt = await self._attempts(request, on_failure)
            answer = Answer(completion, False, cost(self.prices, completion.usage), attempt)
            on_answer(answer)
            future.set_result(answer)
            return answer
        finally:
            del self._under_way[request.key]
            if not future.done():
                future.cancel()

    async def _attempts(
        self, request: Request, on_failure: Callable[[Attempt], None]
    ) -> tuple[Completion, Attempt]:
        bound = self._bound(request)
        try:
            return await self._one_attempt(request, bound, 1, on_failure)
        except TeacherError as error:
            if not error.retryable:
                raise
            first: TeacherError | None = error
        number = 0
        settings = self._retry

        async def once() -> tuple[Completion, Attempt]:
            # Tenacity comes in only once an attempt has failed, and is told of that one first.
            nonlocal number, first
            number += 1
            if first is not None:
                failed, first = first, None
                raise failed
            return await self._one_attempt(request, bound, number, on_failure)

        retrying = AsyncRetrying(
            stop=_Patience(settings).is_over,
            wait=wait_random_exponential(
                multiplier=settings.first_wait_s, max=settings.longest_wait_s
            ),
            retry=retry_if_exception(_worth_another_attempt),
            reraise=True,
        )
        return await retrying(once)

    def _bound(self, request: Request) -> Charge:
        """The most that one attempt at `request` can cost."""
        room = request.sampling.max_tokens or DEFAULT_COMPLETION_ROOM
        prompt, completion = upper_bound_tokens(request.messages, room, request.schema)
        return Charge(prompt + completion, upper_bound_cost(self.prices, prompt, completion))

    async def _one_attempt(
        self,
        request: Request,
        bound: Charge,
        number: int,
        on_failure: Callable[[Attempt], None],
    ) -> tuple[Completion, Attempt]:
        while True:
            with await self._budget.reserve(tokens=bound.tokens, usd=bound.usd) as reservation:
                async with self.limiter.slot(bound.tokens) as slot:
                    began = time.monotonic()
                    try:
                        completion = await self._backend.complete(request)
                    except RateLimited as error:
                        self.limiter.throttled(error.retry_after_s, slot)
                        on_failure(Attempt(number, time.monotonic() - began, error))
                        continue
                    except TeacherError as error:
                        if error.overload:
                            self.limiter.overloaded(slot)
                        charged = NO_CHARGE
                        if error.billed:
                            charged = bound
                            reservation.settle()
                        on_failure(Attempt(number, time.monotonic() - began, error, charged))
                        raise
                    latency, usage = time.monotonic() - began, completion.usage
                    tokens, usd = _total(usage), cost(self.prices, usage)
                    slot.settle(tokens)
                    reservation.settle(tokens, usd)
                    self.limiter.succeeded(latency)
                    charged = Charge(
                        bound.tokens if tokens is None else tokens,
                        bound.usd if usd is None else usd,
                    )
                    return completion, Attempt(number, latency, None, charged)

    async def close(self) -> None:
        """Lets go of the backend's connections."""
        await self._backend.close()


class _Patience:
    """When one call gives up: after so many failed attempts, or so long without any connection.

    An attempt that reached nobody is none of the server's failures, and the time without a
    connection begins with the first such attempt in a row: waiting in our own queue before it, or
    for a server that fails in other ways, is not part of it.
    """

    def __init__(self, settings: RetrySettings) -> None:
        self._settings = settings
        self._failed = 0
        self._unreachable_since: float | None = None

    def is_over(self, state: RetryCallState) -> bool:
        """Tenacity's question after each failed attempt."""
        assert state.outcome is not None, "tenacity asks after an attempt"
        if not isinstance(state.outcome.exception(), Unreachable):
            self._unreachable_since = None
            self._failed += 1
            return self._failed >= self._settings.attempts
        now = time.monotonic()
        if self._unreachable_since is None:
            self._unreachable_since = now
        return now >= self._unreachable_since + self._settings.unreachable_patience_s


def _worth_another_attempt(error: BaseException) -> bool:
    return isinstance(error, TeacherError) and error.retryable


def _total(usage: Usage) -> int | None:
    if usage.prompt_tokens is None or usage.completion_tokens is None:
        return None
    return usage.prompt_tokens + usage.completion_tokens
