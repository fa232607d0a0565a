"""An export's manifest: what `stillhouse export` wrote beside the file, read and checked.

In: the path of a `….manifest.json`. Out: a `Manifest`. One that was changed by hand no
longer fits its own digest and is refused.
"""

from __future__ import annotations

from pathlib import Path

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.hashing import digest
from storage.export import EXPORT_VERSION, ExportOptions, ExportRefused
from training.errors import CorpusRefused

EXPORT_AGAIN = "stillhouse export OUT.jsonl --db DB"


class _Filters(BaseModel):
    model_config = ConfigDict(strict=True)

    recipe: str | None
    status: list[str]
    allow_simulated: bool
    terms: str


class Manifest(BaseModel):
    """What a manifest has to have; it may have more."""

    model_config = ConfigDict(strict=True)

    export: str
    file: str = Field(pattern=r"^[^/\\]*[^/\\.][^/\\]*$")
    format: str
    reasoning: str
    filters: _Filters
    rows: int = Field(ge=0)
    sha256: str
    export_version: int = 1  # What exports were before they said so.

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


def read_manifest(path: Path) -> Manifest:
    """What the manifest says.

    Raises:
        CorpusRefused: it is missing, no manifest, changed, or of another export version.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CorpusRefused(
            f"The manifest '{path}' cannot be read.",
            cause=f"The system says: {error.strerror}.",
            solution="Export the corpus and give the manifest that is written beside the file.",
            command=EXPORT_AGAIN,
        ) from error
    try:
        document = orjson.loads(raw)
        manifest = Manifest.model_validate(document)
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
            command=EXPORT_AGAIN,
        )
    if manifest.export_version != EXPORT_VERSION:
        raise CorpusRefused(
            f"'{path}' has export version {manifest.export_version}; this program reads "
            f"{EXPORT_VERSION}.",
            cause="It was exported by another version of Stillhouse.",
            solution="Export the corpus again with this version.",
            command=EXPORT_AGAIN,
        )
    return manifest


def _why_no_manifest(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole document"
        return f"{place}: {first['msg']}."
    return error.what if isinstance(error, ExportRefused) else f"It is no JSON: {error}."
