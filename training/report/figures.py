"""Figures in words, the same in pictures and on the terminal: 12.3k, 41 %, 14 min, 61.4 GiB."""

from __future__ import annotations


def short(value: float) -> str:
    """Three significant digits: 0.0953, 41.1, 12.3k, 1.5M; very small ones as 8.1e-06."""
    if abs(value) < 999.5:
        return f"{value:.3g}"
    return f"{value / 1000:.3g}k" if abs(value) < 999_500 else f"{value / 1e6:.3g}M"


def percent(share: float) -> str:
    """A share in [0, 1] as a percentage with three significant digits."""
    return f"{100 * share:.3g} %"


def gibibytes(count: float) -> str:
    """Bytes in GiB."""
    return f"{count / 2**30:.3g} GiB"


def span(seconds: float) -> str:
    """A length of time in its two largest units: 42 s, 14 min 20 s, 3 h 05 min, 2 d 04 h."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours:02d} h"
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
