"""What a piece of work allocates, by the allocator's own word, and what the fused head does.

In: a function. Out: bytes above what lay there before: by PyTorch's CUDA allocator, or by its CPU
allocator's events as the profiler has them. Nothing is timed.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.shapes import Shape
from training.losses.fused import Accumulate, fused_linear_loss
from training.losses.objective import Objective
from training.losses.targets import SparseTargets
from training.recipe import EngineSettings

K = 10
KD = Objective("tail_bucket")
MIB = 2**20
ENGINE = EngineSettings()
WORKSPACE = ENGINE.head_workspace_mib * MIB


def allocated(work: Callable[[], Any], device: str) -> tuple[int, int]:
    """Bytes above what lay there before: the most at any time, and what is left at the end."""
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        kept = work()
        torch.cuda.synchronize()
        peak, left = torch.cuda.max_memory_allocated(), torch.cuda.memory_allocated()
        del kept
        return peak - before, left - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        kept = work()
    # What was allocated before the profiler began has no events: all starts at nought.
    now = peak = 0
    for change in _changes(profiled):
        now += change
        peak = max(peak, now)
    del kept
    return peak, now


def _changes(profiled: profile) -> Iterator[int]:
    """Bytes that the CPU allocator gave (or, negative, took back), in their order."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        profiled.export_chrome_trace(str(file))
        events = json.loads(file.read_text(encoding="utf-8"))["traceEvents"]
    told = [each for each in events if each.get("name") == "[memory]"]
    for each in sorted(told, key=lambda event: float(event["ts"])):
        yield int(each["args"]["Bytes"])


def head_transient(
    hidden: int,
    width: int,
    rows: int,
    device: str,
    dtype: torch.dtype = torch.bfloat16,
    accumulate: Accumulate = ENGINE.head_accumulation,
) -> float:
    """MiB that the fused head needs for a while, besides the gradients that it returns."""
    torch.manual_seed(0)
    hidden_NH = torch.randn(rows, hidden, device=device, dtype=dtype, requires_grad=True)
    weight_VH = torch.randn(width, hidden, device=device, dtype=dtype)
    weight_VH = weight_VH.mul_(8 / math.sqrt(hidden)).requires_grad_()
    log_p_NB = torch.randn(rows, K + 1).mul_(3).log_softmax(dim=1).sort(descending=True).values
    apart_K = torch.arange(K) * (width // K)
    target = SparseTargets(
        (torch.arange(rows)[:, None] + apart_K) % width,
        log_p_NB[:, :K],
        log_p_NB[:, K],
        torch.ones(rows),
    ).to(torch.device(device))
    label_N = target.id_NK[:, 3].clone()

    def work() -> Any:
        return fused_linear_loss(
            hidden_NH, weight_VH, label_N, [target], KD,
            workspace_bytes=WORKSPACE, accumulate=accumulate,
        )  # fmt: skip

    peak, left = allocated(work, device)
    return round((peak - left) / MIB, 1)


def head_transients(shape: Shape, counts: Sequence[int], device: str) -> dict[str, Any]:
    """`head_transient` by tokens, in the default way of summing the head's gradient.

    On a GPU in bfloat16, and once with its sums in float32. On a CPU, where products in bfloat16
    take minutes, in float32 at a hidden size of 64: what is held does not depend on that size (a
    test holds the same of bfloat16).
    """
    cuda = device == "cuda"
    hidden, dtype = (shape.hidden, torch.bfloat16) if cuda else (64, torch.float32)
    said = {str(rows): head_transient(hidden, shape.width, rows, device, dtype) for rows in counts}
    if not cuda:
        return {"head_transient_mib": said}
    wide = head_transient(hidden, shape.width, counts[0], device, accumulate="float32")
    return {"head_transient_mib": said, "head_transient_float32_sums_mib": wide}
