"""From an ask to the answer's content, with the content faults that the settings put in.

In: an `Ask`. Out: an `Answer`: text or JSON, why it ended, and the names of everything in it that
is wrong on purpose. Depends on the ask and the settings only: every process gives the same one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import orjson

from teachers.simulated.asks import TEXT, Ask
from teachers.simulated.classification import guess_category
from teachers.simulated.draws import Draws
from teachers.simulated.expansion import expand
from teachers.simulated.faults import content_fault
from teachers.simulated.grading import grade
from teachers.simulated.judging import select, verify
from teachers.simulated.language import detect_language
from teachers.simulated.protocol import split_tokens
from teachers.simulated.responding import respond
from teachers.simulated.rewriting import rewrite
from teachers.simulated.schema_instance import Unsatisfiable, instance
from teachers.simulated.settings import SimulatedSettings
from teachers.simulated.voices import phrases_for


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says. `content` is None where a structured ask was refused."""

    content: str | None
    finish_reason: str = "stop"
    refusal: str | None = None
    injected: tuple[str, ...] = ()


def answer(ask: Ask, settings: SimulatedSettings) -> Answer:
    """The answer to `ask`, sound or with the content fault that is drawn for it."""
    structured = ask.kind != TEXT
    fault = content_fault(settings, ask.key, structured)
    if fault == "empty":
        return Answer("", injected=(fault,))
    if fault == "refusal":
        text = Draws(settings.seed, fault, ask.key).choice(phrases_for(ask.language).refusals)
        # Structured answers are refused in a field of their own, as the protocol has it.
        return Answer(
            None if structured else text, refusal=text if structured else None, injected=(fault,)
        )
    content, injected = _structured(ask, settings) if structured else _text(ask, settings)
    sound = Answer(content, injected=injected)
    if fault == "malformed_json":
        broken = _broken(content, Draws(settings.seed, fault, ask.key))
        return replace(sound, content=broken, injected=(*injected, fault))
    if fault == "length_cut":
        tokens = split_tokens(content)
        cut = "".join(tokens[: len(tokens) // 2])
        return Answer(cut, finish_reason="length", injected=(*injected, fault))
    return sound


def _text(ask: Ask, settings: SimulatedSettings) -> tuple[str, tuple[str, ...]]:
    judgement = grade(ask, settings)
    return respond(ask, settings) if judgement is None else (judgement, ())


def _structured(ask: Ask, settings: SimulatedSettings) -> tuple[str, tuple[str, ...]]:
    value: Any
    injected: tuple[str, ...] = ()
    if ask.kind == "classification":
        value = {
            "category": guess_category(ask.instruction, ask.input),
            "language": detect_language(ask.instruction),
        }
    elif ask.kind == "expansion":
        value, injected = expand(ask, settings)
    elif ask.kind == "rewrite":
        value = rewrite(ask, settings)
    elif ask.kind == "selection":
        value = select(ask, settings)
    elif ask.kind == "verification":
        value = verify(ask)
    else:
        value = {}
    return orjson.dumps(_fitted(value, ask.schema or {})).decode(), injected


def _fitted(value: dict[str, Any], schema: dict[str, Any]) -> Any:
    """`value` in the schema's own order of properties, with what else it requires filled in."""
    properties = schema.get("properties")
    try:
        if not value or not isinstance(properties, dict):
            return value or instance(schema)
        required = schema.get("required") or []
        return {
            name: value[name]
            if name in value and _allowed(value[name], part)
            else instance(part, schema)
            for name, part in properties.items()
            if name in value or name in required
        }
    except Unsatisfiable:
        return value


def _allowed(value: Any, schema: Any) -> bool:
    options = schema.get("enum") if isinstance(schema, dict) else None
    return options is None or value in options


def _broken(content: str, draws: Draws) -> str:
    """The JSON text made unreadable in one of the ways models have."""
    way = draws.between(0, 2)
    if way == 0:
        return content[: max(len(content) * 2 // 3, 1)].rstrip("}")
    if way == 1:
        return f"Sure! Here is the JSON you asked for:\n{content[:-1].rstrip('}')},"
    return content.replace('"', "'", 1)
