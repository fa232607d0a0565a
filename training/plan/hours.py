"""FLOPs, GPU-hours and cost of a capture or a stage.

In: a shape, a corpus in tokens, and the share of a GPU's peak that is *assumed* to be reached; no
share here is measured, `--mfu` sets it. Out: a `Work` and, for a GPU, an `Hours`. The backward pass
is twice the forward one (arXiv 2204.02311, appendix B); attention is counted within documents only,
causal; the head for trained rows only. Recomputation under gradient checkpointing counts as work.
"""

from __future__ import annotations

from dataclasses import dataclass

from training.plan.gpus import Gpu
from training.plan.models import Shape
from training.plan.tokens import TokenEstimate
from training.recipe import StageSettings, StudentSettings

ASSUMED_MFU = (0.35, 0.45)


@dataclass(frozen=True, slots=True)
class Work:
    """What a capture or a stage computes, on `gpus` together; a capture has no `steps`."""

    name: str
    kind: str
    samples: float
    tokens: float
    rows: float
    flops: float
    gpus: int
    steps: int | None = None


@dataclass(frozen=True, slots=True)
class Hours:
    """A work on one kind of GPU, from the best to the worst assumed share of its peak."""

    gpu_hours: tuple[float, float]
    hours: tuple[float, float]
    usd: tuple[float, float] | None


def forward_flops(shape: Shape, tokens: float, pairs: float, rows: float) -> float:
    """Forward FLOPs: projections for every token, attention for every pair, the head per row."""
    body = shape.flops_per_token * tokens + shape.flops_per_pair * pairs
    return body + shape.flops_per_row * rows


def capture_work(name: str, shape: Shape, corpus: TokenEstimate, gpus: int) -> Work:
    """One prefill of the whole corpus, held-out samples included."""
    flops = forward_flops(shape, corpus.tokens, corpus.pairs * corpus.samples, corpus.rows)
    return Work(name, "capture", corpus.samples, corpus.tokens, corpus.rows, flops, gpus)


def stage_work(
    stage: StageSettings,
    student: StudentSettings,
    shape: Shape,
    corpus: TokenEstimate,
    *,
    validation: float,
    ranks: int,
) -> Work:
    """A whole stage. KD costs what SFT does: its teacher was captured before."""
    trained = max(1, round(corpus.samples * (1 - validation)))
    per_epoch = -(-trained // stage.samples_per_step)
    steps = stage.epochs * per_epoch
    samples: float = stage.epochs * trained
    if stage.max_steps is not None and stage.max_steps < steps:
        steps = stage.max_steps
        samples = min(samples, steps * stage.samples_per_step)
    tokens = samples * corpus.tokens_per_sample
    rows = tokens * corpus.response_share
    flops = training_flops(shape, student, tokens, samples * corpus.pairs, rows)
    return Work(stage.name, stage.kind, samples, tokens, rows, flops, ranks, steps)


def training_flops(
    shape: Shape, student: StudentSettings, tokens: float, pairs: float, rows: float
) -> float:
    """FLOPs of forward and backward passes; frozen weights get no gradient of their own."""
    projections, attention = shape.flops_per_token * tokens, shape.flops_per_pair * pairs
    head = shape.flops_per_row * rows
    again = 1 if student.gradient_checkpointing else 0
    if student.lora is None:
        flops = (3 + again) * (projections + attention) + 3 * head
        # Recomputation stops at the last tensor that is wanted: a layer's last product never is.
        return flops - again * 2 * shape.layers * shape.intermediate * shape.hidden * tokens
    adapters = 2 * shape.adapter_parameters(student.lora.rank, student.lora.targets) * tokens
    flops = (2 + again) * projections + (3 + again) * (attention + adapters)
    return flops + 2 * head


def hours_on(work: Work, gpu: Gpu, mfu: tuple[float, float], price: float | None) -> Hours:
    """GPU-hours, hours on the clock, and dollars where a price is given."""
    low, high = (work.flops / (gpu.peak * share) / 3600 for share in (max(mfu), min(mfu)))
    usd = None if price is None else (low * price, high * price)
    return Hours((low, high), (low / work.gpus, high / work.gpus), usd)
