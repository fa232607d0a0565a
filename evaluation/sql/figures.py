"""Adds the items of a SQL evaluation up: Pass@1, adoption rate, latency, and what went wrong.

An item whose question the model did not answer passes nothing, suggests nothing and has no latency.
Shares are per cent, latencies seconds.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from evaluation.benchmark import ItemResult, Scores
from evaluation.sql.adoption import Replay, Shown, replay
from evaluation.sql.scoring import NO_GOLD

NO_ANSWER = "no_answer"


def add_up(results: Sequence[ItemResult], left_out: Sequence[str] = ()) -> Scores:
    """The figures of `results`; `left_out` are rows that were not asked, a line each."""
    verdicts = [result.judged.verdict if result.judged else {} for result in results]
    passed = [bool(verdict.get("passed")) for verdict in verdicts]
    by_fraction: defaultdict[float, list[bool]] = defaultdict(list)
    by_category: defaultdict[str, list[bool]] = defaultdict(list)
    for result, one in zip(results, passed, strict=True):
        by_fraction[result.item.data["fraction"]].append(one)
        by_category[result.item.category or "none"].append(one)
    latencies = [v["latency_s"] for v in verdicts if v.get("latency_s") is not None]
    replays, strictly = _replays(results, strict=False), _replays(results, strict=True)
    adoption, strict = _together(replays.values()), _together(strictly.values())
    kept = [v["suggestion"] is not None for v in verdicts if v.get("query")]
    reasons = Counter(
        verdict.get("reason") or NO_ANSWER for verdict in verdicts if not verdict.get("passed")
    )
    metrics: dict[str, float | int | None] = {
        "pass_at_1": _percent(sum(passed), len(passed)),
        "adoption_rate": _percent(adoption.saved, adoption.remaining),
        "adoption_rate_strict": _percent(strict.saved, strict.remaining),
        "accepted_suggestions": _percent(adoption.accepted, adoption.seen),
        "kept_typed_text": _percent(sum(kept), len(kept)),
        "latency_p50_s": percentile(latencies, 50),
        "latency_p95_s": percentile(latencies, 95),
        "items": len(results),
        "failed": sum(result.judged is None for result in results),
    }
    details = {
        "pass_at_1_by_fraction": {
            f"{fraction:g}": _percent(sum(each), len(each))
            for fraction, each in sorted(by_fraction.items())
        },
        "pass_at_1_by_category": {
            name: _percent(sum(each), len(each)) for name, each in sorted(by_category.items())
        },
        "not_passed": dict(reasons.most_common()),
        "latencies_known": len(latencies),
        "keystrokes": {"remaining": adoption.remaining, "saved": adoption.saved},
        # Remaining, saved, strictly saved: what reports resample.
        "keystrokes_by_row": {
            row: [each.remaining, each.saved, strictly[row].saved] for row, each in replays.items()
        },
        "left_out": list(left_out),
    }
    return Scores(metrics, details, tuple(_notes(results, verdicts, latencies, left_out)))


def percentile(values: Sequence[float], share: float) -> float | None:
    """The nearest-rank percentile: the least value that `share` per cent of them do not exceed."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share / 100 * len(ordered)) - 1)]


def _replays(results: Sequence[ItemResult], *, strict: bool) -> dict[str, Replay]:
    """One replay per row, over all of its cuts."""
    shown: defaultdict[str, list[Shown]] = defaultdict(list)
    golds: dict[str, str] = {}
    for result in results:
        data = result.item.data
        suggestion = result.judged.verdict["suggestion"] if result.judged else None
        shown[data["row"]].append(Shown(data["at"], suggestion))
        golds[data["row"]] = data["golds"][0]
    return {row: replay(golds[row], each, strict=strict) for row, each in shown.items()}


def _together(replays: Collection[Replay]) -> Replay:
    return Replay(
        sum(each.remaining for each in replays), sum(each.saved for each in replays),
        sum(each.seen for each in replays), sum(each.accepted for each in replays),
    )  # fmt: skip


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None


def _notes(
    results: Sequence[ItemResult],
    verdicts: Sequence[Mapping[str, Any]],
    latencies: Sequence[float],
    left_out: Sequence[str],
) -> list[str]:
    notes = [
        "latency is that of the whole answer, not of its first token, and counts no waiting for a "
        "slot at the endpoint; the load is as many questions at once as the evaluation had in "
        "flight"
    ]
    if len(latencies) < len(results):
        notes.append(f"{len(results) - len(latencies)} of {len(results)} latencies are not known")
    if left_out:
        notes.append(f"{len(left_out)} rows were left out; the details say why")
    if cut := sum(verdict.get("finish_reason") == "length" for verdict in verdicts):
        notes.append(f"{cut} answers were cut by the token limit")
    if broken := sum(verdict.get("reason") == NO_GOLD for verdict in verdicts):
        notes.append(f"{broken} items have no gold that runs, and can only fail")
    if failed := sum(result.judged is None for result in results):
        notes.append(f"{failed} questions got no answer; they pass nothing and suggest nothing")
    return notes
