"""The report's first lines: what this is, the teachers, the verified share of their answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.proving_ground.sections.words import Lines, table


def head(said: Mapping[str, Any]) -> Lines:
    """The section; `said` is what `report.json` holds."""
    samples = said["corpus"]["samples"]
    accepted, total = samples.get("accepted", 0), sum(samples.values())
    commits = sorted({each for made in said["made"].values() for each in made.get("commits", ())})
    steps = f" Its steps were done at {', '.join(commits)}." if commits else ""
    rows = [
        [name, f"{marks['accuracy']:.1%}", *(f"{marks[m]:.3f}" for m in ("nll", "ece", "entropy"))]
        for name, marks in said["teachers"].items()
    ]
    verified = [
        f"The teacher's answers, sampled at T = 1: {accepted:,} of {total:,} "
        f"({accepted / total:.1%}) were verified.",
        "",
    ]
    if not total:
        verified = []
    return [
        "# The proving ground",
        "",
        "Made by `make prove` (`python -m benchmarks.proving_ground`); what it does, and on which",
        "tasks, is in [the folder's README](README.md). Intervals are 95 % by Student's t over",
        "training seeds, on one corpus and one exam. Arms are compared over the seeds that they",
        "have in common, and differences are seed by seed.",
        "",
        f"Report of {said['date']}, commit {said['commit']}, scale `{said['scale']}`.{steps}",
        "",
        *verified,
        *table(["teacher", "accuracy", "NLL", "ECE", "entropy"], rows),
        "",
        "NLL and entropy are in nats per response token, of the world's own responses to the exam.",
    ]
