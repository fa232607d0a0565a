"""The training loop of one stage, as every rank runs it.

In: a `StageSpec` that the parent process checked and wrote. Out: metrics, checkpoints, and at the
end a Hugging Face folder. One optimiser step is a fixed set of samples; its micro-batches are
spread over the ranks, and the summed loss is divided once by the step's trained tokens on all
ranks together, so that loss and gradient do not depend on how the work is cut.
"""

from __future__ import annotations

import time
from typing import Any

import torch
import torch.distributed as dist

from training.engine.checkpoints import load, newest, remove_broken, save, whole_checkpoints
from training.engine.feed import Feed
from training.engine.optimizer import learning_rate
from training.engine.spec import StageSpec
from training.engine.speed import Speed
from training.engine.tally import Tally
from training.errors import NotFinite
from training.losses.objective import Objective
from training.report.metrics import MetricsWriter, StepMetrics


class StageLoop:
    """Trains one stage with a DeepSpeed engine that is already set up."""

    def __init__(
        self,
        spec: StageSpec,
        engine: Any,
        feed: Feed,
        metrics: MetricsWriter | None,
        speed: Speed,
    ) -> None:
        self._spec = spec
        self._engine = engine
        self._feed = feed
        self._metrics = metrics
        self._goal: Objective = spec.objective
        self._speed = speed
        self._checkpoints = spec.folder / "checkpoints"
        self._sound_at: int | None = None

    def run(self, start: int) -> int:
        """Takes the steps from `start` on; checkpoints and validates on the way and at the end.
        Returns how many steps the stage has, with weights that are fit to be saved.

        Raises:
            NotFinite: a loss or a gradient norm is NaN or infinite; nothing is saved after it, nor
                of the step that spoilt the weights.
        """
        settings, steps = self._spec.recipe.engine, self._feed.schedule.steps
        for step in range(start, steps):
            taken = self._step(step)
            done = step + 1
            if self._metrics is not None:
                self._metrics.step(taken)
            if done % settings.validate_every == 0 or done == steps:
                self.validate(done)
            if done % settings.checkpoint_every == 0 or done == steps:
                self._save(done)
        self._require_sound(steps)
        return steps

    def _step(self, step: int) -> StepMetrics:
        began = time.perf_counter()
        stage, steps = self._spec.stage, self._feed.schedule.steps
        rate = learning_rate(stage, step, steps)
        for group in self._engine.optimizer.param_groups:
            group["lr"] = rate
        trained = self._feed.trained_tokens(step)
        scale = dist.get_world_size() / trained
        tally = Tally(self._feed.device)
        micro_batches = self._feed.step(step)
        self._engine.train()
        for micro, is_last in micro_batches:
            self._engine.set_gradient_accumulation_boundary(is_last)
            loss, stats = self._engine(micro.batch, micro.targets, self._goal)
            tally.add(loss.detach(), stats, micro)
            self._engine.backward(loss * scale, scale_wrt_gas=False)
        totals = tally.over_ranks()
        if not totals.finite:
            raise self._not_finite("loss", step, tally)
        norm = self._take_step()
        if not norm < float("inf"):
            raise self._not_finite("gradient norm", step, tally)
        seconds = time.perf_counter() - began
        return totals.metrics(
            step=step + 1,
            epoch=(step + 1) / self._feed.schedule.steps_per_epoch,
            learning_rate=rate,
            gradient_norm=norm,
            seconds=seconds,
            mfu=self._speed.mfu(totals.context_tokens, totals.rows, seconds),
            capacity=self._spec.recipe.engine.tokens_per_micro_batch,
            goal=self._goal,
        )

    def validate(self, step: int) -> None:
        """Writes mean figures over the held-out families, where some are held out."""
        if not self._feed.has_validation:
            return
        began = time.perf_counter()
        self._engine.eval()
        tally = Tally(self._feed.device)
        with torch.no_grad():
            for micro in self._feed.validation():
                loss, stats = self._engine(micro.batch, micro.targets, self._goal)
                tally.add(loss, stats, micro)
        totals = tally.over_ranks()
        if not totals.finite:
            # Weights that one step has spoilt show here before they are saved.
            raise self._not_finite("validation loss", step - 1, tally)
        said = totals.validation(
            step=step,
            epoch=step / self._feed.schedule.steps_per_epoch,
            seconds=time.perf_counter() - began,
            goal=self._goal,
        )
        self._sound_at = step
        if self._metrics is not None:
            self._metrics.validation(said)

    def _require_sound(self, step: int) -> None:
        """Tries the weights after `step` steps, where a validation has not just done so: a step
        with a finite loss and gradient can still leave weights that are worth nothing."""
        if self._sound_at == step:
            return
        self._engine.eval()
        tally = Tally(self._feed.device)
        micro = self._feed.probe(step - 1)
        with torch.no_grad():
            loss, stats = self._engine(micro.batch, micro.targets, self._goal)
        tally.add(loss, stats, micro)
        if not tally.over_ranks().finite:
            raise self._not_finite("loss after the update", step - 1, tally)
        self._sound_at = step

    def _save(self, step: int) -> None:
        self._require_sound(step)
        keep = self._spec.recipe.engine.keep_checkpoints
        if self._metrics is not None:
            self._metrics.sync()
        save(self._engine, self._checkpoints, step, self._spec.identity, keep)
        if self._metrics is not None:
            self._metrics.event("checkpoint", step=step)

    def _take_step(self) -> float:
        """Updates the weights; returns the gradient's norm before clipping."""
        norm = None
        if isinstance(self._engine.optimizer, torch.optim.Optimizer):
            # Without ZeRO, in float32, DeepSpeed clips by torch's function and forgets the norm.
            grads = [p.grad for p in self._engine.module.parameters() if p.grad is not None]
            norm = torch.nn.utils.get_total_norm(grads)
        self._engine.step()
        if norm is None:
            norm = self._engine.get_global_grad_norm()
        return float(norm)

    def _not_finite(self, what: str, step: int, tally: Tally) -> NotFinite:
        everywhere: list[list[str]] = [[] for _ in range(dist.get_world_size())]
        dist.all_gather_object(everywhere, self._feed.names(tally.suspects()))
        names = [name for each in everywhere for name in each] or self._feed.step_names(step)
        saved = whole_checkpoints(self._checkpoints)
        kept = (
            f"the last good checkpoint is of step {saved[-1].step}" if saved else "none was saved"
        )
        return NotFinite(
            f"The {what} of step {step + 1} is not finite; training stopped.",
            cause=f"Samples: {', '.join(names[:8])}{' …' if len(names) > 8 else ''}.",
            solution=f"Look at those samples, or lower the learning rate; {kept}.",
        )


def resume_point(spec: StageSpec, engine: Any) -> int:
    """Loads the newest whole checkpoint, where there is one; returns the step to go on with."""
    folder = spec.folder / "checkpoints"
    if dist.get_rank() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        remove_broken(folder)
    dist.barrier()
    checkpoint = newest(folder, spec.identity)
    if checkpoint is None:
        return 0
    load(engine, checkpoint)
    return checkpoint.step
