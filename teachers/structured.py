"""Reading what a teacher answered: the server's JSON, the thinking in it, the structure asked for.

In: a `chat.completion` object; a text with thinking, prose and code fences around some JSON. Out: a
`Completion`; an instance of a pydantic model, or `MalformedAnswer` with a complaint that the
teacher can act on. Nothing is repaired by guessing: an answer that could mean two things is
complained about. `schema_of` makes the strict JSON Schema that asks for such an instance.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from teachers.errors import TransportFault
from teachers.types import Completion, Usage

Answer = TypeVar("Answer", bound=BaseModel)

# What OpenAI's strict mode, xgrammar and llama.cpp all accept. Pydantic checks the rest afterwards.
_KEPT = frozenset({"type", "enum", "const", "description", "minimum", "maximum", "$ref"})
_MAX_FAULTS_TOLD = 5
_EXCERPT_CHARACTERS = 60

_THINK_OPEN = re.compile(r"\s*<think>")
_THINK_CLOSE = re.compile(r"</think>")
# Without an opening tag only a line's end or beginning counts: prose and JSON strings may name it.
_LONE_THINK_CLOSE = re.compile(r"^[ \t]*</think>|</think>[ \t]*$", re.MULTILINE)
# Prose has braces too (\frac{1}{2}, {name}); an object begins with a key or ends at once.
_OBJECT_START = re.compile(r'\{(?=\s*["}])')
_BRACKET_OR_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|[{}]', re.DOTALL)


class MalformedAnswer(ValueError):
    """The answer does not hold what was asked for; `complaint` says to the model what and where."""

    def __init__(self, complaint: str) -> None:
        super().__init__(complaint)
        self.complaint = complaint


def split_thinking(content: str) -> tuple[str | None, str]:
    """Splits `<think>…</think>` off the beginning of `content`: (reasoning or None, the rest).

    The opening tag may be missing, as the chat templates of Qwen3 and DeepSeek-R1 put it into the
    prompt. Thinking that was cut before its end is all reasoning. Tags elsewhere are content.
    """
    opening = _THINK_OPEN.match(content)
    begin = opening.end() if opening else 0
    closing = (_THINK_CLOSE if opening else _LONE_THINK_CLOSE).search(content, begin)
    if closing is None:
        return (content[begin:].strip() or None, "") if opening else (None, content)
    if opening is None and "<think>" in content[: closing.start()]:
        return None, content
    return content[begin : closing.start()].strip() or None, content[closing.end() :].lstrip()


def completion_from_response(response: dict[str, Any], teacher: str = "teacher") -> Completion:
    """A `chat.completion` object, as any OpenAI-compatible server words it, as a `Completion`.

    Thinking inside the content is split off where the server gave no reasoning of its own.

    Raises:
        TransportFault: when there is no choice with a message.
    """
    choice = choices_of(response, teacher)[0]
    message = choice["message"]
    content, reasoning = _content_and_reasoning(message)
    if reasoning is None:
        reasoning, content = split_thinking(content)
    logprobs = choice.get("logprobs")
    model, fingerprint = response.get("model"), response.get("system_fingerprint")
    return Completion(
        content=content,
        reasoning=reasoning,
        refusal=message.get("refusal") or None,
        finish_reason=choice.get("finish_reason"),
        model=model,
        revision=fingerprint or None,
        usage=_usage(response.get("usage")),
        logprobs=logprobs if isinstance(logprobs, dict) else None,
        prompt_token_ids=_ids(response.get("prompt_token_ids")),
        token_ids=_ids(choice.get("token_ids")),
        response_id=response.get("id"),
        # A gateway may drop the field that is not the protocol's; the names come through.
        simulated=bool(response.get("simulated"))
        or str(model).startswith("simulated")
        or str(fingerprint).startswith("simulated-"),
    )


def choices_of(response: dict[str, Any], teacher: str) -> list[dict[str, Any]]:
    choices = response.get("choices")
    if isinstance(choices, list) and choices:
        if all(isinstance(c, dict) and isinstance(c.get("message"), dict) for c in choices):
            return choices
        lack = "a choice without a message"
    else:
        lack = "no choices"
    raise TransportFault(
        f"Teacher '{teacher}' sent an answer with {lack}.",
        cause=f"The answer holds: {', '.join(sorted(response)) or 'nothing'}.",
        solution="This is tried again; if it stays, check that base_url is a chat endpoint's.",
        command=f"stillhouse teacher check {teacher}",
    )


def _content_and_reasoning(message: dict[str, Any]) -> tuple[str, str | None]:
    content = message.get("content")
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(content, list):
        # Mistral's reasoning models answer in parts, and so do LangChain's content blocks.
        reasoning = reasoning or _joined(content, ("thinking", "reasoning"))
        content = _joined(content, ("text",))
    if not (isinstance(reasoning, str) and reasoning.strip()):
        reasoning = None
    return content if isinstance(content, str) else "", reasoning


def _joined(parts: list[Any], kinds: tuple[str, ...]) -> str:
    texts = []
    for part in parts:
        if isinstance(part, str) and "text" in kinds:
            texts.append(part)
        elif isinstance(part, dict) and part.get("type") in kinds:
            inner = part.get(part["type"]) or ""
            texts.append(inner if isinstance(inner, str) else _joined(inner, ("text",)))
    return "".join(texts)


def _usage(usage: Any) -> Usage:
    if not isinstance(usage, dict):
        return Usage()
    details = usage.get("completion_tokens_details")
    reasoning = _count(details.get("reasoning_tokens")) if isinstance(details, dict) else None
    return Usage(
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        # SGLang counts it beside the others.
        reasoning_tokens=_count(usage.get("reasoning_tokens")) if reasoning is None else reasoning,
    )


def _count(value: Any) -> int | None:
    """A count of tokens; what is none is unknown."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _ids(ids: Any) -> tuple[int, ...] | None:
    return tuple(ids) if isinstance(ids, list) else None


@functools.cache
def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The model's JSON Schema as OpenAI's strict mode wants it; made once, so do not change it.

    Every object is closed and every property required; references are written out where they do
    not recur. Keywords that some servers refuse (`minLength`, `pattern`, `default`, …) are left
    out, and so are docstrings: they are for readers of the code, and requests are known by hash.

    Raises:
        TypeError: for what strict mode cannot say, such as a dictionary with free keys.
    """
    schema = model.model_json_schema()
    definitions: dict[str, Any] = schema.pop("$defs", {})
    recurring: set[str] = set()
    root = _strict(schema, definitions, (), recurring, model.__name__)
    root.pop("description", None)
    if root.get("type") != "object":
        raise TypeError(f"{model.__name__} is no object, so strict mode cannot ask for it")
    kept: dict[str, Any] = {}
    while missing := recurring - kept.keys():
        for name in missing:
            kept[name] = _strict(definitions[name], definitions, (name,), recurring, name)
            kept[name].pop("description", None)
    return {**root, "$defs": kept} if kept else root


def _strict(
    node: dict[str, Any],
    definitions: dict[str, Any],
    inside: tuple[str, ...],
    recurring: set[str],
    where: str,
) -> dict[str, Any]:
    """`node` in strict form. `inside`: the definitions being written out; `where`: for errors."""

    def strict(child: dict[str, Any], name: str) -> dict[str, Any]:
        return _strict(child, definitions, inside, recurring, f"{where}.{name}")

    if "$ref" in node:
        name = node["$ref"].rsplit("/", 1)[-1]
        if name in inside:
            recurring.add(name)
            return {"$ref": node["$ref"]}
        written = _strict(definitions[name], definitions, (*inside, name), recurring, where)
        written.pop("description", None)
        return {**written, **{k: v for k, v in node.items() if k == "description"}}
    result = {key: value for key, value in node.items() if key in _KEPT}
    if branches := node.get("anyOf") or node.get("oneOf"):
        result["anyOf"] = [strict(branch, "anyOf") for branch in branches]
    elif node.get("type") == "object":
        properties = node.get("properties", {})
        if node.get("additionalProperties") or not properties:
            raise TypeError(f"{where} has free keys, which strict mode cannot say")
        result["properties"] = {name: strict(child, name) for name, child in properties.items()}
        result["required"] = list(properties)
        result["additionalProperties"] = False
    elif node.get("type") == "array":
        if "items" not in node:
            raise TypeError(f"{where} is an array of no one type, which strict mode cannot say")
        result["items"] = strict(node["items"], "items")
        result |= {key: node[key] for key in ("minItems", "maxItems") if key in node}
    elif not result.keys() & {"type", "enum", "const"}:
        raise TypeError(f"{where} can be anything, which strict mode cannot say")
    return result


def parse_structured(text: str, model: type[Answer]) -> Answer:
    """The instance of `model` that `text` holds, in a code fence or amid prose or by itself.

    Raises:
        MalformedAnswer: when there is none, or when two different ones are there.
    """
    _, content = split_thinking(text)
    if not content.strip():
        raise MalformedAnswer(
            "there is only thinking and no answer" if text.strip() else "the answer is empty"
        )
    found: dict[str, Answer] = {}
    complaint = "there is no JSON object in the answer"
    for candidate in _objects(content):
        try:
            # Through JSON, so that strict fields see JSON's types and not Python's.
            instance = model.model_validate_json(candidate)
        except ValidationError as error:
            # The last one is told: the first may only restate the question.
            complaint = _what_does_not_fit(error)
        else:
            found[instance.model_dump_json()] = instance
    if len(found) > 1:
        raise MalformedAnswer(f"there are {len(found)} different JSON objects instead of one")
    if not found:
        raise MalformedAnswer(complaint)
    return next(iter(found.values()))


def complaint_message(complaint: str, schema: dict[str, Any]) -> str:
    """What to send to the model after a malformed answer."""
    return (
        f"Your last answer cannot be used: {complaint}.\n"
        "Send only the corrected JSON object, with nothing before or after it. "
        "It must match this JSON Schema:\n"
        f"{orjson.dumps(schema).decode()}"
    )


def _objects(content: str) -> Iterator[str]:
    """The outermost JSON objects in `content`, in plain JSON; a broken one is complained about."""
    # strict=False: a line break inside a string is not JSON's, but can mean only one thing.
    decoder = json.JSONDecoder(strict=False, object_pairs_hook=_without_repetition)
    position = 0
    while start := _OBJECT_START.search(content, position):
        try:
            value, position = decoder.raw_decode(content, start.start())
            yield json.dumps(value)
        except RecursionError:
            raise MalformedAnswer("the JSON is nested too deeply") from None
        except ValueError as error:
            complaint = _what_is_no_json(error, content)
            if not _is_closed(content, start.start()):
                complaint += "; the object is never closed, as if the answer had been cut"
            raise MalformedAnswer(complaint) from None


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return result


def _is_closed(content: str, start: int) -> bool:
    depth = 0
    for token in _BRACKET_OR_STRING.finditer(content, start):
        depth += {"{": 1, "}": -1}.get(token.group(), 0)
        if depth == 0:
            return True
    return False


def _what_is_no_json(error: ValueError, content: str) -> str:
    if not isinstance(error, json.JSONDecodeError):
        return f"the JSON is not valid: {error}"
    near = _excerpt(content[max(0, error.pos - 20) :].split("\n", 1)[0])
    return (
        f"the JSON is not valid: {error.msg[:1].lower()}{error.msg[1:]} "
        f"at line {error.lineno}, column {error.colno} (near `{near}`)"
    )


def _what_does_not_fit(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_context=False)
    told = []
    for fault in faults[:_MAX_FAULTS_TOLD]:
        place = ".".join(str(part) for part in fault["loc"]) or "the object"
        given = json.dumps(fault["input"], ensure_ascii=False, default=str)
        but = "" if fault["type"] == "missing" else f", not {_excerpt(given)}"
        told.append(f"`{place}`: {fault['msg'][:1].lower()}{fault['msg'][1:]}{but}")
    if len(faults) > _MAX_FAULTS_TOLD:
        told.append(f"and {len(faults) - _MAX_FAULTS_TOLD} more faults")
    return "; ".join(told)


def _excerpt(text: str) -> str:
    return text if len(text) <= _EXCERPT_CHARACTERS else f"{text[: _EXCERPT_CHARACTERS - 1]}…"
