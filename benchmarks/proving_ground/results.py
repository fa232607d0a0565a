"""What the arms came to: every exam's marks, seed by seed, and how each arm was made.

In: arms whose steps are done. Out: `ArmResult`s and `Making`s, and JSON documents of both. Arms are
compared over the training seeds that they have in common: the first so many, since every arm is
trained with the seeds 0, 1, 2, … .
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.proving_ground.arms import Arm
from benchmarks.proving_ground.pipeline import RESULT, Pipeline, Pupil
from benchmarks.proving_ground.statistics import Estimate, estimate, paired
from benchmarks.proving_ground.steps import Step, everything
from training.data.flat import sha256_of

MARKS = ("accuracy", "nll", "ece", "entropy")
SURENESS = ("confidence", "agreement")
"""Marks that older exams do not have."""
Document = dict[str, Any]


@dataclass(frozen=True)
class ArmResult:
    """An arm's marks: one document per training seed, that of seed `n` at place `n`."""

    name: str
    exams: tuple[Document, ...]

    @property
    def seeds(self) -> int:
        """How many training seeds there are."""
        return len(self.exams)

    @property
    def groups(self) -> list[str]:
        """What accuracy is known of: `family:units`, `language:ja`, `level:2`, …."""
        return sorted(self.exams[0]["groups"])

    def values(self, mark: str) -> list[float]:
        """One of `MARKS`, or a group's accuracy, per seed; of `SURENESS`, where an exam has it."""
        if mark in MARKS:
            return [exam[mark] for exam in self.exams]
        if mark in SURENESS:
            return [exam[mark] for exam in self.exams if mark in exam]
        return [exam["groups"][mark] for exam in self.exams]

    def of(self, mark: str) -> Estimate:
        """The mean over seeds."""
        return estimate(self.values(mark))

    def first(self, seeds: int) -> ArmResult:
        """The same arm, as if it had been trained with the first `seeds` seeds alone."""
        return ArmResult(self.name, self.exams[:seeds])


@dataclass(frozen=True)
class Making:
    """How an arm was made.

    - `samples`: how many samples its last stage learnt from.
    - `draws`: of a teacher's next token per position, where its rows are draws.
    - `commits`, `machines`: the code's revisions, and what its steps ran on, where they say so.
    """

    training_seeds: int
    samples: int | None = None
    draws: int | None = None
    commits: tuple[str, ...] = ()
    machines: tuple[str, ...] = ()


def at_common_seeds(arms: Sequence[ArmResult]) -> list[ArmResult]:
    """The arms over the training seeds that all of them have."""
    common = min((arm.seeds for arm in arms), default=0)
    return [arm.first(common) for arm in arms]


def difference(after: ArmResult, before: ArmResult, mark: str) -> Estimate:
    """`after` minus `before`, seed by seed, over the seeds that both have."""
    a, b = at_common_seeds([after, before])
    return paired(a.values(mark), b.values(mark))


def read_arms(pipeline: Pipeline, arms: Mapping[str, Arm]) -> dict[str, ArmResult]:
    """Every arm whose exams have all been marked."""
    found = {}
    for name, arm in arms.items():
        if all(step.seconds(pipeline.work) is not None for step in arm.exams):
            found[name] = ArmResult(name, tuple(read_exam(pipeline, step) for step in arm.exams))
    return found


def read_exam(pipeline: Pipeline, step: Step) -> Document:
    """One exam's marks."""
    marks: Document = json.loads(pipeline.path(step, RESULT).read_text(encoding="utf-8"))
    return marks


def read_making(pipeline: Pipeline, arm: Arm) -> Making:
    """How an arm that is done was made, from what its steps left."""
    pupil = arm.pupils[0]
    draws = pupil.step.shape.get("capture", {}).get("sampled")
    steps, work = everything(arm.exams), pipeline.work
    return Making(
        len(arm.exams),
        _samples(pipeline, pupil),
        draws,
        tuple(sorted({commit for step in steps if (commit := step.commit(work))})),
        tuple(sorted({machine for step in steps if (machine := step.machine(work))})),
    )


def _samples(pipeline: Pipeline, pupil: Pupil) -> int:
    """Rows of the export that the pupil's stage read, as its recipe names it."""
    recipe = yaml.safe_load(pipeline.path(pupil.step, "recipe.yaml").read_text(encoding="utf-8"))
    manifest = json.loads(Path(recipe["corpus"]["manifest"]).read_text(encoding="utf-8"))
    return int(manifest["rows"])


def read_weights(pipeline: Pipeline, pupils: Sequence[Pupil]) -> list[str]:
    """SHA-256 of each model's weights, as 64 hexadecimal digits: whether two makings came to the
    same models can be told to the last bit."""
    files = (pipeline.path(each.step, each.weights, "model.safetensors") for each in pupils)
    return [sha256_of(file) for file in files]


def as_document(arms: Mapping[str, ArmResult]) -> Document:
    """Mean, half the 95 % interval and each seed's value, by arm and mark."""
    return {
        name: {
            mark: _figures(arm, mark)
            for mark in (*MARKS, *SURENESS, *arm.groups)
            if arm.values(mark)
        }
        for name, arm in arms.items()
    }


def makings_document(made: Mapping[str, Making]) -> Document:
    """`Making`s, without what does not apply."""
    return {
        name: {key: value for key, value in asdict(each).items() if value not in (None, ())}
        for name, each in made.items()
    }


def _figures(arm: ArmResult, mark: str) -> Document:
    made = arm.of(mark)
    half = None if made.count < 2 else round(made.half_width, 5)
    return {"mean": round(made.mean, 5), "half_width": half,
            "seeds": [round(value, 5) for value in arm.values(mark)]}  # fmt: skip
