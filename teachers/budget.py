"""The run's budget in dollars, tokens and calls: reserved before a call, settled after it.

In: caps from the recipe, what earlier invocations spent, and each call's upper bound. Out: a
reservation, or `BudgetReached` once the next call can no longer fit. So long as no call takes more
than it reserved, a cap is never passed. Dollars are counted in whole picodollars, so that a million
small sums add up exactly.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from teachers.errors import BudgetReached, TeacherError
from teachers.pricing import Prices

_PICODOLLARS = 10**12


class BudgetSettings(BaseModel):
    """What a recipe may spend, over all its invocations together; left out means no cap."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    usd: float | None = Field(default=None, gt=0, allow_inf_nan=False, description="US dollars.")
    tokens: int | None = Field(default=None, gt=0, description="Prompt and completion tokens.")
    calls: int | None = Field(default=None, gt=0, description="Calls to teachers.")


@dataclass(frozen=True, slots=True)
class Spend:
    """What was spent; `usd` holds what is known of it."""

    calls: int = 0
    tokens: int = 0
    usd: float = 0.0


class UnpricedTeacher(TeacherError):
    """A budget in dollars meets a teacher whose price is unknown."""

    code = "unpriced_teacher"
    fatal = True


@dataclass(slots=True)
class _Amount:
    """What a call takes, or many of them: `usd` in picodollars."""

    calls: int = 0
    tokens: int = 0
    usd: int = 0

    def add(self, other: _Amount, sign: int = 1) -> None:
        self.calls += sign * other.calls
        self.tokens += sign * other.tokens
        self.usd += sign * other.usd


_NOTHING = _Amount()


class Reservation:
    """Room in the budget for one call; ends by `settle` or `release`, whichever comes first.

    As a guard (`with await budget.reserve(…) as reservation:`) it is released when an exception or
    a cancellation leaves the block, and charged in full when the block ends without settling it.
    """

    __slots__ = ("_amount", "_budget", "_open")

    def __init__(self, budget: Budget, amount: _Amount) -> None:
        self._budget = budget
        self._amount = amount
        self._open = True

    def settle(self, usage_tokens: int | None = None, usd: float | None = None) -> None:
        """The call was made. None charges what was reserved, for want of better knowledge."""
        if self._open:
            self._open = False
            reserved = self._amount
            charged = _Amount(
                reserved.calls,
                reserved.tokens if usage_tokens is None else usage_tokens,
                reserved.usd if usd is None else _picodollars(usd),
            )
            self._budget._close(reserved, charged)

    def release(self) -> None:
        """The call was never made, or failed without a cost."""
        if self._open:
            self._open = False
            self._budget._close(self._amount, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.settle()
        else:
            self.release()


class Budget:
    """All calls' common purse. First come, first served: a large call is not passed by small ones.

    Args:
        settings: the caps.
        spent: what earlier invocations of the same recipe spent.
    """

    def __init__(self, settings: BudgetSettings, spent: Spend | None = None) -> None:
        spent = spent or Spend()
        self._settings = settings
        self._cap_calls = math.inf if settings.calls is None else settings.calls
        self._cap_tokens = math.inf if settings.tokens is None else settings.tokens
        self._cap_usd = math.inf if settings.usd is None else _picodollars(settings.usd)
        self._spent = _Amount(spent.calls, spent.tokens, _picodollars(spent.usd))
        self._reserved = _Amount()
        self._queue: deque[tuple[asyncio.Future[bool], _Amount]] = deque()
        self._waiting = 0
        self._refused: _Amount | None = None

    @property
    def exhausted(self) -> bool:
        """Whether a call was refused; from then on every further one is."""
        return self._refused is not None

    @property
    def waiting(self) -> int:
        """Calls waiting for others to settle."""
        return self._waiting

    @property
    def charged_calls(self) -> int:
        """Calls charged so far, earlier invocations included."""
        return self._spent.calls

    @property
    def charged_tokens(self) -> int:
        """Tokens charged so far; the reserved bound where the server did not count."""
        return self._spent.tokens

    @property
    def charged_usd(self) -> float:
        """Dollars charged so far; nothing for calls whose price is unknown."""
        return self._spent.usd / _PICODOLLARS

    async def reserve(
        self, calls: int = 1, tokens: int = 0, usd: float | None = None
    ) -> Reservation:
        """Room for a call; waits while calls in flight may yet leave enough.

        Args:
            calls: how many calls.
            tokens: at most so many, prompt and completion together.
            usd: at most so many dollars; None where the price is unknown.

        Raises:
            BudgetReached: the call does not fit any more, or an earlier one did not.
            UnpricedTeacher: there is a cap in dollars and no price.
        """
        if self._refused is not None:
            raise self._reached(self._refused)
        if usd is None and self._settings.usd is not None:
            raise _unpriced(self._settings.usd, "the teacher just asked", ["its prices"])
        amount = _Amount(calls, tokens, _picodollars(usd) if usd else 0)
        if self._waiting or not self._fits(amount, self._reserved):
            await self._wait(amount)
        else:
            self._reserved.add(amount)
        return Reservation(self, amount)

    def _fits(self, amount: _Amount, reserved: _Amount) -> bool:
        spent = self._spent
        return (
            spent.calls + reserved.calls + amount.calls <= self._cap_calls
            and spent.tokens + reserved.tokens + amount.tokens <= self._cap_tokens
            and spent.usd + reserved.usd + amount.usd <= self._cap_usd
        )

    async def _wait(self, amount: _Amount) -> None:
        granted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._queue.append((granted, amount))
        self._waiting += 1
        self._serve()
        try:
            fits = await granted
        except asyncio.CancelledError:
            if granted.cancelled():
                self._waiting -= 1
                self._serve()
            elif granted.result():
                self._close(amount, None)
            raise
        if not fits:
            raise self._reached(self._refused or amount)

    def _serve(self) -> None:
        """Grant the waiting calls that fit, in order; refuse all once the first never can."""
        while self._queue:
            granted, amount = self._queue[0]
            if not granted.done():
                if self._refused is None and self._fits(amount, self._reserved):
                    self._reserved.add(amount)
                    granted.set_result(True)
                elif self._refused is None and self._fits(amount, _NOTHING):
                    return
                else:
                    self._refused = self._refused or amount
                    granted.set_result(False)
                self._waiting -= 1
            self._queue.popleft()

    def _close(self, reserved: _Amount, charged: _Amount | None) -> None:
        self._reserved.add(reserved, -1)
        if charged is not None:
            self._spent.add(charged)
        if self._waiting:
            self._serve()

    def _reached(self, amount: _Amount) -> BudgetReached:
        """The refusal of `amount`, naming the first cap that it passes."""
        spent, settings = self._spent, self._settings
        if settings.usd is not None and spent.usd + amount.usd > self._cap_usd:
            need = amount.usd / _PICODOLLARS
            return _refusal("usd", "dollars", settings.usd, self.charged_usd, need)
        if settings.tokens is not None and spent.tokens + amount.tokens > settings.tokens:
            return _refusal("tokens", "tokens", settings.tokens, spent.tokens, amount.tokens)
        return _refusal("calls", "calls", settings.calls or 0, spent.calls, amount.calls)


def require_prices(settings: BudgetSettings, prices: Mapping[str, Prices | None]) -> None:
    """Make sure that a budget in dollars can be kept.

    Args:
        settings: the budget.
        prices: those of every teacher the recipe uses, by the teacher's name.

    Raises:
        UnpricedTeacher: there is a cap in dollars and a teacher without both prices.
    """
    if settings.usd is None:
        return
    unpriced = [name for name, price in prices.items() if price is None or not price.known]
    if unpriced:
        keys = [f"teachers.{name}.prices.{key}" for name in unpriced for key in Prices.model_fields]
        raise _unpriced(settings.usd, ", ".join(unpriced), keys)


def _picodollars(usd: float) -> int:
    return round(usd * _PICODOLLARS)


def _refusal(key: str, unit: str, cap: float, spent: float, need: float) -> BudgetReached:
    room = 2 * max(cap, spent + need)
    return BudgetReached(
        f"The next call does not fit under the budget's cap of {_figure(cap)} {unit}.",
        cause=f"{_figure(spent)} {unit} are spent, and the call may take up to {_figure(need)}.",
        solution=f"Everything finished is kept. Raise budget.{key} in the recipe and run it again "
        "on the same database; it goes on where it stopped.",
        command=f"stillhouse run RECIPE --set budget.{key}={_figure(room)}",
    )


def _unpriced(cap: float, who: str, keys: list[str]) -> UnpricedTeacher:
    return UnpricedTeacher(
        f"The budget is {_figure(cap)} dollars, and nothing says what this costs: {who}.",
        cause="A price left out of the recipe is unknown, and an unknown cost has no upper bound.",
        solution=f"Set {', '.join(keys)} (0 where a token is free), or cap the run by "
        "budget.tokens or budget.calls instead of budget.usd.",
    )


def _figure(number: float) -> str:
    return f"{number:.12f}".rstrip("0").rstrip(".") if isinstance(number, float) else str(number)
