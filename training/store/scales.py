"""Two uneven scales that turn a probability into a few bits where the bits are worth most.

For a small error, KL(p‖p̂) ≈ 2 Σ (√p − √p̂)²: steps that are even in √p spread it evenly (the
Fisher metric of a distribution; for one mass against the rest the even measure is arcsin √p). Even
steps in √p alone would lose everything far down, so a quarter of the steps are even in log p: no
log-probability is off by more than a fixed amount, however small the probability.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FAR = 42.0
"""Nats (e⁻⁴² ≈ 6e-19) that one code can express; what lies farther is stored as so far."""

_CEILING = 18.0
"""The highest log-odds of a tail: k of V ids hold k/V at least, so this is enough for e¹⁸ ids."""

_SHARE_OF_LOG = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """A ladder of values; the last code stands apart and means nothing at all, exactly."""

    value_L: Array
    middle_L: Array

    @property
    def nothing(self) -> float:
        """The last code's value."""
        return float(self.value_L[-1])

    def encode(self, value: Array) -> NDArray[np.uint64]:
        """The code of the nearest level; the last code where the value is `nothing`."""
        code = np.searchsorted(self.middle_L, value)
        code[value == self.nothing] = len(self.value_L) - 1
        return code.astype(np.uint64)

    def decode(self, code: NDArray[np.uint64]) -> Array:
        """The values behind the codes."""
        return self.value_L[code.astype(np.intp)]


@lru_cache
def ratio_scale(bits: int) -> Scale:
    """For d = log p_(i−1) − log p_i ≥ 0, the drop from one id to the next; inf is p_i = 0.

    d = 0 is a level: ids as probable as the first stay exactly so.
    """
    return _scale(bits, 0.0, FAR, lambda drop: -np.exp(-drop / 2), np.inf)


@lru_cache
def odds_scale(bits: int) -> Scale:
    """For x = log p_t − log(1 − p_t), the log-odds of a tail; −inf is p_t = 0.

    tan(arcsin √p_t) = e^(x/2), so arctan e^(x/2) is the even measure.
    """
    return _scale(bits, -FAR, _CEILING, lambda odds: np.arctan(np.exp(odds / 2)), -np.inf)


def _scale(
    bits: int, low: float, high: float, even: Callable[[Array], Array], nothing: float
) -> Scale:
    """Levels at equal steps of the mixture of `even` and the identity, both brought to [0, 1]."""
    ends = even(np.array([low, high]))

    def measure(value: Array) -> Array:
        by_root: Array = (even(value) - ends[0]) / (ends[1] - ends[0])
        return (1 - _SHARE_OF_LOG) * by_root + _SHARE_OF_LOG * (value - low) / (high - low)

    wanted = np.linspace(0, 1, (1 << bits) - 1)
    below, above = np.full_like(wanted, low), np.full_like(wanted, high)
    for _ in range(64):
        middle = (below + above) / 2
        short = measure(middle) < wanted
        below, above = np.where(short, middle, below), np.where(short, above, middle)
    level_L = (below + above) / 2
    level_L[[0, -1]] = low, high
    return Scale(np.append(level_L, nothing), (level_L[1:] + level_L[:-1]) / 2)
