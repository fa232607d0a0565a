"""Whether the ranks compute on GPUs: where there are some, unless `$DS_ACCELERATOR` says `cpu`.

DeepSpeed obeys that variable, so whoever else has to know asks here and never torch alone: a GPU
that is there and not to be used would get one half of the settings, the CPU the other.
"""

from __future__ import annotations

import os

import torch

from training.errors import LaunchFailed

VARIABLE = "DS_ACCELERATOR"


def on_gpus() -> bool:
    """Whether ranks that are started now, or this rank, compute on GPUs.

    Raises:
        LaunchFailed: the variable names what is not there, or what training does not know.
    """
    wanted = os.environ.get(VARIABLE, "")
    there = torch.cuda.is_available()
    if wanted == "":
        return there
    if wanted not in ("cpu", "cuda"):
        raise LaunchFailed(
            f"Training does not know the accelerator '{wanted}'.",
            cause=f"The environment variable {VARIABLE} says so.",
            solution=f"Set {VARIABLE} to cpu or cuda, or leave it out.",
        )
    if wanted == "cuda" and not there:
        raise LaunchFailed(
            "There is no GPU to train on.",
            cause=f"The environment variable {VARIABLE} says cuda, and torch finds no CUDA device.",
            solution=f"Leave {VARIABLE} out to train on the CPU, or install the driver and a "
            "torch for CUDA.",
        )
    return wanted == "cuda"
