"""Trains several stages one after another in the same ranks, so that tests pay for one start.

    deepspeed --num_accelerators 2 many_stages.py FILE

FILE names one stage's spec per line.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import torch.distributed as dist

from training.engine.spec import StageSpec
from training.engine.worker import connect, train_stage


def main() -> None:
    """Trains them all; the first error ends it."""
    connect()
    for line in Path(sys.argv[-1]).read_text(encoding="utf-8").splitlines():
        train_stage(StageSpec.read(Path(line)))
        gc.collect()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
