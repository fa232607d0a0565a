"""The metrics file: what it says, and that a killed and resumed run leaves it whole."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from training.recipe import TrackingSettings
from training.report.metrics import (
    MetricsRefused,
    MetricsWriter,
    StepMetrics,
    ValidationMetrics,
    read_metrics,
)
from training.report.reading import MetricsTail, MetricsUnreadable

JSONL_ONLY = TrackingSettings(tensorboard=False)
Make = Callable[..., StepMetrics]


def _writer(folder: Path, resume_at: int = 0) -> MetricsWriter:
    return MetricsWriter(folder, JSONL_ONLY, "run/sft", "name: run\n", resume_at=resume_at)


def test_a_step_reads_back_bit_for_bit(tmp_path: Path, step_metrics: Make) -> None:
    with _writer(tmp_path) as writer:
        writer.step(step_metrics(1, loss=0.1 + 0.2, kd=1 / 3))
    [record] = read_metrics(tmp_path / "metrics.jsonl")
    assert (record["kind"], record["loss"], record["kd"]) == ("step", 0.1 + 0.2, 1 / 3)


def test_what_was_not_measured_is_absent(tmp_path: Path, step_metrics: Make) -> None:
    with _writer(tmp_path) as writer:
        writer.step(step_metrics(1))
    [record] = read_metrics(tmp_path / "metrics.jsonl")
    assert not {"mfu", "kd", "teacher_mass", "not_finite"} & set(record)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_null_and_named(
    tmp_path: Path, step_metrics: Make, value: float
) -> None:
    with _writer(tmp_path) as writer:
        writer.step(step_metrics(1, loss=value))
    [record] = read_metrics(tmp_path / "metrics.jsonl")
    assert record["loss"] is None
    assert record["not_finite"] == {"loss": str(value)}
    assert record["ce"] == 2.0


def test_a_validation_has_its_perplexity(tmp_path: Path) -> None:
    with _writer(tmp_path) as writer:
        writer.validation(ValidationMetrics(step=5, epoch=1.0, nll=1.5, tokens=9, seconds=0.1))
    [record] = read_metrics(tmp_path / "metrics.jsonl")
    assert record["perplexity"] == math.exp(1.5)


def test_a_perplexity_too_large_for_a_float_is_infinite() -> None:
    metrics = ValidationMetrics(step=1, epoch=1.0, nll=1e6, tokens=9, seconds=0.1)
    assert metrics.perplexity == math.inf


def test_a_line_can_be_read_as_soon_as_it_is_written(tmp_path: Path, step_metrics: Make) -> None:
    with _writer(tmp_path) as writer:
        writer.step(step_metrics(1))
        assert len(read_metrics(tmp_path / "metrics.jsonl")) == 1


def test_a_resumed_run_has_every_step_once(tmp_path: Path, step_metrics: Make) -> None:
    with _writer(tmp_path) as writer:
        for step in range(1, 8):
            writer.step(step_metrics(step, loss=100.0))
        writer.validation(ValidationMetrics(step=4, epoch=1.0, nll=1.0, tokens=9, seconds=0.1))
        writer.validation(ValidationMetrics(step=6, epoch=1.0, nll=1.0, tokens=9, seconds=0.1))
    with _writer(tmp_path, resume_at=5) as writer:
        for step in range(5, 9):
            writer.step(step_metrics(step, loss=1.0))
    records = read_metrics(tmp_path / "metrics.jsonl")
    curve = [(r["step"], r["loss"]) for r in records if r["kind"] == "step"]
    assert curve == [(step, 100.0) for step in range(1, 5)] + [(step, 1.0) for step in range(5, 9)]
    assert [r["step"] for r in records if r["kind"] == "validation"] == [4]


def test_lines_kept_on_resuming_keep_their_bytes(tmp_path: Path, step_metrics: Make) -> None:
    with _writer(tmp_path) as writer:
        writer.step(step_metrics(1))
        before = (tmp_path / "metrics.jsonl").read_bytes()
        writer.step(step_metrics(2))
    _writer(tmp_path, resume_at=2).close()
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_a_run_that_begins_anew_leaves_nothing_of_the_old_one(
    tmp_path: Path, step_metrics: Make
) -> None:
    with _writer(tmp_path) as writer:
        writer.event("begin", 0)
        writer.step(step_metrics(1))
    _writer(tmp_path).close()
    assert read_metrics(tmp_path / "metrics.jsonl") == []


def test_half_a_last_line_is_left_out(tmp_path: Path, step_metrics: Make) -> None:
    path = tmp_path / "metrics.jsonl"
    with _writer(tmp_path) as writer:
        writer.step(step_metrics(1))
        writer.step(step_metrics(2))
    path.write_bytes(path.read_bytes()[:-40])
    assert [record["step"] for record in read_metrics(path)] == [1]


def test_half_a_last_line_is_gone_after_resuming(tmp_path: Path, step_metrics: Make) -> None:
    path = tmp_path / "metrics.jsonl"
    with _writer(tmp_path) as writer:
        writer.step(step_metrics(1))
        writer.step(step_metrics(2))
    path.write_bytes(path.read_bytes()[:-40])
    with _writer(tmp_path, resume_at=2) as writer:
        writer.step(step_metrics(2))
    assert [orjson.loads(line)["step"] for line in path.read_bytes().splitlines()] == [1, 2]


def test_a_broken_line_before_the_last_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"kind":"step","step":1}\n{"kind":"st\n{"kind":"step","step":3}\n')
    with pytest.raises(MetricsUnreadable, match="Line 2 of"):
        read_metrics(path)


def test_metrics_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MetricsUnreadable, match="no metrics at"):
        read_metrics(tmp_path / "metrics.jsonl")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MetricsRefused, match="cannot be written"):
        _writer(tmp_path / "file" / "folder")


def test_a_killed_writer_loses_no_line_that_it_had_written(tmp_path: Path) -> None:
    program = """
import sys, time
from pathlib import Path
from training.recipe import TrackingSettings
from training.report.metrics import MetricsWriter, ValidationMetrics
writer = MetricsWriter(Path(sys.argv[1]), TrackingSettings(tensorboard=False), "r", "name: r")
for step in range(1, 51):
    writer.validation(ValidationMetrics(step=step, epoch=1.0, nll=1.0, tokens=1, seconds=1.0))
sys.stdout.write("written\\n")
sys.stdout.flush()
time.sleep(60)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == b"written\n"
        os.kill(process.pid, signal.SIGKILL)
    records = read_metrics(tmp_path / "metrics.jsonl")
    assert [record["step"] for record in records] == list(range(1, 51))


def test_a_tail_gives_every_record_once(tmp_path: Path, step_metrics: Make) -> None:
    tail = MetricsTail(tmp_path / "metrics.jsonl")
    assert tail.read() == []
    with _writer(tmp_path) as writer:
        writer.step(step_metrics(1))
        assert [record["step"] for record in tail.read()] == [1]
        writer.step(step_metrics(2))
        writer.step(step_metrics(3))
        assert [record["step"] for record in tail.read()] == [2, 3]
    assert tail.read() == []


def test_a_tail_waits_for_the_rest_of_half_a_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tail = MetricsTail(path)
    path.write_bytes(b'{"kind":"step","step":1}\n{"kind":"st')
    assert [record["step"] for record in tail.read()] == [1]
    with path.open("ab") as file:
        file.write(b'ep","step":2}\n')
    assert [record["step"] for record in tail.read()] == [2]


def test_a_tail_begins_again_where_a_resumed_run_rewrote_the_file(
    tmp_path: Path, step_metrics: Make
) -> None:
    with _writer(tmp_path) as writer:
        for step in range(1, 4):
            writer.step(step_metrics(step))
        tail = MetricsTail(tmp_path / "metrics.jsonl")
        tail.read()
    with _writer(tmp_path, resume_at=3) as writer:
        for step in range(3, 6):
            writer.step(step_metrics(step))
    assert [record["step"] for record in tail.read()] == [1, 2, 3, 4, 5]
