"""Checkpoints of a stage: whole or not there, the newest few kept, resumed exactly.

A checkpoint is a folder `step-00000120` that DeepSpeed fills (weights, optimizer), with every
rank's random states beside, and `complete.json`, written last. What lacks it was cut off by a kill
and is removed. The position in the data is the step itself: the schedule is a pure function of it.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from training.engine.device import on_gpus
from training.engine.disk import first_line, sync_folder, writing
from training.errors import CheckpointRefused

COMPLETE = "complete.json"
# What torch and DeepSpeed raise over files that are missing, cut short or no checkpoint.
_UNREADABLE = (
    OSError, RuntimeError, EOFError, AssertionError, KeyError, ValueError, pickle.UnpicklingError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One whole checkpoint: `step` optimiser steps were taken when it was made."""

    folder: Path
    step: int
    identity: str


def whole_checkpoints(folder: Path) -> list[Checkpoint]:
    """The whole checkpoints in a stage's `checkpoints` folder, oldest first.

    Raises:
        CheckpointRefused: one says that it is whole and cannot be read.
    """
    found = []
    for place in sorted(folder.glob("step-*")):
        mark = place / COMPLETE
        if not mark.is_file():
            continue
        try:
            said = json.loads(mark.read_text(encoding="utf-8"))
            found.append(Checkpoint(place, int(said["step"]), str(said["identity"])))
        except (ValueError, KeyError, OSError) as error:
            raise CheckpointRefused(
                f"The checkpoint {place} cannot be read.",
                cause=f"{COMPLETE} is damaged: {error}.",
                solution="Remove that folder; training goes on from the one before.",
            ) from error
    return found


def newest(folder: Path, identity: str) -> Checkpoint | None:
    """The newest whole checkpoint, which must belong to this stage as it is now.

    Raises:
        CheckpointRefused: it was made by another recipe, other data, or on another set of ranks.
    """
    found = whole_checkpoints(folder)
    if not found:
        return None
    if found[-1].identity != identity:
        raise CheckpointRefused(
            f"The checkpoint {found[-1].folder} belongs to another training run.",
            cause="Recipe, data, teacher rows, ranks or ZeRO stage have changed since it was made.",
            solution="Restore them to go on, or begin anew with --restart (the old files are kept "
            "under another name).",
        )
    return found[-1]


def remove_broken(folder: Path) -> None:
    """Removes what a kill left half-written."""
    for place in folder.glob("step-*"):
        if not (place / COMPLETE).is_file():
            shutil.rmtree(place)


def save(engine: Any, folder: Path, step: int, identity: str, keep: int) -> None:
    """Saves on every rank together; keeps the newest `keep`.

    Raises:
        CheckpointRefused: it cannot be written; those before it are intact.
    """
    tag = f"step-{step:08d}"
    with writing(f"The checkpoint {folder / tag}"):
        engine.save_checkpoint(str(folder), tag=tag, save_latest=False)
        torch.save(_random_states(), folder / tag / f"random-{dist.get_rank():05d}.pt")
        # The mark may not reach the disk before what it vouches for, and what a rank on another
        # host wrote, only that host can force there.
        sync_folder(folder / tag)
    dist.barrier()
    if dist.get_rank() == 0:
        with writing(f"The checkpoint {folder / tag}"):
            _mark(folder / tag, step, identity)
            for old in whole_checkpoints(folder)[:-keep]:
                (old.folder / COMPLETE).unlink()
                shutil.rmtree(old.folder)
    dist.barrier()


def load(engine: Any, checkpoint: Checkpoint) -> None:
    """Brings engine and random states back to where `checkpoint` was made.

    Raises:
        CheckpointRefused: DeepSpeed cannot load it.
    """
    states = checkpoint.folder / f"random-{dist.get_rank():05d}.pt"
    try:
        loaded, _ = engine.load_checkpoint(
            str(checkpoint.folder.parent), tag=checkpoint.folder.name
        )
        if loaded is None:
            raise FileNotFoundError("files of it are missing")
        _restore_random_states(torch.load(states, weights_only=False))
    except _UNREADABLE as error:
        raise CheckpointRefused(
            f"The checkpoint {checkpoint.folder} cannot be loaded.",
            cause=f"Files of it are missing or damaged: {first_line(error)}",
            solution="Remove that folder; training goes on from the one before.",
        ) from error


def _mark(folder: Path, step: int, identity: str) -> None:
    part = folder / f"{COMPLETE}.part"
    with part.open("w", encoding="utf-8") as file:
        json.dump({"step": step, "identity": identity}, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(folder / COMPLETE)
    sync_folder(folder)  # before those are removed that it takes the place of


def _random_states() -> dict[str, Any]:
    states = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
    }
    if on_gpus():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _restore_random_states(states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])
