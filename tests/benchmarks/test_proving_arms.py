"""The proving ground's arms: each differs from the whole recipe in what its name says, alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from benchmarks.proving_ground.__main__ import teachers_exams
from benchmarks.proving_ground.arms import Arm, Arms
from benchmarks.proving_ground.pipeline import Pipeline, Pupil
from benchmarks.proving_ground.recipes import training
from benchmarks.proving_ground.scales import SMOKE
from training.recipe import TrainRecipe

SCALE = dataclasses.replace(
    SMOKE, training_seeds=2, sweep_seeds=2, alphas=(0.5, 0.9, 1.0), temperatures=(1.0, 2.0)
)


@pytest.fixture
def every(tmp_path: Path) -> dict[str, Arm]:
    return Arms(Pipeline(SCALE, tmp_path)).all()


def settings(arm: Arm) -> tuple[dict[str, Any], dict[str, Any]]:
    shape = arm.pupils[1].step.shape
    return shape["stage"], shape["capture"]


def test_teachers_sit_the_exam_whose_rows_are_learnt(tmp_path: Path) -> None:
    three = dict.fromkeys(("s", "m", "l"), SCALE.teachers["l"])
    arms = Arms(Pipeline(dataclasses.replace(SCALE, teachers=three), tmp_path))
    every, exam_of = arms.all(), arms.teachers()
    for name, taught in {"before": "l", "sft+kd": "l", "sft+kd:fused": "ml",
                         "sft+kd:teacher-s": "sl"}.items():  # fmt: skip
        exams = teachers_exams(arms, list(every[name].exams))
        assert [step.key for step in exams] == [exam_of[each].key for each in taught]


def test_another_alpha_is_all_that_differs(every: dict[str, Arm]) -> None:
    (whole, rows), (other, same) = settings(every["sft+kd"]), settings(every["sft+kd:alpha-0.5"])
    assert other == {**whole, "alpha": 0.5} and rows == same
    assert settings(every["sft+kd:alpha-1"])[0]["alpha"] == 1.0
    assert "sft+kd:alpha-0.9" not in every
    # The same rows and the same start.
    a, b = (every[name].pupils[0].step.needs for name in ("sft+kd", "sft+kd:alpha-0.5"))
    assert [step.key for step in a] == [step.key for step in b]


def test_another_temperature_is_captured_and_learnt_at(every: dict[str, Arm]) -> None:
    (whole, rows), (other, warm) = (
        settings(every[name]) for name in ("sft+kd", "sft+kd:temperature-2")
    )
    assert other == {**whole, "temperature": 2.0} and warm == {**rows, "temperatures": [1.0, 2.0]}
    assert "temperature" not in whole and "sft+kd:temperature-1" not in every


@pytest.mark.parametrize("name", ["sft+kd", "sft+kd:alpha-1", "sft+kd:temperature-2", "kd-only",
                                  "sft+kd:sampled", "sft+kd:renorm"])  # fmt: skip
def test_the_trainer_takes_each_arm_s_recipe(every: dict[str, Arm], name: str) -> None:
    pupil: Pupil = every[name].pupils[0]
    stage, capture = settings(every[name])
    document = training(
        pupil.step.name, manifest=Path("m.json"), database=Path("c.db"), statuses=("accepted",),
        start=Path("base"), random_init=False, stage={**stage, "teachers": [{"teacher": "l"}]},
        teachers={"l": Path("l")}, capture=capture, output=Path("out"), ranks=1,
    )  # fmt: skip
    made = TrainRecipe.model_validate(document).stages[0]
    said = {key: value for key, value in made.model_dump(mode="json").items() if key in stage}
    assert said == stage
