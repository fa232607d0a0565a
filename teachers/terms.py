"""What a teacher's terms let its answers be used for, and how that travels to all descendants.

In: a teacher's terms from the recipe. Out: contributions, one per teacher that wrote part of a
text; they are merged from parent to child and decide a sample's `allows_training` and `terms`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Permission = Literal["true", "false", "unknown"]

_STRICTNESS: dict[Permission, int] = {"true": 0, "unknown": 1, "false": 2}


def _from_boolean(value: Any) -> Any:
    """YAML reads a bare `true` as a boolean."""
    return str(value).lower() if isinstance(value, bool) else value


class Terms(BaseModel):
    """A teacher's terms, as the user read them; nothing is assumed in their place."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    allows_training: Annotated[Permission, BeforeValidator(_from_boolean)] = Field(
        default="unknown", description="Whether its answers may train another model."
    )
    licence: str | None = Field(default=None, description="The licence of model or answers.")
    note: str | None = Field(default=None, description="Anything a reader of the corpus must know.")

    def contribution(self, teacher: str, model: str, *, simulated: bool) -> Contribution:
        """What an answer by `model` brings into a text; `teacher` is its name in the recipe."""
        return Contribution(
            teacher=teacher,
            model=model,
            licence=self.licence,
            allows_training=self.allows_training,
            note=self.note,
            simulated=simulated,
        )


@dataclass(frozen=True, slots=True)
class Contribution:
    """One teacher that wrote part of a text, under which terms."""

    teacher: str
    model: str
    licence: str | None
    allows_training: Permission
    note: str | None
    simulated: bool

    def as_dict(self) -> dict[str, Any]:
        """For a JSON column; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Contribution:
        """A contribution out of a JSON column.

        Raises:
            ValueError: `allows_training` is none of the known words.
        """
        permission = value["allows_training"]
        if permission not in get_args(Permission):
            raise ValueError(f"allows_training is {permission!r}")
        return cls(
            teacher=value["teacher"],
            model=value["model"],
            licence=value["licence"],
            allows_training=cast(Permission, permission),
            note=value["note"],
            simulated=value["simulated"],
        )


def strictest(*labels: Permission) -> Permission:
    """The label that binds them all: false, else unknown, else true; unknown for none at all."""
    return max(labels, key=_STRICTNESS.__getitem__, default="unknown")


def merge_contributions(
    earlier: tuple[Contribution, ...], later: Iterable[Contribution]
) -> tuple[Contribution, ...]:
    """Both, each once, in the order in which they first wrote."""
    return tuple(dict.fromkeys(chain(earlier, later)))


def training_permission(contributions: Iterable[Contribution]) -> Permission:
    """Whether a text with these contributions may train another model."""
    return strictest(*(contribution.allows_training for contribution in contributions))
