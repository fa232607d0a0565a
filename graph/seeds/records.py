"""What seed reading hands on: a seed, or the reason why a row is none.

`read_seeds` yields both in the order of the file. A row that cannot be used is a value, not an
exception, because bad input costs that input and never the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class SeedRecord:
    """One seed instruction with where it came from.

    `row` is the line number of a JSONL file and the row's position, from 1, in every other format
    (a CSV header is not counted). `reference` is the file's own answer. `meta` holds what the row
    says beyond these fields, in plain JSON values: columns nothing else used, a category or
    language word that is not one of ours, `unused_turns` of a conversation and `unused_instances`
    of a Self-Instruct task.
    """

    source: str
    row: int
    shape: str
    system: str | None
    instruction: str
    input: str
    reference: str | None
    category: str | None
    language: str | None
    licence: str | None
    meta: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class BadRow:
    """One row that brought no seed: where it stands, what is wrong, what to do about it."""

    source: str
    row: int
    problem: str
    solution: str


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row as the file's format gives it, before its shape is known."""

    row: int
    value: object
