"""The GPUs that a plan is made for, and prices per GPU-hour as the user gives them.

Peaks are dense bf16 tensor-core figures and memory sizes from NVIDIA's data sheets (A100 80GB SXM,
whose compute the A800 keeps; H100 SXM; H200). Data sheets count 10^9 bytes to the GB, and so does a
plan: drivers report a few per cent more, which is left as reserve. There is no price here: what an
hour costs depends on whom one asks, and is said by `--price`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from training.errors import TrainingError


class PlanRefused(TrainingError):
    """What was asked of a plan makes no sense."""

    code = "plan_refused"


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU: its peak in FLOP/s (dense bf16) and its memory in bytes."""

    key: str
    name: str
    peak: float
    memory: int


GPUS = (
    Gpu("A800", "A800 80GB", 312e12, 80 * 10**9),
    Gpu("H100", "H100 80GB SXM", 989e12, 80 * 10**9),
    Gpu("H200", "H200 141GB", 989e12, 141 * 10**9),
)


def parse_prices(prices: Sequence[str]) -> dict[str, float]:
    """US dollars per GPU-hour by GPU, from `A800=1.5` and the like.

    Raises:
        PlanRefused: no such GPU, or no number.
    """
    known = {gpu.key for gpu in GPUS}
    parsed: dict[str, float] = {}
    for each in prices:
        key, _, amount = each.partition("=")
        try:
            price = float(amount)
        except ValueError:
            price = math.nan
        if key not in known or not (price >= 0 and math.isfinite(price)):
            raise PlanRefused(
                f"'--price {each}' is no price.",
                cause=f"It has to be GPU=DOLLARS for one of {', '.join(sorted(known))}.",
                solution="Give US dollars per GPU and hour, as your provider asks them.",
                command="stillhouse train plan RECIPE --price A800=DOLLARS",
            )
        parsed[key] = price
    return parsed
