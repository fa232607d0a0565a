"""The instruction-difficulty table of the length-controlled win rate, and where it came from.

The official figure (`length_controlled_v1`) needs the table and the annotations of two gamed
baselines: both are in `df_gamed.csv` of the hub's dataset tatsu-lab/alpaca_eval. A file of that
shape, downloaded by hand, serves as well. A file with nothing but difficulties gives the same
regression without the regularisation towards the gamed baselines, and the report says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from evaluation.errors import DataMissing
from evaluation.sources import Rows, read_rows

OFFICIAL = "hf:tatsu-lab/alpaca_eval/df_gamed.csv"
_GAMED_COLUMNS = {"preference", "index", "std_delta_len", "instruction_difficulty"}


@dataclass(frozen=True, slots=True)
class Difficulty:
    """Difficulty by the instruction's place in the baseline's file; `gamed` are the rows of the
    gamed baselines, where the source has them."""

    source: str
    by_index: dict[int, float]
    gamed: tuple[dict[str, Any], ...] | None
    hash: str

    def of(self, index: int) -> float:
        """The difficulty of one instruction.

        Raises:
            DataMissing: the table has none.
        """
        if index not in self.by_index:
            raise DataMissing(
                f"Instruction {index} has no difficulty in {self.source}.",
                cause=f"The table has {len(self.by_index)} rows.",
                solution="Give the table that belongs to the baseline's file.",
            )
        return self.by_index[index]

    @property
    def statement(self) -> str:
        """What a reader has to know."""
        if self.gamed is not None:
            return (
                f"length controlled as published (length_controlled_v1), with the official "
                f"difficulty table ({self.source})"
            )
        return (
            f"length controlled with the difficulty table {self.source}, which is not the official "
            f"one, and without the regularisation towards gamed baselines; compare with care"
        )


def read_difficulty(source: str) -> Difficulty:
    """Reads a table; columns `index` and `instruction_difficulty`, or those of `df_gamed.csv`.

    Raises:
        DataMissing: it is not there, or has other columns.
    """
    read = read_rows(source, "instruction difficulties")
    columns = set(read.rows[0])
    try:
        if columns >= _GAMED_COLUMNS:
            return _gamed(read)
        by_index = {
            int(row["index"] if "index" in row else row[""]): float(row["instruction_difficulty"])
            for row in read.rows
        }
    except (KeyError, TypeError, ValueError) as error:
        raise DataMissing(
            f"{read.source} is no table of instruction difficulties.",
            cause=f"Its columns are {', '.join(sorted(columns))}.",
            solution="It needs `index` and `instruction_difficulty`.",
        ) from error
    return Difficulty(read.source, by_index, None, read.hash)


def _gamed(read: Rows) -> Difficulty:
    rows: list[dict[str, Any]] = [
        {
            "preference": float(row["preference"]),
            "index": int(float(row["index"])),
            "std_delta_len": float(row["std_delta_len"]),
            "instruction_difficulty": float(row["instruction_difficulty"]),
            "not_gamed_baseline": False,
        }
        for row in read.rows
    ]
    by_index = {row["index"]: row["instruction_difficulty"] for row in reversed(rows)}
    return Difficulty(read.source, by_index, tuple(rows), read.hash)
