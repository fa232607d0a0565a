"""Where a run's figures go besides JSONL: TensorBoard's files, MLflow, Weights & Biases.

In: named figures with their step. Out: the same in the user's tracker. Addresses, keys, projects
and modes come from each tracker's own environment variables (`MLFLOW_TRACKING_URI`,
`MLFLOW_EXPERIMENT_NAME`, `WANDB_API_KEY`, `WANDB_PROJECT`, `WANDB_MODE`, …) and are never written
here. Packages are imported only where the recipe asks for them. A tracker that cannot be begun with
is refused before the first step; one that fails later never stops the training.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Protocol

import orjson
import yaml

from training.errors import TrainingError
from training.recipe import TrackingSettings

_IDS = "tracking.json"
# The settings' names are the packages' names.
_TITLES = {"tensorboard": "TensorBoard", "mlflow": "MLflow", "wandb": "Weights & Biases"}
# In one request; MLflow's server takes at most 1,000 metrics and 100 parameters.
_FIGURES, _PARAMETERS = 200, 100


class TrackingRefused(TrainingError):
    """A tracker that the recipe asks for is not installed, or cannot be reached."""

    code = "tracking_refused"


class Tracker(Protocol):
    """One place that figures go to. Its methods raise nothing but its `failures`."""

    name: ClassVar[str]
    failures: tuple[type[Exception], ...]

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Takes the figures of one step; NaN and infinite ones too."""

    def flush(self) -> None:
        """Hands on what was held back."""

    def close(self, *, failed: bool) -> None:
        """Ends the run there, once all figures have arrived."""


def require_trackers(tracking: TrackingSettings) -> None:
    """Makes sure that every tracker asked for is installed, without importing any.

    Raises:
        TrackingRefused: one is not; the message has the command that installs it.
    """
    for package, title in _TITLES.items():
        if getattr(tracking, package) and find_spec(package) is None:
            raise TrackingRefused(
                f"The recipe asks for {title}, and the package `{package}` is missing.",
                cause=f"`tracking.{package}` is on, and the package is not installed in this "
                "environment.",
                solution=f"Install it, or set `tracking.{package}: false`; metrics.jsonl is "
                "written in any case.",
                command=f"pip install {package}",
            )


def open_trackers(
    tracking: TrackingSettings, folder: Path, run_name: str, config: str, resume_at: int
) -> list[Tracker]:
    """Opens what the recipe asks for; a resumed run goes on in the tracker's same run.

    Args:
        tracking: what is asked for.
        folder: the run's folder; TensorBoard's files and the trackers' run ids lie in it.
        run_name: the run's name.
        config: the recipe's text (YAML).
        resume_at: the first step to come; 0 for a new run.

    Raises:
        TrackingRefused: one is not installed, or refuses.
    """
    require_trackers(tracking)
    trackers: list[Tracker] = []
    try:
        if tracking.tensorboard:
            trackers.append(TensorBoardTracker(folder, config, resume_at))
        if tracking.mlflow:
            trackers.append(MlflowTracker(folder, run_name, config, resume_at))
        if tracking.wandb:
            trackers.append(WandbTracker(folder, run_name, config, resume_at))
    except BaseException:
        for tracker in trackers:
            with contextlib.suppress(*tracker.failures):
                tracker.close(failed=True)
        raise
    return trackers


class TensorBoardTracker:
    """Event files in `folder/tensorboard`; a resumed run hides the steps that it does again."""

    name: ClassVar[str] = "tensorboard"
    failures: tuple[type[Exception], ...] = (OSError,)

    def __init__(self, folder: Path, config: str, resume_at: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=resume_at)
        if not resume_at:
            indented = "\n".join(f"    {line}" for line in config.splitlines())
            self._writer.add_text("recipe", indented, 0)

    def log(self, figures: Mapping[str, float], step: int) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        self._writer.flush()

    def close(self, *, failed: bool) -> None:
        self._writer.close()


class MlflowTracker:
    """A run of the experiment `$MLFLOW_EXPERIMENT_NAME` (`stillhouse` without it).

    Figures are sent in batches by MLflow's own thread, so a slow server never holds up a step.
    MLflow deletes no metric: steps that a resumed run does again stand there twice, equal.
    """

    name: ClassVar[str] = "mlflow"
    failures: tuple[type[Exception], ...]

    def __init__(self, folder: Path, run_name: str, config: str, resume_at: int) -> None:
        mlflow = import_module("mlflow")
        self._entities = import_module("mlflow.entities")
        self.failures = (import_module("mlflow.exceptions").MlflowException,)
        self._held: list[Any] = []
        self._sent: list[Any] = []
        try:
            self._client = mlflow.MlflowClient()
            self._run = _known_id(folder, self.name) if resume_at else None
            if self._run:
                self._client.update_run(self._run, status="RUNNING")
            else:
                self._run = self._begin(run_name, config)
                _keep_id(folder, self.name, self._run)
        except self.failures as error:
            raise TrackingRefused(
                "MLflow refused to begin the run.",
                cause=in_short(error),
                solution=f"See to MLFLOW_TRACKING_URI and its server, or set `tracking.mlflow: "
                f"false`. Where the run was deleted there, remove {folder / _IDS}.",
            ) from error

    def _begin(self, run_name: str, config: str) -> str:
        wanted = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "stillhouse"
        experiment = self._client.get_experiment_by_name(wanted)
        id = experiment.experiment_id if experiment else self._client.create_experiment(wanted)
        run: str = self._client.create_run(id, run_name=run_name).info.run_id
        parameters = [
            self._entities.Param(key, value) for key, value in _flat(_document(config)).items()
        ]
        self._client.log_batch(run, params=parameters[:100], synchronous=True)
        return run

    def log(self, figures: Mapping[str, float], step: int) -> None:
        now, metric = time.time_ns() // 1_000_000, self._entities.Metric
        self._held += [metric(name, value, now, step) for name, value in figures.items()]
        if len(self._held) >= _FIGURES:
            self.flush()

    def flush(self) -> None:
        for start in range(0, len(self._held), _FIGURES):
            batch = self._held[start : start + _FIGURES]
            self._sent.append(self._client.log_batch(self._run, batch, synchronous=False))
        self._held = []

    def close(self, *, failed: bool) -> None:
        self.flush()
        for operation in self._sent:
            operation.wait()
        self._client.set_terminated(self._run, "FAILED" if failed else "FINISHED")


class WandbTracker:
    """A run of the project `$WANDB_PROJECT` (`stillhouse` without it).

    `WANDB_MODE=offline` keeps all of it in `folder/wandb`. Command line, code, Git state and the
    list of packages stay here; what the machine's sensors say goes with the figures.
    """

    name: ClassVar[str] = "wandb"
    failures: tuple[type[Exception], ...]

    def __init__(self, folder: Path, run_name: str, config: str, resume_at: int) -> None:
        wandb = import_module("wandb")
        # An OSError where W&B's own process has died.
        self.failures = (import_module("wandb.errors").Error, OSError)
        known = _known_id(folder, self.name) if resume_at else None
        settings = wandb.Settings(
            console="off",
            silent=True,
            disable_code=True,
            disable_git=True,
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
        )
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT") or "stillhouse",
                name=run_name,
                id=known,
                resume="allow" if known else None,
                dir=str(folder),
                config=_document(config),
                settings=settings,
            )
        except self.failures as error:
            raise TrackingRefused(
                "Weights & Biases refused to begin the run.",
                cause=in_short(error),
                solution="Log in or set WANDB_API_KEY; or set WANDB_MODE=offline and sync later; "
                "or set `tracking.wandb: false`.",
                command="wandb login",
            ) from error
        # Steps come from our own figure: W&B's counter refuses those that a resumed run repeats.
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")
        _keep_id(folder, self.name, self._run.id)

    def log(self, figures: Mapping[str, float], step: int) -> None:
        self._run.log({**figures, "step": step})

    def flush(self) -> None:
        """W&B's own process writes as it goes."""

    def close(self, *, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


def _known_id(folder: Path, tracker: str) -> str | None:
    path = folder / _IDS
    id = orjson.loads(path.read_bytes()).get(tracker) if path.exists() else None
    return str(id) if id else None


def _keep_id(folder: Path, tracker: str, id: str) -> None:
    path = folder / _IDS
    ids = orjson.loads(path.read_bytes()) if path.exists() else {}
    new = path.with_name(f"{_IDS}.tmp")
    new.write_bytes(orjson.dumps({**ids, tracker: id}, option=orjson.OPT_INDENT_2))
    new.replace(path)


def _document(config: str) -> dict[str, Any]:
    document = yaml.safe_load(config)
    return document if isinstance(document, dict) else {"recipe": config}


def _flat(value: Any, name: str = "") -> dict[str, str]:
    """Nested settings as `stages.0.learning_rate`: one line each, as MLflow wants them."""
    if isinstance(value, dict | list) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        prefix = f"{name}." if name else ""
        return {k: v for key, part in items for k, v in _flat(part, f"{prefix}{key}").items()}
    return {name or "recipe": str(value)[:500]}


def in_short(error: BaseException) -> str:
    """The first words of what a package complains about, on one line."""
    return " ".join(str(error).split())[:500] or type(error).__name__
