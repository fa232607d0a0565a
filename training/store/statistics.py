"""What a shard's rows are worth: how much of the teacher they keep, and what storing them cost.

In: rows before and after the codec, sample by sample. Out: `RowStatistics`, which every shard
carries in its description and which add up over shards.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from training.store.codec import codec_error
from training.store.rows import TeacherRows

KEPT_EDGES = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999, 1.0)
"""Bins of the kept mass P: each holds its lower edge, the last one its upper edge too."""


@dataclass(frozen=True, slots=True)
class CodecError:
    """KL(true‖stored) in nats on K and the tail, over rows: how many, sum, maximum."""

    rows: int = 0
    total: float = 0.0
    highest: float = 0.0

    def __add__(self, other: CodecError) -> CodecError:
        highest = max(self.highest, other.highest)
        return CodecError(self.rows + other.rows, self.total + other.total, highest)


@dataclass(frozen=True, slots=True)
class RowStatistics:
    """Sums over rows, so that they can be added.

    - `kept_histogram`: rows by kept mass P, one count per bin of `KEPT_EDGES`; empty for sampled
      rows, which keep no mass but draws.
    - `codec_error`: by temperature, as text ("1.0" is always there).
    - `nll_total`, `nll_rows`: the teacher's own negative log-likelihood of the stored responses in
      nats, where the capture said it.
    """

    samples: int = 0
    rows: int = 0
    kept_histogram: tuple[int, ...] = ()
    kept_total: float = 0.0
    kept_least: float = 1.0
    codec_error: dict[str, CodecError] = field(default_factory=dict)
    nll_total: float = 0.0
    nll_rows: int = 0

    def __add__(self, other: RowStatistics) -> RowStatistics:
        bins = max(len(self.kept_histogram), len(other.kept_histogram))
        pairs = zip(_wide(self, bins), _wide(other, bins), strict=True)
        at = {**self.codec_error, **other.codec_error}
        none = CodecError()
        return RowStatistics(
            samples=self.samples + other.samples,
            rows=self.rows + other.rows,
            kept_histogram=tuple(a + b for a, b in pairs),
            kept_total=self.kept_total + other.kept_total,
            kept_least=min(self.kept_least, other.kept_least),
            codec_error={
                t: self.codec_error.get(t, none) + other.codec_error.get(t, none) for t in at
            },
            nll_total=self.nll_total + other.nll_total,
            nll_rows=self.nll_rows + other.nll_rows,
        )

    @classmethod
    def of(cls, true: TeacherRows, stored: TeacherRows, nll: float | None) -> RowStatistics:
        """Of one example's rows; `nll` is the sum over them, in nats."""
        errors = {}
        for temperature in (1.0, *stored.log_z):
            error_N = codec_error(true, stored, temperature)
            errors[str(temperature)] = CodecError(
                rows=len(true),
                total=float(error_N.sum(dtype=np.float64)),
                highest=float(error_N.max(initial=0.0)),
            )
        statistics = cls(
            samples=1,
            rows=len(true),
            codec_error=errors,
            nll_total=0.0 if nll is None else float(nll),
            nll_rows=0 if nll is None else len(true),
        )
        return statistics._with_kept(true) if true.kind == "top_k" else statistics

    def _with_kept(self, true: TeacherRows) -> RowStatistics:
        kept_N = np.minimum(np.exp(true.log_p_NK.astype(np.float64)).sum(axis=1), 1.0)
        return replace(
            self,
            kept_histogram=tuple(np.histogram(kept_N, KEPT_EDGES)[0].tolist()),
            kept_total=float(kept_N.sum()),
            kept_least=float(kept_N.min(initial=1.0)),
        )

    def as_dict(self) -> dict[str, Any]:
        """As JSON says it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, said: dict[str, Any]) -> RowStatistics:
        """The inverse of `as_dict`, also after a way through JSON."""
        errors = {t: CodecError(**error) for t, error in said["codec_error"].items()}
        histogram = tuple(said["kept_histogram"])
        return cls(**{**said, "codec_error": errors, "kept_histogram": histogram})

    @classmethod
    def total(cls, parts: Iterable[RowStatistics]) -> RowStatistics:
        """All together."""
        return sum(parts, start=cls())


def _wide(statistics: RowStatistics, bins: int) -> tuple[int, ...]:
    return statistics.kept_histogram or (0,) * bins
