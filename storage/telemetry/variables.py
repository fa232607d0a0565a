"""Reads the variables that OpenTelemetry's exporter reads, before it does.

In: the environment. Out: the headers that will be sent, or a refusal that names the variable and
never its value. The exporter itself drops a header that it cannot read, takes ten seconds for a
timeout that is none, and only its log says so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.util.re import parse_env_headers

from storage.telemetry.errors import TelemetryRefused

HEADERS = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
_TIMEOUT = ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")
_COMPRESSION = ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION")
# What the exporter takes: a name that HTTP has, and printable ASCII but for ", ; and \.
_HEADER = re.compile(
    r"[!#$%&'*+.^_`|~0-9A-Za-z-]+[ \t]*=[ \t]*[\x20\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*"
)
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
# What HTTP takes, once %… are characters.
_VALUE = re.compile(r"[\x20-\x7e\xa0-\xff]*")
_WAY = "Write name=value, several with commas between them; in a value a space is %20, a comma %2C."


def read_headers(environment: Mapping[str, str]) -> dict[str, str]:
    """The headers that go with every request, by name in small letters.

    Raises:
        TelemetryRefused: one of them is none; so is a timeout or a compression.
    """
    _check_timeout(environment)
    _check_compression(environment)
    variable, text = _set(environment, HEADERS)
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    headers: dict[str, str] = {}
    for place, entry in enumerate(entries, 1):
        which = f"Header {place} of {len(entries)} in it"
        if not _HEADER.fullmatch(entry):
            raise _malformed(variable, f"{which} is not of the form name=value.", _WAY)
        found = parse_env_headers(entry, liberal=True)
        if not all(_NAME.fullmatch(name) and _VALUE.fullmatch(found[name]) for name in found):
            cause = f"{which} holds control characters, or others that HTTP does not send."
            raise _malformed(variable, cause, _WAY)
        headers |= found
    return headers


def _check_timeout(environment: Mapping[str, str]) -> None:
    variable, text = _set(environment, _TIMEOUT)
    try:
        seconds = float(text or 1)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise _malformed(variable, "It is no number of seconds above 0.", "Set it to 10, say.")


def _check_compression(environment: Mapping[str, str]) -> None:
    variable, text = _set(environment, _COMPRESSION)
    known = [way.value for way in Compression]
    if text and text.strip().lower() not in known:
        raise _malformed(
            variable, "It is no way to compress that is known.", f"Set it to {', '.join(known)}."
        )


def _set(environment: Mapping[str, str], names: tuple[str, str]) -> tuple[str, str]:
    """The first of the variables that is set and not empty; the last one's name where none is."""
    for name in names:
        if environment.get(name):
            return name, environment[name]
    return names[-1], ""


def _malformed(variable: str, cause: str, solution: str) -> TelemetryRefused:
    return TelemetryRefused(f"{variable} cannot be read.", cause=cause, solution=solution)
