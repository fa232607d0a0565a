"""The proving ground's results: which seeds are compared, sweeps in order, time, the discussion."""

from __future__ import annotations

import dataclasses
import json
import platform
from pathlib import Path
from typing import Any

import pytest
from proving import arm

from benchmarks.proving_ground.arms import Arms
from benchmarks.proving_ground.discussion import discussion, figures_digest, first_line
from benchmarks.proving_ground.machine import processor, this_machine
from benchmarks.proving_ground.pipeline import Pipeline
from benchmarks.proving_ground.results import (
    ArmResult,
    Making,
    as_document,
    at_common_seeds,
    difference,
    makings_document,
    read_weights,
)
from benchmarks.proving_ground.scales import SMOKE
from benchmarks.proving_ground.spent import times
from benchmarks.proving_ground.statistics import paired
from benchmarks.proving_ground.steps import Step, run_steps
from benchmarks.proving_ground.sweeps import find_sweeps


def test_arms_of_five_and_of_three_seeds_are_compared_over_the_first_three() -> None:
    ten, three = arm("ten", [0.5, 0.6, 0.7, 0.0, 0.0]), arm("three", [0.4, 0.5, 0.5])
    assert [each.values("accuracy") for each in at_common_seeds([ten, three])] == [
        [0.5, 0.6, 0.7], [0.4, 0.5, 0.5],
    ]  # fmt: skip
    made = difference(ten, three, "accuracy")
    assert (made.mean, made.count) == (pytest.approx(0.4 / 3), 3)


def test_unequal_numbers_of_seeds_are_never_paired_silently() -> None:
    with pytest.raises(ValueError, match="shorter"):
        paired([0.5, 0.6, 0.7], [0.4, 0.5])


def test_the_document_keeps_every_seed_and_says_how_many_there_are() -> None:
    said = as_document({"sft": arm("sft", [0.25, 0.75], units=[0.1, 0.3])})["sft"]
    assert said["accuracy"]["mean"] == 0.5 and said["accuracy"]["seeds"] == [0.25, 0.75]
    assert said["family:units"] == {"mean": 0.2, "half_width": 1.2706, "seeds": [0.1, 0.3]}
    made = makings_document({"sft": Making(2, 10), "kd": Making(1, None, 40, ("abc",))})
    assert made == {"sft": {"training_seeds": 2, "samples": 10},
                    "kd": {"training_seeds": 1, "draws": 40, "commits": ("abc",)}}  # fmt: skip


SCALE = dataclasses.replace(
    SMOKE, seeds=4000, teachers=dict.fromkeys(("s", "m", "l"), SMOKE.teachers["l"]),
    data_sizes=(1000, 500, 4000), ks=(20, 1, 5, 10), alphas=(1.0, 0.5), temperatures=(2.0,),
)  # fmt: skip


def test_sweeps_come_in_the_order_of_what_is_varied_with_the_whole_recipe_at_its_place() -> None:
    names = ["sft+kd", "sft+kd:teacher-m", "sft+kd:teacher-s", "sft+kd:k-20", "sft+kd:k-5",
             "sft+kd:data-1000", "sft+kd:data-500", "sft+kd:alpha-1", "sft+kd:alpha-0.5",
             "sft+kd:temperature-2"]  # fmt: skip
    made = {"sft+kd": Making(5, 2297), "sft+kd:data-500": Making(5, 294)}
    teacher, data, k, alpha, temperature = find_sweeps(names, SCALE, made)
    assert teacher.points == (("s", "sft+kd:teacher-s"), ("m", "sft+kd:teacher-m"), ("l", "sft+kd"))
    assert data.labels == ["500 (294)", "1000", "4000 (2297)"]
    assert k.points == (("5", "sft+kd:k-5"), ("10", "sft+kd"), ("20", "sft+kd:k-20"))
    assert alpha.points == (
        ("0.5", "sft+kd:alpha-0.5"), ("0.9", "sft+kd"), ("1", "sft+kd:alpha-1")
    )  # fmt: skip
    assert temperature.points == (("1", "sft+kd"), ("2", "sft+kd:temperature-2"))


def test_a_sweep_of_which_the_whole_recipe_alone_is_done_is_none() -> None:
    assert find_sweeps(["sft+kd", "sft"], SCALE) == []
    assert find_sweeps(["sft+kd:k-5", "sft+kd:k-20"], SCALE) == []


def test_fewer_training_seeds_are_the_first_ones_of_the_same_steps(tmp_path: Path) -> None:
    many = dataclasses.replace(SCALE, training_seeds=10, sweep_seeds=3)
    few = many.with_seeds(5)
    assert (few.training_seeds, few.sweep_seeds) == (5, 3)
    assert many.with_seeds(None) == many
    ten, five = (Arms(Pipeline(scale, tmp_path)).headline()["sft"] for scale in (many, few))
    assert [step.key for step in ten.exams[:5]] == [step.key for step in five.exams]
    assert len({step.key for step in ten.exams}) == 10


def test_how_sure_a_model_is_is_kept_where_its_exams_say_it() -> None:
    old = arm("old", [0.5, 0.5])
    new = ArmResult(
        "new", tuple({**exam, "confidence": 0.8, "agreement": 0.7} for exam in old.exams)
    )
    said = as_document({"old": old, "new": new})
    assert said["new"]["confidence"]["seeds"] == [0.8, 0.8] and "confidence" not in said["old"]


def test_a_model_is_told_by_the_hash_of_its_weights(tmp_path: Path) -> None:
    pipeline = Pipeline(SCALE, tmp_path)
    pupil = Arms(pipeline).headline()["sft"].pupils[0]
    folder = pipeline.path(pupil.step, pupil.weights)
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"abc")
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert read_weights(pipeline, [pupil]) == [abc]


def test_a_step_says_on_what_it_ran(tmp_path: Path) -> None:
    told = tmp_path / "cpuinfo"
    told.write_text("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nmodel name\t: other\n")
    assert processor(told) == "Some CPU @ 2 GHz"
    assert processor(tmp_path / "none") == platform.machine()
    step = Step("one", {}, lambda _: None)
    assert step.machine(tmp_path) is None
    run_steps([step], tmp_path, 1, lambda _: None)
    assert step.machine(tmp_path) == this_machine() and "kernels" in this_machine()


def done(work: Path, step: Step, seconds: float) -> Step:
    folder = step.folder(work)
    folder.mkdir(parents=True)
    (folder / "step.json").write_text(json.dumps({"seconds": seconds}))
    return step


def test_a_step_on_two_cores_counts_twice_and_its_needs_once(tmp_path: Path) -> None:
    pipeline = Pipeline(SMOKE, tmp_path)

    def step(name: str, *needs: Step, threads: int = 1) -> Step:
        return Step(name, {}, lambda _: None, needs, threads)

    teacher = done(tmp_path, step("teacher-l", threads=2), 100)
    one = done(tmp_path, step("exam-sft", teacher), 30)
    two = done(tmp_path, step("exam-kd", teacher), 50)
    marks = done(tmp_path, step("marks-kd", two), 6)
    spent = times(pipeline, [one, marks], 2)
    kinds = {each.kind: (each.steps, each.seconds, each.cores) for each in spent.kinds}
    assert kinds == {"teacher-l": (1, 100, 2), "exam": (2, 80, 1), "marks": (1, 6, 1)}
    assert spent.core_seconds == 286 and spent.wall_clock == 143
    assert spent.as_document()["wall_clock_estimate_s"] == 143


def test_what_is_not_all_done_has_no_estimate(tmp_path: Path) -> None:
    first = done(tmp_path, Step("first", {}, lambda _: None), 10)
    spent = times(Pipeline(SMOKE, tmp_path), [Step("next", {}, lambda _: None, (first,))], 2)
    assert not spent.whole and spent.as_document()["wall_clock_estimate_s"] is None


def figures(accuracy: float, **others: Any) -> dict[str, Any]:
    return {"arms": as_document({"sft": arm("sft", [accuracy, 0.5])}), **others}


def test_a_discussion_stands_with_its_own_figures_only(tmp_path: Path) -> None:
    path = tmp_path / "discussion.md"
    path.write_text(f"{first_line(figures(0.25))}\n\n## What to make of it\n\nMuch.\n")
    again = figures(0.25, date="2030-01-01", commit="abc")
    assert discussion(again, path) == ["", "## What to make of it\n\nMuch."]
    left_out = discussion(figures(0.26), path)
    assert "other figures" in left_out[1] and "Much" not in "".join(left_out)


def test_a_discussion_that_names_no_figures_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "discussion.md"
    path.write_text("## What to make of it\n")
    assert "other figures" in discussion(figures(0.25), path)[1]
    assert discussion(figures(0.25), tmp_path / "none.md") == []


def test_the_digest_knows_every_seed_of_every_arm() -> None:
    one = figures(0.25)
    assert figures_digest(one) == figures_digest(json.loads(json.dumps(one)))
    other = {"arms": as_document({"sft": arm("sft", [0.5, 0.25])})}
    assert figures_digest(other) != figures_digest(one)
