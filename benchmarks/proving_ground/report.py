"""The report: `REPORT.md` with its pictures, and `report.json`, from what the steps left.

In: a `Pipeline` whose steps are done. Out: three kinds of files in a folder. Every sentence with a
figure in it is made from the figures, by the parts in `sections/`; what a person concluded stands
in `discussion.md` and is put in where it is about the same figures.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.proving_ground.arms import Arm, Arms
from benchmarks.proving_ground.discussion import DISCUSSION, discussion
from benchmarks.proving_ground.lineage import trace_back
from benchmarks.proving_ground.pipeline import CORPUS, Pipeline
from benchmarks.proving_ground.results import (
    MARKS,
    as_document,
    makings_document,
    read_arms,
    read_exam,
    read_making,
    read_weights,
)
from benchmarks.proving_ground.sections.ancestry import ancestry
from benchmarks.proving_ground.sections.claim import claim
from benchmarks.proving_ground.sections.duration import duration
from benchmarks.proving_ground.sections.groups import groups
from benchmarks.proving_ground.sections.head import head
from benchmarks.proving_ground.sections.objectives import calibration, objectives
from benchmarks.proving_ground.sections.students import students
from benchmarks.proving_ground.sections.sweeping import sweeping
from benchmarks.proving_ground.sections.verification import verification
from benchmarks.proving_ground.spent import Times, times
from benchmarks.proving_ground.steps import Step, everything
from benchmarks.proving_ground.sweeps import WHOLE, find_sweeps
from common.revision import code_revision


def write_report(pipeline: Pipeline, folder: Path, cores: int = 2) -> dict[str, Any]:
    """Writes the report on everything that is done; returns what `report.json` says.

    Args:
        pipeline: where the steps' results lie, and at which scale.
        folder: where the report goes.
        cores: of the machine that the steps ran on; estimates of time are for them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arms = Arms(pipeline)
    every = arms.all()
    found = read_arms(pipeline, every)
    made = {name: read_making(pipeline, every[name]) for name in found}
    sweeps = find_sweeps(found, pipeline.scale, made)
    taught = _done(pipeline, arms.teachers())
    spent = _times(pipeline, arms, [every[name] for name in found], cores)
    said: dict[str, Any] = {
        "scale": pipeline.scale.name,
        "date": datetime.now(UTC).date().isoformat(),
        "commit": code_revision(),
        "training_seeds": max((arm.seeds for arm in found.values()), default=0),
        "corpus": _corpus(pipeline, arms),
        "teachers": {
            name: {mark: round(read_exam(pipeline, step)[mark], 5) for mark in MARKS}
            for name, step in taught.items()
        },
        "weights": {
            **{name: read_weights(pipeline, every[name].pupils) for name in found},
            **{f"teacher {name}": read_weights(pipeline, [arms.teacher(name)]) for name in taught},
        },
        "arms": as_document(found),
        "made": makings_document(made),
        "sweeps": [each.as_document() for each in sweeps],
        "times": {name: each.as_document() for name, each in spent.items()},
    }
    document = json.dumps(said, indent=1, ensure_ascii=False)
    (folder / "report.json").write_text(f"{document}\n", encoding="utf-8")
    lines = [
        *head(said, folder),
        *claim(found, folder),
        *groups(found),
        *verification(found, made),
        *objectives(found, made, folder),
        *calibration(found, made),
        *sweeping(found, sweeps, folder),
        *students(found, pipeline.scale),
        *duration(spent["headline"], spent["everything"], folder),
        *(_lineage(pipeline, every[WHOLE]) if WHOLE in found else []),
        *discussion(said, folder / DISCUSSION),
    ]
    (folder / "REPORT.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return said


def _done(pipeline: Pipeline, steps: Mapping[str, Step]) -> dict[str, Step]:
    return {name: step for name, step in steps.items()
            if step.seconds(pipeline.work) is not None}  # fmt: skip


def _corpus(pipeline: Pipeline, arms: Arms) -> dict[str, Any]:
    if arms.answers.seconds(pipeline.work) is None:
        return {"samples": {}, "reasons": {}}
    with closing(sqlite3.connect(pipeline.path(arms.answers, CORPUS))) as database:
        counts = dict(database.execute("SELECT status, count(*) FROM sample GROUP BY status"))
        reasons = database.execute(
            "SELECT status || ': ' || reason, count(*) FROM sample GROUP BY 1 ORDER BY 2 DESC"
        )
        return {"samples": counts, "reasons": dict(reasons)}


def _times(
    pipeline: Pipeline, arms: Arms, found: list[Arm], cores: int
) -> dict[str, Times]:  # fmt: skip
    """What the headline's arms took, with the largest teacher's exam; and all that is done."""
    teachers = arms.teachers()
    headline = [step for arm in arms.headline().values() for step in arm.exams]
    done = [step for arm in found for step in arm.exams]
    return {
        "headline": times(pipeline, [*headline, teachers[pipeline.scale.teacher]], cores),
        "everything": times(pipeline, [*done, *_done(pipeline, teachers).values()], cores),
    }


def _lineage(pipeline: Pipeline, arm: Arm) -> list[str]:
    """The way from the first seed's score back to seeds."""
    corpora = [pipeline.path(step, CORPUS) for step in everything([arm.pupils[0].step])]
    links = trace_back(
        pipeline.exam_database(arm.exams[0]), [path for path in corpora if path.is_file()]
    )
    return ancestry(links, pipeline.work)
