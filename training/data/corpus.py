"""Reads an export by its manifest, and refuses one that is no longer what the manifest says.

In: the recipe's `corpus` section. Out: a `Corpus`, which yields one `Record` after another and
never holds them all. Everything is proved before the first record is given out: the manifest's own
digest, schema version, and the file's hash and rows; with a database also that the corpus would
give the same lines today. What simulated teachers wrote is refused unless the recipe lets it in.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.hashing import digest
from storage.database import Database
from storage.export import ExportOptions, ExportRefused, exported_rows
from storage.schema import SCHEMA_VERSION
from training.data.record import BadLine, Record, read_line
from training.errors import CorpusRefused
from training.recipe import CorpusSettings


class _Filters(BaseModel):
    model_config = ConfigDict(strict=True)

    recipe: str | None
    status: list[str]
    allow_simulated: bool
    terms: str


class _Manifest(BaseModel):
    """What a manifest has to have; it may have more."""

    model_config = ConfigDict(strict=True)

    export: str
    file: str
    format: str
    reasoning: str
    filters: _Filters
    rows: int = Field(ge=0)
    sha256: str
    schema_version: str
    simulated: int = Field(ge=0)

    def options(self) -> ExportOptions:
        """The export's own question, to be asked again."""
        return ExportOptions(
            out=self.file,
            recipe=self.filters.recipe,
            format=self.format,
            reasoning=self.reasoning,
            statuses=tuple(self.filters.status),
            allow_simulated=self.filters.allow_simulated,
            terms=self.filters.terms,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """An export that is what its manifest says.

    - `export_id`: the manifest's own digest; `sha256`: the file's.
    - `rows`: how many records there are; `statuses`: how many of each status.
    - `difficulty`: int8 [rows] in the file's order, -1 where selection gave no score; None where
      the recipe names no database, since an export does not carry scores.
    """

    path: Path
    manifest: Mapping[str, Any]
    export_id: str
    sha256: str
    rows: int
    statuses: Mapping[str, int]
    simulated: int
    difficulty: NDArray[np.int8] | None = None

    def __len__(self) -> int:
        return self.rows

    def records(self) -> Iterator[Record]:
        """Every record, in the file's order, read anew.

        Raises:
            CorpusRefused: the file changed since it was opened.
        """
        hashed = hashlib.sha256()
        number = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                hashed.update(line)
                try:
                    record = read_line(line, self.manifest["format"])
                except BadLine as error:
                    raise _changed(
                        self.path, f"Line {number} is not what it was: {error}."
                    ) from error
                yield record if self.difficulty is None else self._with_difficulty(record, number)
        if hashed.hexdigest() != self.sha256:
            raise _changed(self.path, f"It had {self.rows} rows, it has {number} now.")

    def _with_difficulty(self, record: Record, number: int) -> Record:
        assert self.difficulty is not None
        if number > self.rows:
            raise _changed(self.path, f"It had {self.rows} rows, it has more now.")
        return record.with_difficulty(int(self.difficulty[number - 1]))


def read_corpus(settings: CorpusSettings) -> Corpus:
    """Opens the export that `settings` name.

    Raises:
        CorpusRefused: something is missing, empty, broken, simulated, or not what was exported.
        StorageError: the database cannot be opened.
    """
    manifest_path = Path(settings.manifest)
    document, manifest = _read_manifest(manifest_path)
    path = manifest_path.with_name(manifest.file)
    statuses, simulated = _check_file(path, manifest)
    if (simulated or manifest.simulated) and not settings.allow_simulated:
        raise CorpusRefused(
            f"{max(simulated, manifest.simulated)} of the {manifest.rows} samples in '{path}' were "
            "written by simulated teachers.",
            cause="What a simulation writes teaches nothing, and the recipe does not let it in.",
            solution="Export a corpus without them; to rehearse, set `corpus.allow_simulated`.",
            command="stillhouse export OUT.jsonl --db DB",
        )
    difficulty = None
    if settings.db is not None:
        difficulty = _prove(settings.db, path, manifest)
    return Corpus(
        path=path,
        manifest=document,
        export_id=manifest.export,
        sha256=manifest.sha256,
        rows=manifest.rows,
        statuses=statuses,
        simulated=simulated,
        difficulty=difficulty,
    )


def _read_manifest(path: Path) -> tuple[dict[str, Any], _Manifest]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CorpusRefused(
            f"The manifest '{path}' cannot be read.",
            cause=f"The system says: {error.strerror}.",
            solution="Export the corpus and give the manifest that is written beside the file.",
            command="stillhouse export OUT.jsonl --db DB",
        ) from error
    try:
        document = orjson.loads(raw)
        manifest = _Manifest.model_validate(document)
        manifest.options()
    except (orjson.JSONDecodeError, ValidationError, ExportRefused) as error:
        raise CorpusRefused(
            f"'{path}' is no manifest of an export.",
            cause=_why_no_manifest(error),
            solution="Give the file `….manifest.json` that `stillhouse export` wrote.",
        ) from error
    if manifest.export != digest({k: v for k, v in document.items() if k != "export"}):
        raise CorpusRefused(
            f"The manifest '{path}' was changed after it was written.",
            cause="Its own digest (`export`) does not fit the rest of it.",
            solution="Export the corpus again.",
            command="stillhouse export OUT.jsonl --db DB",
        )
    if manifest.schema_version != SCHEMA_VERSION:
        raise CorpusRefused(
            f"'{path}' has schema version {manifest.schema_version}; this program reads "
            f"{SCHEMA_VERSION}.",
            cause="It was exported by another version of Stillhouse.",
            solution="Export the corpus again with this version.",
            command="stillhouse export OUT.jsonl --db DB",
        )
    return document, manifest


def _why_no_manifest(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole document"
        return f"{place}: {first['msg']}."
    return error.what if isinstance(error, ExportRefused) else f"It is no JSON: {error}."


def _check_file(path: Path, manifest: _Manifest) -> tuple[dict[str, int], int]:
    """Counts statuses and simulated rows of a file that is byte for byte the exported one."""
    hashed, bad, number = hashlib.sha256(), None, 0
    statuses: Counter[str] = Counter()
    simulated = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                hashed.update(line)
                if bad is not None:
                    continue
                try:
                    record = read_line(line, manifest.format)
                except BadLine as error:
                    bad = f"line {number}: {error}"
                    continue
                statuses[record.status] += 1
                simulated += record.simulated
    except OSError as error:
        raise CorpusRefused(
            f"The exported file '{path}' cannot be read.",
            cause=f"The system says: {error.strerror}.",
            solution="Keep the file beside its manifest under the name it was exported as, or "
            "export again.",
            command="stillhouse export OUT.jsonl --db DB",
        ) from error
    if hashed.hexdigest() != manifest.sha256:
        said = f"The manifest says {manifest.rows} rows, the file has {number}"
        raise _changed(path, f"{said}; {bad}." if bad else f"{said}, and its hash differs.")
    if bad is not None or number != manifest.rows:
        raise CorpusRefused(
            f"'{path}' is no usable export.",
            cause=f"In {bad}." if bad else f"It has {number} rows, not {manifest.rows}.",
            solution="Export the corpus again; do not write manifests by hand.",
            command="stillhouse export OUT.jsonl --db DB",
        )
    if number == 0:
        raise CorpusRefused(
            f"'{path}' holds no samples.",
            cause="The export is empty.",
            solution="Run a recipe until samples are accepted, then export again.",
            command="stillhouse status",
        )
    return dict(sorted(statuses.items())), simulated


def _changed(path: Path, how: str) -> CorpusRefused:
    return CorpusRefused(
        f"'{path}' is no longer what its manifest says.",
        cause=f"The file was changed after it was exported. {how}",
        solution="Export the corpus again.",
        command="stillhouse export OUT.jsonl --db DB",
    )


def _prove(db: str, path: Path, manifest: _Manifest) -> NDArray[np.int8]:
    """Proves that the corpus would give the same file today; what selection scored, in its order.

    Difficulty is the score `informativeness` (0 to 9: how much there is to learn), the one of the
    paper's three (arXiv 2504.15027) that speaks of the task and not of the answer's quality.
    """
    hashed = hashlib.sha256()
    scores = array("b")
    database = Database.open(db)
    try:
        with database.snapshot() as connection:
            for row, line in exported_rows(connection, manifest.options()):
                hashed.update(line)
                scores.append(-1 if row["informativeness"] is None else row["informativeness"])
            if hashed.hexdigest() == manifest.sha256:
                return np.array(scores, dtype=np.int8)
            lines = (line for _, line in exported_rows(connection, manifest.options()))
            raise _stale(path, str(database.name), manifest, lines)
    finally:
        database.close()


def _stale(path: Path, name: str, manifest: _Manifest, lines: Iterator[bytes]) -> CorpusRefused:
    """The error for an export that the corpus has left behind, with what differs."""
    today = {_fingerprint(line) for line in lines}
    gone, example = 0, ""
    with path.open("rb") as file:
        for line in file:
            if _fingerprint(line) in today:
                today.discard(_fingerprint(line))
                continue
            gone += 1
            example = example or read_line(line, manifest.format).id
    if not (gone or today):
        difference = "The same samples come in another order."
    else:
        difference = f"{gone} exported rows are not in it as they were, {len(today)} rows are new."
        difference += f" For example sample {example}." if example else ""
    return CorpusRefused(
        f"The corpus '{name}' no longer says what '{path}' says.",
        cause=f"Samples were added, edited or decided on since the export. {difference}",
        solution="Export again to train on the corpus as it is; leave `corpus.db` out of the "
        "recipe to train on the file as it was.",
        command=f"stillhouse export {path} --db DB",
    )


def _fingerprint(line: bytes) -> bytes:
    return hashlib.blake2b(line, digest_size=8).digest()
