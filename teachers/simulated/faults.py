"""Decides which fault meets a request: by its arrival for transport, by its content for answers.

In: the settings, a request's identity, and for transport how often the same body has arrived. Out:
the fault's name or None. A retry is another arrival and draws anew; a complaint turn is another
content and draws anew; the same content meets the same content fault in every process.
"""

from __future__ import annotations

from common.hashing import fraction
from teachers.simulated.settings import CONTENT_FAULTS, TRANSPORT_FAULTS, SimulatedSettings

_ONLY_STRUCTURED = ("malformed_json",)


def transport_fault(
    settings: SimulatedSettings, body: int, arrival: int, in_a_row: int
) -> str | None:
    """The fault of the `arrival`-th arrival of `body`, after `in_a_row` faults of it in a row."""
    if in_a_row >= settings.max_faults_in_a_row:
        return None
    return _drawn(settings, TRANSPORT_FAULTS, "transport", body, arrival)


def content_fault(settings: SimulatedSettings, content: str, structured: bool) -> str | None:
    """The fault in the answer to `content`; JSON is only broken where JSON was asked for."""
    fault = _drawn(settings, CONTENT_FAULTS, "content", content)
    return None if fault in _ONLY_STRUCTURED and not structured else fault


def _drawn(settings: SimulatedSettings, names: tuple[str, ...], *parts: str | int) -> str | None:
    rates = [(name, rate) for name in names if (rate := getattr(settings, name))]
    if not rates:
        return None
    drawn = fraction(settings.seed, *parts)
    for name, rate in rates:
        drawn -= rate
        if drawn < 0:
            return name
    return None
