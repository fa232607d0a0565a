"""Rows of CSV and of Parquet, one dictionary each, read piece by piece.

Bytes in, `RawRow`s and `BadRow`s out. CSV follows RFC 4180 strictly, so that a quote left open
costs its row and cannot swallow the rest of the file; a semicolon or a tab in place of the comma is
recognised from the header. Parquet needs pyarrow, which the `eval` extra brings.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator
from typing import Any, BinaryIO

from common.csv_fields import allow_long_fields
from graph.seeds.errors import SeedFileUnreadable, missing_extra
from graph.seeds.records import BadRow, RawRow

_BATCH_ROWS = 256
_QUOTING = (
    "Quote every field that holds the delimiter, a quote or a line break, and double the quotes "
    "inside it."
)


def read_csv(source: str, stream: BinaryIO) -> Iterator[RawRow | BadRow]:
    """One row per record below the header that is not blank; `row` counts them from 1."""
    allow_long_fields()
    # Bytes that are not UTF-8 pass as surrogates and are found per row, with the row's number.
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    first, lines_above = text.readline(), 1
    while first and not first.strip():
        first, lines_above = text.readline(), lines_above + 1
    delimiter = max(",\t;", key=first.count)
    header = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
    records = csv.reader(text, delimiter=delimiter, strict=True)
    for row in itertools.count(1):
        begins = records.line_num + 1
        try:
            fields = next(filter(None, records))
        except StopIteration:
            return
        except csv.Error as error:
            problem = f"not valid CSV: {error}"
        else:
            if len(fields) == len(header):
                yield RawRow(row, dict(zip(header, fields, strict=True)))
                continue
            problem = f"{len(fields)} fields where the header names {len(header)}"
        first_line, last_line = begins + lines_above, records.line_num + lines_above
        lines = f"line {first_line}" + (f" to {last_line}" if last_line > first_line else "")
        yield BadRow(source, row, f"{problem} ({lines} of the file)", _QUOTING)


def read_parquet(source: str, stream: BinaryIO) -> Iterator[RawRow | BadRow]:
    """One row per row of the table, a batch in memory at a time.

    Raises:
        MissingExtra: pyarrow is not installed.
        SeedFileUnreadable: the file is damaged.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise missing_extra(source, "pyarrow") from error
    row = 0
    try:
        # Buffering ahead would fetch every row group's bytes before the first row.
        table: Any = pyarrow.parquet.ParquetFile(stream, pre_buffer=False)
        for batch in table.iter_batches(batch_size=_BATCH_ROWS):
            for value in batch.to_pylist():
                row += 1
                yield RawRow(row, value)
    except (pyarrow.ArrowException, OSError) as error:
        raise SeedFileUnreadable(
            f"{source} is not a readable Parquet file.",
            cause=str(error).splitlines()[0],
            solution="Write the file again.",
        ) from error
