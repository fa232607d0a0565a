"""Seeds from files and hub datasets: `read_seeds` reads, `SeedSource` is what a recipe writes,
`SeedReport` counts. JSONL, JSON, CSV, Parquet and `hf:` ids in, `SeedRecord`s and `BadRow`s out."""

from __future__ import annotations

from graph.seeds.errors import (
    MissingExtra,
    SeedError,
    SeedFileEmpty,
    SeedFileNotFound,
    SeedFileUnreadable,
    SeedFormatUnknown,
    SeedShapeUnknown,
    SeedSplitUnknown,
)
from graph.seeds.options import SeedOptions, SeedSource
from graph.seeds.reader import read_seeds
from graph.seeds.records import BadRow, SeedRecord
from graph.seeds.report import SeedReport, SourceCounts

__all__ = [
    "BadRow",
    "MissingExtra",
    "SeedError",
    "SeedFileEmpty",
    "SeedFileNotFound",
    "SeedFileUnreadable",
    "SeedFormatUnknown",
    "SeedOptions",
    "SeedRecord",
    "SeedReport",
    "SeedShapeUnknown",
    "SeedSource",
    "SeedSplitUnknown",
    "SourceCounts",
    "read_seeds",
]
