"""Whether two results are the same, as Pass@1 by execution means it.

- Rows are a multiset: how often each occurs counts, their order only where the gold orders, and
  there rows that tie in what the gold orders by may stand either way (see `ties`).
- Numbers are equal within a relative 1e-6 (absolute 1e-9), whole or not; a number is never equal to
  text, NULL only to NULL, text to text as it stands.
- Columns are compared by their values: their names do not count, and neither does their order, as
  long as one way of pairing them makes all rows equal. There must be equally many.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate, islice

from evaluation.sql.outcome import Row, Value

RELATIVE, ABSOLUTE = 1e-6, 1e-9
_MOST_PAIRINGS = 720
_MOST_COMPARED = 2_000_000
_DIGITS = 4
_NEARBY = 50


def same_results(
    gold: Sequence[Row], given: Sequence[Row], *, groups: Sequence[int] | None = None
) -> bool:
    """Whether `given` is the result `gold`, under the rules above.

    Args:
        gold: the rows wanted.
        given: the rows that an answer gave.
        groups: None where the order does not count; else how many rows of `gold` tie, group by
            group from the first row on (all 1: the order is exact).
    """
    if len(gold) != len(given):
        return False
    if not gold:
        return True
    if len(gold[0]) != len(given[0]):
        return False
    ends = [len(gold)] if groups is None else list(accumulate(groups))
    most = max(1, min(_MOST_PAIRINGS, _MOST_COMPARED // len(gold)))
    for order in islice(_pairings(gold, given), most):
        paired = [tuple(row[place] for place in order) for row in given]
        begins = [0, *ends[:-1]]
        if all(
            _same_rows(gold[begin:end], paired[begin:end])
            for begin, end in zip(begins, ends, strict=True)
        ):
            return True
    return False


def _pairings(gold: Sequence[Row], given: Sequence[Row]) -> Iterator[tuple[int, ...]]:
    """For every gold column a column of `given` with the same values, in every possible way; the
    order as it stands comes first."""
    width = len(gold[0])
    wanted = [_coarse(row[place] for row in gold) for place in range(width)]
    there = [_coarse(row[place] for row in given) for place in range(width)]
    # Two numbers that differ by their tolerance may still be rounded apart: then nothing matches
    # coarsely, and the columns are taken as they stand.
    yield tuple(range(width))
    if Counter(wanted) != Counter(there):
        return
    fits = [[place for place in range(width) if there[place] == want] for want in wanted]

    def chosen(column: int, taken: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if column == width:
            yield taken
            return
        for place in fits[column]:
            if place not in taken:
                yield from chosen(column + 1, (*taken, place))

    yield from chosen(0, ())


def _coarse(values: Iterator[Value]) -> frozenset[tuple[Value, int]]:
    """A column's values, rounded, with how often each occurs."""
    return frozenset(Counter(_rounded(value) for value in values).items())


def _rounded(value: Value) -> Value:
    if isinstance(value, str) or value is None:
        return value
    return float(f"{float(value):.{_DIGITS}g}")


def _same_rows(gold: Sequence[Row], given: Sequence[Row]) -> bool:
    if len(gold) == 1:
        return same_row(gold[0], given[0])
    left, right = _by_text(gold), _by_text(given)
    if left.keys() != right.keys():
        return False
    return all(_same_numbers(left[key], right[key]) for key in left)


def _by_text(rows: Sequence[Row]) -> dict[Row, list[Row]]:
    """Rows with the same text and NULLs together: only numbers are left to compare."""
    found: defaultdict[Row, list[Row]] = defaultdict(list)
    for row in rows:
        key = tuple(value if isinstance(value, str) or value is None else 0 for value in row)
        found[key].append(row)
    return found


def _same_numbers(gold: list[Row], given: list[Row]) -> bool:
    if len(gold) != len(given):
        return False
    left, right = sorted(gold, key=_in_order), sorted(given, key=_in_order)
    if all(same_row(one, other) for one, other in zip(left, right, strict=True)):
        return True
    # Nearly equal numbers may sort differently; then every row looks for a partner nearby.
    rest, waiting = iter(right), list[Row]()
    for row in left:
        waiting += islice(rest, _NEARBY - len(waiting))
        place = next((i for i, other in enumerate(waiting) if same_row(row, other)), None)
        if place is None:
            return False
        waiting.pop(place)
    return True


def _in_order(row: Row) -> tuple[float, ...]:
    return tuple(float(value) for value in row if isinstance(value, (int, float)))


def same_row(gold: Row, given: Row) -> bool:
    """Whether two rows hold the same values in the same places."""
    return all(_same_value(one, other) for one, other in zip(gold, given, strict=True))


def _same_value(gold: Value, given: Value) -> bool:
    if isinstance(gold, (int, float)) and isinstance(given, (int, float)):
        return gold == given or math.isclose(gold, given, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    return gold == given and type(gold) is type(given)
