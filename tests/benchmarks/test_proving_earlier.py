"""An earlier report's arms beside new ones: taken over only where what both did is the same."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from proving import arm

from benchmarks.proving_ground.arms import Arms
from benchmarks.proving_ground.earlier import Earlier, same_teachers, together
from benchmarks.proving_ground.pipeline import RESULT, Pipeline
from benchmarks.proving_ground.results import Making, as_document, makings_document, read_arms
from benchmarks.proving_ground.scales import SMOKE
from benchmarks.proving_ground.spent import Spent, Times
from benchmarks.proving_ground.steps import Step, everything

SCALE = dataclasses.replace(SMOKE, training_seeds=2, sweep_seeds=2, ks=(1, 10))
SFT, KD = [0.123456, 0.25], [0.5, 0.75]


def do(line: Pipeline, step: Step, accuracy: float) -> None:
    """An exam as if it had been sat and marked, and all that it needs."""
    for each in everything([step]):
        folder = each.folder(line.work)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "step.json").write_text(json.dumps({"seconds": 10.0, "commit": "abc"}))
    marks = arm("one", [accuracy]).exams[0]
    marks = {**marks, "confidence": 0.9, "agreement": 0.8}
    (step.folder(line.work) / RESULT).write_text(json.dumps(marks))


def earlier(**teachers: dict[str, Any]) -> Earlier:
    found = {"sft": arm("sft", SFT), "sft+kd": arm("sft+kd", KD)}
    times = Times((Spent("exam", 4, 40.0, 1), Spent("sft", 2, 20.0, 1)), 2, True).as_document()
    said = {
        "scale": "smoke", "date": "2026-01-01", "arms": as_document(found), "teachers": teachers,
        "made": makings_document({name: Making(2, 64, commits=("old",)) for name in found}),
        "times": {"headline": times, "everything": times},
    }  # fmt: skip
    # As it comes back from a file.
    return Earlier(json.loads(json.dumps(said)))


@pytest.fixture
def line(tmp_path: Path) -> Pipeline:
    return Pipeline(SCALE, tmp_path)


def test_arms_of_both_stand_together_with_our_digits(line: Pipeline) -> None:
    every = Arms(line).all()
    do(line, every["sft"].exams[0], SFT[0])
    for exam in every["sft+kd:k-1"].exams:
        do(line, exam, 0.4)
    both = together(line, every, read_arms(line, every), earlier())
    assert list(both.arms) == ["sft", "sft+kd", "sft+kd:k-1"]
    assert both.taken == ("sft", "sft+kd") and both.compared == 1
    # The seed that was done here has all its digits, and marks that the earlier report lacks.
    assert both.arms["sft"].values("accuracy") == [SFT[0], SFT[1]]
    assert both.arms["sft"].values("confidence") == [0.9]
    assert both.arms["sft+kd"].values("confidence") == []
    assert both.arms["sft+kd"].values("family:units") == KD
    assert earlier().made("sft") == Making(2, 64, commits=("old",))


def test_another_figure_of_one_exam_refuses_the_earlier_report(line: Pipeline) -> None:
    every = Arms(line).all()
    do(line, every["sft"].exams[0], SFT[0])
    do(line, every["sft+kd"].exams[1], KD[1] + 0.0001)
    with pytest.raises(
        SystemExit, match=r"sft\+kd, seed 1: accuracy 0\.75010 here, 0\.75000 there"
    ):
        together(line, every, {}, earlier())


def test_an_earlier_report_with_nothing_in_common_is_refused(line: Pipeline) -> None:
    every = Arms(line).all()
    do(line, every["sft+kd:k-1"].exams[0], 0.4)
    with pytest.raises(SystemExit, match="nothing can be compared"):
        together(line, every, {}, earlier())


def test_another_teacher_or_scale_is_refused(line: Pipeline, tmp_path: Path) -> None:
    teachers = Arms(line).teachers()
    do(line, teachers["l"], 0.6)
    marks = {"accuracy": 0.6, "nll": 0.6, "ece": 0.6, "entropy": 1.0}
    same_teachers(teachers, line, earlier(l=marks))
    with pytest.raises(SystemExit, match=r"teacher l: nll 0\.60000 here, 0.61000 there"):
        same_teachers(teachers, line, earlier(l={**marks, "nll": 0.61}))
    path = tmp_path / "report.json"
    path.write_text(json.dumps(dict(earlier().document)))
    assert Earlier.read(path, "smoke").arms.keys() == {"sft", "sft+kd"}
    with pytest.raises(SystemExit, match="scale smoke, not gpu"):
        Earlier.read(path, "gpu")


def test_times_are_the_earlier_ones_and_what_is_new(line: Pipeline) -> None:
    arms = Arms(line)
    every = arms.all()
    for exam in (*every["sft"].exams, *every["sft+kd:k-1"].exams, *arms.teachers().values()):
        do(line, exam, 0.4)
    names = ("sft", "sft+kd", "sft+kd:k-1")
    spent = earlier().times(line, arms, {name: every[name] for name in names})
    kinds = {kind.kind: (kind.steps, kind.seconds) for kind in spent["everything"].kinds}
    # Three exams and marks, two trainings and one capture with k = 1; the rest was counted then.
    assert kinds == {"exam": (7, 70.0), "sft": (2, 20.0), "marks": (3, 30.0), "kd": (2, 20.0),
                     "capture": (1, 10.0)}  # fmt: skip
    assert [kind.steps for kind in spent["headline"].kinds] == [4, 2]
