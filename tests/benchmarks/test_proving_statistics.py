"""The proving ground's statistics, against figures known from elsewhere."""

from __future__ import annotations

import math

import pytest
import torch

from benchmarks.proving_ground.marks import calibration_error
from benchmarks.proving_ground.statistics import estimate, paired


def test_an_interval_is_students() -> None:
    # scipy.stats.t.interval(0.95, 4, loc=3, scale=scipy.stats.sem([1, 2, 3, 4, 5]))
    made = estimate([1, 2, 3, 4, 5])
    assert made.mean == 3
    assert made.low == pytest.approx(1.0368, abs=5e-4)
    assert made.high == pytest.approx(4.9632, abs=5e-4)


def test_one_seed_has_no_interval() -> None:
    assert math.isnan(estimate([0.5]).half_width)
    assert not estimate([0.5]).apart_from(estimate([0.9]))


def test_intervals_apart_and_touching() -> None:
    assert estimate([1.0, 1.1, 0.9]).apart_from(estimate([2.0, 2.1, 1.9]))
    assert not estimate([1.0, 1.4, 0.6]).apart_from(estimate([1.5, 1.9, 1.1]))


def test_a_paired_difference_sees_what_seeds_share() -> None:
    before, after = [0.10, 0.30, 0.50], [0.15, 0.36, 0.54]
    assert not estimate(after).apart_from(estimate(before))
    assert paired(after, before).excludes_zero


def test_a_model_that_is_as_often_right_as_it_is_sure_has_no_calibration_error() -> None:
    confidence_N = torch.tensor([0.75] * 400 + [0.5] * 400)
    hit_N = torch.tensor([True] * 300 + [False] * 100 + [True] * 200 + [False] * 200)
    assert calibration_error(confidence_N, hit_N) == pytest.approx(0.0, abs=1e-12)


def test_the_calibration_error_is_the_mean_gap_between_sureness_and_truth() -> None:
    confidence_N = torch.tensor([0.9] * 100 + [0.5] * 100)
    hit_N = torch.tensor([True] * 60 + [False] * 40 + [True] * 50 + [False] * 50)
    assert calibration_error(confidence_N, hit_N) == pytest.approx(0.15, abs=1e-6)


def test_over_and_under_confidence_in_different_bins_do_not_cancel() -> None:
    confidence_N = torch.tensor([0.9] * 100 + [0.3] * 100)
    hit_N = torch.tensor([True] * 70 + [False] * 30 + [True] * 50 + [False] * 50)
    assert calibration_error(confidence_N, hit_N) == pytest.approx(0.2, abs=1e-6)
