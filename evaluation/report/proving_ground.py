"""The proving ground's `report.json` in this report's terms: arms, their marks over training seeds,
differences seed by seed, groups, sweeps.

In: the file that `make prove` writes: `arms` by name, each with marks (`accuracy`, `nll`, `ece`,
`entropy`, and groups such as `family:units`) as `mean`, `half_width` and `seeds`; `sweeps` says
which of them belong to a curve. Out: a `ProvingGround`. Intervals are Student's t over training
seeds, computed here from the seeds; what compares arms takes the seeds that all of them have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evaluation.errors import EvaluationError
from evaluation.report.lines import Curve
from evaluation.report.resampling import Interval
from evaluation.report.student import mean_interval, paired_interval

HEADLINE = ("before", "sft", "sft+sft", "sft+kd")
# Name, what it is called, factor, unit, digits, whether less is better.
MARKS = (
    ("accuracy", "accuracy", 100.0, "%", 1, False),
    ("nll", "negative log-likelihood", 1.0, "nats per token", 3, True),
    ("ece", "calibration error", 1.0, "", 3, True),
)


class Mark(BaseModel):
    """One figure of one arm, a value per training seed."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    mean: float
    half_width: float | None = None
    seeds: list[float] = Field(min_length=1)

    def interval(self, factor: float = 1.0, seeds: int | None = None) -> Interval:
        """The mean over seeds, or the first so many, with its interval, times `factor`."""
        return mean_interval([factor * value for value in self.seeds[:seeds]])


class SweepPoint(BaseModel):
    """One arm of a sweep, and what stands below it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    label: str
    arm: str


class Sweep(BaseModel):
    """Arms that differ in one thing, in its order."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    title: str
    axis: str
    points: list[SweepPoint] = Field(min_length=2)


class Document(BaseModel):
    """`report.json`; what is not needed here is not looked at."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    scale: str = ""
    date: str = ""
    commit: str | None = None
    training_seeds: int | None = None
    teachers: dict[str, dict[str, float]] = Field(default_factory=dict)
    arms: dict[str, dict[str, Mark]] = Field(min_length=1)
    sweeps: list[Sweep] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ProvingGround:
    """A read report."""

    document: Document

    @property
    def arms(self) -> list[str]:
        """The arms' names, the four of the claim first."""
        names = self.document.arms
        headline = [name for name in HEADLINE if name in names]
        return headline + [name for name in names if name not in headline]

    @property
    def headline(self) -> list[str]:
        """The arms of the claim; all, where the file has none of them."""
        return [name for name in HEADLINE if name in self.document.arms] or self.arms

    @property
    def training_seeds(self) -> int:
        """How many an arm has at most."""
        said = self.document.training_seeds
        return max(map(self.seeds, ([arm] for arm in self.arms))) if said is None else said

    def seeds(self, arms: Sequence[str]) -> int:
        """How many training seeds all of these arms have."""
        marks = (mark for arm in arms for mark in self.document.arms[arm].values())
        return min(len(mark.seeds) for mark in marks)

    def figure(
        self, arm: str, mark: str, factor: float = 1.0, seeds: int | None = None
    ) -> Interval | None:
        """One mark of one arm, over all its training seeds or the first so many."""
        found = self.document.arms[arm].get(mark)
        return None if found is None else found.interval(factor, seeds)

    def gap(
        self, arm: str, base: str, mark: str, factor: float = 1.0, seeds: int | None = None
    ) -> Interval | None:
        """`arm` minus `base`, seed by seed, over the seeds that both have, or the first so many."""
        after, before = (self.document.arms[name].get(mark) for name in (arm, base))
        if after is None or before is None:
            return None
        return paired_interval(
            [factor * value for value in after.seeds[:seeds]],
            [factor * value for value in before.seeds[:seeds]],
        )

    def groups(self) -> dict[str, list[str]]:
        """Marks that are groups, by kind: `family` → `family:units`, …."""
        kinds: dict[str, list[str]] = {}
        for arm in self.headline:
            for mark in self.document.arms[arm]:
                kind, colon, _ = mark.partition(":")
                if colon and mark not in kinds.setdefault(kind, []):
                    kinds[kind].append(mark)
        return {kind: sorted(marks) for kind, marks in kinds.items()}

    def sweeps(self) -> list[Curve]:
        """Accuracy over what each sweep varies, as the file has them."""
        curves = []
        for sweep in self.document.sweeps:
            points = [point for point in sweep.points if point.arm in self.document.arms]
            if len(points) < 2:
                continue
            seeds = self.seeds([point.arm for point in points])
            figures = [self.figure(point.arm, "accuracy", 100.0, seeds) for point in points]
            if all(each is not None for each in figures):
                curves.append(
                    Curve(
                        f"Proving ground: accuracy by {sweep.title}",
                        f"{sweep.axis}; {seeds} training seeds",
                        "% of the exam",
                        tuple(point.label for point in points),
                        None,
                        tuple(each for each in figures if each is not None),
                    )
                )
        return curves


def read_proving_ground(path: Path) -> ProvingGround:
    """Reads `report.json`.

    Raises:
        EvaluationError: it is not there, or is not the proving ground's.
    """
    try:
        return ProvingGround(Document.model_validate_json(path.read_bytes()))
    except OSError as error:
        raise EvaluationError(
            f"There is no report of the proving ground at {path}.",
            cause=str(error.strerror or error),
            solution="Run the proving ground first, or give the path of its report.json.",
            command="make prove",
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise EvaluationError(
            f"{path} is no report of the proving ground.",
            cause=f"{where}: {first['msg']}.",
            solution="Give the report.json that `make prove` writes.",
            command="make prove",
        ) from error
