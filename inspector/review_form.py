"""What a reviewer typed into the form of one held sample, and what it decides.

In: the form's fields. Out: `Typed`, which the page gives back where the decision is refused, and
the `Choosing` that it comes to.
"""

from __future__ import annotations

from dataclasses import dataclass

from inspector.errors import BadQuestion
from inspector.forms import Fields
from inspector.visible import encodable
from storage.reviewing import CHOICES, Choosing, Seen

_LONGEST_NAME = 200
_LONGEST_NOTE = 2000


@dataclass(frozen=True, slots=True)
class Typed:
    """One form as it was sent; texts that it did not hold are None."""

    decision: str
    reviewer: str
    note: str
    instruction: str | None
    response: str | None
    seen: Seen

    @property
    def is_edit(self) -> bool:
        """Whether it was the form with the texts."""
        return self.instruction is not None or self.response is not None

    @property
    def texts(self) -> tuple[tuple[str, str], ...]:
        """Everything that was written in it, each under its label."""
        named = (
            ("Instruction", self.instruction),
            ("Response", self.response),
            ("Reason", self.note),
        )
        return tuple((label, text) for label, text in named if text)


def read_typed(fields: Fields) -> Typed:
    """The form's fields; line ends as texts have them."""
    instruction, response = fields.given("instruction"), fields.given("response")
    return Typed(
        decision=fields.text("decision"),
        reviewer=fields.text("reviewer").strip(),
        note=_line_fed(fields.text("note")).strip(),
        instruction=None if instruction is None else _line_fed(instruction),
        response=None if response is None else _line_fed(response),
        seen=Seen(fields.text("seen_hash"), fields.text("seen_review") or None),
    )


def choosing(typed: Typed, instruction: str, response: str | None) -> Choosing:
    """The decision about a sample that has these words.

    Raises:
        BadQuestion: it is none, or longer than the page's fields allow.
    """
    chosen = next((choice for choice in CHOICES if choice == typed.decision), None)
    if chosen is None:
        raise BadQuestion(
            f"'{typed.decision[:20]}' is no decision.",
            cause=f"A held sample takes one of: {', '.join(CHOICES)}.",
            solution="Use the page's own buttons.",
        )
    if len(typed.reviewer) > _LONGEST_NAME or len(typed.note) > _LONGEST_NOTE:
        raise BadQuestion(
            "The name or the reason is too long.",
            cause=f"A name has at most {_LONGEST_NAME} characters, a reason {_LONGEST_NOTE:,}.",
            solution="Shorten it; what you wrote stands below.",
        )
    return Choosing(
        decision=chosen,
        reviewer=typed.reviewer,
        note=typed.note or None,
        instruction=_edited(typed.instruction, instruction),
        response=_edited(typed.response, response),
    )


def _edited(given: str | None, was: str | None) -> str | None:
    """The given text where it differs from what the field held."""
    if given is None or given == in_field(was or ""):
        return None
    return given


def in_field(text: str) -> str:
    """A text as a browser's field holds it: its line ends line feeds, without half characters and
    zeros."""
    return _line_fed(encodable(text)).replace("\0", "\ufffd")


def _line_fed(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
