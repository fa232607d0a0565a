"""Where a benchmark's data comes from: a file, or a dataset on the hub.

In: a path (JSON, JSONL or CSV, also `.gz`); `hf:owner/name[:split]`, a dataset; or
`hf:owner/name/FILE`, one file of a dataset's repository. Out: rows, and a hash of them that stands
in the evaluation's settings. The hub is asked through packages that the extra `eval` brings.
"""

from __future__ import annotations

import csv
import gzip
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from common.csv_fields import allow_long_fields
from common.hashing import digest
from evaluation.errors import DataMissing

PREFIX = "hf:"


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one source. `source` is a file's name or the hub's, never a whole path."""

    source: str
    rows: tuple[dict[str, Any], ...]

    @property
    def hash(self) -> str:
        """32 hexadecimal digits over the rows."""
        return digest(list(self.rows))


def read_rows(source: str, what: str) -> Rows:
    """Every row of `source`; `what` says in errors what was looked for.

    Raises:
        DataMissing: it is not there, or holds no rows.
    """
    if source.startswith(PREFIX):
        if source.count("/") < 2:
            return _from_hub(source, what)
        path = _file_of_hub(source, what)
    else:
        path = Path(source).expanduser()
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
        rows = _parse(text, path.name.removesuffix(".gz"))
    except FileNotFoundError as error:
        raise DataMissing(
            f"The {what} are not at {source}.",
            cause="There is no such file.",
            solution="Give the file's path, or `hf:owner/name` for a dataset on the hub.",
        ) from error
    except (OSError, ValueError, EOFError, csv.Error) as error:
        raise DataMissing(
            f"The {what} in {source} cannot be read.",
            cause=str(error),
            solution="Give JSON, JSONL or CSV in UTF-8, gzipped or not.",
        ) from error
    return _checked(Rows(path.name, tuple(rows)), source, what)


def _parse(text: str, name: str) -> list[dict[str, Any]]:
    if name.endswith(".csv"):
        allow_long_fields()
        return [dict(row) for row in csv.DictReader(io.StringIO(text, newline=""), strict=True)]
    found: Any
    if name.endswith(".json"):
        found = orjson.loads(text)
    else:
        # Only \n ends a line here: a string may hold the other line ends of Unicode.
        found = [orjson.loads(line) for line in text.split("\n") if line.strip()]
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise ValueError("it is not a list of objects")
    return found


def _file_of_hub(source: str, what: str) -> Path:
    owner, name, file = source.removeprefix(PREFIX).split("/", 2)
    try:
        import huggingface_hub as hub
    except ModuleNotFoundError as error:
        raise _not_installed(what, error) from error
    try:
        return Path(hub.hf_hub_download(f"{owner}/{name}", file, repo_type="dataset"))
    except (OSError, ValueError, hub.errors.HfHubHTTPError) as error:
        raise _unreachable(what, source, error) from error


def _from_hub(source: str, what: str) -> Rows:
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise _not_installed(what, error) from error
    name, _, split = source.removeprefix(PREFIX).partition(":")
    try:
        rows = datasets.load_dataset(name, split=split or "train")
    except (OSError, ValueError, ConnectionError) as error:
        raise _unreachable(what, name, error) from error
    return _checked(Rows(source, tuple(dict(row) for row in rows)), source, what)


def _checked(rows: Rows, source: str, what: str) -> Rows:
    if not rows.rows:
        raise DataMissing(
            f"The {what} in {source} are none.",
            cause="It holds no rows.",
            solution="Give another file.",
        )
    return rows


def _not_installed(what: str, error: ModuleNotFoundError) -> DataMissing:
    return DataMissing(
        f"The {what} are on the hub, and the package that asks it is not installed.",
        cause=f"Python module '{error.name}' is missing.",
        solution="Install the extra `eval`, or give a file.",
        command="pip install -c constraints.txt -e '.[eval]'",
    )


def _unreachable(what: str, source: str, error: Exception) -> DataMissing:
    return DataMissing(
        f"The {what} could not be had from the hub ({source.removeprefix(PREFIX)}).",
        cause=str(error).splitlines()[0] if str(error) else type(error).__name__,
        solution="Go online, or give a file of them.",
    )
