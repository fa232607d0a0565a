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

import numpy as np
from numpy.typing import NDArray

from common.compact_set import CompactSet
from storage.database import Database
from storage.export import exported_rows
from training.data.manifest import EXPORT_AGAIN, Manifest, read_manifest
from training.data.record import BadLine, Record, read_line
from training.errors import CorpusRefused
from training.recipe import CorpusSettings


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """An export that is what its manifest says.

    - `statuses`: how many rows of each status; the export's own filters decided which.
    - `difficulty`: int8 [rows] in the file's order, -1 where selection gave no score; None where
      the recipe names no database, since an export does not carry scores.
    """

    path: Path
    manifest: Manifest
    statuses: Mapping[str, int]
    simulated: int
    difficulty: NDArray[np.int8] | None = None

    @property
    def export_id(self) -> str:
        """The export's identifier: the digest of its manifest."""
        return self.manifest.export

    @property
    def sha256(self) -> str:
        """The file's hash."""
        return self.manifest.sha256

    @property
    def rows(self) -> int:
        """How many records there are."""
        return self.manifest.rows

    def __len__(self) -> int:
        return self.rows

    def records(self) -> Iterator[Record]:
        """Every record, in the file's order, read anew and proved again.

        Raises:
            CorpusRefused: the file changed since it was opened.
        """
        return _read(self.path, self.manifest)


def read_corpus(settings: CorpusSettings) -> Corpus:
    """Opens the export that `settings` name.

    Raises:
        CorpusRefused: something is missing, empty, broken, simulated, or not what was exported.
        StorageError: the database cannot be opened.
    """
    manifest_path = Path(settings.manifest)
    manifest = read_manifest(manifest_path)
    path = manifest_path.with_name(manifest.file)
    statuses: Counter[str] = Counter()
    simulated = 0
    for record in _read(path, manifest):
        statuses[record.status] += 1
        simulated += record.simulated
    if simulated and not settings.allow_simulated:
        raise CorpusRefused(
            f"{simulated} of the {manifest.rows} samples in '{path}' were written by simulated "
            "teachers.",
            cause="What a simulation writes teaches nothing, and the recipe does not let it in.",
            solution="Export a corpus without them; to rehearse, set `corpus.allow_simulated`.",
            command=EXPORT_AGAIN,
        )
    others = sorted(set(statuses) - set(settings.statuses))
    if others:
        counts = ", ".join(f"{statuses[status]} {status}" for status in others)
        raise CorpusRefused(
            f"'{path}' holds samples that the recipe does not let in: {counts}.",
            cause=f"`corpus.statuses` admits {', '.join(settings.statuses)}.",
            solution="Export without them; or, where they are wanted, say so in `corpus.statuses`.",
            command=EXPORT_AGAIN,
        )
    return Corpus(
        path=path,
        manifest=manifest,
        statuses=dict(sorted(statuses.items())),
        simulated=simulated,
        difficulty=None if settings.db is None else _prove(settings.db, path, manifest),
    )


def _read(path: Path, manifest: Manifest) -> Iterator[Record]:
    """Every record of a file that proves, by its end, to be byte for byte the exported one."""
    hashed, seen = hashlib.sha256(), CompactSet()
    number, wrong = 0, None
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                hashed.update(line)
                if wrong is not None:
                    continue
                try:
                    record = read_line(line, manifest.format)
                except BadLine as error:
                    wrong = f"Line {number}: {error}."
                    continue
                if number > manifest.rows:
                    wrong = f"It has more than the {manifest.rows} rows of its manifest."
                elif not seen.add(_number(record.id.encode())):
                    wrong = f"Line {number}: sample {record.id} has come before."
                else:
                    yield record
    except OSError as error:
        raise CorpusRefused(
            f"The exported file '{path}' cannot be read.",
            cause=f"The system says: {error.strerror}.",
            solution="Keep the file beside its manifest under the name it was exported as, or "
            "export again.",
            command=EXPORT_AGAIN,
        ) from error
    if hashed.hexdigest() != manifest.sha256:
        raise _changed(
            path, f"The manifest says {manifest.rows} rows, the file has {number}", wrong
        )
    if wrong is not None or number != manifest.rows or number == 0:
        raise _unusable(path, wrong or f"It has {number} rows; its manifest says {manifest.rows}.")


def _changed(path: Path, counts: str, wrong: str | None) -> CorpusRefused:
    return CorpusRefused(
        f"'{path}' is no longer what its manifest says.",
        cause=f"The file was changed after it was exported: its hash differs. {counts}."
        + (f" {wrong}" if wrong else ""),
        solution="Export the corpus again.",
        command=EXPORT_AGAIN,
    )


def _unusable(path: Path, cause: str) -> CorpusRefused:
    return CorpusRefused(
        f"'{path}' holds no samples that can be trained on.",
        cause=cause,
        solution="Run a recipe until samples are accepted, and export them; do not write exports "
        "or manifests by hand.",
        command="stillhouse status",
    )


def _prove(db: str, path: Path, manifest: Manifest) -> NDArray[np.int8]:
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


def _stale(path: Path, name: str, manifest: Manifest, lines: Iterator[bytes]) -> CorpusRefused:
    """The error for an export that the corpus has left behind, with what differs."""
    today = {_number(line) for line in lines}
    gone, example = 0, ""
    with path.open("rb") as file:
        for line in file:
            if (fingerprint := _number(line)) in today:
                today.discard(fingerprint)
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


def _number(raw: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "big")
