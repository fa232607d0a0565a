"""Who answers the agents in their tests: a script, or a real simulated teacher over HTTP.

Both are an `agents.asking.Asker` and remember every ask; the gateway with its cache, budget and
retries has tests of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from factory import PROMPTS

from agents.asking import Ask, Reply
from agents.prompts import PromptLibrary
from teachers.chat import TeacherChat
from teachers.simulated.server import SimulatedServer
from teachers.simulated.settings import SimulatedSettings
from teachers.structured import schema_of
from teachers.terms import Contribution
from teachers.types import Completion, Request, Sampling

LIBRARY = PromptLibrary(PROMPTS)


class ScriptedAsker:
    """Answers from a script: a text, an object for its JSON, or a whole completion."""

    def __init__(self, *answers: str | Mapping[str, Any] | Completion) -> None:
        self._answers = list(answers)
        self.asked: list[Ask] = []

    async def ask(self, ask: Ask) -> Reply:
        self.asked.append(ask)
        assert self._answers, f"asked {len(self.asked)} times, more than the script has answers"
        return Reply(_completion(self._answers.pop(0)), f"key-{len(self.asked)}", BY)


@dataclass
class TeacherAsker:
    """Asks one teacher, without anything around the call."""

    chat: TeacherChat
    asked: list[Ask] = field(default_factory=list)
    completions: list[Completion] = field(default_factory=list)

    async def ask(self, ask: Ask) -> Reply:
        self.asked.append(ask)
        request = Request(
            endpoint="simulated",
            model="simulated-teacher",
            revision=None,
            messages=ask.prompt.messages + ask.turns,
            sampling=Sampling(),
            schema_name=ask.schema_name,
            schema=schema_of(ask.schema) if ask.schema is not None else None,
            structured_mode="json_schema" if ask.schema is not None else None,
            ask=ask.n,
        )
        completion = await self.chat.complete(request)
        self.completions.append(completion)
        return Reply(completion, request.key, BY)


BY = Contribution(
    teacher="simulated",
    model="simulated-teacher",
    licence=None,
    allows_training="false",
    note=None,
    simulated=True,
)


@asynccontextmanager
async def simulated_teacher(**settings: Any) -> AsyncIterator[TeacherAsker]:
    """An asker of a simulated teacher that listens on a port of its own."""
    server = SimulatedServer(SimulatedSettings(**settings))
    url = await server.start()
    chat = TeacherChat.for_teacher(name="simulated", base_url=url, model="simulated-teacher")
    try:
        yield TeacherAsker(chat)
    finally:
        await chat.close()
        await server.stop()


def said(ask: Ask) -> str:
    """The whole conversation of an ask, as text."""
    return "\n".join(message.content for message in ask.prompt.messages + ask.turns)


def _completion(answer: str | Mapping[str, Any] | Completion) -> Completion:
    if isinstance(answer, Completion):
        return answer
    content = answer if isinstance(answer, str) else orjson.dumps(answer).decode()
    return Completion(content=content, finish_reason="stop")
