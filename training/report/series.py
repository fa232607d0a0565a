"""Curves out of metrics: from the records of a run's stages to arrays that can be drawn.

In: the `metrics.jsonl` of every stage. Out: for each figure its steps and values, stages laid end
to end; long curves thinned to what a picture can show, with the spread that the thinning hides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.report.reading import Record, read_metrics

Floats = NDArray[np.float64]
Smooth = Literal["mean", "median", "none"]


@dataclass(frozen=True, slots=True)
class StageSpan:
    """A stage and the steps it takes on the common axis: after `begin`, up to `end`."""

    name: str
    begin: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One stage's curve. `value_S` is NaN where the value was null; those steps are in `lost_L`."""

    step_S: Floats
    value_S: Floats
    lost_L: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Thinned:
    """A curve as it is drawn: the smoothed line at `step_B`, and the spread of what was measured
    around each point. With few points the spread is nothing but the point."""

    step_B: Floats
    line_B: Floats
    low_B: Floats
    high_B: Floats


class History:
    """All records of a run, stage after stage.

    Args:
        stages: the metrics file of every stage, in order of training.

    Raises:
        MetricsUnreadable: a file is missing or broken.
    """

    def __init__(self, stages: Mapping[str, Path]) -> None:
        self.spans: list[StageSpan] = []
        self._records: list[list[Record]] = []
        begin = 0
        for name, path in stages.items():
            records = read_metrics(path)
            end = begin + max((record["step"] for record in records), default=0)
            self.spans.append(StageSpan(name, begin, end))
            self._records.append(records)
            begin = end

    def series(self, kind: str, key: str, *, beside: str | None = None) -> list[Series]:
        """The curve of `key`, one piece per stage that measured it (and `beside`, where given)."""
        pieces = []
        for span, records in zip(self.spans, self._records, strict=True):
            pairs = [
                (record["step"], record[key])
                for record in records
                if record["kind"] == kind and key in record and (beside or key) in record
            ]
            if pairs:
                steps, values = zip(*pairs, strict=True)
                step_S = np.asarray(steps, dtype=np.float64) + span.begin
                value_S = np.asarray(values, dtype=np.float64)
                pieces.append(Series(step_S, value_S, step_S[np.isnan(value_S)]))
        return pieces


def thin(series: Series, *, points: int = 400, smooth: Smooth = "mean") -> Thinned:
    """At most `points` points of a curve.

    The line is the mean or median over a centred window of a fortieth of the curve; with `none`,
    the mean of the steps that fall on one point. Nulls are left out; where all is null, so is the
    line.
    """
    count = len(series.step_S)
    buckets = min(points, count)
    edge = np.linspace(0, count, buckets + 1).astype(np.int64)
    middle = (edge[:-1] + edge[1:] - 1) // 2
    half = max(0 if smooth == "none" else count // 80, (count // buckets) // 2)
    centre = np.median if smooth == "median" else np.mean
    line, low, high = (np.full(buckets, np.nan) for _ in range(3))
    for index in range(buckets):
        part = _finite(series.value_S[edge[index] : edge[index + 1]])
        if part.size:
            low[index], high[index] = part.min(), part.max()
        around = _finite(series.value_S[max(middle[index] - half, 0) : middle[index] + half + 1])
        if around.size:
            line[index] = centre(around)
    return Thinned(series.step_S[middle], line, low, high)


def _finite(value_S: Floats) -> Floats:
    finite: Floats = value_S[np.isfinite(value_S)]
    return finite
