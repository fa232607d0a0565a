"""What a training run measures, and the file that holds it: `metrics.jsonl`, one object per line.

In: a `StepMetrics` after every optimizer step, a `ValidationMetrics` now and then, and events
(`checkpoint`, `finished`, …). Out: the lines, and the same figures in TensorBoard, MLflow and W&B
where the recipe asks for them. A line's `kind` is `step`, `validation` or `event`. What was not
measured is absent; what was NaN or infinite is null, and `not_finite` says which of the two.
Floats are written so that they read back bit for bit. The other direction is in `reading.py`.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from training.errors import TrainingError
from training.recipe import TrackingSettings
from training.report.reading import Record, read_metrics, whole_lines
from training.report.trackers import Tracker, in_short, open_trackers

__all__ = [
    "METRICS_FILE",
    "MetricsRefused",
    "MetricsWriter",
    "StepMetrics",
    "ValidationMetrics",
    "read_metrics",
]

METRICS_FILE = "metrics.jsonl"


class MetricsRefused(TrainingError):
    """The metrics file cannot be read, or cannot be written."""

    code = "metrics_refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMetrics:
    """One optimizer step, over all ranks and micro-batches. None where nothing was measured.

    `loss`, `ce` and `kd` are means over the step's trained labels, in nats; `kd` is the value that
    enters the loss, T² included (loss = (1 − α)·ce + α·kd). `tokens` counts trained labels,
    `context_tokens` all tokens that went through the model; `tokens_per_s` is the latter per
    second. `mfu` is the share of the device's peak in [0, 1], `fill` the share of the token
    capacity of the micro-batches that was used. `gradient_norm` is taken before clipping.
    `teacher_mass` is P and `student_mass` is Q, the means of what teacher and student give to the
    kept ids; `agreement` is the share of rows where both have the same first choice; `kd_share` is
    the KD term's share of the gradient at the logits.
    """

    step: int
    epoch: float
    loss: float
    learning_rate: float
    gradient_norm: float
    tokens: int
    context_tokens: int
    seconds: float
    tokens_per_s: float
    micro_batches: int
    fill: float
    ce: float | None = None
    kd: float | None = None
    mfu: float | None = None
    peak_memory_bytes: int | None = None
    teacher_mass: float | None = None
    student_mass: float | None = None
    agreement: float | None = None
    kd_share: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationMetrics:
    """The student on the samples held out, after `step` steps: means over `tokens` labels, nats."""

    step: int
    epoch: float
    nll: float
    tokens: int
    seconds: float
    kd: float | None = None
    teacher_mass: float | None = None
    student_mass: float | None = None
    agreement: float | None = None

    @property
    def perplexity(self) -> float:
        """exp(nll); infinite where that is too large for a float."""
        try:
            return math.exp(self.nll)
        except OverflowError:
            return math.inf


class MetricsWriter:
    """Writes a run's metrics; one rank alone holds it. As a guard it closes what it opened.

    Args:
        folder: where `metrics.jsonl` and TensorBoard's files lie; made if it is missing.
        tracking: where else the figures go.
        run_name: the run's name in MLflow and W&B.
        config: the recipe's text (YAML) for the trackers; it may hold no secret.
        resume_at: the first step that will be written. Lines of that step and of later ones are
            removed first, so that the file has each step once and a resumed run leaves the same
            curve as an unbroken one. 0 begins anew.

    Raises:
        MetricsRefused: the file cannot be read or written.
        TrackingRefused: a tracker's package is missing, or it cannot be reached.
    """

    def __init__(
        self,
        folder: Path,
        tracking: TrackingSettings,
        run_name: str,
        config: str,
        *,
        resume_at: int = 0,
    ) -> None:
        self._path = folder / METRICS_FILE
        with _file_errors(self._path):
            folder.mkdir(parents=True, exist_ok=True)
            _truncate(self._path, resume_at)
            self._file = self._path.open("ab", buffering=0)
        self._last_step = max(resume_at - 1, 0)
        try:
            self._trackers: list[Tracker] = open_trackers(
                tracking, folder, run_name, config, resume_at
            )
        except BaseException:
            self._file.close()
            raise

    def step(self, metrics: StepMetrics) -> None:
        """Writes one step; it can be read by others as soon as this returns."""
        values = _values(metrics)
        self._write("step", values)
        self._track("train", values, metrics.step)

    def validation(self, metrics: ValidationMetrics) -> None:
        """Writes one validation, with its perplexity."""
        values = _values(metrics)
        values["perplexity"] = metrics.perplexity
        self._write("validation", values)
        self._track("validation", values, metrics.step)

    def event(self, name: str, step: int, **details: Any) -> None:
        """Writes that something happened after `step` steps, and forces all lines to the disk.

        `details` are JSON values: a checkpoint's path, the samples of a NaN loss.
        """
        time = datetime.now(UTC).isoformat(timespec="seconds")
        self._write("event", {"step": step, "name": name, "time": time, **details})
        self.sync()

    def sync(self) -> None:
        """Forces lines and trackers' files to the disk; before a checkpoint counts as made, so
        that a run resumed from it misses no line."""
        with _file_errors(self._path):
            os.fsync(self._file.fileno())
        self._tell_trackers(lambda tracker: tracker.flush())

    def close(self, *, failed: bool = False) -> None:
        """Closes file and trackers."""
        if self._file.closed:
            return
        try:
            self._tell_trackers(lambda tracker: tracker.close(failed=failed))
        finally:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close(failed=kind is not None)

    def _write(self, kind: str, values: Mapping[str, Any]) -> None:
        """One line in one write: a killed process leaves whole lines and at most half of one."""
        record = {"kind": kind, **_finite(values)}
        self._last_step = max(self._last_step, values["step"])
        with _file_errors(self._path):
            self._file.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))

    def _track(self, group: str, values: Mapping[str, Any], step: int) -> None:
        figures = {f"{group}/{key}": float(v) for key, v in values.items() if key != "step"}
        self._tell_trackers(lambda tracker: tracker.log(figures, step))

    def _tell_trackers(self, tell: Callable[[Tracker], None]) -> None:
        """A tracker that fails is told nothing more, and an event names it: all its figures are
        here as well, and training does not fail for it."""
        for tracker in tuple(self._trackers):
            try:
                tell(tracker)
            except tracker.failures as error:
                self._trackers.remove(tracker)
                details = {"tracker": tracker.name, "error": in_short(error)}
                values = {"step": self._last_step, "name": "tracking_failed", **details}
                self._write("event", values)


def _values(metrics: StepMetrics | ValidationMetrics) -> Record:
    pairs = ((field.name, getattr(metrics, field.name)) for field in fields(metrics))
    return {name: value for name, value in pairs if value is not None}


def _finite(values: Mapping[str, Any]) -> Record:
    """JSON has no NaN: null stands for it, and `not_finite` keeps what it was."""
    lost = {
        key: str(value)
        for key, value in values.items()
        if isinstance(value, float) and not math.isfinite(value)
    }
    if not lost:
        return dict(values)
    return {**values, **dict.fromkeys(lost), "not_finite": lost}


def _truncate(path: Path, resume_at: int) -> None:
    """Keeps the lines of steps before `resume_at`, byte for byte; the old file stays whole until
    the new one is."""
    if not path.exists():
        return
    kept = b"".join(
        line.rstrip(b"\n") + b"\n"
        for line, record in whole_lines(path)
        if record["step"] < resume_at
    )
    new = path.with_name(f"{path.name}.tmp")
    with new.open("wb") as file:
        file.write(kept)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


@contextlib.contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MetricsRefused(
            f"{path} cannot be written.",
            cause=error.strerror or type(error).__name__,
            solution="Make room or another `output` folder in the recipe, then run it again; it "
            "goes on from the last checkpoint.",
        ) from error
