"""What a store holds and what it is worth: is k enough, and what did storing cost.

In: an open store. Out: a `StoreReport`, or a `ShardReport` on one source's part of it, from the
shards' own statistics; no rows are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from training.store.key import RowsSource
from training.store.shard import Shard
from training.store.statistics import KEPT_EDGES, RowStatistics
from training.store.store import RowStore


@dataclass(frozen=True, slots=True)
class KeptMass:
    """How much probability the k ids hold, over rows. Shares are of all rows of top-k shards."""

    edges: tuple[float, ...]
    rows: tuple[int, ...]
    mean: float
    least: float
    share_from_90: float
    share_from_99: float


@dataclass(frozen=True, slots=True)
class ErrorInNats:
    """KL(true‖stored) in nats on K and the tail, over rows."""

    mean: float
    highest: float


@dataclass(frozen=True, slots=True)
class ShardReport:
    """One shard, or all of them together (`name` is then the folder).

    - `bytes_per_row`: of the whole file, index and description included. A row is a response token.
    - `kept_mass`: None where no shard holds top-k rows.
    - `codec_error`: by temperature, as text.
    - `nll`: the teacher's mean negative log-likelihood of a stored response token in nats; None
      where no capture said it.
    """

    name: str
    teachers: tuple[str, ...]
    samples: int
    rows: int
    file_bytes: int
    bytes_per_row: float
    kept_mass: KeptMass | None
    codec_error: dict[str, ErrorInNats]
    nll: float | None


@dataclass(frozen=True, slots=True)
class StoreReport:
    """A whole store, then each shard in the order of names."""

    total: ShardReport
    shards: tuple[ShardReport, ...]

    def as_dict(self) -> dict[str, Any]:
        """As JSON says it."""
        return asdict(self)


def store_report(store: RowStore) -> StoreReport:
    """Reports on all shards that the store holds."""
    each = tuple(_report(shard.name, [shard]) for shard in store.shards)
    return StoreReport(_report(str(store.folder), store.shards), each)


def source_report(store: RowStore, source: RowsSource) -> ShardReport:
    """Reports on the shards of one source: one teacher's rows in one form, whatever corpus they
    were captured for. A folder may hold several teachers' rows, whose figures are no one's."""
    return _report(
        str(store.folder), [shard for shard in store.shards if shard.source.hash == source.hash]
    )


def _report(name: str, shards: Sequence[Shard]) -> ShardReport:
    statistics = RowStatistics.total(shard.statistics for shard in shards)
    kept = RowStatistics.total(s.statistics for s in shards if s.statistics.kept_histogram)
    size = sum(shard.file_bytes for shard in shards)
    return ShardReport(
        name=name,
        teachers=tuple(sorted({shard.source.teacher.model for shard in shards})),
        samples=statistics.samples,
        rows=statistics.rows,
        file_bytes=size,
        bytes_per_row=_mean(size, statistics.rows),
        kept_mass=_kept_mass(kept) if kept.rows else None,
        codec_error={
            temperature: ErrorInNats(_mean(error.total, error.rows), error.highest)
            for temperature, error in sorted(statistics.codec_error.items())
        },
        nll=_mean(statistics.nll_total, statistics.nll_rows) if statistics.nll_rows else None,
    )


def _kept_mass(statistics: RowStatistics) -> KeptMass:
    def share_from(edge: float) -> float:
        return sum(statistics.kept_histogram[KEPT_EDGES.index(edge) :]) / statistics.rows

    return KeptMass(
        edges=KEPT_EDGES,
        rows=statistics.kept_histogram,
        mean=statistics.kept_total / statistics.rows,
        least=statistics.kept_least,
        share_from_90=share_from(0.9),
        share_from_99=share_from(0.99),
    )


def _mean(total: float, rows: int) -> float:
    return total / rows if rows else 0.0
