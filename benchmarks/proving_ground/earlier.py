"""Figures of an earlier report, for arms that this folder of results has not done.

In: an earlier `report.json`, and the arms that are done here. Out: both together. Training,
sampling and exams are seeded, so a machine like the earlier one comes to the same figures; this is
not taken on trust: every exam that both have must say the same to the digits that the earlier
report keeps, and there must be such exams.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.proving_ground.arms import Arm, Arms
from benchmarks.proving_ground.pipeline import Pipeline
from benchmarks.proving_ground.results import MARKS, ArmResult, Document, Making, read_exam
from benchmarks.proving_ground.spent import Spent, Times, times
from benchmarks.proving_ground.steps import Step, everything

# What the earlier report keeps is rounded to five digits.
_SAME = 0.000_011


@dataclass(frozen=True)
class Earlier:
    """What an earlier report says of its arms, exams and times."""

    document: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path, scale: str) -> Earlier:
        """The report in a file.

        Raises:
            SystemExit: it is about another scale.
        """
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["scale"] != scale:
            raise SystemExit(f"{path} is about the scale {document['scale']}, not {scale}")
        return cls(document)

    @property
    def arms(self) -> dict[str, ArmResult]:
        """Its arms, with each seed's marks as it rounded them."""
        return {name: _arm(name, marks) for name, marks in self.document["arms"].items()}

    def made(self, name: str) -> Making:
        """How one of its arms was made."""
        said = self.document["made"][name]
        return Making(**{**said, "commits": tuple(said.get("commits", ()))})

    def times(self, pipeline: Pipeline, arms: Arms, every: Mapping[str, Arm]) -> dict[str, Times]:
        """Its times; what is done here and was not there is added to those of everything."""
        teachers = arms.teachers()
        theirs = [step for name in self.arms for step in every[name].exams]
        known = everything([*theirs, *(teachers[name] for name in self.document["teachers"])])
        ours = [step for arm in every.values() for step in arm.exams]
        ours += [step for step in teachers.values() if step.seconds(pipeline.work) is not None]
        new = {step.key: step for step in everything(ours)}
        for step in known:
            new.pop(step.key, None)
        said = {name: _times(each) for name, each in self.document["times"].items()}
        together = said["everything"]
        more = times(pipeline, list(new.values()), together.cores, alone=True)
        kinds = list(together.kinds)
        for kind in more.kinds:
            kinds = _added(kinds, kind)
        whole = together.whole and more.whole
        return {**said, "everything": replace(together, kinds=tuple(kinds), whole=whole)}


@dataclass(frozen=True)
class Together:
    """Arms of both, and how many exams were compared. `taken`: the arms that are not done here."""

    arms: dict[str, ArmResult]
    taken: tuple[str, ...]
    compared: int


def together(
    pipeline: Pipeline, every: Mapping[str, Arm], found: Mapping[str, ArmResult], earlier: Earlier
) -> Together:
    """The arms that are done here or there; where both have an exam, ours with all its digits.

    Raises:
        SystemExit: an exam that both have says something else, or there is none that both have.
    """
    compared, merged = 0, {}
    for name, theirs in earlier.arms.items():
        exams = list(theirs.exams)
        for seed, step in enumerate(every[name].exams[: theirs.seeds]):
            if step.seconds(pipeline.work) is None:
                continue
            ours = read_exam(pipeline, step)
            if wrong := _differing(ours, exams[seed]):
                raise SystemExit(
                    f"The earlier report is not about the same models: {name}, seed {seed}: "
                    f"{wrong}. Leave it out, or do all arms anew."
                )
            exams[seed] = ours
            compared += 1
        merged[name] = ArmResult(name, tuple(exams))
    if not compared:
        raise SystemExit("No exam of the earlier report is done here, so nothing can be compared.")
    taken = tuple(name for name in merged if name not in found)
    order = [name for name in every if name in merged or name in found]
    return Together({name: merged.get(name) or found[name] for name in order}, taken, compared)


def same_teachers(ours: Mapping[str, Step], pipeline: Pipeline, earlier: Earlier) -> None:
    """Checks the teachers' exams as well.

    Raises:
        SystemExit: a teacher's marks differ.
    """
    for name, theirs in earlier.document["teachers"].items():
        if ours[name].seconds(pipeline.work) is None:
            continue
        if wrong := _differing(read_exam(pipeline, ours[name]), theirs):
            raise SystemExit(f"The earlier report is not about the same teacher {name}: {wrong}.")


def _times(said: Mapping[str, Any]) -> Times:
    kinds = tuple(Spent(**kind) for kind in said["kinds"])
    return Times(kinds, said["cores"], said["wall_clock_estimate_s"] is not None)


def _arm(name: str, marks: Mapping[str, Any]) -> ArmResult:
    groups = [mark for mark in marks if ":" in mark]
    seeds = len(marks["accuracy"]["seeds"])
    plain = [mark for mark in marks if mark not in groups]
    return ArmResult(name, tuple(
        {
            **{mark: marks[mark]["seeds"][n] for mark in plain if n < len(marks[mark]["seeds"])},
            "groups": {group: marks[group]["seeds"][n] for group in groups},
        }
        for n in range(seeds)
    ))  # fmt: skip


def _differing(ours: Document, theirs: Mapping[str, Any]) -> str:
    """What is not the same, in words; empty where all is."""
    pairs = [(mark, ours[mark], theirs[mark]) for mark in MARKS]
    pairs += [(group, ours["groups"][group], value)
              for group, value in theirs.get("groups", {}).items()]  # fmt: skip
    return ", ".join(f"{mark} {a:.5f} here, {b:.5f} there"
                     for mark, a, b in pairs if abs(a - b) > _SAME)  # fmt: skip


def _added(kinds: Sequence[Spent], more: Spent) -> list[Spent]:
    """The kinds with one more, added up where it is of the same kind and number of cores."""
    added = [
        replace(each, steps=each.steps + more.steps, seconds=each.seconds + more.seconds)
        if (each.kind, each.cores) == (more.kind, more.cores) else each
        for each in kinds
    ]  # fmt: skip
    return added if any(a is not b for a, b in zip(added, kinds, strict=True)) else [*added, more]
