"""One line of an export as a conversation: `messages`, `alpaca` or `sharegpt`.

In: the line's bytes and the format that the manifest names. Out: a `Record`. A line that is
anything else is a `BadLine`, whose text says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from storage.export_formats import question_text

Message = dict[str, str]
_ROLES = ("system", "user", "assistant")
_SPEAKERS = {"system": "system", "human": "user", "gpt": "assistant"}


class BadLine(ValueError):
    """A line that is no exported sample; the text says why."""


@dataclass(frozen=True, slots=True)
class Record:
    """One exported sample."""

    id: str
    family_id: str
    messages: tuple[Message, ...]
    recipe: str
    status: str
    category: str | None = None
    language: str | None = None
    simulated: bool = False


def _string(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise BadLine(f"`{name}` is no text")
    return value


def _optional(value: Any, name: str) -> str | None:
    return None if value is None else _string(value, name)


def _turns(turns: Any, name: str, who: str, what: str, roles: Mapping[str, str]) -> list[Message]:
    if not isinstance(turns, list):
        raise BadLine(f"`{name}` is no list")
    messages = []
    for turn in turns:
        speaker = turn.get(who) if isinstance(turn, dict) else None
        if not isinstance(speaker, str) or speaker not in roles:
            raise BadLine(f"a turn of `{name}` has no `{who}` of {', '.join(roles)}")
        messages.append({"role": roles[speaker], "content": _string(turn.get(what), what)})
    return messages


def _from_messages(line: dict[str, Any]) -> list[Message]:
    roles = {role: role for role in _ROLES}
    return _turns(line.get("messages"), "messages", "role", "content", roles)


def _from_sharegpt(line: dict[str, Any]) -> list[Message]:
    return _turns(line.get("conversations"), "conversations", "from", "value", _SPEAKERS)


def _from_alpaca(line: dict[str, Any]) -> list[Message]:
    row = {name: _string(line.get(name), name) for name in ("instruction", "input", "output")}
    turns = [
        ("system", _optional(line.get("system"), "system")),
        ("user", question_text(row)),
        ("assistant", row["output"]),
    ]
    return [{"role": role, "content": said} for role, said in turns if said]


_READERS: dict[str, Callable[[dict[str, Any]], list[Message]]] = {
    "messages": _from_messages,
    "alpaca": _from_alpaca,
    "sharegpt": _from_sharegpt,
}


def read_line(line: bytes, format: str) -> Record:
    """One exported sample.

    Raises:
        BadLine: it is no JSON, lacks something, or nobody answers in it.
    """
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise BadLine("it is no JSON") from error
    meta = document.get("meta") if isinstance(document, dict) else None
    if not isinstance(meta, dict):
        raise BadLine("it has no `meta`")
    messages = _READERS[format](document)
    if not any(message["role"] == "assistant" for message in messages):
        raise BadLine("it has no assistant's turn")
    for name in ("id", "family_id"):
        if not meta.get(name):
            raise BadLine(f"it has no `{name}`")
    return Record(
        id=_string(meta["id"], "id"),
        family_id=_string(meta["family_id"], "family_id"),
        messages=tuple(messages),
        recipe=_string(meta.get("recipe"), "recipe"),
        status=_string(meta.get("status"), "status"),
        category=_optional(meta.get("category"), "category"),
        language=_optional(meta.get("language"), "language"),
        simulated=meta.get("simulated") is True,
    )
