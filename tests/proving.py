"""Arms as the proving ground's exams leave them, with figures that a test chooses."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.proving_ground.results import ArmResult


def arm(
    name: str,
    accuracies: Sequence[float],
    *,
    nll: Sequence[float] | None = None,
    ece: Sequence[float] | None = None,
    units: Sequence[float] | None = None,
) -> ArmResult:
    """An arm with an accuracy per training seed; other marks are the same unless they are given."""
    rows = zip(accuracies, nll or accuracies, ece or accuracies, units or accuracies, strict=True)
    return ArmResult(
        name,
        tuple(
            {
                "accuracy": accuracy,
                "nll": seed_nll,
                "ece": seed_ece,
                "entropy": 1.0,
                "groups": {
                    "family:units": seed_units,
                    "language:ja": accuracy,
                    "level:1": accuracy,
                },
            }
            for accuracy, seed_nll, seed_ece, seed_units in rows
        ),
    )


def arms(*made: ArmResult) -> dict[str, ArmResult]:
    """By name."""
    return {each.name: each for each in made}
