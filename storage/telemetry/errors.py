"""What can go wrong when traces are exported, each with its cause and its solution."""

from __future__ import annotations

from common.errors import StillhouseError


class TelemetryError(StillhouseError):
    """Traces could not be exported; the corpus is only read."""

    code = "telemetry"


class TelemetryMissing(TelemetryError):
    """The OpenTelemetry packages are not installed."""

    code = "telemetry_missing"


class TelemetryRefused(TelemetryError):
    """What was asked for cannot be exported, or not to there; nothing was sent."""

    code = "telemetry_refused"


class ReceiverUnreachable(TelemetryError):
    """Nobody answers at the endpoint."""

    code = "receiver_unreachable"


class ReceiverUnauthorised(TelemetryError):
    """The receiver wants credentials, or other ones."""

    code = "receiver_unauthorised"


class ReceiverRefused(TelemetryError):
    """Something answers at the endpoint, and does not take traces."""

    code = "receiver_refused"


class PartlyRefused(TelemetryError):
    """The receiver took the requests and left some of their spans out."""

    code = "receiver_partly_refused"
