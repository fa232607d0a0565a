"""Packing: nothing is lost, bounds are kept, bins are full, and ranks get even shares."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.packing import Bin, level, pack, spread

_lengths = st.lists(st.integers(1, 120), max_size=60)
_max_items = st.none() | st.integers(1, 5)


def keeps_bounds(each: Bin, capacity: int, max_items: int | None) -> bool:
    few = max_items is None or len(each.items) <= max_items
    return few and (each.tokens <= capacity or len(each.items) == 1)


@given(_lengths, st.integers(1, 100), _max_items)
def test_every_sequence_is_in_one_bin_and_bins_keep_their_bounds(
    lengths: list[int], capacity: int, max_items: int | None
) -> None:
    bins = pack(lengths, capacity, max_items)
    assert sorted(item for each in bins for item in each.items) == list(range(len(lengths)))
    for each in bins:
        assert each.tokens == sum(lengths[item] for item in each.items)
        assert keeps_bounds(each, capacity, max_items)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=60))
def test_no_two_bins_could_have_been_one(lengths: list[int]) -> None:
    tokens = sorted(each.tokens for each in pack(lengths, 100))
    assert len(tokens) == 1 or tokens[0] + tokens[1] > 100


def test_best_fit_finds_the_bin_that_a_sequence_fills() -> None:
    bins = pack([70, 60, 40, 30], 100)
    assert sorted(sorted(each.items) for each in bins) == [[0, 3], [1, 2]]


def test_lengths_as_they_come_fill_bins_to_98_percent() -> None:
    draw = random.Random(0)
    lengths = [min(4096, int(draw.lognormvariate(6, 0.8)) + 20) for _ in range(5000)]
    bins = pack(lengths, 8192)
    assert sum(lengths) / (len(bins) * 8192) > 0.98


def test_a_sequence_longer_than_a_bin_gets_its_own() -> None:
    assert [each.items for each in pack([5, 500, 5], 100)] == [[1], [0, 2]]


@given(_lengths, st.integers(1, 12), st.integers(1, 200), _max_items)
def test_levelled_bins_lose_nothing_and_keep_the_same_bounds(
    lengths: list[int], bins: int, capacity: int, max_items: int | None
) -> None:
    made = level(lengths, bins, capacity, max_items)
    if made is None:
        return
    assert len(made) == bins
    assert sorted(item for each in made for item in each.items) == list(range(len(lengths)))
    assert all(keeps_bounds(each, capacity, max_items) for each in made)


def test_levelling_is_even() -> None:
    made = level(list(range(1, 101)), 4, 10_000)
    assert made is not None
    assert max(each.tokens for each in made) - min(each.tokens for each in made) <= 4


@pytest.mark.parametrize(("bins", "capacity", "max_items"), [(1, 10, None), (2, 100, 1)])
def test_levelling_that_would_break_a_bound_gives_nothing(
    bins: int, capacity: int, max_items: int | None
) -> None:
    assert level([6, 6, 6], bins, capacity, max_items) is None


@given(_lengths, st.integers(1, 9))
def test_ranks_get_equally_many_bins_and_all_of_them(lengths: list[int], ranks: int) -> None:
    bins = pack(lengths, 130)
    shares = spread(bins, ranks)
    assert len({len(share) for share in shares}) == 1
    given_out = sorted(item for share in shares for each in share for item in each.items)
    assert given_out == list(range(len(lengths)))


@given(_lengths, st.integers(1, 9))
def test_ranks_differ_by_no_more_than_the_largest_bin(lengths: list[int], ranks: int) -> None:
    shares = spread(pack(lengths, 130), ranks)
    totals = [sum(each.tokens for each in share) for share in shares]
    largest = max((each.tokens for share in shares for each in share), default=0)
    assert max(totals) - min(totals) <= largest
