"""Intervals over training seeds by Student's t: a mean of few values, and paired differences.

In: one figure per seed. Out: `Interval`s. The distribution function for whole degrees of freedom is
a finite series (Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4).
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence

from evaluation.report.resampling import Interval


def mean_interval(values: Sequence[float]) -> Interval:
    """The mean with its 95 % interval; without one where a single value is known.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("a mean of nothing")
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Interval(mean)
    half = t_point(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def paired_interval(after: Sequence[float], before: Sequence[float]) -> Interval:
    """The mean difference of two arms, seed by seed, over the seeds that both have: the first ones,
    since every arm is trained with the seeds 0, 1, 2, ….

    Raises:
        ValueError: there are no values.
    """
    common = min(len(after), len(before))
    return mean_interval([a - b for a, b in zip(after[:common], before[:common], strict=True)])


@functools.cache
def t_point(degrees: int, level: float = 0.95) -> float:
    """What |t| stays below with probability `level`, for `degrees` of freedom from 1 on."""
    low, high = 0.0, 1.0
    while _within(high, degrees) < level:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, degrees) < level else (low, middle)
    return high


def _within(t: float, degrees: int) -> float:
    """The probability that |t| is smaller."""
    angle = math.atan(t / math.sqrt(degrees))
    cosine, sine = math.cos(angle), math.sin(angle)
    odd = degrees % 2 == 1
    term, total = (cosine, 0.0) if odd else (1.0, 0.0)
    for n in range(1 if odd else 0, degrees - 1, 2):
        total += term
        term *= cosine * cosine * (n + 1) / (n + 2)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
