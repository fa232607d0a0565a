"""Metrics of made-up runs, as the trainer would write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from training.recipe import TrackingSettings
from training.report.metrics import MetricsWriter, StepMetrics, ValidationMetrics

JSONL_ONLY = TrackingSettings(tensorboard=False)
KD = {
    "kd": 0.5,
    "teacher_mass": 0.97,
    "student_mass": 0.93,
    "agreement": 0.81,
    "kd_share": 0.66,
}


@pytest.fixture
def step_metrics() -> Callable[..., StepMetrics]:
    """A step's metrics; everything but the step may be left out."""

    def make(step: int, **given: float | None) -> StepMetrics:
        usual = {
            "epoch": step / 10,
            "loss": 2.0 / step,
            "ce": 2.0 / step,
            "learning_rate": 1e-5,
            "gradient_norm": 0.7,
            "tokens": 100,
            "context_tokens": 400,
            "seconds": 0.5,
            "tokens_per_s": 800.0,
            "micro_batches": 2,
            "fill": 0.9,
            "peak_memory_bytes": 3 * 2**30,
        }
        return StepMetrics(step=step, **{**usual, **given})  # type: ignore[arg-type]

    return make


@pytest.fixture
def write_run(tmp_path: Path, step_metrics: Callable[..., StepMetrics]) -> Callable[..., Path]:
    """Writes a run of some steps and one validation; gives its metrics file."""

    def write(name: str, steps: int, *, kd: bool = False, **given: float) -> Path:
        figures = {**(KD if kd else {}), **given}
        with MetricsWriter(tmp_path / name, JSONL_ONLY, name, "name: r\n") as writer:
            for step in range(1, steps + 1):
                writer.step(step_metrics(step, **figures))
            held_out = {"kd": 0.6, "agreement": 0.8} if kd else {}
            writer.validation(
                ValidationMetrics(step=steps, epoch=1, nll=1.5, tokens=50, seconds=1, **held_out)
            )
            writer.event("checkpoint", steps)
        return tmp_path / name / "metrics.jsonl"

    return write
