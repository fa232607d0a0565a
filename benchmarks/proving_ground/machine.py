"""On what a step ran, as far as it shapes what comes of it: another kind of processor rounds
differently, and a long training makes another model of that.

Out: one line for `step.json`.
"""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

import torch

_PROCESSOR = Path("/proc/cpuinfo")


@cache
def this_machine() -> str:
    """The processor's name, where Linux says it, else its architecture; and which kernels torch
    takes on it. oneDNN and MKL choose their own, which they do not tell."""
    return f"{processor(_PROCESSOR)}, torch's {torch.backends.cpu.get_cpu_capability()} kernels"


def processor(told: Path) -> str:
    """What `told`, in the form of `/proc/cpuinfo`, calls the processor; else the architecture."""
    lines = told.read_text(encoding="utf-8").splitlines() if told.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()
