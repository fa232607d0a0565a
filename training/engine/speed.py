"""How fast a step was, against what the device could do: model FLOPs utilisation.

In: the student and the device. Out: the share of the device's dense bf16 peak that the model's own
arithmetic came to (arXiv 2204.02311 appendix B): 6 FLOPs per weight and token for the body, and the
head only for the rows that it sees. Attention's quadratic part is left out, so the figure is a
lower bound. Without a known peak there is none.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

# Dense bf16 tensor-core peaks in FLOP/s, from NVIDIA's data sheets.
_PEAKS = {"A100": 312e12, "A800": 312e12, "H100": 989e12, "H200": 989e12, "H800": 989e12}


@dataclass(frozen=True, slots=True)
class Speed:
    """FLOPs of a step, forward and backward: `body` per token, `head` per trained row."""

    body: float
    head: float
    peak: float | None

    @classmethod
    def of(cls, student: nn.Module, *, cuda: bool) -> Speed:
        """Counts the student's weights; the input embedding is looked up, not multiplied."""
        embedding = student.get_input_embeddings().weight  # type: ignore[operator]
        head = student.get_output_embeddings().weight  # type: ignore[operator]
        body = sum(
            _flops(each)
            for each in student.parameters()
            if each is not embedding and each is not head
        )
        return cls(body, _flops(head), _peak() if cuda else None)

    def mfu(self, context_tokens: int, rows: int, seconds: float) -> float | None:
        """The share of all ranks' peak, 0 to 1; None where no peak is known."""
        if self.peak is None:
            return None
        flops = self.body * context_tokens + self.head * rows
        return flops / seconds / (self.peak * dist.get_world_size())


def _flops(weight: nn.Parameter) -> float:
    """Two per element forward, two for the gradient of its input, two for its own if it is trained;
    of the whole weight, also where ZeRO-3 left only a part of it here."""
    return (6.0 if weight.requires_grad else 4.0) * getattr(weight, "ds_numel", weight.numel())


def _peak() -> float | None:
    name = torch.cuda.get_device_name()
    return next((peak for model, peak in _PEAKS.items() if model in name), None)
