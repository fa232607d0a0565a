"""What each benchmark's items add to its figures, read from the stored verdicts.

In: a stored evaluation. Out: its `Measure`s, and for each a figure over units that can be
resampled. A unit is an item; of SQL completion, a row with all its cuts, since these are not
independent. Figures equal the stored ones; tests hold them to that.

The length-controlled win rate is a regression over all items and has the standard error that the
library computes. The adoption rate's replays stand in the evaluation's details, one per row; they
take all cuts of a row, so there is no such figure for some of the items. Where all units came out
alike, a bootstrap has nothing to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.report.resampling import Figure, Interval, Percentile, Ratio, interval
from evaluation.report.stored import Stored

Row = Mapping[str, Any]
Adding = Callable[[Row], tuple[float, float]]
# The normal distribution's two-sided 95 % point.
_NORMAL = 1.959964


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure. `name` is its key in the stored metrics; `unit` stands behind the number;
    `counts` marks the figure by which items are gained and lost. `share` is that of a percentile of
    latencies. `standard_error` names the metric that bounds it where nothing can be resampled. A
    `neutral` one is neither better nor worse for being more."""

    name: str
    title: str
    unit: str = "%"
    digits: int = 1
    less_is_better: bool = False
    counts: bool = False
    share: float | None = None
    standard_error: str | None = None
    neutral: bool = False


_PERCENT = 100.0
# Where the saved keystrokes stand in a row's replay, behind the remaining ones.
_REPLAYED = {"adoption_rate": 1, "adoption_rate_strict": 2}
_SQL_RATES = (
    Measure("adoption_rate", "adoption rate"),
    Measure("adoption_rate_strict", "adoption, whole suggestions"),
)
MEASURES: Mapping[str, tuple[Measure, ...]] = {
    "ifeval": (
        Measure("prompt_strict", "prompts, strict", counts=True),
        Measure("instruction_strict", "instructions, strict"),
        Measure("prompt_loose", "prompts, loose"),
        Measure("instruction_loose", "instructions, loose"),
    ),
    "mt_bench": (
        Measure("score", "mean grade", "", 2, counts=True),
        Measure("turn_1", "turn 1", "", 2),
        Measure("turn_2", "turn 2", "", 2),
    ),
    "alpaca_eval": (
        Measure("length_controlled_winrate", "win rate, length controlled",
                standard_error="lc_standard_error"),
        Measure("win_rate", "win rate", counts=True),
        Measure("avg_length", "average length", "characters", 0, neutral=True),
    ),
    "sql": (
        Measure("pass_at_1", "Pass@1", counts=True),
        *_SQL_RATES,
        Measure("latency_p50_s", "latency p50", "s", 3, less_is_better=True, share=50),
        Measure("latency_p95_s", "latency p95", "s", 3, less_is_better=True, share=95),
    ),
}  # fmt: skip


def measures_of(benchmark: str) -> tuple[Measure, ...]:
    """A benchmark's measures, the headline first; `ifeval_ja` has those of `ifeval`. Of a benchmark
    that is not known here, none."""
    return MEASURES.get(benchmark.removesuffix("_ja"), ())


def unit_of(benchmark: str, item: str) -> str:
    """What is resampled as one: the item, or the SQL row that it was cut from."""
    return item.rpartition("@")[0] if benchmark == "sql" else item


def figure(evaluation: Stored, measure: Measure, keys: Iterable[str]) -> Figure | None:
    """A measure over the items `keys`, in units that can be resampled; None where it is not made
    of items."""
    benchmark = evaluation.benchmark
    adds = _adding(evaluation, measure)
    if measure.name in _REPLAYED:
        return _replayed(evaluation, _REPLAYED[measure.name], list(keys))
    if measure.share is not None:
        # Latencies are measured one by one; cuts of a row are no repetitions of each other.
        seconds = [(_verdict(evaluation.items[key]) or {}).get("latency_s") for key in keys]
        known = [np.nan if each is None else float(each) for each in seconds]
        return Percentile(np.asarray(known, dtype=np.float64), measure.share)
    if adds is None:
        return None
    sums: dict[str, list[float]] = {}
    for key in keys:
        above, below = adds(evaluation.items[key])
        unit = sums.setdefault(unit_of(benchmark, key), [0.0, 0.0])
        unit[0] += above
        unit[1] += below
    return Ratio.of([(above, below) for above, below in sums.values()])


def bounded(
    evaluation: Stored, measure: Measure, keys: Iterable[str] | None = None
) -> Interval | None:
    """A measure with its interval; over all items unless `keys` names some.

    Figures that are not made of items are the stored ones, and None for some of the items.
    """
    made = figure(evaluation, measure, evaluation.items if keys is None else keys)
    if made is not None:
        return interval(made)
    value = evaluation.metrics.get(measure.name)
    if value is None or keys is not None:
        return None
    error = evaluation.metrics.get(measure.standard_error) if measure.standard_error else None
    if error is None:
        return Interval(float(value))
    return Interval(float(value), value - _NORMAL * error, value + _NORMAL * error)


def outcome(evaluation: Stored, item: Row) -> float | None:
    """How an item went, more being better: what gained and lost items are counted by. None where
    nothing is known."""
    measure = next((m for m in measures_of(evaluation.benchmark) if m.counts), None)
    adds = _adding(evaluation, measure) if measure else None
    if adds is None:
        return None
    above, below = adds(item)
    return above / below if below else None


def _replayed(evaluation: Stored, place: int, keys: Sequence[str]) -> Ratio | None:
    """Keystrokes saved of those remaining, by row; None for a part of the items, and where the
    evaluation is older than these details."""
    rows = (evaluation.row["details"] or {}).get("keystrokes_by_row")
    units = dict.fromkeys(unit_of(evaluation.benchmark, key) for key in keys)
    if rows is None or len(keys) < len(evaluation.items) or not set(units) <= set(rows):
        return None
    return Ratio.of([(_PERCENT * rows[unit][place], rows[unit][0]) for unit in units])


def _verdict(item: Row) -> Mapping[str, Any] | None:
    return item["verdict"] if item["status"] == "done" else None


def _adding(evaluation: Stored, measure: Measure) -> Adding | None:
    """What one item adds above and below the line."""
    benchmark = evaluation.benchmark.removesuffix("_ja")
    level, _, manner = measure.name.partition("_")
    if benchmark == "ifeval" and level == "prompt":
        return lambda item: (_PERCENT * all((_verdict(item) or {manner: [0]})[manner]), 1.0)
    if benchmark == "ifeval":
        unanswered = _instructions_unanswered(evaluation)
        return lambda item: _instructions(_verdict(item), manner, unanswered)
    if benchmark == "mt_bench":
        turns = {"score": (0, 1), "turn_1": (0,), "turn_2": (1,)}[measure.name]
        return lambda item: _grades(_verdict(item), turns)
    if benchmark == "alpaca_eval" and measure.name == "win_rate":
        return _preferred
    if benchmark == "alpaca_eval" and measure.name == "avg_length":
        return lambda item: (float(len(item["response"] or "")), float(not unjudged(item)))
    if benchmark == "sql" and measure.name == "pass_at_1":
        return lambda item: (_PERCENT * bool((_verdict(item) or {}).get("passed")), 1.0)
    return None


def _instructions(verdict: Row | None, manner: str, unanswered: float) -> tuple[float, float]:
    if verdict is None:
        return 0.0, unanswered
    return _PERCENT * sum(verdict[manner]), float(len(verdict[manner]))


def _instructions_unanswered(evaluation: Stored) -> float:
    """Instructions of an unanswered prompt. Its verdict is missing; the total is stored, so the
    prompts without an answer share what the others leave of it."""
    verdicts = [_verdict(item) for item in evaluation.items.values()]
    silent = verdicts.count(None)
    if not silent:
        return 0.0
    counted = sum(len(verdict["strict"]) for verdict in verdicts if verdict is not None)
    return (float(evaluation.metrics.get("instructions") or counted) - counted) / silent


def _grades(verdict: Row | None, turns: tuple[int, ...]) -> tuple[float, float]:
    given = verdict["turns"] if verdict is not None else []
    grades = [given[turn]["grade"] for turn in turns if turn < len(given)]
    known = [float(grade) for grade in grades if grade is not None]
    return sum(known), float(len(known))


def unjudged(item: Row) -> bool:
    """Whether the model answered and the judge failed: that is no verdict on the model, and the
    item counts nowhere."""
    return item["status"] == "failed" and bool(item["request_keys"])


def _preferred(item: Row) -> tuple[float, float]:
    """An unanswered instruction is lost; a pair that the judge left open does not count; the
    library's old code 0 is a draw."""
    verdict = _verdict(item)
    if verdict is None:
        return 0.0, float(not unjudged(item))
    preference = verdict["preference"]
    return (0.0, 0.0) if preference is None else (_PERCENT * ((preference or 1.5) - 1), 1.0)
