"""How fast a step was, against what the device could do: model FLOPs utilisation.

In: the student and the device. Out: the share of the device's dense bf16 peak that the model's own
arithmetic came to (arXiv 2204.02311 appendix B): 6 FLOPs per weight and token for the body, and the
head only for the rows that it sees. Attention's quadratic part is left out, so the figure is a
lower bound. Without a known peak there is none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

# Dense bf16 tensor-core peaks in FLOP/s, from NVIDIA's data sheets (which give H100's and H200's
# with sparsity, at twice that). Cards for PCIe are slower, and their names say so; an SXM module's
# does not ("NVIDIA H100 80GB HBM3"), so it comes after them.
_PEAKS = (
    (r"\bH[18]00\b.*\bPCIe\b", 756e12),
    (r"\bH[128]00\b.*\bNVL\b", 835e12),
    (r"\bG?H[128]00\b", 989e12),
    (r"\bA[18]00\b", 312e12),
)


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
        peak = peak_of(torch.cuda.get_device_name()) if cuda else None
        return cls(body, _flops(head), peak)

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


def peak_of(name: str) -> float | None:
    """The peak of a device by the name that CUDA gives it; None where it is not known, as of a part
    of a device (MIG)."""
    if "MIG" in name:
        return None
    return next((peak for model, peak in _PEAKS if re.search(model, name)), None)
