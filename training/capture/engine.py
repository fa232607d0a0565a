"""The one interface of the engines that score stored responses, and what both check.

In: examples as token ids. Out: for each, by its index and in any order, the teacher's rows at its
predicting positions and the negative log-likelihood of what was really said there. Nothing is
decoded and nothing tokenised again: one prefill per example.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from training.data.example import Example
from training.errors import CaptureError, TokenizerRefused
from training.store.key import TeacherIdentity
from training.store.rows import TeacherRows


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """One example, scored: its rows, and float32 [N] the NLL of its labels at T = 1, in nats."""

    rows: TeacherRows
    nll_N: NDArray[np.float32]


class Engine(Protocol):
    """A teacher that is ready. Leaving its context gives memory and processes back."""

    @property
    def identity(self) -> TeacherIdentity:
        """Whose probabilities these are."""
        ...

    def score(self, examples: Sequence[Example]) -> Iterator[tuple[int, Scored]]:
        """The examples' indices and scores, in the order that suits the engine.

        What an example gets does not depend on which others are scored with it.

        Raises:
            CaptureError: naming the sample: longer than the teacher's context, or logits that are
                no numbers.
            TokenizerRefused: an id that the teacher's tokenizer does not have.
            OutOfMemory: naming the setting to turn.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


def check_examples(
    examples: Sequence[Example], identity: TeacherIdentity, *, vocabulary: int, context: int | None
) -> None:
    """Refuses what the teacher cannot be asked, before any of it is scored.

    Raises:
        CaptureError, TokenizerRefused: naming the sample.
    """
    for example in examples:
        if context is not None and len(example) > context:
            raise CaptureError(
                f"Sample {example.sample_id} has {len(example)} tokens, the teacher "
                f"'{identity.model}' a context of {context}.",
                cause="It was rendered for a student with a longer context.",
                solution=f"Set `data.context` to {context} or less.",
            )
        highest = int(example.token_id_T.max(initial=-1))
        if highest >= vocabulary:
            raise TokenizerRefused(
                f"Sample {example.sample_id} has the token id {highest}; the tokenizer of the "
                f"teacher '{identity.model}' ends at {vocabulary - 1}.",
                cause="The sample was tokenised for another vocabulary.",
                solution="Take a teacher of the student's family, or tokenise for this one.",
            )


def check_finite(example: Example, scored: Scored, identity: TeacherIdentity) -> Scored:
    """The scores, where they are numbers.

    Raises:
        CaptureError: the teacher's logits at a row are NaN or infinite.
    """
    bad_N = np.isnan(scored.nll_N)
    if scored.rows.k:
        bad_N = bad_N | ~np.isfinite(scored.rows.log_p_NK[:, 0])
    if bad_N.any():
        position = int(example.row_N[np.flatnonzero(bad_N)[0]])
        raise CaptureError(
            f"The teacher '{identity.model}' gives no probabilities for sample "
            f"{example.sample_id} at position {position}.",
            cause="Its logits there are NaN or infinite, as half-precision overflow, or broken or "
            "missing weights, make them.",
            solution="Check the checkpoint; try the teacher with `dtype: float32`, or leave the "
            "sample out. What was captured before is kept.",
        )
    return scored


def batches(examples: Sequence[Example], tokens_per_batch: int) -> list[list[int]]:
    """Indices of examples in batches of at most so many tokens, longest first.

    The longest go first so that memory that does not suffice shows at once. An example longer than
    a batch makes one of its own.
    """
    order = sorted(range(len(examples)), key=lambda index: (-len(examples[index]), index))
    made: list[list[int]] = []
    room = 0
    for index in order:
        if len(examples[index]) > room:
            made.append([])
            room = tokens_per_batch
        made[-1].append(index)
        room -= len(examples[index])
    return made
