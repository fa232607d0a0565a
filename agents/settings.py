"""What every agent's settings share: which teacher plays the role, how it samples, which prompt.

These are the pydantic models that a recipe's `agents:` section is parsed into; each agent's module
adds its own on top.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from teachers.types import Sampling


class SamplingSettings(BaseModel):
    """Decoding parameters; what is left out stays the server's default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    seed: int | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    extra: dict[str, Any] = Field(
        default_factory=dict,
        description="further fields of the request body, as the server names them",
    )

    def build(self) -> Sampling:
        """The frozen form that requests carry."""
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_tokens,
            seed=self.seed,
            top_logprobs=self.top_logprobs,
            extra=tuple(sorted(self.extra.items())),
        )


class RoleSettings(BaseModel):
    """One role of the factory. `teacher` overrides the recipe's common teacher for this role."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = True
    teacher: str | None = None
    sampling: SamplingSettings = SamplingSettings()
