"""The compact map behaves as a dictionary, and a million samples are nothing to the collector."""

from __future__ import annotations

import gc

from hypothesis import given
from hypothesis import strategies as st

from common.hashing import digest
from inspector.compact_map import CompactMap
from inspector.tallied_samples import SampleSums, State

# Small numbers are their own hashes, and those with the same last digits belong in one place.
KEYS = (
    st.integers(0, 60)
    | st.integers(-60, 60).map(lambda n: n << 40)
    | st.text(min_size=1, max_size=2)
)
PUT = st.lists(st.tuples(KEYS, st.integers(1, 2**32 - 1)), max_size=100)


def put(compact: CompactMap, key: object, number: int) -> None:
    compact.put(compact.place(key), key, number)


@given(first=PUT, asked=st.lists(KEYS, max_size=100))
def test_it_says_what_a_dictionary_says(
    first: list[tuple[int | str, int]], asked: list[int | str]
) -> None:
    compact, plain = CompactMap(), dict[int | str, int]()
    for key, number in first:
        put(compact, key, number)
        plain[key] = number
    assert [compact[compact.place(key)] for key in asked] == [plain.get(key, 0) for key in asked]


def test_it_says_what_a_dictionary_says_after_it_has_grown() -> None:
    # Three groups of keys that belong in one place each.
    keys = [(n << 20) + n % 3 for n in range(1, 1000)]
    compact, plain = CompactMap(), dict[int, int]()
    for number, key in enumerate(keys, start=1):
        put(compact, key, number)
        plain[key] = number
    for key in keys[::2]:
        put(compact, key, 7)
        plain[key] = 7
    assert {key: compact[compact.place(key)] for key in keys} == plain
    assert not any(compact[compact.place(-key)] for key in keys)


def test_a_full_collection_has_no_more_to_look_at_when_there_are_more_samples() -> None:
    assert looked_at(sums_of(20_000)) == looked_at(sums_of(200))


def sums_of(samples: int) -> SampleSums:
    """So many samples in two states, each answered for by two groups, one after the other."""
    sums = SampleSums()
    states = [State("食", status, "verified", "math", "ja", True, "{}")
              for status in ("accepted", "held")]  # fmt: skip
    for group in map(sums.bit, ("rewriting", "response")):
        for number in range(samples):
            sums.answered(digest(["sample", number]), group)
    for number in range(samples):
        sums.changed(digest(["sample", number]), states[number % 2], number % 28)
    assert sums.outcome("response").samples == samples
    assert sum(sums.states.values()) == samples
    return sums


def looked_at(root: object) -> int:
    """How many references the collector follows from an object on, classes left out."""
    found, seen, left = 0, {id(root)}, [root]
    while left:
        for referent in gc.get_referents(left.pop()):
            found += 1
            if id(referent) not in seen and not isinstance(referent, type):
                seen.add(id(referent))
                left.append(referent)
    return found
