"""Writing files that may not fit: what torch and the system say then, as one typed error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist
from safetensors import SafetensorError

from training.engine.memory_errors import is_out_of_memory
from training.errors import CheckpointRefused


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Guards the writing of `what`, a sentence's subject with its path.

    Raises:
        CheckpointRefused: it cannot be written; what was whole before is intact.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        # torch says RuntimeError where a file cannot be written; a broken connection says so too.
        if isinstance(error, dist.DistError) or is_out_of_memory(error):
            raise
        raise CheckpointRefused(
            f"{what} cannot be written.",
            cause=first_line(error),
            solution="Free some disk space and run the same command again: it goes on from the "
            "last whole checkpoint.",
            command="df -h",
        ) from error


def first_line(error: BaseException) -> str:
    """What an error says, on one line."""
    return next(iter(str(error).splitlines()), type(error).__name__)
