"""AdamW and its learning rate: linear warm-up, then a cosine down to a floor.

The rate is a pure function of the step, so that a resumed run needs no scheduler's state.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from training.recipe import EngineSettings, StageSettings


def learning_rate(stage: StageSettings, step: int, steps: int) -> float:
    """The rate of optimiser step `step` (from 0) of `steps`."""
    warm = math.ceil(stage.warmup * steps)
    if step < warm:
        return stage.learning_rate * (step + 1) / warm
    share = (step - warm) / max(steps - warm, 1)
    cosine = 0.5 * (1 + math.cos(math.pi * share))
    return stage.learning_rate * (stage.minimum + (1 - stage.minimum) * cosine)


def make_optimizer(
    model: nn.Module, stage: StageSettings, engine: EngineSettings, *, cuda: bool
) -> torch.optim.Optimizer:
    """AdamW over what is trained; matrices decay, vectors (norms, biases) don't.

    Optimizer states that live in the host's memory while the model is on a GPU get DeepSpeed's
    own AdamW, which is built for that; everywhere else torch's fused one serves.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    # Under ZeRO-3 a partitioned parameter's own shape is empty; `ds_shape` is the real one.
    matrices = [p for p in trained if len(getattr(p, "ds_shape", p.shape)) >= 2]
    vectors = [p for p in trained if len(getattr(p, "ds_shape", p.shape)) < 2]
    groups: list[dict[str, Any]] = [
        {"params": params, "weight_decay": decay}
        for params, decay in ((matrices, stage.weight_decay), (vectors, 0.0))
        if params
    ]
    if cuda and engine.offload_optimizer:
        from deepspeed.ops.adam import DeepSpeedCPUAdam

        optimizer: torch.optim.Optimizer = DeepSpeedCPUAdam(
            groups, lr=stage.learning_rate, betas=stage.betas, adamw_mode=True
        )
        return optimizer
    return torch.optim.AdamW(groups, lr=stage.learning_rate, betas=stage.betas, fused=True)
