"""Intervals: against closed forms, the same every time, and none where nothing can be said."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evaluation.report.resampling import (
    Interval,
    Percentile,
    Ratio,
    difference,
    interval,
    value_of,
)
from evaluation.report.student import mean_interval, paired_interval, t_point
from evaluation.sql.figures import percentile


def passes(*outcomes: bool) -> Ratio:
    return Ratio.of([(100.0 * passed, 1.0) for passed in outcomes])


def ends(made: Interval | None) -> tuple[float, float]:
    assert made is not None and made.ends is not None
    return made.ends


def test_the_interval_of_a_share_is_the_normal_one_of_the_binomial() -> None:
    made = interval(passes(*[True] * 180, *[False] * 420))
    half = 1.96 * 100 * math.sqrt(0.3 * 0.7 / 600)
    assert made is not None and made.value == pytest.approx(30.0)
    assert ends(made) == (pytest.approx(30 - half, abs=0.35), pytest.approx(30 + half, abs=0.35))


def test_the_interval_of_a_ratio_is_that_of_the_delta_method() -> None:
    random = np.random.default_rng(7)
    below = random.integers(1, 4, 800).astype(float)
    above = random.binomial(below.astype(int), 0.6).astype(float)
    made = interval(Ratio(above, below))
    ratio = above.sum() / below.sum()
    half = 1.96 * math.sqrt(((above - ratio * below) ** 2).sum()) / below.sum()
    assert ends(made) == (
        pytest.approx(ratio - half, abs=0.1 * half), pytest.approx(ratio + half, abs=0.1 * half)
    )  # fmt: skip


def test_a_paired_difference_has_mcnemars_variance_and_not_that_of_two_samples() -> None:
    both, gained, lost, neither = 200, 60, 20, 220
    before = [True] * both + [False] * gained + [True] * lost + [False] * neither
    after = [True] * both + [True] * gained + [False] * lost + [False] * neither
    n = len(before)
    made = difference(passes(*after), passes(*before))
    share = (gained - lost) / n
    half = 196 * math.sqrt(((gained + lost) / n - share**2) / n)
    assert made is not None and made.value == pytest.approx(100 * share)
    low, high = ends(made)
    assert (high - low) / 2 == pytest.approx(half, rel=0.06)
    unpaired = 196 * math.sqrt(sum(p * (1 - p) for p in (0.44, 0.52)) / n)
    assert (high - low) / 2 < 0.75 * unpaired
    assert made.excludes_zero


def test_the_same_items_with_the_same_ends_differ_by_nothing() -> None:
    same = passes(True, False, True, False)
    made = difference(same, same)
    assert made is not None and (made.value, made.low, made.high) == (0.0, 0.0, 0.0)


def test_an_interval_is_the_same_every_time() -> None:
    one = passes(*[True, False] * 30)
    assert interval(one) == interval(passes(*[True, False] * 30))


def test_units_that_are_all_alike_have_a_figure_and_no_interval() -> None:
    assert interval(passes(*[True] * 50)) == Interval(100.0)
    assert interval(passes(True)) == Interval(100.0)


def test_nothing_below_the_line_is_no_figure() -> None:
    assert interval(Ratio.of([(0.0, 0.0), (0.0, 0.0)])) is None
    assert interval(Ratio.of([])) is None


def test_other_items_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="cannot be paired"):
        difference(passes(True, False), passes(True))


@pytest.mark.parametrize("share", [1, 50, 95, 100])
def test_a_percentile_is_the_benchmarks_own(share: float) -> None:
    values = [0.3, 0.1, 0.2, 0.9, 0.5, 0.4, 0.7]
    with_gap = np.asarray([*values, math.nan])
    assert value_of(Percentile(with_gap, share)) == percentile(values, share)


def test_the_interval_of_a_median_lies_between_its_order_statistics() -> None:
    made = interval(Percentile(np.arange(1.0, 402.0), 50))
    # Ranks 201 ± 1.96 √(401 / 4), the binomial interval of a median.
    assert made is not None and made.value == 201
    assert ends(made) == (pytest.approx(181.4, abs=3), pytest.approx(220.6, abs=3))


@pytest.mark.parametrize(
    ("degrees", "point"), [(1, 12.706), (2, 4.303), (3, 3.182), (9, 2.262), (30, 2.042)]
)
def test_students_points_are_those_of_any_table(degrees: int, point: float) -> None:
    assert t_point(degrees) == pytest.approx(point, abs=6e-4)


def test_a_mean_of_few_seeds_has_students_interval() -> None:
    made = mean_interval([1.0, 2.0, 3.0])
    assert ends(made) == (pytest.approx(2 - 4.3027 / math.sqrt(3), abs=1e-3),
                          pytest.approx(2 + 4.3027 / math.sqrt(3), abs=1e-3))  # fmt: skip
    assert mean_interval([5.0]) == Interval(5.0)
    assert paired_interval([2.0, 3.1], [1.0, 2.0]).value == pytest.approx(1.05)


def test_arms_of_different_numbers_of_seeds_are_paired_over_the_first_that_both_have() -> None:
    longer = paired_interval([2.0, 3.1, 90.0], [1.0, 2.0])
    assert longer == paired_interval([2.0, 3.1], [1.0, 2.0])
