"""What every sample counts towards, so that a changed one can be taken out where it counted before.

In: samples as they were when they last changed, and which groups of calls answered for them. Out:
how many samples there are of each state, and for each group how many it answered for, how many of
these were accepted, and their scores. Samples that count alike share what is said of them, and no
sample takes an object of its own: `inspector.compact_map`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, NamedTuple

from inspector.compact_map import CompactMap


class State(NamedTuple):
    """What samples are counted by. `simulated` is as the driver gives it; `lineage` is the JSON of
    `shaped_by`."""

    recipe: str
    status: str
    reason: str | None
    category: str | None
    language: str | None
    simulated: Any
    lineage: str | None


@dataclass(slots=True)
class Outcome:
    """What came of the samples that a group answered for; `score` is the sum over `scored` ones."""

    samples: int = 0
    accepted: int = 0
    scored: int = 0
    score: int = 0


# What is known of one sample: its state and score, and its groups as bits.
_Known = tuple[State | None, int | None, int]
_UNKNOWN: _Known = (None, None, 0)


class SampleSums:
    """Every sample, and what they come to."""

    def __init__(self) -> None:
        self.states: Counter[State] = Counter()
        # What is known of a sample is `_known` at its number; the first is for one that is new.
        self._samples = CompactMap()
        self._known: list[_Known] = [_UNKNOWN]
        self._numbers: dict[_Known, int] = {_UNKNOWN: 0}
        self._bits: dict[Hashable, int] = {}
        self._outcomes: list[Outcome] = []

    def outcome(self, group: Hashable) -> Outcome:
        """What came of the samples that a group answered for."""
        bit = self._bits.get(group)
        return Outcome() if bit is None else self._outcomes[bit.bit_length() - 1]

    def bit(self, group: Hashable) -> int:
        """A group's bit; several groups' bits are put together by `|`."""
        bit = self._bits.get(group)
        if bit is None:
            bit = self._bits[group] = 1 << len(self._bits)
            self._outcomes.append(Outcome())
        return bit

    def answered(self, sample: str, groups: int) -> None:
        """These groups (bits) have answered for a sample."""
        place = self._samples.place(sample)
        known = self._known[self._samples[place]]
        new = groups & ~known[2]
        if new:
            self._add(new, 1, _is_accepted(known[0]), known[1] is not None, known[1] or 0)
            self._keep(place, sample, (known[0], known[1], known[2] | new))

    def changed(self, sample: str, state: State, score: int | None) -> None:
        """A sample is in this state now; `score` is the sum of its three scores."""
        place = self._samples.place(sample)
        known = self._known[self._samples[place]]
        if known[0] == state and known[1] == score:
            return
        if known[0] is not None:
            self.states[known[0]] -= 1
            if not self.states[known[0]]:
                del self.states[known[0]]
        self.states[state] += 1
        accepted = _is_accepted(state) - _is_accepted(known[0])
        scored = (score is not None) - (known[1] is not None)
        self._add(known[2], 0, accepted, scored, (score or 0) - (known[1] or 0))
        self._keep(place, sample, (state, score, known[2]))

    def _keep(self, place: int, sample: str, known: _Known) -> None:
        number = self._numbers.setdefault(known, len(self._known))
        if number == len(self._known):
            self._known.append(known)
        self._samples.put(place, sample, number)

    def _add(self, groups: int, samples: int, accepted: int, scored: int, score: int) -> None:
        """Adds to the outcomes of these groups (bits)."""
        if not (samples or accepted or scored or score):
            return
        while groups:
            lowest = groups & -groups
            groups ^= lowest
            outcome = self._outcomes[lowest.bit_length() - 1]
            outcome.samples += samples
            outcome.accepted += accepted
            outcome.scored += scored
            outcome.score += score


def _is_accepted(state: State | None) -> bool:
    return state is not None and state.status == "accepted"
