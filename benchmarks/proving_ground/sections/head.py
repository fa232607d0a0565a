"""The report's first lines: what this is, the teachers, the verified share of their answers."""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.proving_ground.sections.words import Lines, table


def head(said: Mapping[str, Any], folder: Path) -> Lines:
    """The section; `said` is what `report.json` holds, `folder` where the report goes."""
    samples = said["corpus"]["samples"]
    accepted, total = samples.get("accepted", 0), sum(samples.values())
    commits, machines = (_every(said, key) for key in ("commits", "machines"))
    steps = f" Its steps were done at {', '.join(commits)}." if commits else ""
    steps += f" They ran on: {'; '.join(machines)}." if machines else ""
    rows = [
        [name, f"{marks['accuracy']:.1%}", *(f"{marks[m]:.3f}" for m in ("nll", "ece", "entropy"))]
        for name, marks in said["teachers"].items()
    ]
    verified = []
    if total:
        share = f"{accepted:,} of {total:,} ({accepted / total:.1%})"
        verified = [f"The teacher's answers, sampled at T = 1: {share} were verified.", ""]
    return [
        "# The proving ground",
        "",
        "Made by `make prove` (`python -m benchmarks.proving_ground`); what it does, and on which",
        f"tasks, is in {_readme(folder)}. Intervals are 95 % by Student's t over",
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


def _every(said: Mapping[str, Any], key: str) -> list[str]:
    """What the arms' makings say by `key`, each once."""
    return sorted({each for made in said["made"].values() for each in made.get(key, ())})


def _readme(folder: Path) -> str:
    """A link to the proving ground's README; its name alone where the report goes elsewhere."""
    home = Path(__file__).resolve().parents[1]
    if not folder.resolve().is_relative_to(home):
        return f"`benchmarks/{home.name}/README.md`"
    return f"[the folder's README]({os.path.relpath(home / 'README.md', folder.resolve())})"
