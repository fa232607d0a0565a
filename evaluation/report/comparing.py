"""Evaluations of one benchmark side by side: every figure with its interval, differences from the
first by the same items, and which items were gained and lost.

In: two or more `Stored`. Out: a `Comparison`. What cannot be paired is refused: other benchmarks,
another judge or another way of judging, no item in common. Where the items differ, the figures are
those of the common ones, and the comparison says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.benchmark import JUDGE
from evaluation.errors import EvaluationError
from evaluation.report.measures import Measure, bounded, figure, measures_of, outcome
from evaluation.report.resampling import Interval, difference
from evaluation.report.stored import Stored

# Settings in which evaluations may differ: what the model does, and names of what is hashed.
_FREE = {"sampling", "repetition", "items", "items_hash", "roles", "data", "prompt", "difficulty"}
# Which items there are is told from the items; here the data shapes nothing else.
_ONLY_ITEMS = {
    "ifeval": {"data_hash"},
    "ifeval_ja": {"data_hash"},
    "mt_bench": {"data_hash"},
    "sql": {"data_hash", "fractions"},
}


class NotComparable(EvaluationError):
    """Evaluations that cannot be put side by side."""

    code = "not_comparable"


@dataclass(frozen=True, slots=True)
class Line:
    """One figure: of every evaluation, and its difference from the first (None for the first, and
    where it cannot be told)."""

    measure: Measure
    cells: tuple[Interval | None, ...]
    gaps: tuple[Interval | None, ...]


@dataclass(frozen=True, slots=True)
class Moves:
    """Items that an evaluation has over the first, or has no longer, by key."""

    gained: tuple[str, ...]
    lost: tuple[str, ...]
    same: int


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """`names` are the models' labels, told apart where they are equal; `moves` is None for the
    first and where nothing counts items. `keys` are the items that all have."""

    benchmark: str
    evaluations: tuple[Stored, ...]
    names: tuple[str, ...]
    keys: tuple[str, ...]
    lines: tuple[Line, ...]
    moves: tuple[Moves | None, ...]
    notes: tuple[str, ...]

    @property
    def simulated(self) -> bool:
        """Whether a simulation had a part in any of it."""
        return any(each.row["simulated"] for each in self.evaluations)


def compare(evaluations: Sequence[Stored]) -> Comparison:
    """Puts evaluations side by side; one alone is its own table.

    Raises:
        NotComparable: they cannot be paired.
    """
    first, *others = evaluations
    measures = measures_of(first.benchmark)
    if not measures:
        raise NotComparable(
            f"The benchmark '{first.benchmark}' cannot be compared.",
            cause="Comparisons know how the items of "
            "ifeval, ifeval_ja, alpaca_eval, mt_bench and sql make its figures, and of no others.",
            solution="Read its figures as they are stored.",
            command=f"stillhouse eval show {first.id[:12]} --db DB",
        )
    for other in others:
        _require_same_judging(first, other)
    keys, differ = _common(evaluations)
    chosen = keys if differ else None
    lines = tuple(_line(evaluations, measure, keys, chosen is not None) for measure in measures)
    moves = (None, *(_moves(first, other, keys) for other in others))
    notes = tuple(_notes(evaluations, keys, differ, lines))
    return Comparison(
        first.benchmark, tuple(evaluations), distinct_names(evaluations), keys, lines, moves, notes
    )


def why_not_comparable(first: Stored, other: Stored) -> str | None:
    """What keeps two evaluations from being paired, in words; None where nothing does."""
    if first.benchmark != other.benchmark:
        return f"one is of {first.benchmark}, the other of {other.benchmark}"
    mine, yours = _judged_by(first), _judged_by(other)
    unequal = [key for key in {**mine, **yours} if mine.get(key) != yours.get(key)]
    if unequal:
        return f"they differ in {', '.join(sorted(unequal))}"
    if not _common([first, other])[0]:
        return "they have no item in common"
    return None


def distinct_names(evaluations: Sequence[Stored]) -> tuple[str, ...]:
    """The models' labels; equal ones get their identifier's first characters."""
    often = Counter(each.model for each in evaluations)
    return tuple(
        each.model if often[each.model] == 1 else f"{each.model} ({each.id[:6]})"
        for each in evaluations
    )


def _require_same_judging(first: Stored, other: Stored) -> None:
    cause = why_not_comparable(first, other)
    if cause is not None:
        raise NotComparable(
            f"{first.model} ({first.id[:12]}) and {other.model} ({other.id[:12]}) cannot be "
            "compared.",
            cause=f"Of the two evaluations, {cause}.",
            solution="Evaluate one of them again as the other was; answers that are in the corpus "
            "are not asked for again.",
            command=f"stillhouse eval show {other.id[:12]} --db DB",
        )


def _judged_by(evaluation: Stored) -> dict[str, Any]:
    settings: Mapping[str, Any] = evaluation.row["settings"]
    free = _FREE | _ONLY_ITEMS.get(evaluation.benchmark, set())
    kept = {key: value for key, value in settings.items() if key not in free}
    return kept | {"judge": (settings.get("roles") or {}).get(JUDGE)}


def _common(evaluations: Sequence[Stored]) -> tuple[tuple[str, ...], bool]:
    """The items of equal name and words that all have, in the first's order; whether any has
    others."""
    first = evaluations[0]
    keys = tuple(
        key
        for key, item in first.items.items()
        if all(
            key in each.items and each.items[key]["prompt"] == item["prompt"]
            for each in evaluations
        )
    )
    return keys, any(len(each.items) != len(keys) for each in evaluations)


def _line(
    evaluations: Sequence[Stored], measure: Measure, keys: tuple[str, ...], some: bool
) -> Line:
    cells = tuple(bounded(each, measure, keys if some else None) for each in evaluations)
    made = [figure(each, measure, keys) for each in evaluations]
    gaps: list[Interval | None] = [None]
    for cell, own in zip(cells[1:], made[1:], strict=True):
        if own is not None and made[0] is not None:
            gaps.append(difference(own, made[0]))
        elif cell is not None and cells[0] is not None:
            gaps.append(Interval(cell.value - cells[0].value))
        else:
            gaps.append(None)
    return Line(measure, cells, tuple(gaps))


def _moves(first: Stored, other: Stored, keys: tuple[str, ...]) -> Moves:
    gained: list[str] = []
    lost: list[str] = []
    for key in keys:
        before, after = outcome(first, first.items[key]), outcome(other, other.items[key])
        if before is None or after is None or before == after:
            continue
        (gained if after > before else lost).append(key)
    return Moves(tuple(gained), tuple(lost), len(keys) - len(gained) - len(lost))


def _notes(
    evaluations: Sequence[Stored],
    keys: tuple[str, ...],
    differ: bool,
    lines: Sequence[Line],
) -> list[str]:
    notes = []
    if differ:
        each = ", ".join(f"{len(one.items)} of {one.model}" for one in evaluations)
        notes.append(
            f"the item sets differ ({each}): these figures are over the {len(keys)} items that "
            "all have"
        )
    if incomplete := [one.model for one in evaluations if one.row["status"] == "incomplete"]:
        notes.append(
            f"incomplete, with items that failed for reasons that may pass: {', '.join(incomplete)}"
        )
    if len({str(one.row["settings"].get("sampling")) for one in evaluations}) > 1:
        notes.append("the models did not decode alike: their sampling was set differently")
    cells = [cell for line in lines for cell in line.cells if cell is not None]
    if any(cell.low is None for cell in cells):
        notes.append(
            "a figure without an interval is one that came out alike for every item, or whose "
            "parts are not stored"
        )
    return notes
