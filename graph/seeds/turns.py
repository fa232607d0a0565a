"""Picks the first question and its answer out of a conversation.

ShareGPT writes turns as `{from, value}`, OpenAI as `{role, content}` with content as text or as a
list of parts; both are read here, whichever column they stand in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graph.seeds.columns import RowUnusable, as_text, kind_of

_ROLES = {
    "system": ("system", "developer"),
    "user": ("user", "human", "prompter"),
    "assistant": ("assistant", "gpt", "chatgpt", "bard", "bing", "model", "bot", "ai"),
}
_ROLE_OF = {word: role for role, words in _ROLES.items() for word in words}


@dataclass(frozen=True, slots=True)
class Opening:
    """A conversation's system message, first question, the answer right after it, and how many
    turns beyond these there were."""

    system: str | None
    question: str | None
    answer: str | None
    unused: int


def opening_of(turns: list[object]) -> Opening:
    """The opening of a conversation.

    An answer counts only where it directly follows the first question; after a second question or
    a tool's turn it would answer something else.

    Raises:
        RowUnusable: no user's turn, or a turn that cannot be read.
    """
    spoken = [_as_turn(turn) for turn in turns]
    roles = [_role_of(turn) for turn in spoken]
    if "user" not in roles:
        raise RowUnusable(
            "the conversation has no user's turn",
            f"Name the speaker of each turn one of: {', '.join(sorted(_ROLE_OF))}.",
        )
    first = roles.index("user")
    system = [_content_of(spoken[i]) for i in range(first) if roles[i] == "system"]
    answer = None
    if first + 1 < len(turns) and roles[first + 1] == "assistant":
        answer = _content_of(spoken[first + 1])
    used = len(system) + 1 + (answer is not None)
    return Opening(
        system="\n\n".join(text for text in system if text) or None,
        question=_content_of(spoken[first]),
        answer=answer,
        unused=len(turns) - used,
    )


def _as_turn(turn: object) -> Mapping[str, Any]:
    if not isinstance(turn, Mapping):
        raise RowUnusable(
            f"a turn of the conversation is {kind_of(turn)}, not an object",
            "Write each turn as {from, value} or {role, content}.",
        )
    return turn


def _role_of(turn: Mapping[str, Any]) -> str | None:
    word = turn.get("from", turn.get("role"))
    return _ROLE_OF.get(word.strip().lower()) if isinstance(word, str) else None


def _content_of(turn: Mapping[str, Any]) -> str | None:
    content = turn.get("value", turn.get("content"))
    if not isinstance(content, list):
        return as_text(content, "turn")
    parts: list[str] = []
    for part in content:
        text = part.get("text") if isinstance(part, Mapping) else part
        if not isinstance(text, str):
            raise RowUnusable(
                "a turn holds a part that is not text, such as an image",
                "Leave the row out: the factory works on text.",
            )
        parts.append(as_text(text, "turn") or "")
    return "\n".join(parts)
