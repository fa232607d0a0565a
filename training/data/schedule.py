"""Which samples each optimiser step takes, and how the ranks share them: a pure function.

In: the samples' lengths and the recipe's numbers. Out: for a step and a rank, its micro-batches as
arrays of example numbers. The *set* of a step depends on the seed, the epoch and `samples_per_step`
alone; ranks, packing and micro-batch size only decide who computes which part of it. So loss and
gradient are the same over all of them, and resuming is beginning at another step.
"""

from __future__ import annotations

from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.data.packing import Bin, level, pack, spread

Indices = NDArray[np.int64]


class Schedule:
    """The whole course of a stage. All arguments but `lengths` by name.

    - `lengths`: int [n], tokens per sample.
    - `index`: int [n], the number under which each sample is given out; its position without it.
    - `samples_per_step`: over all ranks; the last step of an epoch takes what is left.
    - `tokens_per_micro_batch`: a bound, save for one sample that is longer by itself.
    - `packing`: without it a micro-batch has at most `samples_per_micro_batch` samples as well.
    - `max_steps`: ends the course early.
    """

    def __init__(
        self,
        lengths: ArrayLike,
        *,
        epochs: int,
        samples_per_step: int,
        ranks: int = 1,
        tokens_per_micro_batch: int,
        samples_per_micro_batch: int = 1,
        packing: bool = True,
        seed: int = 0,
        max_steps: int | None = None,
        index: ArrayLike | None = None,
    ) -> None:
        self._lengths: Indices = np.asarray(lengths, dtype=np.int64)
        if len(self._lengths) == 0:
            raise ValueError("a schedule needs at least one sample")
        self._index: Indices | None = None if index is None else np.asarray(index, dtype=np.int64)
        if self._index is not None and self._index.shape != self._lengths.shape:
            raise ValueError("`index` and `lengths` differ in shape")
        self.epochs = epochs
        self.samples_per_step = samples_per_step
        self.ranks = ranks
        self.tokens_per_micro_batch = tokens_per_micro_batch
        self.max_items = None if packing else samples_per_micro_batch
        self.seed = seed
        self.max_steps = max_steps
        # The last epochs' orders and steps are kept, because they are asked for again and again.
        self._order = lru_cache(maxsize=2)(self._draw_order)
        self._plan = lru_cache(maxsize=4)(self._make_plan)

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in which every sample comes once."""
        return -(-len(self._lengths) // self.samples_per_step)

    @cached_property
    def steps(self) -> int:
        """Optimiser steps of the whole course."""
        whole = self.epochs * self.steps_per_epoch
        return whole if self.max_steps is None else min(whole, self.max_steps)

    def samples(self, step: int) -> Indices:
        """All samples of one step, in drawn order: int64 [samples]."""
        return self._given_out(self._drawn(step))

    def micro_batches(self, step: int, rank: int) -> list[Indices]:
        """What one rank passes through the model in one step: int64 arrays, possibly empty ones.

        Every rank gets equally many.
        """
        drawn = self._drawn(step)
        return [
            self._given_out(drawn[np.asarray(each.items, dtype=np.int64)])
            for each in self._plan(step)[rank]
        ]

    def _given_out(self, positions: Indices) -> Indices:
        return positions if self._index is None else self._index[positions]

    def _drawn(self, step: int) -> Indices:
        if not 0 <= step < self.steps:
            raise IndexError(f"step {step} of {self.steps}")
        epoch, within = divmod(step, self.steps_per_epoch)
        start = within * self.samples_per_step
        return self._order(epoch)[start : start + self.samples_per_step]

    def _draw_order(self, epoch: int) -> Indices:
        # Raw bits and a stable sort: numpy keeps bit streams the same over its versions, but not
        # what `permutation` makes of them (NEP 19).
        bits = np.random.PCG64(np.random.SeedSequence([self.seed, epoch]))
        return np.argsort(bits.random_raw(len(self._lengths)), kind="stable").astype(np.int64)

    def _make_plan(self, step: int) -> list[list[Bin]]:
        lengths = self._lengths[self._drawn(step)].tolist()
        bounds = (self.tokens_per_micro_batch, self.max_items)
        fewest = pack(lengths, *bounds)
        turns = -(-len(fewest) // self.ranks)
        return spread(level(lengths, turns * self.ranks, *bounds) or fewest, self.ranks)
