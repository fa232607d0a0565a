"""The proving ground from seeds to report at its smallest size: every part real, figures without
meaning. Asked for again, nothing is done again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm")

CHECKOUT = Path(__file__).parents[2]
ARMS = ["before", "sft", "sft+kd"]


def prove(work: Path) -> dict[str, Any]:
    """One call of the script; its last line."""
    command = [sys.executable, "-m", "benchmarks.proving_ground", "--scale", "smoke"]
    done = subprocess.run(
        [*command, "--work", str(work)], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return said


@pytest.mark.slow
def test_every_part_works_together_and_is_done_once(tmp_path: Path) -> None:
    said = prove(tmp_path)
    steps = {path: path.stat().st_mtime_ns for path in tmp_path.glob("steps/*/step.json")}
    assert prove(tmp_path) | {"seconds": 0} == said | {"seconds": 0}
    assert steps == {path: path.stat().st_mtime_ns for path in tmp_path.glob("steps/*/step.json")}

    report = json.loads((tmp_path / "report-smoke" / "report.json").read_text(encoding="utf-8"))
    assert list(report["arms"]) == ARMS
    assert report["corpus"]["samples"]["accepted"] > 0
    # Every model is another one.
    weights = report["weights"]
    assert set(weights) == {*ARMS, "teacher l"}
    assert len({each for hashes in weights.values() for each in hashes}) == len(weights)
    for arm in report["arms"].values():
        assert 0 <= arm["accuracy"]["mean"] <= 1
        assert 0 < arm["nll"]["mean"] < 8
    # The world's own responses are closer to a model that was taught by them.
    assert report["teachers"]["l"]["nll"] < report["arms"]["before"]["nll"]["mean"]
    text = (tmp_path / "report-smoke" / "REPORT.md").read_text(encoding="utf-8")
    assert "From a score back to its seeds" in text and "with rows of the teacher" in text
    for picture in ("headline", "times"):
        assert (tmp_path / "report-smoke" / f"{picture}.png").stat().st_size > 5000
