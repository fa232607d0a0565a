"""Reads a SQL benchmark: rows of (database, question, acceptable queries) and the databases.

Two forms are read. A CSV as defog's sql-eval writes it (`db_name`, `query`, `question`, and
`instructions` where there are any) with one file `schema/<db_name>.sql` per database beside it; and
a JSONL of the user's own, a row an object with `query` (a text, or a list of acceptable ones),
`schema` (DDL, with or without rows) or `db_name`, and where wanted `question` or `comment`,
`prefix` (what the user has typed) and `id`. A broken row costs that row: it is reported with file
and line.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from common.hashing import digest_text
from evaluation.sql.errors import SqlBenchmarkError
from evaluation.sql.fill import fill_empty
from evaluation.sql.golds import gold_queries
from evaluation.sql.read_schema import read_schema
from evaluation.sql.schema import Schema


@dataclass(frozen=True, slots=True)
class SqlRow:
    """One row: `golds` are the acceptable queries, the first is the one that is typed; `prefix` is
    where the file says where the user stands. `where` is its file and line."""

    id: str
    database: str
    question: str
    golds: tuple[str, ...]
    category: str | None = None
    prefix: str | None = None
    where: str = ""


@dataclass(frozen=True, slots=True)
class SqlFile:
    """A benchmark as read: its rows, its databases by name, what each was made from (DDL and rows,
    as written), and a line per row that is broken."""

    rows: tuple[SqlRow, ...]
    schemas: Mapping[str, Schema]
    ddl: Mapping[str, str]
    broken: tuple[str, ...] = ()


def read_benchmark(
    path: Path,
    now: datetime,
    *,
    schema_folder: Path | None = None,
    schema_dialect: str = "postgres",
    dialect: str = "sqlite",
) -> SqlFile:
    """Reads `path` (`.csv`, `.jsonl`), or every CSV of a folder in order of name.

    Args:
        path: the file or folder.
        now: what the rows' `CURRENT_DATE` means (UTC, naive).
        schema_folder: where `<db_name>.sql` lies; else `schema/` beside the file.
        schema_dialect: the dialect of the schemas, as sqlglot names it.
        dialect: the dialect of the gold queries.

    Raises:
        SqlBenchmarkError: the file is missing or of another form, a schema cannot be read, or no
            row is left.
    """
    files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
    rows: list[SqlRow] = []
    broken: list[str] = []
    ddl: dict[str, str] = {}
    for file in files:
        folder = schema_folder or file.parent / "schema"
        for where, fields in _records(file):
            try:
                rows.append(_row(fields, where, folder, ddl))
            except ValueError as error:
                broken.append(f"{where}: {error}")
    if not rows:
        raise SqlBenchmarkError(
            f"There is no row to evaluate in {path}.",
            cause=broken[0] if broken else "No file there holds a row.",
            solution="Give a CSV with db_name, query and question, or a JSONL with query and "
            "schema; docs/evaluation-sql.md shows both.",
        )
    schemas = {}
    for name in dict.fromkeys(row.database for row in rows):
        schema = read_schema(name, ddl[name], now, schema_dialect)
        queries = [gold for row in rows if row.database == name for gold in row.golds]
        schemas[name] = fill_empty(schema, now, queries, dialect=dialect)
    written = {name: ddl[name] for name in schemas}
    return SqlFile(tuple(_distinct(rows)), schemas, written, tuple(broken))


def _records(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every row's place and fields."""
    if file.suffix not in (".csv", ".jsonl"):
        raise SqlBenchmarkError(
            f"{file.name} is no SQL benchmark.",
            cause="Its name ends neither in .csv nor in .jsonl.",
            solution="Give a file of one of these forms, or a folder of CSVs.",
        )
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            if file.suffix == ".csv":
                for number, fields in enumerate(csv.DictReader(lines), 2):
                    yield f"{file.name}, row {number}", fields
                return
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield f"{file.name}, line {number}", _object(line)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SqlBenchmarkError(
            f"{file} cannot be read.",
            cause=str(error),
            solution="Correct the path; the file has to be UTF-8.",
        ) from error


def _object(line: str) -> Mapping[str, Any]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        return {"broken": f"it is no JSON ({error})"}
    return value if isinstance(value, dict) else {"broken": "it is no JSON object"}


def _row(fields: Mapping[str, Any], where: str, folder: Path, ddl: dict[str, str]) -> SqlRow:
    if "broken" in fields:
        raise ValueError(fields["broken"])
    given = fields.get("query")
    given = given if isinstance(given, list) else [given]
    cells = [cell for cell in given if isinstance(cell, str)]
    if len(cells) < len(given):
        raise ValueError("`query` is missing, or is neither a text nor a list of texts")
    golds = tuple(dict.fromkeys(query for cell in cells for query in gold_queries(cell)))
    if not golds:
        raise ValueError("`query` holds no query")
    database = _database(fields, folder, ddl)
    question = "\n".join(
        str(fields[name]).strip()
        for name in ("question", "comment", "instructions")
        if fields.get(name)
    )
    return SqlRow(
        id=str(fields.get("id") or digest_text("\n".join([database, question, *golds]))[:12]),
        database=database,
        question=question,
        golds=golds,
        category=fields.get("query_category") or fields.get("category"),
        prefix=fields.get("prefix"),
        where=where,
    )


def _database(fields: Mapping[str, Any], folder: Path, ddl: dict[str, str]) -> str:
    """The row's database by name; its DDL is put among `ddl`."""
    if fields.get("schema"):
        text = str(fields["schema"])
        name = str(fields.get("db_name") or f"schema_{digest_text(text)[:10]}")
        if ddl.setdefault(name, text) != text:
            raise ValueError(f"database '{name}' has another schema in an earlier row")
        return name
    name = str(fields.get("db_name") or "")
    if not name:
        raise ValueError("neither `schema` nor `db_name` is given")
    if name not in ddl:
        file = folder / f"{name}.sql"
        if "/" in name or not file.is_file():
            raise ValueError(f"there is no schema {file.name} in {folder.name}/")
        ddl[name] = file.read_text(encoding="utf-8")
    return name


def _distinct(rows: list[SqlRow]) -> Iterator[SqlRow]:
    """The rows with ids that occur once: a later one of the same id gets a number."""
    taken: set[str] = set()
    for row in rows:
        names = (row.id if n == 1 else f"{row.id}-{n}" for n in itertools.count(1))
        free = next(name for name in names if name not in taken)
        taken.add(free)
        yield replace(row, id=free)
