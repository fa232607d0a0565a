"""What a user writes about a teacher, one pydantic model per kind, told apart by `kind`.

`openai`: any OpenAI-compatible endpoint. `vllm`: a local server that Stillhouse starts, or a
running one by URL. `simulated`: a rehearsal. `recorded`: answers from a file. Keys never stand
here: `api_key_env` names the environment variable that holds one.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from common.recipes import beside
from teachers.limiter import LimitSettings
from teachers.pricing import Prices
from teachers.simulated.settings import SimulatedSettings
from teachers.terms import Terms
from teachers.vllm_server import VllmServerSettings

StructuredMode = Literal["json_schema", "json_object", "prompt"]


class RetrySettings(BaseModel):
    """How long to try. 429 and waiting in our own queue never count as attempts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    attempts: int = Field(default=8, ge=1, le=100)
    first_wait_s: float = Field(default=0.5, ge=0)
    longest_wait_s: float = Field(default=30.0, ge=0)
    unreachable_patience_s: float = Field(
        default=60.0,
        ge=0,
        description="how long no connection at all is borne before the run stops",
    )


class TeacherSettings(BaseModel):
    """What every kind has."""

    # What a user wrote into the wrong place may be a key, so pydantic's errors do not repeat it.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    family: str | None = Field(
        default=None, description="model family; a judge should be of another than the writer"
    )
    structured: StructuredMode = "json_schema"
    limits: LimitSettings = LimitSettings()
    retry: RetrySettings = RetrySettings()
    prices: Prices = Prices()
    terms: Terms = Terms()
    timeout_s: float = Field(default=600.0, gt=0)
    extra_body: dict[str, Any] = Field(default_factory=dict)

    @property
    def model_name(self) -> str:
        """The model as requests name it."""
        raise NotImplementedError


# A parameter's name, as providers and gateways spell it.
_CREDENTIAL = re.compile(
    r"(?:^|&)[^&=]*(?:key|token|secret|passw|auth|credential|signature)"
    r"|(?:^|&)(?:sig|pw|pwd|pass|code)=",
    re.IGNORECASE,
)


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError("base_url must begin with http:// or https://")
    if "@" in parts.netloc or _CREDENTIAL.search(f"{parts.query}&{parts.fragment}"):
        raise ValueError(
            "base_url must not hold a credential; put it into an environment variable and name "
            "that under api_key_env"
        )
    return url.rstrip("/")


def _checked_variable(name: str) -> str:
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
        raise ValueError(
            "api_key_env is the name of an environment variable, such as OPENAI_API_KEY; the key "
            "itself must not stand in a recipe"
        )
    return name


KeyVariable = Annotated[str, AfterValidator(_checked_variable)]


class OpenAITeacher(TeacherSettings):
    """An OpenAI-compatible endpoint, e.g. a provider's API or a gateway."""

    kind: Literal["openai"]
    base_url: str
    model: str
    revision: str | None = None
    api_key_env: KeyVariable | None = None
    return_token_ids: bool = False

    _url = field_validator("base_url")(_checked_url)

    @property
    def model_name(self) -> str:
        return self.model


class VllmTeacher(TeacherSettings):
    """vLLM: `server` starts one here, `base_url` uses one that runs already."""

    kind: Literal["vllm"]
    server: VllmServerSettings | None = None
    base_url: str | None = None
    model: str | None = None
    revision: str | None = None
    api_key_env: KeyVariable | None = None
    return_token_ids: bool = True
    prices: Prices = Prices(usd_per_million_prompt_tokens=0, usd_per_million_completion_tokens=0)

    @field_validator("base_url")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        return None if value is None else _checked_url(value)

    @model_validator(mode="after")
    def _one_of_them(self) -> VllmTeacher:
        if (self.server is None) == (self.base_url is None):
            raise ValueError("give either server (Stillhouse starts it) or base_url (it runs)")
        if self.base_url is not None and self.model is None:
            raise ValueError("give the model that the server at base_url serves")
        if self.server is not None:
            # They would be taken and not heeded.
            for name in ("model", "revision", "api_key_env"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} is for a server at base_url; see the keys of server")
        return self

    @property
    def model_name(self) -> str:
        if self.server is not None:
            return self.server.model_name
        assert self.model is not None, "checked when the settings were read"
        return self.model


class SimulatedTeacher(TeacherSettings):
    """A teacher to rehearse with; everything it says is marked as simulated."""

    kind: Literal["simulated"]
    simulation: SimulatedSettings = SimulatedSettings()
    base_url: str | None = Field(default=None, description="a simulated teacher that runs already")
    family: str | None = "simulated"
    prices: Prices = Prices(usd_per_million_prompt_tokens=0, usd_per_million_completion_tokens=0)
    terms: Terms = Terms(allows_training="false", note="simulated answers: for rehearsal only")

    @field_validator("base_url")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        return None if value is None else _checked_url(value)

    @property
    def model_name(self) -> str:
        return self.simulation.model


class RecordedTeacher(TeacherSettings):
    """Answers from a JSONL file (also .gz) of prompts and real responses."""

    kind: Literal["recorded"]
    path: str
    model: str
    prompt_field: str = "prompt"
    response_field: str = "response"
    prices: Prices = Prices(usd_per_million_prompt_tokens=0, usd_per_million_completion_tokens=0)

    @property
    def model_name(self) -> str:
        return self.model


AnyTeacher = Annotated[
    OpenAITeacher | VllmTeacher | SimulatedTeacher | RecordedTeacher, Field(discriminator="kind")
]


def teachers_beside(teachers: Any, folder: Path) -> None:
    """Resolves, in a recipe's unchecked `teachers:`, the paths that are meant from its `folder`: a
    recording, and a server's model where it is a local one."""
    for teacher in teachers.values() if isinstance(teachers, dict) else ():
        if not isinstance(teacher, dict):
            continue
        if teacher.get("kind") == "recorded" and isinstance(teacher.get("path"), str):
            teacher["path"] = beside(teacher["path"], folder)
        server = teacher.get("server")
        if isinstance(server, dict) and isinstance(server.get("model"), str):
            local = beside(server["model"], folder)
            if Path(local).exists():
                server["model"] = local
