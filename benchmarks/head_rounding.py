"""What summing a bfloat16 head's gradient in bfloat16 costs, beside what 16 bits cost anyway.

Relative error of the weight's gradient, by Frobenius norm, against float64 from the same bfloat16
hidden states and weight: 32,000 ids, hidden size 64, chunks of 256 rows, objective `kd`. Rows share
a mean, as real hidden states do, so that what the chunks add points in part the same way, and small
additions to large sums get lost. The teacher is the student with noise of 0.7 on its logits, whose
deviation is 2: with surer models the logits' own rounding hides all else (0.1 at a deviation of 8).

`dz` is float64 logits with dL/dz rounded to bfloat16, summed exactly: the least that 16 bits cost.
`float32` and `weight` are the fused head with `engine.head_accumulation` so.

    python -m benchmarks.head_rounding [--chunks 1,10,20,40,60] [--spread 2]
"""

from __future__ import annotations

import argparse
import json
import math
from typing import Any

import torch
from torch import Tensor

from training.losses.fused import Accumulate, cut_workspace, fused_linear_loss
from training.losses.objective import Objective
from training.losses.reference import dense_loss
from training.losses.targets import SparseTargets

VOCABULARY, HIDDEN, ROWS, K = 32_000, 64, 256, 10
GOAL = Objective("tail_bucket")
WAYS: tuple[Accumulate, ...] = ("float32", "weight")

Problem = tuple[Tensor, Tensor, Tensor, SparseTargets]


def make_problem(rows: int, spread: float) -> Problem:
    """Hidden states, weight, labels that the teacher draws, and its ten highest ids."""
    numbers = torch.Generator().manual_seed(0)
    shared_1H = 0.5 * torch.randn(1, HIDDEN, generator=numbers)
    hidden_NH = (torch.randn(rows, HIDDEN, generator=numbers) + shared_1H).bfloat16()
    weight_VH = torch.randn(VOCABULARY, HIDDEN, generator=numbers) * spread / math.sqrt(HIDDEN)
    weight_VH = weight_VH.bfloat16()
    parts = []
    for some_CH in torch.split(hidden_NH, ROWS):
        logits_CV = some_CH.float() @ weight_VH.float().T
        noise_CV = torch.randn(logits_CV.shape, generator=numbers)
        log_p_CV = (logits_CV + 0.7 * noise_CV).log_softmax(dim=1)
        kept = log_p_CV.topk(K, dim=1)
        tail_C = torch.log1p(-kept.values.double().exp().sum(dim=1)).float()
        label_C = torch.multinomial(log_p_CV.exp(), 1, generator=numbers)[:, 0]
        parts.append((kept.indices, kept.values, tail_C, label_C))
    id_NK, log_p_NK, tail_N, label_N = (torch.cat(part) for part in zip(*parts, strict=True))
    target = SparseTargets(id_NK, log_p_NK, tail_N, torch.ones(rows))
    return hidden_NH, weight_VH, label_N, target


def gradient(problem: Problem, dtype: torch.dtype, **settings: Any) -> Tensor:
    """The fused head's gradient of the weight, in float64 whatever it was computed in."""
    hidden_NH, weight_VH, label_N, target = problem
    weight_VH = weight_VH.to(dtype).requires_grad_()
    loss, _ = fused_linear_loss(hidden_NH.to(dtype), weight_VH, label_N, [target], GOAL, **settings)
    return torch.autograd.grad(loss, [weight_VH])[0].double()


def rounded_dz(problem: Problem) -> Tensor:
    """The weight's gradient where nothing but dL/dz is rounded to bfloat16."""
    hidden_NH, weight_VH, label_N, target = problem
    total_VH = torch.zeros(weight_VH.shape, dtype=torch.float64)
    for first in range(0, len(hidden_NH), ROWS):
        rows = slice(first, first + ROWS)
        some_CH = hidden_NH[rows].double()
        part = SparseTargets(
            target.id_NK[rows],
            target.log_p_NK[rows],
            target.log_tail_N[rows],
            target.weight_N[rows],
        )
        logits_CV = (some_CH @ weight_VH.double().T).requires_grad_()
        loss = dense_loss(logits_CV, label_N[rows], [part], GOAL).sum()
        (dz_CV,) = torch.autograd.grad(loss, [logits_CV])
        total_VH += dz_CV.bfloat16().double().T @ some_CH
    return total_VH


def workspace_for(weight_VH: Tensor) -> int:
    """Bytes that cut the rows into chunks of `ROWS`."""
    size = 1 << 20
    while cut_workspace(weight_VH, GOAL, K + 1, size).chunk_rows < ROWS:
        size += 1 << 18
    return size


def measure(chunks: int, spread: float) -> dict[str, float]:
    """The three errors for one number of chunks."""
    problem = make_problem(ROWS * chunks, spread)
    want_VH = gradient(problem, torch.float64, workspace_bytes=1 << 28)
    size = workspace_for(problem[1])
    got = {
        way: gradient(problem, torch.bfloat16, workspace_bytes=size, accumulate=way) for way in WAYS
    }
    errors = {"dz": rounded_dz(problem), **got}
    return {
        name: float(f"{(each - want_VH).norm() / want_VH.norm():.3g}")
        for name, each in errors.items()
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", default="1,10,20,40,60")
    parser.add_argument("--spread", type=float, default=2.0, help="deviation of the logits")
    parsed = parser.parse_args()
    counts = [int(each) for each in parsed.chunks.split(",")]
    print(json.dumps({str(count): measure(count, parsed.spread) for count in counts}))
