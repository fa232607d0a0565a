"""TensorBoard, MLflow and W&B get the figures; a package that is missing is refused in time.

MLflow writes to a database in the test's folder, W&B works offline; both run where installed.
"""

from __future__ import annotations

import contextlib
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from training.recipe import TrackingSettings
from training.report.metrics import MetricsWriter, StepMetrics, ValidationMetrics, read_metrics
from training.report.trackers import TrackingRefused, require_trackers

CONFIG = "name: run\nstages:\n- name: sft\n  learning_rate: 1.0e-05\n"
Make = Callable[..., StepMetrics]


def _scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return [(scalar.step, scalar.value) for scalar in events.Scalars(tag)]


def test_tensorboard_reads_what_was_written(tmp_path: Path, step_metrics: Make) -> None:
    with MetricsWriter(tmp_path, TrackingSettings(), "run/sft", CONFIG) as writer:
        for step in (1, 2, 4):
            writer.step(step_metrics(step))
        writer.validation(ValidationMetrics(step=4, epoch=1.0, nll=0.0, tokens=9, seconds=0.1))
    assert _scalars(tmp_path, "train/loss") == [(1, 2.0), (2, 1.0), (4, 0.5)]
    assert _scalars(tmp_path, "validation/perplexity") == [(4, 1.0)]


def test_tensorboard_keeps_nan(tmp_path: Path, step_metrics: Make) -> None:
    with MetricsWriter(tmp_path, TrackingSettings(), "run/sft", CONFIG) as writer:
        writer.step(step_metrics(1, loss=math.nan))
    [(step, value)] = _scalars(tmp_path, "train/loss")
    assert step == 1
    assert math.isnan(value)


def test_tensorboard_shows_a_resumed_run_as_one_curve(tmp_path: Path, step_metrics: Make) -> None:
    with MetricsWriter(tmp_path, TrackingSettings(), "run/sft", CONFIG) as writer:
        for step in range(1, 7):
            writer.step(step_metrics(step, loss=100.0))
    with MetricsWriter(tmp_path, TrackingSettings(), "run/sft", CONFIG, resume_at=4) as writer:
        for step in range(4, 8):
            writer.step(step_metrics(step, loss=1.0))
    expected = [(step, 100.0) for step in (1, 2, 3)] + [(step, 1.0) for step in (4, 5, 6, 7)]
    assert _scalars(tmp_path, "train/loss") == expected


def test_what_was_synced_is_in_tensorboard_though_the_writer_is_killed(tmp_path: Path) -> None:
    program = """
import os, signal, sys
from pathlib import Path
from training.recipe import TrackingSettings
from training.report.metrics import MetricsWriter, ValidationMetrics
writer = MetricsWriter(Path(sys.argv[1]), TrackingSettings(), "r", "name: r")
writer.validation(ValidationMetrics(step=1, epoch=1.0, nll=3.0, tokens=1, seconds=1.0))
writer.sync()
os.kill(os.getpid(), signal.SIGKILL)
"""
    here = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=here, check=False)
    assert done.returncode == -9
    assert _scalars(tmp_path, "validation/nll") == [(1, 3.0)]


@pytest.mark.parametrize("package", ["mlflow", "wandb"])
def test_a_missing_package_is_refused_with_the_command_that_installs_it(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    tracking = TrackingSettings.model_validate({"tensorboard": False, package: True})
    with pytest.raises(TrackingRefused) as refused:
        MetricsWriter(tmp_path, tracking, "run/sft", CONFIG)
    assert refused.value.command == f"pip install {package}"


def test_trackers_not_asked_for_need_not_be_installed() -> None:
    require_trackers(TrackingSettings(tensorboard=False))


def test_figures_can_be_read_without_torch_or_trackers() -> None:
    program = (
        "import sys, training.report.metrics, training.report.progress\n"
        "sys.exit(bool({'torch', 'tensorboard', 'mlflow', 'wandb', 'matplotlib'} & {*sys.modules}))"
    )
    here = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", program], cwd=here, check=False).returncode == 0


def test_mlflow_has_the_figures_and_the_recipe(
    tmp_path: Path, step_metrics: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "stills")
    tracking = TrackingSettings(tensorboard=False, mlflow=True)
    with MetricsWriter(tmp_path, tracking, "run/sft", CONFIG) as writer:
        writer.step(step_metrics(1))
        writer.step(step_metrics(2, loss=math.nan))
    with MetricsWriter(tmp_path, tracking, "run/sft", CONFIG, resume_at=3) as writer:
        writer.step(step_metrics(4))
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("stills")
    [run] = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [metric.step for metric in history] == [1, 2, 4]
    assert (history[0].value, history[2].value) == (2.0, 0.5)
    assert math.isnan(history[1].value)
    assert (run.info.run_name, run.info.status) == ("run/sft", "FINISHED")
    assert run.data.params["stages.0.learning_rate"] == "1e-05"


def test_a_failed_run_is_failed_in_mlflow(
    tmp_path: Path, step_metrics: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    tracking = TrackingSettings(tensorboard=False, mlflow=True)
    with (
        pytest.raises(ZeroDivisionError),
        MetricsWriter(tmp_path, tracking, "run/sft", CONFIG) as writer,
    ):
        writer.step(step_metrics(1, loss=1 / 0))
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("stillhouse")
    [run] = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"


def test_an_mlflow_that_cannot_be_reached_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TrackingRefused, match="MLflow refused"):
        MetricsWriter(tmp_path, TrackingSettings(mlflow=True), "run/sft", CONFIG)


def test_an_mlflow_lost_on_the_way_is_told_and_training_goes_on(
    tmp_path: Path, step_metrics: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    tracking = TrackingSettings(tensorboard=False, mlflow=True)
    with MetricsWriter(tmp_path, tracking, "run/sft", CONFIG) as writer:
        (tmp_path / "mlflow.db").write_bytes(b"no database any more")
        writer.step(step_metrics(1))
    records = read_metrics(tmp_path / "metrics.jsonl")
    assert [record["kind"] for record in records] == ["step", "event"]
    assert (records[1]["name"], records[1]["tracker"]) == ("tracking_failed", "mlflow")


@pytest.fixture
def fresh_wandb() -> Iterator[None]:
    """W&B keeps the mode of a process's first run, and its own process, until it is torn down."""
    wandb = pytest.importorskip("wandb")
    wandb.teardown()
    yield
    with contextlib.suppress(OSError):
        wandb.teardown()


def test_wandb_offline_keeps_the_figures_in_the_folder(
    tmp_path: Path, fresh_wandb: None, step_metrics: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    tracking = TrackingSettings(tensorboard=False, wandb=True)
    with MetricsWriter(tmp_path, tracking, "run/sft", CONFIG) as writer:
        writer.step(step_metrics(1, loss=0.4321))
    with MetricsWriter(tmp_path, tracking, "run/sft", CONFIG, resume_at=2) as writer:
        writer.step(step_metrics(2))
    first, second = sorted(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert first.name == second.name
    written = first.read_bytes()
    assert b"train/loss" in written
    assert b"0.4321" in written
    assert b"0" * 40 not in written


@pytest.mark.parametrize("steps", [0, 5])
def test_a_wandb_that_dies_is_named_and_training_goes_on(
    steps: int,
    tmp_path: Path,
    fresh_wandb: None,
    step_metrics: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    psutil = pytest.importorskip("psutil")
    monkeypatch.setenv("WANDB_MODE", "offline")
    tracking = TrackingSettings(tensorboard=False, wandb=True)
    with MetricsWriter(tmp_path, tracking, "run/sft", CONFIG) as writer:
        for child in psutil.Process().children():
            if "wandb" in child.name():
                child.kill()
                child.wait()
        for step in range(1, steps + 1):
            writer.step(step_metrics(step))
    records = read_metrics(tmp_path / "metrics.jsonl")
    assert [record["step"] for record in records if record["kind"] == "step"] == list(
        range(1, steps + 1)
    )
    assert [record["tracker"] for record in records if record["kind"] == "event"] == ["wandb"]


def test_a_wandb_without_a_key_is_refused(
    tmp_path: Path, fresh_wandb: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(TrackingRefused) as refused:
        MetricsWriter(tmp_path, TrackingSettings(wandb=True), "run/sft", CONFIG)
    assert refused.value.command == "wandb login"
