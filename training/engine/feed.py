"""What the loop is fed: micro-batches of this rank with their teacher rows, a little ahead.

In: the tokenised corpus, the schedule, and for KD the store and each example's keys. Out: batches
and sparse targets on the rank's device. Rows are found by key, never by order; one that is missing
or damaged stops the training and is named.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.batch import Batch, make_batch
from training.data.schedule import Schedule
from training.data.tokenised import TokenisedCorpus
from training.engine.teaching import Teaching
from training.losses.targets import SparseTargets

_AHEAD = 2


@dataclass(frozen=True, slots=True, eq=False)
class MicroBatch:
    """One forward pass: the packed batch, a `SparseTargets` per teacher, the corpus's examples."""

    batch: Batch
    targets: Sequence[SparseTargets]
    examples: tuple[int, ...]

    @property
    def rows(self) -> int:
        """Trained tokens."""
        return self.batch.rows

    @property
    def context_tokens(self) -> int:
        """All tokens, prompts included; the dummy of a rank without work counts as none."""
        return len(self.batch) if self.examples else 0


class Feed:
    """Gives one rank its micro-batches, step by step."""

    def __init__(
        self,
        corpus: TokenisedCorpus,
        schedule: Schedule,
        *,
        held_out: Schedule | None,
        teaching: Teaching | None,
        rank: int,
        device: torch.device,
    ) -> None:
        self.schedule = schedule
        self.device = device
        self.corpus = corpus
        self._held_out = held_out
        self._teaching = teaching
        self._rank = rank
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="feed")

    @property
    def has_validation(self) -> bool:
        """Whether any family is held out."""
        return self._held_out is not None

    def trained_tokens(self, step: int) -> int:
        """Tokens trained on in a step, on all ranks together: the loss's one divisor."""
        return int(self.corpus.trained_counts[self.schedule.samples(step)].sum())

    def step(self, step: int) -> Iterator[tuple[MicroBatch, bool]]:
        """This rank's micro-batches of a step, each with whether it is the last."""
        batches = self.schedule.micro_batches(step, self._rank)
        for number, micro in enumerate(self._ahead(batches)):
            yield micro, number == len(batches) - 1

    def validation(self) -> Iterator[MicroBatch]:
        """This rank's share of the held-out families."""
        if self._held_out is None:
            return
        for step in range(self._held_out.steps):
            yield from self._ahead(self._held_out.micro_batches(step, self._rank))

    def probe(self, step: int) -> MicroBatch:
        """A micro-batch to try the weights with: held out, or of `step` where nothing is."""
        held_out = self._held_out
        batches = (
            self.schedule.micro_batches(step, self._rank)
            if held_out is None
            else held_out.micro_batches(0, self._rank)
        )
        return self._on_device(self._make(batches[0]))

    def names(self, examples: Sequence[int]) -> list[str]:
        """The samples' ids."""
        return [self.corpus.example(number).id for number in dict.fromkeys(examples)]

    def step_names(self, step: int) -> list[str]:
        """The ids of a step's samples, on all ranks."""
        return self.names(self.schedule.samples(step).tolist())

    def _ahead(self, batches: Sequence[NDArray[np.int64]]) -> Iterator[MicroBatch]:
        """Makes the next ones while the model works on this one."""
        waiting: deque[Future[MicroBatch]] = deque()
        for each in batches:
            waiting.append(self._worker.submit(self._make, each))
            if len(waiting) > _AHEAD:
                yield self._on_device(waiting.popleft().result())
        while waiting:
            yield self._on_device(waiting.popleft().result())

    def _make(self, numbers: NDArray[np.int64]) -> MicroBatch:
        examples = [self.corpus.example(int(number)) for number in numbers]
        batch = make_batch(examples)
        targets = self._teaching.targets(numbers, examples) if self._teaching else ()
        return MicroBatch(batch, targets, tuple(int(number) for number in numbers))

    def _on_device(self, micro: MicroBatch) -> MicroBatch:
        if self.device.type == "cpu":
            return micro
        targets = [each.to(self.device) for each in micro.targets]
        return replace(micro, batch=micro.batch.to(self.device), targets=targets)
