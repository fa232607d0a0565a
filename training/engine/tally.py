"""Sums of a step's figures over micro-batches and ranks, and which samples spoilt them.

Everything stays on the device until the step's one all-reduce.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor

from training.losses.fused import RowStats
from training.losses.objective import Objective
from training.report.metrics import StepMetrics, ValidationMetrics

if TYPE_CHECKING:
    from training.engine.feed import MicroBatch

_SUMS = (
    "loss", "ce", "kd", "teacher_mass", "student_mass", "agree", "kd_gradient", "ce_gradient",
    "rows", "context_tokens", "micro_batches",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Totals:
    """A step's sums over all ranks. `finite` is false where any loss was NaN or infinite."""

    sums: dict[str, float]
    finite: bool
    peak_memory_bytes: int

    @property
    def context_tokens(self) -> int:
        """Tokens that went through the model, prompts included."""
        return int(self.sums["context_tokens"])

    @property
    def rows(self) -> int:
        """Tokens trained on."""
        return int(self.sums["rows"])

    def _mean(self, name: str) -> float:
        return self.sums[name] / max(self.sums["rows"], 1.0)

    def _kd_share(self) -> float:
        both = self.sums["kd_gradient"] + self.sums["ce_gradient"]
        return self.sums["kd_gradient"] / both if both else 0.0

    def metrics(
        self,
        *,
        step: int,
        epoch: float,
        learning_rate: float,
        gradient_norm: float,
        seconds: float,
        mfu: float | None,
        capacity: int,
        goal: Objective,
    ) -> StepMetrics:
        """The step's line in the metrics; `kd` has the objective's T^2 in it."""
        kd = goal.name != "ce"
        micro_batches = int(self.sums["micro_batches"])
        return StepMetrics(
            step=step,
            epoch=epoch,
            loss=self._mean("loss"),
            ce=self._mean("ce"),
            kd=self._mean("kd") * goal.temperature**2 if kd else None,
            learning_rate=learning_rate,
            gradient_norm=gradient_norm,
            tokens=self.rows,
            context_tokens=self.context_tokens,
            seconds=seconds,
            tokens_per_s=self.context_tokens / seconds,
            mfu=mfu,
            peak_memory_bytes=self.peak_memory_bytes,
            teacher_mass=self._mean("teacher_mass") if kd else None,
            student_mass=self._mean("student_mass") if kd else None,
            agreement=self._mean("agree") if kd else None,
            kd_share=self._kd_share() if kd else None,
            micro_batches=micro_batches,
            fill=self.context_tokens / max(micro_batches * capacity, 1),
        )

    def validation(
        self, *, step: int, epoch: float, seconds: float, goal: Objective
    ) -> ValidationMetrics:
        """The line of a validation."""
        kd = goal.name != "ce"
        return ValidationMetrics(
            step=step,
            epoch=epoch,
            seconds=seconds,
            nll=self._mean("ce"),
            tokens=self.rows,
            kd=self._mean("kd") * goal.temperature**2 if kd else None,
            teacher_mass=self._mean("teacher_mass") if kd else None,
            student_mass=self._mean("student_mass") if kd else None,
            agreement=self._mean("agree") if kd else None,
        )


class Tally:
    """Adds up what the micro-batches of one step say on this rank."""

    def __init__(self, device: torch.device) -> None:
        self._sums_S = torch.zeros(len(_SUMS), dtype=torch.float64, device=device)
        self._seen: list[tuple[tuple[int, ...], Tensor, Tensor]] = []

    def add(self, loss: Tensor, stats: RowStats, micro: MicroBatch) -> None:
        """One micro-batch: its summed loss and its rows' figures."""
        parts = [loss.double()]
        parts += [getattr(stats, name).sum(dtype=torch.float64) for name in _SUMS[1:8]]
        counts = (micro.rows, micro.context_tokens, 1.0 if micro.rows else 0.0)
        counts_3 = torch.tensor(counts, dtype=torch.float64, device=loss.device)
        self._sums_S += torch.cat([torch.stack(parts), counts_3])
        self._seen.append(
            (micro.examples, micro.batch.example_N, torch.isfinite(stats.ce + stats.kd))
        )

    def over_ranks(self) -> Totals:
        """The sums over every rank; one all-reduce."""
        sums_S = self._sums_S.clone()
        dist.all_reduce(sums_S)
        sums = dict(zip(_SUMS, sums_S.tolist(), strict=True))
        cuda = self._sums_S.is_cuda
        return Totals(
            sums=sums,
            finite=bool(torch.isfinite(sums_S).all()),
            peak_memory_bytes=torch.cuda.max_memory_allocated() if cuda else _peak_resident(),
        )

    def suspects(self) -> list[int]:
        """Examples of this rank with a row whose loss is not finite."""
        found: list[int] = []
        for examples, example_N, finite_N in self._seen:
            places = example_N[~finite_N].tolist()
            found += [examples[place] for place in sorted(set(places))]
        return found


def _peak_resident() -> int:
    """Most memory this process ever had, in bytes (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
