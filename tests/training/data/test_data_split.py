"""The split: by family, stable, and about as large as asked for."""

from __future__ import annotations

from training.data.split import Split


def test_a_familys_part_stays_what_it_is() -> None:
    held_out = [n for n in range(20) if Split(0.3).of(f"family {n}") == "validation"]
    assert held_out == [0, 1, 2, 4, 5, 6, 9, 10, 18, 19]


def test_a_larger_share_keeps_everything_that_was_held_out() -> None:
    families = [f"family {n}" for n in range(500)]
    held_out = [
        {family for family in families if Split(share).of(family) == "validation"}
        for share in (0.02, 0.1, 0.5)
    ]
    assert held_out[0] < held_out[1] < held_out[2]


def test_the_share_of_families_is_about_what_was_asked_for() -> None:
    split = Split(0.1)
    held_out = sum(split.of(f"family {n}") == "validation" for n in range(10_000))
    assert 900 < held_out < 1100


def test_without_validation_everything_is_trained_on() -> None:
    assert {Split(0.0).of(f"family {n}") for n in range(1000)} == {"train"}
