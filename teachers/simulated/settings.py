"""What a simulated teacher is told: how often it errs, how slow it is, what it calls itself.

Users write these in a recipe or pass them as JSON. Transport faults are drawn for each arrival, so
a retry can succeed; content faults are drawn for each request's content, so the same question has
the same answer in every process.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from common.errors import StillhouseError
from common.hashing import digest

ANSWERS_VERSION = 1
"""Raised whenever the answering code gives another answer to the same request."""

TRANSPORT_FAULTS = ("server_error", "rate_limited", "stall", "truncated_body")
CONTENT_FAULTS = ("malformed_json", "refusal", "empty", "length_cut")

Rate = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0, le=3600)]


class InvalidSimulatedSettings(StillhouseError):
    """The settings of a simulated teacher do not fit their model."""

    code: ClassVar[str] = "invalid_simulated_settings"
    exit_code: ClassVar[int] = 2


class SimulatedSettings(BaseModel):
    """Rates are shares of requests from 0 to 1.

    Of one request at most one transport fault and at most one content fault is drawn, so each
    group's rates add up to at most 1. `max_faults_in_a_row` bounds consecutive transport faults of
    one request body. `wrong_math` is the share of computed maths answers that are off by a little.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 0
    model: str = Field(default="simulated-teacher", pattern=r"^simulated")
    context_length: int = Field(default=32768, ge=16)
    latency_s: Seconds = 0.0

    wrong_math: Rate = 0.0
    off_category: Rate = 0.0
    off_language: Rate = 0.0

    malformed_json: Rate = 0.0
    refusal: Rate = 0.0
    empty: Rate = 0.0
    length_cut: Rate = 0.0

    server_error: Rate = 0.0
    rate_limited: Rate = 0.0
    stall: Rate = 0.0
    truncated_body: Rate = 0.0
    stall_s: Seconds = 30.0
    retry_after_s: Seconds = 0.05
    max_faults_in_a_row: int = Field(default=3, ge=0, le=255)

    @model_validator(mode="after")
    def _rates_leave_room(self) -> Self:
        for names in (TRANSPORT_FAULTS, CONTENT_FAULTS, ("off_category", "off_language")):
            if sum(getattr(self, name) for name in names) > 1 + 1e-9:
                raise ValueError(f"the rates {', '.join(names)} add up to more than 1")
        return self

    def identity(self) -> str:
        """32 hexadecimal digits over everything that shapes what is answered.

        Transport faults, latency and waiting times do not: they change when an answer comes.
        """
        shaping = (
            "seed",
            "model",
            "context_length",
            "wrong_math",
            "off_category",
            "off_language",
            *CONTENT_FAULTS,
        )
        return digest(["simulated", ANSWERS_VERSION, [[n, getattr(self, n)] for n in shaping]])


def parse_settings(text: str) -> SimulatedSettings:
    """The settings in a JSON text.

    Raises:
        InvalidSimulatedSettings: naming each key at fault.
    """
    try:
        return SimulatedSettings.model_validate_json(text)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'settings'}: {e['msg']}" for e in error.errors()
        )
        raise InvalidSimulatedSettings(
            "The settings of the simulated teacher are not valid.",
            cause=faults,
            solution="Rates lie between 0 and 1; the keys are "
            f"{', '.join(SimulatedSettings.model_fields)}.",
        ) from error
