"""Rows of a Hugging Face dataset, streamed: `hf:owner/name`, `hf:owner/name/config`, `…:split`.

Needs the package datasets, which the `eval` extra brings. A local folder of data files in place of
`owner/name` is read the same way. Credentials for gated datasets are the library's own business;
nothing of them passes through here.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graph.seeds.errors import (
    SeedFileEmpty,
    SeedFileNotFound,
    SeedFileUnreadable,
    SeedFormatUnknown,
    SeedSplitUnknown,
    missing_extra,
)
from graph.seeds.json_rows import choose_split
from graph.seeds.records import RawRow

PREFIX = "hf:"


@dataclass(frozen=True, slots=True)
class HubDataset:
    """A dataset's name as the library takes it, with its configuration and split."""

    name: str
    config: str | None
    split: str | None


def parse_hub_id(source: str) -> HubDataset:
    """The parts of `hf:owner/name[/config][:split]`.

    Raises:
        SeedFormatUnknown: the name is empty or has too many parts.
    """
    name, _, split = source.removeprefix(PREFIX).partition(":")
    if name and Path(name).is_dir():
        return HubDataset(name, None, split or None)
    parts = name.split("/")
    if not all(parts) or len(parts) > 3:
        raise SeedFormatUnknown(
            f"{source} names no dataset.",
            cause="After hf: comes owner/name, then optionally /config and :split.",
            solution="Copy the dataset's name from its page: hf:openai/gsm8k/main:train.",
        )
    return HubDataset("/".join(parts[:2]), parts[2] if len(parts) > 2 else None, split or None)


def read_hub(source: str, split: str | None) -> Generator[RawRow, None, None]:
    """The rows of the dataset; a split in `source` goes before `split`.

    Raises:
        MissingExtra, SeedFormatUnknown, SeedFileNotFound, SeedFileUnreadable, SeedSplitUnknown,
        SeedFileEmpty.
    """
    wanted = parse_hub_id(source)
    splits = _load(source, wanted)
    chosen = splits[choose_split(source, map(str, splits), wanted.split or split)]
    row = 0
    with _reading(source):
        for value in chosen:
            row += 1
            yield RawRow(row, dict(value))
    if row == 0:
        raise SeedFileEmpty(
            f"{source} holds no rows.",
            cause="The split is empty.",
            solution="Choose another split with `split`.",
        )


def _load(source: str, wanted: HubDataset) -> Mapping[Any, Any]:
    try:
        import datasets
    except ImportError as error:
        raise missing_extra(source, "datasets") from error
    with _reading(source):
        try:
            loaded: Mapping[Any, Any] = datasets.load_dataset(
                wanted.name, wanted.config, streaming=True
            )
        except ValueError as error:
            raise SeedSplitUnknown(
                f"{source} has no such configuration, or needs one named.",
                cause=_first_line(error),
                solution="Write the configuration after the name: hf:owner/name/config.",
            ) from error
    return loaded


@contextmanager
def _reading(source: str) -> Iterator[None]:
    """Turns what the library raises for a missing, gated or unreachable dataset into our errors."""
    from datasets.exceptions import DatasetsError

    try:
        yield
    except FileNotFoundError as error:
        raise SeedFileNotFound(
            f"There is no dataset {source}, or it may not be read.",
            cause=_first_line(error),
            solution="Check the name; for a gated dataset set HF_TOKEN in the environment.",
        ) from error
    except (OSError, DatasetsError) as error:
        raise SeedFileUnreadable(
            f"{source} cannot be read.",
            cause=_first_line(error),
            solution="Check the connection, or download the dataset and read its files.",
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
