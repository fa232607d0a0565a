"""Curves that a user asks for: a figure over the teacher's size or the amount of data.

In: a YAML or JSON file with a list of series; every point names an evaluation of the database, or
an arm of a proving ground's `report.json`. Out: `Curve`s.

    - title: teacher size
      step: parameters of the teacher
      benchmark: ifeval
      metric: prompt_strict
      points: {7B: after-7b, 72B: 3f2a91c04d}
    - title: data
      step: samples of KD
      report: proving-ground/report.json
      metric: accuracy
      points: {1000: "sft+kd:data-1000", 4000: sft+kd}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from sqlalchemy import Connection

from evaluation.errors import EvaluationError
from evaluation.report.lines import Curve
from evaluation.report.measures import bounded, measures_of
from evaluation.report.proving_ground import read_proving_ground
from evaluation.report.resampling import Interval
from evaluation.report.sizes import number_of
from evaluation.report.stored import load, named


class Series(BaseModel):
    """One curve. Points of a `report` are arms' names, else evaluations' (see `stored.named`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str = Field(min_length=1)
    step: str = Field(default="", description="what stands below the curve")
    metric: str
    benchmark: str | None = None
    report: str | None = None
    points: dict[str | int | float, str] = Field(min_length=2)


_LIST = TypeAdapter(list[Series])


def read_series(
    path: Path, connection: Connection, rows: Sequence[Mapping[str, Any]]
) -> list[Curve]:
    """Reads the file and looks every point up.

    Args:
        path: the file; a `report` in it is beside it.
        connection: to the corpus.
        rows: the evaluations that may be named, from `stored.ended`.

    Raises:
        EvaluationError: the file, an evaluation, an arm or a metric is not there.
    """
    try:
        series = _LIST.validate_python(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise _unreadable(path, str(error.strerror or error)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _unreadable(path, str(error).splitlines()[0]) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _unreadable(path, f"{where}: {first['msg']}" if where else first["msg"]) from error
    return [_curve(each, path, connection, rows) for each in series]


def _curve(
    series: Series, path: Path, connection: Connection, rows: Sequence[Mapping[str, Any]]
) -> Curve:
    if series.report is not None:
        unit, figures = _of_report(series, path)
    else:
        unit, figures = _of_evaluations(series, connection, rows)
    labels = tuple(str(label) for label in series.points)
    numbers = [number_of(label) for label in labels]
    places = tuple(number for number in numbers if number is not None)
    if len(places) < len(labels):
        return Curve(series.title, series.step, unit, labels, None, tuple(figures))
    order = sorted(range(len(labels)), key=lambda n: places[n])
    return Curve(
        series.title, series.step, unit, tuple(labels[n] for n in order),
        tuple(places[n] for n in order), tuple(figures[n] for n in order),
    )  # fmt: skip


def _of_report(series: Series, path: Path) -> tuple[str, list[Interval]]:
    report = path.parent / (series.report or "")
    ground = read_proving_ground(report)
    figures = []
    for arm in series.points.values():
        made = ground.figure(arm, series.metric) if arm in ground.document.arms else None
        if made is None:
            known = ", ".join(ground.document.arms)
            raise _missing(series, f"The arm '{arm}' of {report} has no '{series.metric}'", known)
        figures.append(made)
    return series.metric, figures


def _of_evaluations(
    series: Series, connection: Connection, rows: Sequence[Mapping[str, Any]]
) -> tuple[str, list[Interval]]:
    figures, unit = [], series.metric
    usable = [row for row in rows if series.benchmark in (None, row["benchmark"])]
    for name in series.points.values():
        meant = named(usable, name)
        if len(meant) > 1:
            kinds = ", ".join(row["benchmark"] for row in meant)
            raise _missing(series, f"'{name}' has evaluations of several benchmarks", kinds)
        evaluation = load(connection, meant[0])
        measures = {measure.name: measure for measure in measures_of(evaluation.benchmark)}
        measure = measures.get(series.metric)
        made = bounded(evaluation, measure) if measure is not None else None
        if measure is None or made is None:
            raise _missing(series, f"'{name}' has no '{series.metric}'", ", ".join(measures))
        figures.append(made)
        unit = f"{measure.title} ({measure.unit})" if measure.unit else measure.title
    return unit, figures


def _missing(series: Series, cause: str, known: str) -> EvaluationError:
    return EvaluationError(
        f"The series '{series.title}' cannot be drawn.",
        cause=f"{cause}. There are: {known or 'none'}.",
        solution="Correct `points`, `metric` or `benchmark` of the series.",
    )


def _unreadable(path: Path, cause: str) -> EvaluationError:
    return EvaluationError(
        f"The series in {path} cannot be read.",
        cause=f"{cause}.",
        solution="Give a list of series, each with title, metric and points; "
        "docs/evaluation-report.md shows one.",
    )
