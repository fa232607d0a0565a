"""Draws sets of problems, each problem once in all of them together, each content once in a test.

In: how many of each set, and a seed. Out: lists of `Problem`, families, languages and levels in
equal parts, in random order. One stream of random numbers makes them one after another, so a larger
set begins with the smaller one.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import cycle, product
from typing import Any

from benchmarks.proving_ground.world.dates import Dates
from benchmarks.proving_ground.world.family import (
    LANGUAGES,
    LEVELS,
    Family,
    Language,
    Problem,
    Split,
    draw_problem,
)
from benchmarks.proving_ground.world.lists import Lists
from benchmarks.proving_ground.world.orders import Orders
from benchmarks.proving_ground.world.purchases import Purchases
from benchmarks.proving_ground.world.queries import Queries
from benchmarks.proving_ground.world.records import Records
from benchmarks.proving_ground.world.strings import Strings
from benchmarks.proving_ground.world.units import Units

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Purchases(), Units(), Dates(), Lists(), Strings(), Records(), Queries(), Orders()
    )
}  # fmt: skip


class World:
    """Draws from one stream; what was drawn before is not drawn again."""

    def __init__(
        self, seed: int, families: Sequence[str] = (*FAMILIES,), levels: Sequence[int] = LEVELS
    ) -> None:
        self._numbers = random.Random(f"world {seed}")
        self._seen: set[str | tuple[Any, ...]] = set()
        self._kinds = [
            (FAMILIES[family], language, level)
            for family, language, level in product(families, LANGUAGES, levels)
        ]

    def problems(self, count: int, split: Split) -> list[Problem]:
        """`count` new problems of a side."""
        kinds = cycle(self._kinds)
        made: list[Problem] = []
        while len(made) < count:
            family, language, level = next(kinds)
            made.append(self._new(family, language, level, split))
        self._numbers.shuffle(made)
        return made

    def _new(self, family: Family, language: Language, level: int, split: Split) -> Problem:
        for _ in range(10_000):
            problem = draw_problem(family, language, level, split, self._numbers)
            once: set[str | tuple[Any, ...]] = {problem.prompt}
            if split == "test":
                once.add(problem.content)
            if self._seen.isdisjoint(once):
                self._seen |= once
                return problem
        raise ValueError(f"{family.name} at level {level} has no new {split} problem left")


def right_response(problem: Problem, numbers: random.Random) -> str:
    """A right response to `problem`, drawn by its family's law."""
    return FAMILIES[problem.family].answer(problem.facts, problem.language, numbers)
