"""Makes a report: chooses evaluations, puts them side by side, draws, writes the page.

In: a corpus database, a proving ground's report, or both, and what the user asked for. Out: a
folder with `index.html` and its pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from common import pictures
from common.revision import code_revision
from evaluation.errors import EvaluationError
from evaluation.report.comparing import Comparison, compare, distinct_names, why_not_comparable
from evaluation.report.content import Section, readable
from evaluation.report.measures import measures_of
from evaluation.report.page import write_page
from evaluation.report.picturing import TITLES
from evaluation.report.proving_ground import read_proving_ground
from evaluation.report.published import published
from evaluation.report.sections import (
    comparison_section,
    curves_section,
    ground_section,
    published_section,
)
from evaluation.report.series import read_series
from evaluation.report.stored import Stored, ended, load, named
from storage.database import Database

ROLES = ("before", "after", "teacher")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is asked for. `roles` names an evaluation or model per role; without any, all models of
    the database stand side by side. `sizes` are parameters by model."""

    roles: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, float] = field(default_factory=dict)
    series: Path | None = None
    proving_ground: Path | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """What came of it. `left_out` are evaluations of benchmarks whose items no report knows;
    `glyphs` the characters that no installed font has, spelt out in the pictures."""

    page: Path
    pictures: tuple[Path, ...]
    sections: tuple[str, ...]
    left_out: tuple[str, ...]
    glyphs: str


def make_report(database: Database | None, wishes: Wishes, folder: Path) -> Made:
    """Makes the report in `folder`, which is made if it is missing.

    Raises:
        EvaluationError: there is nothing to report, what was named is not there, or the folder
            cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _made(database, wishes, folder)
    except OSError as error:
        raise EvaluationError(
            f"The report could not be written to {folder}.",
            cause=f"{error.filename or folder}: {error.strerror or error}.",
            solution="Give another folder, or make room.",
            command="stillhouse eval report --output FOLDER",
        ) from error


def _made(database: Database | None, wishes: Wishes, folder: Path) -> Made:
    # Everything is read before anything is drawn, so that a wrong path costs no time.
    ground = read_proving_ground(wishes.proving_ground) if wishes.proving_ground else None
    sections: list[Section] = []
    left_out: tuple[str, ...] = ()
    names: list[str] = []
    if database is not None:
        with database.read() as connection:
            rows = ended(connection)
            left_out = _unknown(rows)
            curves = read_series(wishes.series, connection, rows) if wishes.series else []
            groups = _chosen(connection, rows, wishes.roles)
            for number, (made, shown) in enumerate(groups, 1):
                names += shown
                stem = f"{number:02d}-{made.benchmark.replace('_', '-')}"
                sections.append(
                    comparison_section(made, shown, wishes.sizes, published(), folder, stem)
                )
            if groups:
                sections.append(published_section(published()))
            if curves:
                names += [text for curve in curves for text in (curve.title, *curve.labels)]
                sections.append(curves_section(curves, folder))
    if ground is not None:
        sections.append(ground_section(ground, folder))
    if not sections:
        raise EvaluationError(
            "There is nothing to report.",
            cause="The database holds no evaluation that ended with figures.",
            solution="Evaluate a model first, or give a proving ground's report.json.",
            command="stillhouse eval ifeval --model FOLDER",
        )
    page = write_page(sections, folder, "Evaluation report", datetime.now(UTC), code_revision())
    return Made(
        page,
        tuple(picture.file for section in sections for picture in section.pictures),
        tuple(section.title for section in sections),
        left_out,
        pictures.without_glyphs("".join(names)),
    )


def _unknown(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(
        f"{row['id'][:12]} ({row['benchmark']}, {row['model']})"
        for row in rows
        if not measures_of(row["benchmark"])
    )


def _chosen(
    connection: Connection, rows: Sequence[Mapping[str, Any]], roles: Mapping[str, str]
) -> list[tuple[Comparison, list[str]]]:
    """The comparisons, each with what the page calls its models."""
    rows = [row for row in rows if measures_of(row["benchmark"])]
    if not roles:
        newest = {(row["benchmark"], row["model"], _items(row)): row for row in rows}
        found = [load(connection, row) for row in newest.values()]
        groups = [compare(group) for group in _comparable(_in_order(found))]
        return [(made, [readable(name) for name in made.names]) for made in groups]
    meant: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for role in ROLES:
        for row in named(rows, roles[role]) if role in roles else ():
            meant.setdefault(row["benchmark"], []).append((role, row))
    made_of = []
    for benchmark in sorted(meant, key=_place):
        evaluations = [load(connection, row) for _, row in meant[benchmark]]
        shown = [
            role if name == role else f"{role}: {readable(name)}"
            for (role, _), name in zip(meant[benchmark], distinct_names(evaluations), strict=True)
        ]
        made_of.append((compare(evaluations), shown))
    return made_of


def _in_order(evaluations: Sequence[Stored]) -> list[Stored]:
    return sorted(evaluations, key=lambda each: _place(each.benchmark))


def _place(benchmark: str) -> int:
    return list(TITLES).index(benchmark)


def _items(row: Mapping[str, Any]) -> str:
    return str(row["settings"].get("items_hash"))


def _comparable(evaluations: Sequence[Stored]) -> list[list[Stored]]:
    """Groups of the same items judged alike, each in the order in which they were made."""
    groups: list[list[Stored]] = []
    for each in evaluations:
        for group in groups:
            same_items = _items(group[0].row) == _items(each.row)
            if same_items and why_not_comparable(group[0], each) is None:
                group.append(each)
                break
        else:
            groups.append([each])
    return groups
