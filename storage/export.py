"""Writes samples to a JSONL file, with a manifest that leads back to the rows.

In: an open database and what to take. Out: a file, a manifest beside it, and a row in `export` that
says the same. Rows are streamed in a fixed order (recipe, seed, variant, round), so the same corpus
gives the same bytes. The files appear whole or not at all. What a simulated teacher wrote, and what
its teachers' terms forbid to train on, stays out unless it is asked for; it is counted and said.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Text,
    and_,
    case,
    cast,
    func,
    or_,
    select,
)

from common.hashing import digest
from storage.corpus import reason_counts, sample_t, seed_t
from storage.database import Database
from storage.errors import NotFound, StorageError, StorageFull
from storage.export_formats import FORMATS, REASONING, export_line
from storage.tables import SAMPLE_STATUSES, Export, Score, table_of, utcnow

TERMS = {
    "permitted": ("true",),
    "unknown": ("true", "unknown"),
    "any": ("true", "unknown", "false"),
}
EXPORT_VERSION = 1
"""The version of what an export's rows and manifest look like; migrations of the corpus that leave
both as they are leave it alone, so that exports outlive them."""

_export_t, _score_t = table_of(Export), table_of(Score)
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class ExportRefused(StorageError):
    """What was asked for cannot be exported, or not to there; nothing was written."""

    code = "export_refused"


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What to export and where to.

    `out` is a file, or a folder for a file with a name of its own. `terms` admits samples whose
    teachers permit training (`permitted`), or do not say (`unknown`, the default), or `any`; for
    simulated samples, where they are let in, only their real teachers are asked.
    """

    out: str
    recipe: str | None = None
    format: str = "messages"
    reasoning: str = "inline"
    statuses: tuple[str, ...] = ("accepted",)
    allow_simulated: bool = False
    terms: str = "unknown"

    def __post_init__(self) -> None:
        _known("--format", self.format, FORMATS)
        _known("--reasoning", self.reasoning, REASONING)
        _known("--terms", self.terms, tuple(TERMS))
        for status in self.statuses:
            _known("--status", status, SAMPLE_STATUSES)

    @property
    def filters(self) -> dict[str, Any]:
        """Which samples are meant."""
        return {
            "recipe": self.recipe,
            "status": sorted(set(self.statuses)),
            "allow_simulated": self.allow_simulated,
            "terms": self.terms,
        }


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was written. `left_out` counts, by reason, samples that were meant but stayed out:
    `simulated`, `forbidden` and `unknown` (terms), `no_response`."""

    id: str
    path: Path
    manifest_path: Path
    rows: int
    sha256: str
    left_out: dict[str, int]
    manifest: dict[str, Any]


@dataclass
class _Tally:
    """What is counted while rows go by."""

    rows: int = 0
    simulated: int = 0
    hash: Any = field(default_factory=hashlib.sha256)
    recipes: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    categories: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    permissions: Counter[str] = field(default_factory=Counter)
    teachers: Counter[str] = field(default_factory=Counter)
    terms: Counter[bytes] = field(default_factory=Counter)

    def count(self, row: Any, line: bytes) -> None:
        self.rows += 1
        self.simulated += row["simulated"]
        self.hash.update(line)
        self.recipes[row["recipe"]] += 1
        self.statuses[row["status"]] += 1
        self.categories[row["category"] or "unknown"] += 1
        self.languages[row["language"] or "unknown"] += 1
        self.permissions[row["allows_training"]] += 1
        contributions = row["terms"] or []
        self.teachers.update({c["teacher"] for c in contributions})
        self.terms.update(orjson.dumps(c, option=orjson.OPT_SORT_KEYS) for c in contributions)


def export_samples(database: Database, options: ExportOptions) -> ExportResult:
    """Exports what `options` say.

    Raises:
        NotFound: there is no such recipe in the corpus.
        ExportRefused: no sample fits, or the file cannot be written there.
        StorageFull: the disk, or the quota, is full; nothing is left behind.
    """
    path = _target(database, options)
    manifest_path = path.with_name(f"{path.name}.manifest.json")
    suffix = f".{uuid.uuid4().hex[:8]}.tmp"
    new, new_manifest = path.with_name(path.name + suffix), path.with_name(f"{path.name}.m{suffix}")
    with database.snapshot() as connection:
        left_out = _left_out(connection, options)
        with _file_errors(path), _gone_unless_renamed(new, new_manifest):
            path.parent.mkdir(parents=True, exist_ok=True)
            tally = _write_rows(connection, options, new)
            manifest = _manifest(path.name, options, tally, left_out)
            with new_manifest.open("xb") as file:
                file.write(orjson.dumps(manifest, option=orjson.OPT_INDENT_2) + b"\n")
                _to_disk(file)
            with database.write() as writing:
                _record(writing, path, options, manifest)
                new.replace(path)
                new_manifest.replace(manifest_path)
    return ExportResult(
        id=manifest["export"],
        path=path,
        manifest_path=manifest_path,
        rows=tally.rows,
        sha256=manifest["sha256"],
        left_out=left_out,
        manifest=manifest,
    )


def _known(option: str, word: str, words: tuple[str, ...]) -> None:
    if word not in words:
        raise ExportRefused(
            f"{option} does not know '{word}'.",
            cause="It is none of the words it knows.",
            solution=f"Give one of: {', '.join(words)}.",
            command="stillhouse export --help",
        )


def _target(database: Database, options: ExportOptions) -> Path:
    """The file to write; never a device, and never the corpus itself."""
    path = Path(options.out).expanduser()
    if options.out.endswith(("/", os.sep)) or path.is_dir():
        path = path / f"{options.recipe or 'corpus'}.{options.format}.jsonl"
    path = path.resolve()
    reserved = set()
    if database.is_sqlite:
        corpus = Path(str(database.url.database)).resolve()
        reserved = {corpus.with_name(corpus.name + end) for end in ("", "-wal", "-shm", ".lock")}
    if path in reserved or (path.exists() and not path.is_file()):
        raise ExportRefused(
            f"'{path}' cannot be replaced by an export.",
            cause="It is the corpus itself, or no ordinary file.",
            solution="Give the name of a new file, or of a folder.",
        )
    return path


def _meant(options: ExportOptions) -> ColumnElement[bool]:
    meant: ColumnElement[bool] = sample_t.c.status.in_(options.statuses)
    return meant if options.recipe is None else and_(meant, sample_t.c.recipe == options.recipe)


def _stays_out(options: ExportOptions) -> Any:
    """Why a sample stays out, as SQL: the first reason that holds; null for one that goes in."""
    reasons: list[Any] = [
        (or_(sample_t.c.response.is_(None), func.trim(sample_t.c.response) == ""), "no_response")
    ]
    if not options.allow_simulated:
        reasons.append((sample_t.c.simulated, "simulated"))
    # Whoever lets simulated samples in knows that they are no training data; then only what real
    # teachers say of their own part counts. (In doubt between two teachers: it counts.)
    written = func.coalesce(cast(sample_t.c.terms, Text), "")
    admitted = TERMS[options.terms]
    for permission, reason in (("false", "forbidden"), ("unknown", "unknown")):
        if permission not in admitted:
            by_real = written.like(f'%"allows_training":"{permission}"%"simulated":false%')
            says = case(
                (sample_t.c.simulated, by_real), else_=sample_t.c.allows_training == permission
            )
            reasons.append((says, reason))
    return case(*reasons, else_=None)


def _left_out(connection: Connection, options: ExportOptions) -> dict[str, int]:
    """How many samples stay out for each reason; refuses where none is left."""
    reason = _stays_out(options)
    counted = select(reason.label("reason"), func.count()).where(_meant(options))
    counts: dict[Any, int] = dict(connection.execute(counted.group_by(reason)).all())
    if not counts.pop(None, 0):
        raise _nothing(connection, options, counts)
    return dict(sorted(counts.items()))


def _nothing(
    connection: Connection, options: ExportOptions, left_out: dict[str, int]
) -> StorageError:
    found = reason_counts(connection, options.recipe)
    if options.recipe is not None and not found:
        names = connection.execute(select(seed_t.c.recipe).distinct().order_by(seed_t.c.recipe))
        known = ", ".join(name for (name,) in names) or "none"
        return NotFound(
            f"This corpus holds no samples of a recipe '{options.recipe}'.",
            cause=f"Recipes with seeds here: {known}.",
            solution="Give one of those names, or leave --recipe out.",
        )
    states = ", ".join(f"{n} {status} ({reason})" for status, reason, n in found)
    cause = f"Samples in the corpus: {states or 'none'}."
    if left_out:
        cause += f" Left out: {said_left_out(left_out)}."
        solution = "Ask for those that were left out, if that is what you want."
    else:
        solution = "Run a recipe until samples are accepted, or give another --status."
    return ExportRefused(
        f"There is nothing to export with status {' or '.join(options.statuses)}.",
        cause=cause,
        solution=solution,
        command="stillhouse status",
    )


def said_left_out(left_out: dict[str, int]) -> str:
    """In words, with the option that would let each kind in."""
    words = {
        "simulated": "simulated (use --allow-simulated)",
        "forbidden": "whose teachers' terms forbid training (use --terms any)",
        "unknown": "whose teachers' terms are unknown (use --terms unknown)",
        "no_response": "without a response",
    }
    return ", ".join(f"{n} {words[reason]}" for reason, n in left_out.items())


def exported_rows(
    connection: Connection, options: ExportOptions
) -> Iterator[tuple[RowMapping, bytes]]:
    """Every sample that goes in, in the file's order, with its line. Besides what the line says, a
    row has `informativeness`: what selection said of the sample, or null."""
    names = ("id", "family_id", "recipe", "status", "category", "language", "system", "instruction",
             "input", "reasoning", "response", "simulated", "allows_training", "terms")  # fmt: skip
    order = (sample_t.c.recipe, seed_t.c.ordinal, sample_t.c.variant, sample_t.c.round)
    query = (
        select(*(sample_t.c[name] for name in names), _score_t.c.informativeness)
        .join(seed_t, seed_t.c.id == sample_t.c.seed_id)
        .outerjoin(_score_t, _score_t.c.sample_id == sample_t.c.id)
        .where(_meant(options), _stays_out(options).is_(None))
        .order_by(*order, sample_t.c.id)
        .execution_options(yield_per=500)
    )
    for row in connection.execute(query).mappings():
        yield row, orjson.dumps(export_line(row, options.format, options.reasoning)) + b"\n"


def _write_rows(connection: Connection, options: ExportOptions, path: Path) -> _Tally:
    tally = _Tally()
    with path.open("xb") as file:
        for row, line in exported_rows(connection, options):
            file.write(line)
            tally.count(row, line)
        _to_disk(file)
    return tally


def _manifest(
    name: str, options: ExportOptions, tally: _Tally, left_out: dict[str, int]
) -> dict[str, Any]:
    def sorted_counts(counter: Counter[str]) -> dict[str, int]:
        return dict(sorted(counter.items()))

    terms = [{**orjson.loads(c), "rows": n} for c, n in sorted(tally.terms.items())]
    manifest = {
        "file": name,
        "format": options.format,
        "reasoning": options.reasoning,
        "filters": options.filters,
        "rows": tally.rows,
        "sha256": tally.hash.hexdigest(),
        "export_version": EXPORT_VERSION,
        "recipes": sorted_counts(tally.recipes),
        "statuses": sorted_counts(tally.statuses),
        "categories": sorted_counts(tally.categories),
        "languages": sorted_counts(tally.languages),
        "teachers": sorted_counts(tally.teachers),
        "allows_training": sorted_counts(tally.permissions),
        "terms": terms,
        "simulated": tally.simulated,
        "left_out": left_out,
    }
    return {"export": digest(manifest), **manifest}


def _record(
    connection: Connection, path: Path, options: ExportOptions, manifest: dict[str, Any]
) -> None:
    """One row per content: the same export made again is the same row, with its newest path."""
    row = {
        "id": manifest["export"],
        "recipe": options.recipe,
        "path": str(path),
        "format": options.format,
        "rows": manifest["rows"],
        "content_hash": manifest["sha256"],
        "manifest": manifest,
        "created_at": utcnow(),
    }
    known = _export_t.c.id == row["id"]
    if connection.execute(select(_export_t.c.id).where(known)).first() is None:
        connection.execute(_export_t.insert(), row)
    else:
        connection.execute(_export_t.update().where(known), row)


def _to_disk(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


@contextlib.contextmanager
def _gone_unless_renamed(*paths: Path) -> Iterator[None]:
    try:
        yield
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = StorageFull if error.errno in _FULL else ExportRefused
        raise kind(
            f"The export '{path}' cannot be written.",
            cause=f"The system says: {error.strerror}.",
            solution="Free some disk space and run the same command again."
            if kind is StorageFull
            else "Give another file; nothing was left behind.",
        ) from error
