"""The parts of the proving ground's report, from figures that are known."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from PIL import Image
from proving import arm, arms

from benchmarks.proving_ground import scales
from benchmarks.proving_ground.results import ArmResult, Making
from benchmarks.proving_ground.scales import SMOKE
from benchmarks.proving_ground.sections.claim import claim
from benchmarks.proving_ground.sections.duration import duration
from benchmarks.proving_ground.sections.groups import groups
from benchmarks.proving_ground.sections.head import head
from benchmarks.proving_ground.sections.objectives import calibration, objectives
from benchmarks.proving_ground.sections.students import students
from benchmarks.proving_ground.sections.sweeping import sweeping
from benchmarks.proving_ground.sections.verification import verification
from benchmarks.proving_ground.spent import Spent, Times
from benchmarks.proving_ground.sweeps import Sweep

MADE: dict[str, Making] = {}


def line_of(lines: list[str], *words: str) -> str:
    """The one line that has all of the words."""
    found = [line for line in lines if all(word in line for word in words)]
    assert len(found) == 1, (words, lines)
    return found[0]


def claimed() -> dict[str, ArmResult]:
    return arms(
        arm("before", [0.10, 0.12, 0.14]), arm("lessons", [0.11, 0.13, 0.15]),
        arm("sft", [0.20, 0.23, 0.23]), arm("sft+sft", [0.24, 0.26, 0.25]),
        arm("lessons+lessons", [0.12, 0.14, 0.16]), arm("sft+kd", [0.27, 0.28, 0.29]),
    )  # fmt: skip


def test_the_claim_begins_with_arms_of_equal_steps(tmp_path: Path) -> None:
    lines = claim(claimed(), tmp_path)
    order = [
        lines.index(line_of(lines, *words))
        for words in (
            ("- `sft` over `lessons`",), ("- `sft+kd` over `sft+sft`",),
            ("- `sft+kd` over `lessons+lessons`",), ("- `sft` over `before`",),
            ("the two intervals", "`sft+kd`", "`sft+sft`"), ("| `before` |",),
        )
    ]  # fmt: skip
    assert order == sorted(order)
    # Differences 9, 10, 8: Student's half width 4.303 · 1 / √3.
    assert "+9.0 ± 2.5 points over 3 seeds; the interval excludes zero" in lines[order[0]]
    assert (tmp_path / "headline.png").stat().st_size > 5000


def test_the_claim_needs_none_of_its_controls(tmp_path: Path) -> None:
    lines = claim(arms(arm("before", [0.1]), arm("sft", [0.3])), tmp_path)
    assert "one seed has no interval" in line_of(lines, "`sft` over `before`", "+20.0")
    assert not [line for line in lines if "equally many" in line]
    assert claim(arms(arm("sft", [0.3])), tmp_path) == []


def test_arms_of_fewer_seeds_stand_in_a_table_of_their_own_seeds(tmp_path: Path) -> None:
    lines = claim(arms(arm("before", [0.1, 0.3, 0.2]), arm("sft", [0.2, 0.4, 0.9]),
                       arm("lessons", [0.1, 0.2])), tmp_path)  # fmt: skip
    assert "50.0 ± 89.6 %" in line_of(lines, "| `sft` | 3 |")
    assert "30.0 ± 127.1 %" in line_of(lines, "| `sft` | 2 |")
    assert "over 2 seeds" in line_of(lines, "`sft` over `lessons`")


def test_each_group_has_its_paired_difference() -> None:
    lines = groups(arms(arm("sft+sft", [0.5, 0.5], units=[0.10, 0.20]),
                        arm("sft+kd", [0.6, 0.6], units=[0.15, 0.26])))  # fmt: skip
    assert line_of(lines, "| family units |").endswith("| +5.5 ± 6.4 |")
    assert line_of(lines, "| level 1 |").endswith("| +10.0 ± 0.0 |")


def test_verification_is_compared_with_the_same_mix_too() -> None:
    found = arms(
        arm("sft", [0.30, 0.32, 0.9], units=[0.5, 0.6, 0.9]),
        arm("sft-unverified", [0.20, 0.21], units=[0.3, 0.3]),
        arm("sft-matched", [0.27, 0.30], units=[0.4, 0.5]),
    )
    made = {"sft": Making(3, 2297), "sft-unverified": Making(2, 4000)}
    lines = verification(found, made)
    assert "+10.5" in line_of(lines, "- `sft` over `sft-unverified`", "over 2 seeds")
    assert "+2.5" in line_of(lines, "- `sft` over `sft-matched`", "over 2 seeds")
    assert line_of(lines, "| family units |") == "| family units | +25.0 ± 63.5 | +10.0 ± 0.0 |"
    assert "| 2 | 2,297 |" in line_of(lines, "| `sft` |")
    assert "| 2 | 4,000 |" in line_of(lines, "| `sft-unverified` |")
    assert "| 2 | – |" in line_of(lines, "| `sft-matched` |")
    assert verification(arms(arm("sft", [0.3])), {}) == []


def test_calibration_is_compared_with_renorm_in_pairs() -> None:
    found = arms(
        arm("sft+kd", [0.3] * 3, ece=[0.10, 0.11, 0.12], nll=[1.0, 1.1, 1.2]),
        arm("sft+kd:renorm", [0.2] * 2, ece=[0.13, 0.15], nll=[1.1, 1.2]),
        arm("sft+kd:sampled", [0.2] * 2, ece=[0.13, 0.15], nll=[1.1, 1.3]),
    )
    lines = calibration(found, {"sft+kd:sampled": Making(2, 10, 40)})
    sentence = line_of(lines, "- ECE: `sft+kd` over `sft+kd:renorm`")
    assert "-0.035 ± 0.064 over 2 seeds; the interval does not exclude zero" in sentence
    assert "-0.100 ± 0.000" in line_of(lines, "- NLL: `sft+kd` over `sft+kd:renorm`")
    assert "| 2 | 0.105 ± 0.064 | -0.035 ± 0.064 |" in line_of(lines, "(`tail_bucket`)")
    assert "(40 draws per position)" in line_of(lines, "| `sft+kd:sampled`")
    assert calibration(arms(arm("sft+kd", [0.3])), {}) == []


def surer(one: ArmResult, *confidences: float) -> ArmResult:
    exams = zip(one.exams, confidences, strict=True)
    return ArmResult(one.name, tuple({**exam, "confidence": sure, "agreement": 0.7}
                                     for exam, sure in exams))  # fmt: skip


def test_calibration_says_how_sure_and_how_often_right_each_is() -> None:
    renorm = surer(arm("sft+kd:renorm", [0.2] * 2), 0.75, 0.77)
    whole = surer(arm("sft+kd", [0.3] * 2), 0.8, 0.82)
    lines = calibration(arms(renorm, whole), {})
    row = line_of(lines, "| `sft+kd` (`tail_bucket`) | 0.810 ± 0.127 | 0.700 ± 0.000 |")
    assert "| 0.110 ± 0.127 | 1.000 ± 0.000 |" in row
    # Where an exam does not say it, there is no such table.
    old = calibration(arms(renorm, arm("sft+kd", [0.3] * 2)), {})
    assert old and not any("how sure" in line for line in old)


def test_objectives_are_compared_over_common_seeds(tmp_path: Path) -> None:
    found = arms(arm("sft+kd", [0.3, 0.4, 0.9]), arm("kd-only", [0.2, 0.35]))
    lines = objectives(found, MADE, tmp_path)
    assert "-7.5" in line_of(lines, "- `kd-only` over `sft+kd`", "over 2 seeds")
    assert "35.0" in line_of(lines, "| `sft+kd` (`tail_bucket`) | 2 |")
    assert objectives(arms(arm("kd-only", [0.2]), arm("sft+kd:fused", [0.2])), MADE, tmp_path) == []


def test_a_sweep_s_default_has_the_common_seeds_only(tmp_path: Path) -> None:
    found = arms(arm("sft+kd", [0.3, 0.4, 0.9]), arm("sft+kd:k-1", [0.2, 0.2]))
    sweep = Sweep("k", "ids kept per row", (("1", "sft+kd:k-1"), ("10", "sft+kd")))
    lines = sweeping(found, [sweep], tmp_path)
    row = line_of(lines, "| 10 | `sft+kd` |")
    assert row.startswith("| 10 | `sft+kd` | 35.0 ± 63.5 % | +15.0 ± 63.5 |")
    assert line_of(lines, "over 2 seeds")
    assert {path.name for path in tmp_path.iterdir()} == {"sweeps.png", "sweeps-nll.png"}


def test_more_than_three_sweeps_stand_in_several_rows_of_a_picture(tmp_path: Path) -> None:
    found = arms(arm("sft+kd", [0.3, 0.4]), arm("sft+kd:k-1", [0.2, 0.2]))
    points = (("1", "sft+kd:k-1"), ("10", "sft+kd"))
    heights = {}
    for count in (1, 3, 4, 5):
        sweeping(found, [Sweep(f"k {n}", "ids", points) for n in range(count)], tmp_path)
        heights[count] = Image.open(tmp_path / "sweeps.png").size[1]
    assert heights[1] == heights[3] and heights[4] == heights[5] == 2 * heights[1]
    # Four of them leave the two last places of the second row white, five only the last.
    drawn = [_darkest(tmp_path, found, points, count) for count in (4, 5)]
    assert [[place < 250 for place in places] for places in drawn] == [
        [True, False, False], [True, True, False],
    ]  # fmt: skip


def _darkest(
    folder: Path, found: dict[str, ArmResult], points: tuple[tuple[str, str], ...], count: int
) -> list[int]:
    """The darkest grey in each third of the picture's second row."""
    sweeping(found, [Sweep(f"k {n}", "ids", points) for n in range(count)], folder)
    picture = Image.open(folder / "sweeps.png").convert("L")
    wide, high = picture.width // 3, picture.height // 2
    # The middle of each place: panels have grid lines and a curve there.
    return [
        picture.crop(
            (n * wide + wide // 3, high + high // 4, (n + 1) * wide - wide // 4, high + high // 2)
        ).getextrema()[0]
        for n in range(3)
    ]


TWO = dataclasses.replace(SMOKE, students=dict.fromkeys(("xs", "s"), SMOKE.students["xs"]))


def test_the_smaller_student_s_gain_is_held_to_the_larger_s() -> None:
    found = arms(
        arm("before", [0.10, 0.12, 0.5]), arm("sft", [0.30, 0.34, 0.5]),
        arm("sft+kd", [0.40, 0.42, 0.5]), arm("s:before", [0.30, 0.30]),
        arm("s:sft", [0.40, 0.44]), arm("s:sft+kd", [0.44, 0.48]),
    )  # fmt: skip
    lines = students(found, TWO)
    assert line_of(lines, "| student xs |").startswith("| student xs | +21.0 ± 12.7 |")
    assert line_of(lines, "| student s |").startswith("| student s | +12.0 ± 25.4 |")
    assert "gains +9.0 ± 12.7 points more" in line_of(lines, "- `sft` over `before`")


@pytest.mark.parametrize("missing", ["before", "sft", "sft+kd"])
def test_a_student_of_whom_one_arm_is_missing_is_told_of_as_far_as_it_goes(missing: str) -> None:
    names = ("before", "sft", "sft+kd", "s:before", "s:sft", "s:sft+kd")
    found = arms(*(arm(name, [0.1, 0.2]) for name in names if name != f"s:{missing}"))
    assert "–" in line_of(students(found, TWO), "| student s |")
    assert students(arms(arm("s:sft", [0.1]), arm("before", [0.1])), TWO) == []


def test_a_report_leads_to_the_readme_from_where_it_lies(tmp_path: Path) -> None:
    said = {"corpus": {"samples": {}}, "made": {}, "teachers": {}, "date": "", "commit": "",
            "scale": "smoke"}  # fmt: skip
    home = Path(scales.__file__).parent
    for folder, link in ((home, "(README.md)"), (home / "sweeps", "(../README.md)")):
        assert link in line_of(head(said, folder), "tasks, is in")
    assert "`benchmarks/proving_ground/README.md`" in line_of(head(said, tmp_path), "tasks, is in")


def test_a_report_says_on_what_its_steps_ran(tmp_path: Path) -> None:
    said = {"corpus": {"samples": {}}, "teachers": {}, "date": "", "commit": "", "scale": "smoke",
            "made": {"sft": {"commits": ["abc"], "machines": ["A, torch's AVX2 kernels"]},
                     "kd": {"commits": ["abc"], "machines": ["B"]}, "old": {}}}  # fmt: skip
    line = line_of(head(said, tmp_path), "Its steps were done at abc.")
    assert line.endswith("They ran on: A, torch's AVX2 kernels; B.")


def test_the_headline_s_time_is_told_with_its_limit(tmp_path: Path) -> None:
    kinds = (Spent("teacher-l", 1, 1500.0, 2), Spent("exam", 10, 3600.0, 1))
    fast, all_of_it = Times(kinds, 2, True), Times((*kinds, Spent("kd", 5, 7200.0, 1)), 2, True)
    lines = duration(fast, all_of_it, tmp_path)
    assert (
        line_of(lines, "| teacher-l |") == "| teacher-l | 2 | 1 | 25 min 00 s | 1 | 25 min 00 s |"
    )
    assert line_of(lines, "| kd |") == "| kd | 1 | – | – | 5 | 2 h 00 min |"
    assert "| 11 | 1 h 50 min | 55 min 00 s |" in line_of(lines, "headline's arms alone |")
    assert "| 16 | 3 h 50 min | 1 h 55 min |" in line_of(lines, "everything done |")
    assert line_of(lines, "under 60 minutes", "an estimate")
    assert line_of(duration(all_of_it, all_of_it, tmp_path), "over 60 minutes")
    unfinished = dataclasses.replace(fast, whole=False)
    assert line_of(duration(unfinished, all_of_it, tmp_path), "no estimate")
    assert (tmp_path / "times.png").stat().st_size > 5000
