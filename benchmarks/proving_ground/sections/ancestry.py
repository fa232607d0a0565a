"""Row-level lineage in the report: one exam's score and item, and all that the model learnt from.

In: `Link`s. Out: every statement as it was asked, how many rows it returned, and the first of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.proving_ground.lineage import Link
from benchmarks.proving_ground.sections.words import Lines

_SHOWN, _LONGEST = 2, 240
_OPENING = (
    "`sft+kd`, the first training seed. Asked of the corpus that it learnt from, with three "
    "databases attached: the exam's as `exam`, the base model's corpus as `lessons`, the teacher's "
    "as `school`."
)


def ancestry(links: Sequence[Link], work: Path) -> Lines:
    """The section; paths below `work` are told from there on."""
    lines = ["", "## From a score back to its seeds", "", _OPENING]
    for number, link in enumerate(links, 1):
        count = len(link.rows)
        rows = "1 row" if count == 1 else f"{count:,} rows"
        note = f", {link.note}" if link.note else ""
        first = "" if count <= _SHOWN else f"; the first {_SHOWN}"
        lines += ["", f"{number}. {link.title}:", "", "```sql", f"{link.query};", "```", "",
                  f"{rows}{note}{first}:", "", "```json"]  # fmt: skip
        lines += [json.dumps(_short(row, work), ensure_ascii=False) for row in link.rows[:_SHOWN]]
        lines.append("```")
    return lines


def _short(row: Mapping[str, Any], work: Path) -> dict[str, Any]:
    return {key: _told(value, work) for key, value in row.items()}


def _told(value: Any, work: Path) -> Any:
    if not isinstance(value, str):
        return value
    told = value.replace(f"{work}/", "")
    return told if len(told) <= _LONGEST else f"{told[:_LONGEST]}…"
