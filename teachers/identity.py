"""Who a teacher is, without opening it: what request keys and samples' lineages hash.

In: a teacher's settings. Out: its stable identity, the same on every machine and at every start.
`teachers.opening` gives it to the gateways; `status --stale` compares it with what the corpus says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from common.hashing import digest
from teachers.config import (
    OpenAITeacher,
    RecordedTeacher,
    SimulatedTeacher,
    TeacherSettings,
    VllmTeacher,
)
from teachers.recorded import RecordedBackend


class Identified(Protocol):
    """What shapes a teacher's answers besides the request; a `Gateway` is one too."""

    @property
    def endpoint(self) -> str:
        """A base URL, or a managed server's or recording's own identity; never a passing port."""
        ...

    @property
    def model(self) -> str:
        """The model as requests name it."""
        ...

    @property
    def revision(self) -> str | None:
        """The revision the recipe asks for."""
        ...

    @property
    def structured_mode(self) -> str:
        """How structured answers are asked for."""
        ...


@dataclass(frozen=True, slots=True)
class TeacherIdentity:
    """An `Identified` without a connection."""

    endpoint: str
    model: str
    revision: str | None
    structured_mode: str


def endpoint_identity(settings: TeacherSettings) -> str:
    """The stable identity of where requests go; a recording's is its backend's.

    Raises:
        CannotStart: a managed server's checkpoint is not where the settings say.
    """
    match settings:
        case OpenAITeacher():
            identity = settings.base_url
        case VllmTeacher(server=None, base_url=str(url)):
            identity = url
        case VllmTeacher():
            assert settings.server is not None, "the settings demand a server or a base_url"
            identity = settings.server.identity()
        case SimulatedTeacher(base_url=str(url)):
            identity = url
        case SimulatedTeacher():
            identity = f"simulated:{settings.simulation.identity()}"
        case _:
            raise TypeError(f"a {type(settings).__name__} has no endpoint")
    if settings.extra_body:
        identity += f"+{digest(settings.extra_body)[:12]}"
    return identity


def recorded_backend(name: str, settings: RecordedTeacher) -> RecordedBackend:
    """Opens the recording; `close` it.

    Raises:
        RecordingUnreadable: naming the file and the line.
    """
    return RecordedBackend(
        name, settings.path, settings.model, settings.prompt_field, settings.response_field
    )


async def identity_of(name: str, settings: TeacherSettings) -> TeacherIdentity:
    """The identity that the teacher's gateway would have, were it opened now.

    Raises:
        TeacherError: a checkpoint or a recording cannot be read.
    """
    if isinstance(settings, RecordedTeacher):
        backend = recorded_backend(name, settings)
        endpoint = backend.identity
        await backend.close()
    else:
        endpoint = endpoint_identity(settings)
    return TeacherIdentity(
        endpoint=endpoint,
        model=settings.model_name,
        revision=getattr(settings, "revision", None),
        structured_mode=settings.structured,
    )
