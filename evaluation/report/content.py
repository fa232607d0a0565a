"""What a report's page is made of: plain values, drawn and written by others.

Every text here is plain text; the page escapes it. Texts of models and users pass `readable`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from evaluation.report.measures import Measure
from evaluation.report.resampling import Interval

Tone = Literal["", "better", "worse", "doubt"]
# Control characters; bidirectional marks, embeddings, overrides and isolates; half characters.
_UNREADABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
MINUS = "−"
Figures = Mapping[str, Interval | None]


@dataclass(frozen=True, slots=True)
class Cell:
    """A table's cell: a figure or words, smaller words below, and a difference below these;
    `tone` says what the last of them means."""

    text: str
    detail: str = ""
    gap: str = ""
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Table:
    """`rows` begin with their names. `data` is what can be downloaded: plain JSON."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    name: str = ""
    data: Any = None


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG, what it shows in words, and its rows as plain JSON."""

    file: Path
    alt: str
    caption: str
    data: Any


@dataclass(frozen=True, slots=True)
class Example:
    """An item that was gained or lost, with two models' responses, each with the model's name."""

    kind: Literal["gained", "lost"]
    item: str
    prompt: str
    responses: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the page."""

    title: str
    lead: str = ""
    warning: str = ""
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    lineage: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()


def readable(text: str, longest: int | None = None) -> str:
    """Without what could turn reading round or be no character; cut to `longest` characters."""
    kept = _UNREADABLE.sub("", text)
    return kept if longest is None or len(kept) <= longest else f"{kept[:longest].rstrip()}…"


def number(value: float, digits: int, *, signed: bool = False) -> str:
    """`1,234.5`; with a real minus sign, and `signed` with a plus."""
    text = f"{value:+,.{digits}f}" if signed else f"{value:,.{digits}f}"
    return text.replace("-", MINUS)


def figure_cell(made: Interval | None, digits: int) -> Cell:
    """A figure above its interval."""
    if made is None:
        return Cell("–")
    return Cell(number(made.value, digits), _span(made, digits, signed=False))


def gap_text(gap: Interval, digits: int) -> str:
    """`+4.1 (+1.2 to +7.0)`."""
    span = _span(gap, digits, signed=True)
    return number(gap.value, digits, signed=True) + (f" ({span})" if span else "")


def tone_of(gap: Interval, measure: Measure) -> Tone:
    """Whether a difference is one, and a good one."""
    if measure.neutral or not gap.excludes_zero:
        return ""
    return "better" if (gap.value > 0) != measure.less_is_better else "worse"


def as_rows(names: Sequence[str], figures: Sequence[Figures]) -> list[Any]:
    """Figures as plain rows: group, model, value, low, high."""
    groups = dict.fromkeys(group for each in figures for group in each)
    return [
        {"group": group, "model": name, **_plain(each.get(group))}
        for group in groups
        for name, each in zip(names, figures, strict=True)
    ]


def _plain(made: Interval | None) -> dict[str, float | None]:
    if made is None:
        return {"value": None, "low": None, "high": None}
    return {"value": made.value, "low": made.low, "high": made.high}


def _span(made: Interval, digits: int, *, signed: bool) -> str:
    if made.ends is None:
        return ""
    low, high = (number(end, digits, signed=signed) for end in made.ends)
    return f"{low} to {high}"
