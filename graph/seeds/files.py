"""Opens a seed file, finds out its format, and yields its rows one by one.

Format and compression are told from the content where it is unmistakable (gzip, Parquet, a JSON
array under a `.jsonl` name) and from the file's ending otherwise. Rows come out as `RawRow`s, and
rows that cannot be parsed as `BadRow`s; what a row means is the business of `shapes`.
"""

from __future__ import annotations

import difflib
import gzip
import re
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import BinaryIO, Literal, cast

from graph.seeds.errors import (
    SeedFileEmpty,
    SeedFileNotFound,
    SeedFileUnreadable,
    SeedFormatUnknown,
    SeedSplitUnknown,
)
from graph.seeds.json_rows import read_json_array, read_json_object, read_jsonl
from graph.seeds.options import SeedOptions
from graph.seeds.records import BadRow, RawRow
from graph.seeds.table_rows import read_csv, read_parquet

FileFormat = Literal["jsonl", "json-array", "json-object", "csv", "parquet"]

_ENDINGS = ".jsonl, .ndjson, .json, .csv, .tsv (each also with .gz) and .parquet"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_HEAD = 1 << 16
_LONGEST_FIRST_LINE = 16 << 20


def read_file(
    source: str, path: Path, options: SeedOptions
) -> Generator[RawRow | BadRow, None, None]:
    """The rows of the file at `path`; `source` is the name to report it under.

    Raises:
        SeedFileNotFound, SeedFileUnreadable, SeedFileEmpty, SeedFormatUnknown, SeedSplitUnknown:
            before the first row, where there is nothing to read.
    """
    if not path.exists():
        raise _not_found(source, path)
    last_row = 0
    try:
        with _open(path) as stream:
            file_format = _format_of(source, path, stream)
            stream.seek(0)
            for item in _rows(source, stream, file_format, options):
                last_row = item.row
                yield item
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        if last_row == 0:
            raise _unreadable(source, f"its gzip data is damaged ({error})") from error
        yield BadRow(
            source,
            last_row + 1,
            f"the gzip data is damaged here ({error}); nothing after it can be read",
            "Fetch or compress the file again; the rows before this one were read.",
        )
    except OSError as error:
        raise _unreadable(source, error.strerror or str(error)) from error
    if last_row == 0:
        raise _empty(source)


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as stream:
        zipped = stream.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path, "rb")) if zipped else path.open("rb")


def _format_of(source: str, path: Path, stream: BinaryIO) -> FileFormat:
    head = stream.read(_HEAD)
    if not head:
        raise _empty(source)
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SeedFileUnreadable(
            f"{source} is not UTF-8.",
            cause="It begins with the mark of UTF-16.",
            solution="Save it as UTF-8.",
            command=f"iconv -f UTF-16 -t UTF-8 {source} > utf8-{path.name}",
        )
    text = head.removeprefix(_BYTE_ORDER_MARK).lstrip()
    ending = re.sub(r"\.gz$", "", path.name.lower()).rpartition(".")[2]
    if ending in ("csv", "tsv"):
        return "csv"
    if ending in ("jsonl", "ndjson"):
        # Each line of a JSONL file may itself be a list of turns, so `["` does not tell.
        return "json-array" if re.match(rb"\[\s*(?:[{\[]|\n)", text) else "jsonl"
    if ending == "json":
        return "json-array" if text.startswith(b"[") else _object_or_lines(stream)
    if ending == "parquet":
        raise _unreadable(source, "it does not begin as a Parquet file does")
    raise SeedFormatUnknown(
        f"The format of {source} is not known.",
        cause=f"Its name ends in none of {_ENDINGS}.",
        solution="Rename it after its format, or convert it to JSONL.",
    )


def _object_or_lines(stream: BinaryIO) -> FileFormat:
    """A `.json` file that is no array: one object, or one a line, which many call JSON too."""
    stream.seek(0)
    first = stream.readline(_LONGEST_FIRST_LINE).rstrip()
    rest = stream.read(_HEAD).lstrip()
    return "jsonl" if first.endswith(b"}") and rest.startswith(b"{") else "json-object"


def _rows(
    source: str, stream: BinaryIO, file_format: FileFormat, options: SeedOptions
) -> Iterator[RawRow | BadRow]:
    if file_format == "json-object":
        return read_json_object(source, stream, options.split)
    if options.split is not None:
        raise SeedSplitUnknown(
            f"{source} has no split {options.split!r}.",
            cause="Only a JSON object of arrays and a hub dataset have splits.",
            solution="Take `split` out of this source.",
        )
    if file_format == "json-array":
        return read_json_array(source, stream)
    if file_format == "csv":
        return read_csv(source, stream)
    if file_format == "parquet":
        return read_parquet(source, stream)
    return read_jsonl(source, stream)


def _empty(source: str) -> SeedFileEmpty:
    return SeedFileEmpty(
        f"{source} holds no rows.",
        cause="The file, or the split chosen in it, is empty.",
        solution="Check that the file was written completely, or leave it out of the seeds.",
    )


def _not_found(source: str, path: Path) -> SeedFileNotFound:
    folder = path.parent
    near: list[str] = []
    if folder.is_dir():
        names = [entry.name for entry in folder.iterdir()]
        near = difflib.get_close_matches(path.name, names, n=1)
    return SeedFileNotFound(
        f"There is no seed file {source}.",
        cause=f"{path} does not exist." if folder.is_dir() else f"There is no folder {folder}.",
        solution=f"Did you mean {near[0]}?" if near else "Check the path under `seeds:`.",
    )


def _unreadable(source: str, cause: str) -> SeedFileUnreadable:
    return SeedFileUnreadable(
        f"{source} cannot be read.",
        cause=f"{cause[:1].upper()}{cause[1:]}.",
        solution="Check the file and its permissions, or write it again.",
    )
