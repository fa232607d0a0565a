"""What a request asks for: the kind of ask, the material in its tags, the schema of the answer.

In: the body of a chat-completions request. Out: an `Ask`. The kind comes from the schema's name, or
from a schema or an example of the answer that the prompt shows; the material comes from the last
user message that carries tags, because a complaint about a malformed answer follows it.
"""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from common.hashing import digest
from teachers.simulated.language import LANGUAGES, detect_language

CATEGORIES = (
    "math",
    "logic",
    "code",
    "sql",
    "planning",
    "writing",
    "summarization",
    "translation",
    "classification",
    "extraction",
    "qa",
    "brainstorming",
    "chat",
    "other",
)

TEXT, UNKNOWN = "text", "unknown"
_SHAPES: dict[str, frozenset[str]] = {
    "classification": frozenset({"category", "language"}),
    "expansion": frozenset({"variants"}),
    "rewrite": frozenset({"instruction"}),
    "selection": frozenset({"informativeness", "helpfulness", "generalisation"}),
    "verification": frozenset({"correct", "consistent"}),
}

_TAGS = re.compile(
    r"^[ \t]*<(instruction|input|response|reasoning|reference|feedback|category|language|count)>"
    r"(.*?)</\1>[ \t]*$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, read. `key` identifies what was said and nothing about how it is delivered."""

    kind: str
    key: str
    instruction: str
    language: str
    category: str | None = None
    input: str = ""
    response: str = ""
    reasoning: str = ""
    reference: str = ""
    feedback: str = ""
    count: int = 1
    wants_thought: bool = False
    system: str = ""
    schema: dict[str, Any] | None = field(default=None)


def message_text(message: dict[str, Any]) -> str:
    """The text of one message, whose content may be a string, a list of parts, or missing."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(
            part["text"]
            for part in content
            if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    return ""


def read_ask(body: dict[str, Any]) -> Ask:
    """Reads a request's body, whose `messages` are a non-empty list of objects."""
    messages: list[dict[str, Any]] = body["messages"]
    key = digest([messages, body.get("seed")])
    material, rest = _material(messages)
    system = "\n".join(
        message_text(m) for m in messages if m.get("role") in ("system", "developer")
    )
    kind, schema = _kind_and_schema(body.get("response_format"), system, rest, bool(material))
    instruction = material.get("instruction", rest if not material else "")
    language = material.get("language", "")
    category = material.get("category")
    count = material.get("count", "1")
    return Ask(
        kind=kind,
        key=key,
        instruction=instruction,
        language=language if language in LANGUAGES else detect_language(instruction),
        category=category if category in CATEGORIES else None,
        input=material.get("input", ""),
        response=material.get("response", ""),
        reasoning=material.get("reasoning", ""),
        reference=material.get("reference", ""),
        feedback=material.get("feedback", ""),
        count=min(max(int(count), 1), 50) if count.isdecimal() else 1,
        wants_thought="<think>" in rest or "<think>" in system,
        system=system,
        schema=schema,
    )


def _material(messages: list[dict[str, Any]]) -> tuple[dict[str, str], str]:
    """The tags of the last user message that has any, and that message's text without them."""
    last = ""
    for message in reversed(messages):
        if message.get("role") != "user":
            continue
        text = message_text(message)
        last = last or text
        found = {m.group(1): m.group(2).strip() for m in _TAGS.finditer(text)}
        if found:
            return found, _TAGS.sub("", text)
    return {}, last


def _kind_and_schema(
    response_format: Any, system: str, rest: str, tagged: bool
) -> tuple[str, dict[str, Any] | None]:
    """An untagged prompt without a format is a plain question, whatever JSON it shows."""
    form = response_format.get("type") if isinstance(response_format, dict) else None
    if form == "json_schema":
        named = response_format.get("json_schema")
        named = named if isinstance(named, dict) else {}
        schema, name = named.get("schema"), named.get("name")
        schema = schema if isinstance(schema, dict) else {"type": "object"}
        return (name if name in _SHAPES else _kind_of(schema.get("properties"))), schema
    if form == "json_object" or tagged:
        for text in (system, rest):
            shown = _shown_object(text) if "{" in text else None
            if shown is not None:
                value = json.loads(shown)
                schema = value if isinstance(value.get("properties"), dict) else {}
                return _kind_of(schema.get("properties") or value), schema
    return (UNKNOWN, {"type": "object"}) if form == "json_object" else (TEXT, None)


def _kind_of(names: Any) -> str:
    given = frozenset(names) if isinstance(names, dict) else frozenset()
    for kind, shape in _SHAPES.items():
        # A lone `instruction` is the rewrite's whole shape; elsewhere it is one field of many.
        if given == shape or (len(shape) > 1 and shape <= given):
            return kind
    return UNKNOWN


@lru_cache(maxsize=64)
def _shown_object(text: str) -> str | None:
    """The first JSON text in `text` that is a schema with properties or an example of an answer."""
    decoder = json.JSONDecoder()
    start = text.find("{")
    while start != -1:
        with contextlib.suppress(ValueError):
            value, end = decoder.raw_decode(text, start)
            if isinstance(value.get("properties"), dict) or _kind_of(value) != UNKNOWN:
                return text[start:end]
        start = text.find("{", start + 1)
    return None
