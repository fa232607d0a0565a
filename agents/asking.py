"""How an agent asks: once for text, or until an answer fits its schema, complaining at most twice.

In: an `Asker`, which stands for everything around a call (cache, budget, limits, retries, records).
Out: a parsed answer with the completions it took. An answer that does not fit goes back to the
model together with what is wrong with it; after the last complaint the failure is typed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Generic, Protocol, TypeVar

from pydantic import BaseModel, StringConstraints

from agents.prompts import RenderedPrompt
from teachers.errors import EmptyAnswer, SchemaFailure
from teachers.structured import MalformedAnswer, complaint_message, parse_structured, schema_of
from teachers.terms import Contribution
from teachers.types import Completion, Message

MAX_COMPLAINTS = 2
MAX_EMPTY_ASKS = 3
# An empty answer that ended like this ended for a reason, which asking again would not change.
_REASONS = ("length", "content_filter")

# What has to say something: white space alone is complained about.
SomeText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Schema = TypeVar("Schema", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Ask:
    """One question of one agent: the prompt, the turns that follow it, the schema, the n-th ask."""

    role: str
    prompt: RenderedPrompt
    turns: tuple[Message, ...] = ()
    schema_name: str | None = None
    schema: type[BaseModel] | None = None
    n: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """A completion with the key of the request that it answers and the teacher who gave it."""

    completion: Completion
    request_key: str
    by: Contribution


class Asker(Protocol):
    """Everything around a teacher call, bound to one seed or sample and one agent."""

    async def ask(self, ask: Ask) -> Reply:
        """Answers, or raises a `teachers.errors.TeacherError`."""
        ...


@dataclass(frozen=True, slots=True)
class Structured(Generic[Schema]):
    """A structured answer that fits its schema, and the reply it was read from."""

    value: Schema
    reply: Reply


async def ask_structured(
    asker: Asker, role: str, prompt: RenderedPrompt, schema_name: str, schema: type[Schema]
) -> Structured[Schema]:
    """Asks for an answer that fits `schema`.

    Raises:
        SchemaFailure: when the answer after the last complaint does not fit either.
    """
    turns: tuple[Message, ...] = ()
    complaint = ""
    for _ in range(MAX_COMPLAINTS + 1):
        reply = await asker.ask(Ask(role, prompt, turns, schema_name, schema))
        completion = reply.completion
        try:
            return Structured(parse_structured(completion.content, schema), reply)
        except MalformedAnswer as error:
            complaint = str(error)
        if completion.refusal:
            complaint = f"the answer was a refusal: {completion.refusal[:120]}"
        elif completion.finish_reason == "length":
            complaint = f"the answer was cut by the length limit ({complaint})"
        turns = (
            *turns,
            Message("assistant", completion.content or completion.refusal or "(no answer)"),
            Message("user", complaint_message(complaint, schema_of(schema))),
        )
    raise SchemaFailure(
        f"The {role} teacher gave no valid '{schema_name}' answer.",
        cause=f"After {MAX_COMPLAINTS} complaints the answer still has this fault: {complaint}",
        solution="Try another structured mode (`structured: json_schema | json_object | prompt`), "
        "more max_tokens, or a stronger teacher for this role.",
    )


async def ask_text(asker: Asker, role: str, prompt: RenderedPrompt, round: int = 0) -> Reply:
    """Asks for free text; an answer without any text is asked for again. A later `round` asks anew
    even where its prompt is the same, so that a sampling teacher gets another chance.

    Raises:
        EmptyAnswer: when every ask brings nothing.
    """
    for n in range(MAX_EMPTY_ASKS):
        reply = await asker.ask(Ask(role, prompt, n=round * MAX_EMPTY_ASKS + n))
        completion = reply.completion
        if completion.content.strip() or completion.refusal or completion.finish_reason in _REASONS:
            return reply
    raise EmptyAnswer(
        f"The {role} teacher answered with nothing, {MAX_EMPTY_ASKS} times.",
        cause="The completion's content was empty each time.",
        solution="Look at the trace; a chat template that ends the turn at once does this.",
    )
