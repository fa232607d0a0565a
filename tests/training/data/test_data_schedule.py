"""The schedule: the same samples in every step however they are shared, each once per epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.schedule import Schedule

LENGTHS = np.random.default_rng(0).integers(5, 400, 103)


def schedule(lengths: Any = LENGTHS, **changes: Any) -> Schedule:
    given = {"epochs": 3, "samples_per_step": 16, "ranks": 2, "tokens_per_micro_batch": 1000}
    return Schedule(lengths, **(given | changes))


def given_out(made: Schedule, step: int) -> list[int]:
    """All samples of one step over all ranks, sorted."""
    batches = [each for rank in range(made.ranks) for each in made.micro_batches(step, rank)]
    return sorted(int(sample) for each in batches for sample in each)


@given(
    n=st.integers(1, 60),
    ranks=st.integers(1, 5),
    samples=st.integers(1, 20),
    tokens=st.integers(1, 600),
    items=st.integers(1, 5),
    packing=st.booleans(),
    seed=st.integers(0, 3),
)
def test_however_a_step_is_shared_its_samples_are_the_same(
    n: int, ranks: int, samples: int, tokens: int, items: int, packing: bool, seed: int
) -> None:
    lengths = LENGTHS[:n]
    made = schedule(
        lengths, ranks=ranks, samples_per_step=samples, tokens_per_micro_batch=tokens,
        samples_per_micro_batch=items, packing=packing, seed=seed, epochs=1,
    )  # fmt: skip
    plain = Schedule(
        lengths, epochs=1, samples_per_step=samples, tokens_per_micro_batch=10**6, seed=seed
    )
    for step in range(made.steps):
        assert given_out(made, step) == sorted(plain.samples(step).tolist())
        shares = [made.micro_batches(step, rank) for rank in range(ranks)]
        assert len({len(share) for share in shares}) == 1
        for each in (batch for share in shares for batch in share):
            assert len(each) <= 1 or lengths[each].sum() <= tokens
            assert packing or len(each) <= items


def test_every_sample_comes_once_per_epoch() -> None:
    made = schedule()
    for epoch in range(3):
        steps = range(epoch * made.steps_per_epoch, (epoch + 1) * made.steps_per_epoch)
        seen = sorted(sample for step in steps for sample in given_out(made, step))
        assert seen == list(range(len(LENGTHS)))


def test_epochs_differ_in_order_and_so_do_seeds() -> None:
    made = schedule()
    first = made.samples(0).tolist()
    assert first != made.samples(made.steps_per_epoch).tolist()
    assert first != schedule(seed=1).samples(0).tolist()


def test_it_is_a_pure_function_of_its_arguments() -> None:
    forwards, backwards = schedule(), schedule()
    plan = [
        [batch.tolist() for batch in forwards.micro_batches(step, rank)]
        for step in range(forwards.steps)
        for rank in range(2)
    ]
    again = [
        [batch.tolist() for batch in backwards.micro_batches(step, rank)]
        for step in reversed(range(backwards.steps))
        for rank in (1, 0)
    ]
    assert plan == again[::-1]


def test_the_order_of_a_seed_stays_what_it_is() -> None:
    order = schedule(range(1, 9), samples_per_step=8).samples(0).tolist()
    assert order == [3, 2, 1, 6, 0, 7, 4, 5]


def test_the_last_step_of_an_epoch_takes_what_is_left() -> None:
    made = schedule()
    assert (made.steps_per_epoch, made.steps) == (7, 21)
    assert [len(made.samples(step)) for step in (5, 6, 7)] == [16, 7, 16]


def test_the_course_may_end_early_but_not_late() -> None:
    assert schedule(max_steps=5).steps == 5
    assert schedule(max_steps=500).steps == 21
    with pytest.raises(IndexError, match="step 5 of 5"):
        schedule(max_steps=5).samples(5)


def test_short_samples_are_shared_and_not_packed_into_one_ranks_bin() -> None:
    made = schedule([10] * 16, ranks=4)
    assert [[len(each) for each in made.micro_batches(0, rank)] for rank in range(4)] == [[4]] * 4


def test_a_rank_without_samples_gets_an_empty_micro_batch() -> None:
    made = schedule([10], ranks=3, samples_per_step=1)
    assert sorted(len(made.micro_batches(0, rank)[0]) for rank in range(3)) == [0, 0, 1]


def test_samples_are_given_out_under_their_own_numbers() -> None:
    index = np.arange(103) * 10 + 7
    made, plain = schedule(index=index), schedule()
    assert made.samples(3).tolist() == index[plain.samples(3)].tolist()
    assert given_out(made, 3) == sorted(made.samples(3).tolist())


def test_a_schedule_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        schedule([])


def test_numbers_that_do_not_fit_the_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        schedule(index=[1, 2])
