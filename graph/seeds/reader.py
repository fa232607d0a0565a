"""Reads one source of seeds from its first row to its last: the seam the factory imports.

A path or hub id and its options go in; `SeedRecord`s and `BadRow`s come out in the order of the
file, one at a time. The first rows are looked at together to settle the file's shape; after that
memory holds one row.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import chain, islice
from pathlib import Path

from graph.seeds.columns import RowUnusable
from graph.seeds.errors import SeedFormatUnknown, SeedShapeUnknown
from graph.seeds.files import read_file
from graph.seeds.hub import PREFIX, read_hub
from graph.seeds.options import SeedOptions, Shape
from graph.seeds.records import BadRow, RawRow, SeedRecord
from graph.seeds.shapes import KNOWN_SHAPES, recognise, to_seed

_Rows = Generator[RawRow, None, None] | Generator[RawRow | BadRow, None, None]

_ROWS_LOOKED_AT = 100


def read_seeds(
    source: str, options: SeedOptions | None = None, *, folder: Path | None = None
) -> Iterator[SeedRecord | BadRow]:
    """The seeds of one source, and its rows that are none.

    Args:
        source: a file, or `hf:owner/name[/config][:split]`; records carry it as given.
        options: shape, defaults, limit, split and column names; a `SeedSource` is one too.
        folder: where a relative path starts (a recipe's folder); the working directory otherwise.

    Raises:
        SeedError: the source cannot be read at all; raised before the first record, save where the
            medium itself fails later (a disk, a connection).
    """
    options = options or SeedOptions()
    seeds = 0
    with closing(_rows(source, options, folder)) as rows:
        looked_at = list(islice(rows, _ROWS_LOOKED_AT))
        shape = _settle_shape(source, looked_at, options)
        for raw in chain(looked_at, rows):
            item = _seed_or_reason(source, raw, shape, options)
            yield item
            seeds += isinstance(item, SeedRecord)
            if seeds == options.limit:
                return


def _seed_or_reason(
    source: str, raw: RawRow | BadRow, shape: Shape, options: SeedOptions
) -> SeedRecord | BadRow:
    if isinstance(raw, BadRow):
        return raw
    try:
        return to_seed(source, raw, shape, options)
    except RowUnusable as reason:
        return BadRow(source, raw.row, reason.problem, reason.solution)


def _rows(source: str, options: SeedOptions, folder: Path | None) -> _Rows:
    if source.startswith(PREFIX):
        return read_hub(source, options.split)
    return read_file(source, (folder or Path()) / Path(source).expanduser(), options)


def _settle_shape(source: str, rows: list[RawRow | BadRow], options: SeedOptions) -> Shape:
    """The shape of the file; any will do where its few rows could not even be parsed."""
    parsed = [item.value for item in rows if isinstance(item, RawRow)]
    if not parsed:
        _refuse_if_no_row_parses(source, [item for item in rows if isinstance(item, BadRow)])
        return "plain"
    columns = {str(name): None for value in parsed if isinstance(value, dict) for name in value}
    for field, column in options.fields.items():
        if column not in columns:
            raise _shape_unknown(
                source, list(columns), f"`fields` maps {field} to {column!r}, which no row has."
            )
    if options.shape != "auto":
        return options.shape
    for value in parsed:
        shape = recognise(value, options.fields)
        if shape is not None:
            return shape
    raise _shape_unknown(source, list(columns), "No known column holds the instruction.")


def _refuse_if_no_row_parses(source: str, rows: list[BadRow]) -> None:
    if len(rows) < _ROWS_LOOKED_AT:
        return
    raise SeedFormatUnknown(
        f"{source} is not in the format its name says.",
        cause=f"None of its first {len(rows)} rows could be read; row {rows[0].row}: "
        f"{rows[0].problem}.",
        solution=rows[0].solution,
    )


def _shape_unknown(source: str, columns: list[str], cause: str) -> SeedShapeUnknown:
    return SeedShapeUnknown(
        f"The shape of {source} is not known.",
        cause=f"{cause} Columns found: {', '.join(columns) or 'none (the rows are no objects)'}.",
        solution="Say which column is which under `fields`, for example "
        f"`fields: {{instruction: my_column}}`. Known shapes: {KNOWN_SHAPES}.",
    )
