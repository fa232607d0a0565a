"""95 % intervals by the bootstrap, of one evaluation and of the difference of two.

In: what every unit (an item, or several that belong together) adds to a figure. Out: `Interval`s.
A figure is computed from how often each unit was drawn; two evaluations of the same units are
resampled by the same draws, which makes the interval of their difference a paired one. Draws are
seeded: equal input gives equal intervals. Percentile intervals after Efron and Tibshirani, An
Introduction to the Bootstrap (1993), chapter 13.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

RESAMPLES = 2000
_SEED = 20250415
_TAILS = (2.5, 97.5)
# Resamples at once: bounds the matrix of draws to a few megabytes.
_CHUNK = 250


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95 % interval; `low` and `high` are None where nothing can be said."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def ends(self) -> tuple[float, float] | None:
        """Both ends, where there is an interval."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def excludes_zero(self) -> bool:
        """Whether there is an interval, and zero lies outside of it."""
        return self.ends is not None and (self.ends[0] > 0 or self.ends[1] < 0)


class Figure(Protocol):
    """Something that units give together."""

    @property
    def units(self) -> int:
        """How many there are."""
        ...

    @property
    def alike(self) -> bool:
        """Whether all units that count say the same, so that resampling shows nothing: all passed,
        say, or only one unit is there."""
        ...

    def over(self, counts_RU: Counts) -> Floats:
        """The figure [resamples], with unit u taken `counts_RU[r, u]` times; NaN where there is
        none."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Ratio:
    """A ratio of sums: what each unit adds above and below the line, floats [units]."""

    above: Floats
    below: Floats

    @classmethod
    def of(cls, pairs: Sequence[tuple[float, float]]) -> Ratio:
        """From (above, below) per unit."""
        table = np.asarray(pairs, dtype=np.float64).reshape(-1, 2)
        return cls(table[:, 0], table[:, 1])

    @property
    def units(self) -> int:
        """See `Figure`."""
        return len(self.above)

    @property
    def alike(self) -> bool:
        """See `Figure`."""
        counts = self.below > 0
        return len(np.unique(self.above[counts] / self.below[counts])) < 2

    def over(self, counts_RU: Counts) -> Floats:
        """See `Figure`."""
        with np.errstate(divide="ignore", invalid="ignore"):
            figures: Floats = (counts_RU @ self.above) / (counts_RU @ self.below)
        return figures


@dataclass(frozen=True, slots=True, eq=False)
class Percentile:
    """The nearest-rank percentile: the least value that `share` per cent of those known do not
    exceed. `values` are floats [units], NaN where unknown."""

    values: Floats
    share: float

    @property
    def units(self) -> int:
        """See `Figure`."""
        return len(self.values)

    @property
    def alike(self) -> bool:
        """See `Figure`."""
        return len(np.unique(self.values[~np.isnan(self.values)])) < 2

    def over(self, counts_RU: Counts) -> Floats:
        """See `Figure`."""
        known = np.flatnonzero(~np.isnan(self.values))
        if not len(known):
            return np.full(len(counts_RU), math.nan)
        order = known[np.argsort(self.values[known], kind="stable")]
        reached_RU = np.cumsum(counts_RU[:, order], axis=1)
        total_R = reached_RU[:, -1]
        rank_R = np.maximum(np.ceil(self.share / 100 * total_R), 1)
        place_R = np.argmax(reached_RU >= rank_R[:, None], axis=1)
        return np.where(total_R > 0, self.values[order][place_R], math.nan)


def value_of(figure: Figure) -> float | None:
    """The figure of all units as they are; None where there is none."""
    if not figure.units:
        return None
    value = float(figure.over(np.ones((1, figure.units), dtype=np.int64))[0])
    return None if math.isnan(value) else value


def interval(figure: Figure) -> Interval | None:
    """The figure with its interval; None where there is no figure."""
    value = value_of(figure)
    if value is None or figure.alike:
        return None if value is None else Interval(value)
    return _between(value, np.concatenate([figure.over(each) for each in _draws(figure.units)]))


def difference(after: Figure, before: Figure) -> Interval | None:
    """`after` minus `before` on the same units in the same order; None without a figure.

    Raises:
        ValueError: the units are not equally many.
    """
    if after.units != before.units:
        raise ValueError(f"{after.units} units cannot be paired with {before.units}")
    last, first = value_of(after), value_of(before)
    if last is None or first is None:
        return None
    if after.alike and before.alike:
        return Interval(last - first)
    draws = _draws(after.units)
    made = np.concatenate([after.over(each) - before.over(each) for each in draws])
    return _between(last - first, made)


def _draws(units: int) -> Iterator[Counts]:
    """How often each unit is drawn: ints [_CHUNK, units], until there are RESAMPLES."""
    random = np.random.default_rng(_SEED)
    for _ in range(RESAMPLES // _CHUNK):
        yield random.multinomial(units, np.full(units, 1 / units), size=_CHUNK)


def _between(value: float, figures: Floats) -> Interval:
    known = figures[~np.isnan(figures)]
    if not len(known):
        return Interval(value)
    low, high = np.percentile(known, _TAILS)
    return Interval(value, float(low), float(high))
