"""Pass@1 by execution: an answer is right where its result is that of one of the golds.

A box, the golds and an answer go in, a `Score` comes out. Gold results are kept, since every answer
to a row is compared with the same ones. A gold that does not run accepts nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.sql.boxes import Box
from evaluation.sql.compare import same_results
from evaluation.sql.outcome import Outcome
from evaluation.sql.ties import is_ordered, tied, with_keys

WRONG = "wrong_result"
EMPTY = "no_query"
NO_GOLD = "gold_failed"


@dataclass(frozen=True, slots=True)
class Score:
    """How one answer did.

    `passed`, or the `reason` it did not: `wrong_result`, `no_query`, `gold_failed` (there is
    nothing to compare with), or the name of a `Failure`. `gold` is the place of the gold it agrees
    with, `seconds` its run time.
    """

    passed: bool
    reason: str | None = None
    detail: str = ""
    gold: int | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Gold:
    """What a gold query came to, and which of its rows tie (see `ties`); None: in any order."""

    outcome: Outcome
    groups: tuple[int, ...] | None


class Scorer:
    """Scores answers on one database."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self._golds: dict[str, Gold] = {}
        self._lock = threading.Lock()

    def gold(self, query: str) -> Gold:
        """What a gold query comes to, run once."""
        with self._lock:
            if query not in self._golds:
                self._golds[query] = self._run_gold(query)
            return self._golds[query]

    def score(self, golds: Sequence[str], answer: str) -> Score:
        """Whether `answer` gives the result of any of `golds`; blocks while it runs."""
        if not answer.strip():
            return Score(False, EMPTY, "The answer holds no query.")
        outcome = self._box.run(answer)
        if outcome.failure is not None:
            return Score(False, outcome.failure.value, outcome.detail, seconds=outcome.seconds)
        for place, query in enumerate(golds):
            gold = self.gold(query)
            if gold.outcome.failure is None and same_results(
                gold.outcome.rows, outcome.rows, groups=gold.groups
            ):
                return Score(True, gold=place, seconds=outcome.seconds)
        broken = [gold for gold in map(self.gold, golds) if gold.outcome.failure is not None]
        if len(broken) == len(golds):
            return Score(False, NO_GOLD, broken[0].outcome.detail, seconds=outcome.seconds)
        detail = f"{len(outcome.rows)} rows; no gold has these."
        return Score(False, WRONG, detail, seconds=outcome.seconds)

    def _run_gold(self, query: str) -> Gold:
        outcome = self._box.run(query)
        if outcome.failure is not None or not is_ordered(query):
            return Gold(outcome, None)
        keyed = with_keys(query, self._box.backend)
        rows = self._box.run(keyed).rows if keyed else ()
        return Gold(outcome, tuple(tied(outcome.rows, rows)))
