"""Means over training seeds with 95 % intervals, and differences between arms seed by seed.

In: one figure per training seed. Out: `Estimate`s by Student's t; intervals cover what another
training seed would change, on this one world, corpus and exam.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

# Two-sided 95 % points of Student's t by degrees of freedom (any table; beyond 30 the normal's).
_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with half the width of its 95 % interval; NaN where one value alone is known."""

    mean: float
    half_width: float
    count: int

    @property
    def low(self) -> float:
        """The interval's lower end."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """The interval's upper end."""
        return self.mean + self.half_width

    def apart_from(self, other: Estimate) -> bool:
        """Whether the two intervals do not overlap."""
        return self.high < other.low or other.high < self.low

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside of the interval."""
        return self.low > 0 or self.high < 0


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and interval of one figure per seed."""
    count = len(values)
    if count < 2:
        return Estimate(float(values[0]), math.nan, count)
    t = _T[count - 2] if count - 2 < len(_T) else 1.96
    return Estimate(
        statistics.fmean(values), t * statistics.stdev(values) / math.sqrt(count), count
    )


def paired(after: Sequence[float], before: Sequence[float]) -> Estimate:
    """Mean difference of two arms, seed by seed.

    Args:
        after: a figure per training seed, in the order of seeds.
        before: the other arm's, of the same seeds.

    Raises:
        ValueError: they are not equally many; `results.at_common_seeds` makes them so.
    """
    return estimate([a - b for a, b in zip(after, before, strict=True)])
