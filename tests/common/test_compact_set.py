"""The compact set behaves as a set of 64-bit numbers, across its merges."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common import compact_set
from common.compact_set import CompactSet

NUMBERS = st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 50), max_size=200)


@given(first=NUMBERS, added=NUMBERS, asked=NUMBERS)
def test_it_holds_what_an_ordinary_set_holds(
    first: list[int], added: list[int], asked: list[int]
) -> None:
    compact, plain = CompactSet(first), set(first)
    for number in added:
        assert compact.add(number) == (number not in plain)
        plain.add(number)
    assert len(compact) == len(plain)
    assert [n in compact for n in asked] == [n in plain for n in asked]


def test_it_holds_what_an_ordinary_set_holds_after_many_merges() -> None:
    numbers = [(n * 0x9E3779B97F4A7C15) % 2**64 for n in range(5 * compact_set.MERGE_AT // 2)]
    compact = CompactSet()
    assert all(compact.add(number) for number in numbers)
    assert not any(compact.add(number) for number in numbers)
    assert all(number in compact for number in numbers)
    assert (numbers[0] ^ 1) not in compact
