"""The few ids of each row that matter, once each, and what every teacher says of them.

In: labels and the `SparseTargets` of all teachers. Out: a `RowTable` over the union of the label
and every teacher's K, with each teacher's distribution at the objective's temperature, summing to
one. Whatever comes after is elementwise over that table: no id is ever looked up again. It depends
on no student, so it is made for many chunks of logits at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.losses.objective import BUCKETED, Objective
from training.losses.targets import SparseTargets

ABSENT = math.inf
"""In `log_p_MNE`: that teacher's K does not hold this id. No log-probability can be infinite."""

LOG_Z_ERROR = 2.0**-22
"""Below this a tail at T != 1 cannot be told from the rounding of a float32 log Z."""


@dataclass(frozen=True, slots=True, eq=False)
class RowTable:
    """M teachers over N rows of E ids.

    - `id_NE`: int64, distinct in a row; -1 where the row needs fewer than E. It holds the label.
    - `label_at_N`, `first_at_N`: columns of the label and of the heaviest teacher's first id (-1
      where no teacher speaks).
    - `log_p_MNE`: log-probability at the objective's temperature; `ABSENT` outside that K.
    - `log_tail_MN`: log of the mass outside K at that temperature; -inf: none.
    - `weight_MN`; `mass_MN`: P, the mass on K at T = 1.
    """

    id_NE: Tensor
    label_at_N: Tensor
    first_at_N: Tensor
    log_p_MNE: Tensor
    log_tail_MN: Tensor
    weight_MN: Tensor
    mass_MN: Tensor

    @property
    def share_MN(self) -> Tensor:
        """Each teacher's part of the row's weight; 0 where no teacher speaks."""
        total_N = self.weight_MN.sum(dim=0)
        return torch.where(total_N > 0, self.weight_MN / total_N, 0.0)

    def rows(self, start: int, stop: int) -> RowTable:
        """The rows from `start` up to `stop`, as views."""
        part = slice(start, stop)
        return RowTable(
            self.id_NE[part],
            self.label_at_N[part],
            self.first_at_N[part],
            self.log_p_MNE[:, part],
            self.log_tail_MN[:, part],
            self.weight_MN[:, part],
            self.mass_MN[:, part],
        )


def build_table(
    label_N: Tensor, targets: Sequence[SparseTargets], objective: Objective, dtype: torch.dtype
) -> RowTable:
    """Merges label and teachers. Arithmetic is in float64, for it is little and done once; what is
    kept is in `dtype`."""
    sorted_NE = torch.cat([label_N[:, None], *(t.id_NK for t in targets)], dim=1).sort(dim=1).values
    repeated_NE = torch.zeros_like(sorted_NE, dtype=torch.bool)
    repeated_NE[:, 1:] = sorted_NE[:, 1:] == sorted_NE[:, :-1]
    shape = (len(targets), *sorted_NE.shape)
    log_p_MNE = torch.full(shape, ABSENT, dtype=dtype, device=label_N.device)
    log_tail_MN = log_p_MNE.new_zeros(shape[:2])
    mass_MN = torch.zeros_like(log_tail_MN)
    weight_MN = torch.zeros_like(log_tail_MN)
    for m, target in enumerate(targets):
        log_p_NK, log_tail_N, mass_N = _distribution(target, objective)
        present_NK = target.id_NK >= 0
        log_p_NK = torch.where(present_NK, log_p_NK, ABSENT)
        log_p_MNE[m].scatter_(1, torch.searchsorted(sorted_NE, target.id_NK), log_p_NK.to(dtype))
        log_tail_MN[m] = log_tail_N
        mass_MN[m] = mass_N
        weight_MN[m] = target.weight_N
    return RowTable(
        id_NE=sorted_NE.masked_fill(repeated_NE, -1),
        label_at_N=torch.searchsorted(sorted_NE, label_N[:, None])[:, 0],
        first_at_N=_first_at(sorted_NE, targets, weight_MN),
        log_p_MNE=log_p_MNE,
        log_tail_MN=log_tail_MN,
        weight_MN=weight_MN,
        mass_MN=mass_MN,
    )


def _first_at(sorted_NE: Tensor, targets: Sequence[SparseTargets], weight_MN: Tensor) -> Tensor:
    if not targets:
        return sorted_NE.new_full((len(sorted_NE),), -1)
    heaviest_N = weight_MN.max(dim=0)
    first_MN = torch.stack([target.id_NK[:, 0] for target in targets])
    first_N1 = first_MN.gather(0, heaviest_N.indices[None]).T.contiguous()
    at_N = torch.searchsorted(sorted_NE, first_N1)[:, 0]
    return torch.where((heaviest_N.values > 0) & (first_N1[:, 0] >= 0), at_N, -1)


def _distribution(target: SparseTargets, objective: Objective) -> tuple[Tensor, Tensor, Tensor]:
    """log p on K and on the tail at the objective's temperature, and the mass P on K at T = 1.

    What was stored went through a codec, so its sum is one only to that codec's error. It is
    brought to one here: between distributions KL is never negative, and nought where they meet.
    Draws (`sampled`) stay as they are: to rescale importance weights would bias them.
    """
    log_p_NK = target.log_p_NK.double()
    log_tail_N = target.log_tail_N.double()
    log_mass_N = log_p_NK.logsumexp(dim=1)
    if objective.name == "sampled":
        return log_p_NK, log_tail_N, log_mass_N.exp()
    log_total_N = _finite(torch.logaddexp(log_mass_N, log_tail_N))
    mass_N = (log_mass_N - log_total_N).exp()
    if objective.name == "renorm":
        log_p_NK = log_p_NK / objective.temperature
        return log_p_NK - _finite(log_p_NK.logsumexp(dim=1))[:, None], log_tail_N, mass_N
    if objective.name in BUCKETED and objective.temperature != 1.0:
        return *_tempered(target, objective.temperature), mass_N
    return log_p_NK - log_total_N[:, None], log_tail_N - log_total_N, mass_N


def _tempered(target: SparseTargets, temperature: float) -> tuple[Tensor, Tensor]:
    """log p^(1/T)/Z_T on K and on the tail, which is what K leaves of one.

    A float32 log Z knows that remainder to `LOG_Z_ERROR` and no better. But the tail also lies on a
    known side of p_t^(1/T)/Z_T, for a sum of powers is above (T > 1) or below (T < 1) the power of
    the sum; within that error the bound decides, and not beyond: what the store has for its least
    mass may be less, and its power a good deal less. What had no tail at T = 1 has none.
    """
    if target.log_z_N is None:
        raise ValueError(f"targets without log Z cannot be taken to temperature {temperature}")
    log_z_N = target.log_z_N.double()
    log_tail_N = target.log_tail_N.double()
    log_p_NK = target.log_p_NK.double() / temperature - log_z_N[:, None]
    log_mass_N = log_p_NK.logsumexp(dim=1)
    bound_N = (log_tail_N / temperature - log_z_N).exp()
    tail_N = -torch.expm1(log_mass_N)
    if temperature > 1:
        tail_N = torch.where(tail_N < LOG_Z_ERROR, 0.0, tail_N)
        tail_N = torch.maximum(tail_N, torch.minimum(bound_N, tail_N + LOG_Z_ERROR))
    else:
        tail_N = torch.minimum(tail_N.clamp(min=LOG_Z_ERROR), bound_N)
    tail_N = torch.where(log_tail_N == -math.inf, 0.0, tail_N)
    log_total_N = _finite(torch.logaddexp(log_mass_N, tail_N.log()))
    return log_p_NK - log_total_N[:, None], tail_N.log() - log_total_N


def _finite(log_total_N: Tensor) -> Tensor:
    """A row without any entry has no sum to be divided by."""
    return torch.where(log_total_N == -math.inf, 0.0, log_total_N)
