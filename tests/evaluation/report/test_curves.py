"""Series that a user asks for, and the proving ground's report in this format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from evaluated_corpus import AFTER, said
from factory import cli

from evaluation.errors import EvaluationError
from evaluation.report.proving_ground import read_proving_ground
from evaluation.report.series import read_series
from evaluation.report.stored import ended
from evaluation.report.tables import ground_table
from storage.database import Database


def mark(*seeds: float) -> dict[str, Any]:
    return {"mean": sum(seeds) / len(seeds), "half_width": 0.01, "seeds": list(seeds)}


def ground(folder: Path) -> Path:
    """A report as `make prove` writes it, with sweeps."""
    arms = {
        "before": (0.02, 0.04, 0.03), "sft": (0.5, 0.52, 0.51), "sft+kd": (0.6, 0.63, 0.9),
        "sft+sft": (0.51, 0.52, 0.5),
        "sft+kd:data-3000": (0.57, 0.58), "sft+kd:data-1000": (0.5, 0.51),
        "sft+kd:teacher-l": (0.5, 0.55), "sft+kd:teacher-m": (0.52, 0.55), "sft+kd:k-1": (0.5, 0.5),
    }  # fmt: skip
    document = {
        "scale": "full", "date": "2026-01-01", "commit": "abc", "training_seeds": 3,
        "teachers": {"l": {"accuracy": 0.9, "nll": 0.1, "ece": 0.02, "entropy": 0.1}},
        "arms": {
            name: {"accuracy": mark(*seeds), "nll": mark(*seeds), "ece": mark(*seeds),
                   "entropy": mark(*seeds), "family:数列": mark(*seeds),
                   "family:units": mark(*seeds), "language:ja": mark(*seeds)}
            for name, seeds in arms.items()
        },
        "sweeps": [
            {"title": "teacher size", "axis": "teacher", "points": [
                {"label": "m", "arm": "sft+kd:teacher-m"},
                {"label": "l", "arm": "sft+kd:teacher-l"},
                {"label": "xl", "arm": "sft+kd"}]},
            {"title": "amount of KD data", "axis": "seeds asked (verified samples)", "points": [
                {"label": "1000 (570)", "arm": "sft+kd:data-1000"},
                {"label": "3000 (1700)", "arm": "sft+kd:data-3000"},
                {"label": "4000 (2300)", "arm": "sft+kd"}]},
        ],
    }  # fmt: skip
    path = folder / "report.json"
    path.write_text(json.dumps(document))
    return path


def test_arms_are_compared_seed_by_seed(tmp_path: Path) -> None:
    found = read_proving_ground(ground(tmp_path))
    assert found.headline == ["before", "sft", "sft+sft", "sft+kd"]
    gap = found.gap("sft+kd", "before", "accuracy", 100.0)
    # Differences 58, 59 and 87: mean 68, Student's half width 4.3027 · 16.4621 / √3.
    assert gap is not None and gap.value == pytest.approx(68)
    assert gap.ends == (pytest.approx(27.106, abs=1e-3), pytest.approx(108.894, abs=1e-3))
    assert found.groups() == {"family": ["family:units", "family:数列"],
                              "language": ["language:ja"]}  # fmt: skip


def test_arms_of_fewer_seeds_are_compared_over_the_seeds_that_both_have(tmp_path: Path) -> None:
    found = read_proving_ground(ground(tmp_path))
    gap = found.gap("sft+kd:k-1", "sft+kd", "accuracy", 100.0)
    # Differences -10 and -13; the base's third seed has no partner.
    assert gap is not None and gap.value == pytest.approx(-11.5)
    table = ground_table(found, ["sft+kd", "sft+kd:k-1"], "Arms")
    assert "over 2 training seeds" in table.caption
    base, arm = table.rows
    assert base[1].text == "61.5" and arm[1].text == "50.0" and arm[1].gap.startswith("−11.5")


def test_sweeps_are_curves_in_the_file_s_order_over_common_seeds(tmp_path: Path) -> None:
    teacher, data = read_proving_ground(ground(tmp_path)).sweeps()
    assert teacher.labels == ("m", "l", "xl")
    assert data.labels == ("1000 (570)", "3000 (1700)", "4000 (2300)")
    assert [made.value for made in data.figures] == pytest.approx([50.5, 57.5, 61.5])
    assert data.step == "seeds asked (verified samples); 2 training seeds"


@pytest.mark.parametrize(
    "text", ["", "[]", '{"arms": {}}', '{"arms": {"a": {"nll": {"mean": 1}}}}']
)
def test_another_file_is_no_report_of_the_proving_ground(tmp_path: Path, text: str) -> None:
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(EvaluationError, match="is no report of the proving ground") as refused:
        read_proving_ground(tmp_path / "other.json")
    assert refused.value.command == "make prove"


def test_the_proving_ground_alone_needs_no_database(tmp_path: Path) -> None:
    ground(tmp_path)
    pytest.importorskip("matplotlib")
    said(cli("eval", "report", "--proving-ground", "report.json", "-o", "out", cwd=tmp_path))
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "Proving ground: before and after" in page and "+68.0 (+27.1 to +108.9)" in page
    assert "over training seeds (3 at most)" in page
    assert not (tmp_path / "stillhouse.db").exists()
    names = {file.stem for file in (tmp_path / "out").glob("*.png")}
    assert {"proving-ground-accuracy", "proving-ground-nll", "proving-ground-ece",
            "proving-ground-family", "proving-ground-sweep-1"} <= names  # fmt: skip


def series_of(corpus: Path, folder: Path, *series: dict[str, Any]) -> list[Any]:
    path = folder / "series.yaml"
    path.write_text(
        yaml.safe_dump(list(series), allow_unicode=True, sort_keys=False), encoding="utf-8"
    )
    database = Database.open(str(corpus))
    try:
        with database.read() as connection:
            return read_series(path, connection, ended(connection))
    finally:
        database.close()


TEACHERS = {"title": "教師", "step": "parameters", "benchmark": "ifeval", "metric": "prompt_strict"}


def test_points_are_evaluations_or_arms_in_order_of_their_numbers(
    corpus: Path, tmp_path: Path
) -> None:
    ground(tmp_path)
    teachers, data = series_of(
        corpus, tmp_path,
        {**TEACHERS, "points": {"72B": AFTER, "7B": "before"}},
        {"title": "data", "report": "report.json", "metric": "accuracy",
         "points": {"all": "sft+kd", "1000": "sft+kd:data-1000"}},
    )  # fmt: skip
    assert teachers.labels == ("7B", "72B") and teachers.numbers == (7e9, 72e9)
    assert [made.value for made in teachers.figures] == [0.0, 75.0]
    assert teachers.axis == "prompts, strict (%)"
    assert data.labels == ("all", "1000") and data.numbers is None, "names stay as written"


@pytest.mark.parametrize(
    ("series", "cause"),
    [
        ({**TEACHERS, "points": {"7B": "before"}}, "at least 2 items"),
        ({**TEACHERS, "points": {"7B": "before", "72B": "nobody"}}, "No model and no identifier"),
        ({**TEACHERS, "metric": "bleu", "points": {"7B": "before", "72B": AFTER}}, "has no 'bleu'"),
        ({"title": "t", "metric": "score", "points": {"7B": "before", "72B": AFTER}},
         "evaluations of several benchmarks"),
        ({**TEACHERS, "colour": "red", "points": {"7B": "before", "72B": AFTER}}, "colour"),
        ({"title": "t", "metric": "accuracy", "report": "report.json",
          "points": {"1": "sft", "2": "no-arm"}}, "The arm 'no-arm'"),
    ],
)  # fmt: skip
def test_a_series_that_cannot_be_drawn_says_why(
    corpus: Path, tmp_path: Path, series: dict[str, Any], cause: str
) -> None:
    ground(tmp_path)
    with pytest.raises(EvaluationError) as refused:
        series_of(corpus, tmp_path, series)
    assert cause in refused.value.cause
