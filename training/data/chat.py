"""Renders conversations with the student's own chat template: training text is serving text.

In: records. Out: examples, and which samples were lost and why. For each turn of the assistant the
prompt is what `apply_chat_template(…, add_generation_prompt=True)` gives for the messages before
it, token for token what a server feeds the model; the response is what the template adds to that
when the turn is said, up to and with the token that ends it. Turns that nest exactly share one
example; what comes between one's end and the next one's beginning is context and never trained.
Where they do not (templates that strip the thinking from earlier turns, text that fuses with the
prompt's last token), each turn is an example of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import jinja2
import numpy as np
from transformers import PreTrainedTokenizerBase

from training.data.chat_template import Texts, TurnEnd, control_pattern, find_turn_end
from training.data.example import Example
from training.data.record import Message, Record
from training.errors import SampleTooLong

TooLong = Literal["drop", "truncate", "refuse"]
Reason = Literal[
    "too_long",
    "prompt_too_long",
    "control_token",
    "empty_response",
    "refused_by_template",
    "unlike_serving",
    "no_turn_end",
]


@dataclass(frozen=True, slots=True)
class Lost:
    """A sample (or one turn of it, by its example's id) that gives no example."""

    id: str
    reason: Reason


@dataclass(slots=True)
class Rendered:
    """What became of some records. `truncated` holds the ids of examples that were cut."""

    examples: list[Example] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    truncated: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Turn:
    """One assistant's turn: the prompt's and the whole text's ids, and where the turn ends."""

    prompt: list[int]
    closed: list[int]
    joint: bool
    end: int = -1

    def span(self) -> tuple[int, int]:
        return len(self.prompt), self.end + 1


class ChatRenderer:
    """Turns records into examples of at most `context` tokens, prompt and response together.

    What is longer is dropped, loses the tail of its response (and then has no end to learn), or is
    refused, as `too_long` says. A prompt that leaves no room for a response is always dropped, or
    refused. Text that spells one of the tokenizer's control tokens is dropped too: as serving does
    it, such text would act and not be said.

    Attributes:
        turn_end: the token that the student learns to end its turn with; serving has to stop there.

    Raises:
        TemplateRefused: there is no template, or none whose prompts training could match.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, context: int, too_long: TooLong = "drop"
    ) -> None:
        self.tokenizer = tokenizer
        self.context = context
        self.too_long: TooLong = too_long
        self._texts = Texts(tokenizer)
        self._control = control_pattern(tokenizer)
        self.turn_end: TurnEnd = find_turn_end(tokenizer, self._texts)

    def render(self, records: Sequence[Record]) -> Rendered:
        """Renders many records at once; some hundreds at a time are fast.

        Raises:
            SampleTooLong: one is, and `too_long` is `refuse`.
        """
        made = Rendered()
        rendered = [(record, self._texts_of(record, made)) for record in records]
        kept = [(record, texts) for record, texts in rendered if texts]
        pairs = iter(self._tokenise([pair for _, texts in kept for pair in texts]))
        for record, texts in kept:
            self._assemble(record, [next(pairs) for _ in texts], made)
        return made

    def _texts_of(self, record: Record, made: Rendered) -> list[tuple[str, str]]:
        """(prompt, prompt with response) of every assistant's turn; empty if the sample is lost."""
        reason = self._unfit(record.messages)
        if reason is not None:
            made.lost.append(Lost(record.id, reason))
            return []
        try:
            pairs = list(self._turn_texts(list(record.messages)))
        except jinja2.TemplateError:
            made.lost.append(Lost(record.id, "refused_by_template"))
            return []
        if not all(prompt and closed.startswith(prompt) for prompt, closed in pairs):
            made.lost.append(Lost(record.id, "unlike_serving"))
            return []
        return pairs

    def _unfit(self, messages: Sequence[Message]) -> Reason | None:
        if messages[0]["role"] == "assistant":
            return "refused_by_template"
        if any(self._control.search(message["content"]) for message in messages):
            return "control_token"
        answers = (m["content"] for m in messages if m["role"] == "assistant")
        return None if all(answer.strip() for answer in answers) else "empty_response"

    def _turn_texts(self, messages: list[Message]) -> Iterator[tuple[str, str]]:
        for place, message in enumerate(messages):
            if message["role"] == "assistant":
                yield (
                    self._texts.prompt(messages[:place]),
                    self._texts.closed(messages[: place + 1]),
                )

    def _tokenise(self, pairs: list[tuple[str, str]]) -> list[_Turn]:
        prompts = self._texts.token_ids([prompt for prompt, _ in pairs])
        closed = self._texts.token_ids([text for _, text in pairs])
        turns = [
            _Turn(prompt, whole, joint=whole[: len(prompt)] == prompt)
            for prompt, whole in zip(prompts, closed, strict=True)
        ]
        fused = [n for n, turn in enumerate(turns) if not turn.joint]
        # The prompt's last token would swallow the response's beginning; a server has already fed
        # the prompt by then, so the model goes on from the prompt's own tokens.
        rests = self._texts.token_ids([pairs[n][1][len(pairs[n][0]) :] for n in fused])
        for n, rest in zip(fused, rests, strict=True):
            said = turns[n].prompt + rest
            if self._texts.spell(said) == self._texts.spell(turns[n].closed):
                turns[n].closed = said
            else:
                turns[n].closed = []
        for turn in turns:
            turn.end = _find(turn.closed, self.turn_end.id, len(turn.prompt))
        return turns

    def _assemble(self, record: Record, turns: list[_Turn], made: Rendered) -> None:
        last = turns[-1]
        nested = all(
            turn.joint
            and turn.end >= 0
            and last.closed[: turn.end + 1] == turn.closed[: turn.end + 1]
            for turn in turns
        )
        if nested or len(turns) == 1:
            self._add(record, record.id, last, [turn.span() for turn in turns], made)
            return
        for number, turn in enumerate(turns, 1):
            self._add(record, f"{record.id}#{number}", turn, [turn.span()], made)

    def _add(
        self, record: Record, id: str, turn: _Turn, spans: list[tuple[int, int]], made: Rendered
    ) -> None:
        """One example of a turn's text, trained on `spans`; or why there is none."""
        if not turn.closed or turn.end < 0:
            made.lost.append(Lost(id, "no_turn_end" if turn.closed else "unlike_serving"))
            return
        length = turn.end + 1
        if length > self.context:
            if self.too_long == "refuse":
                raise self._refusal(id, spans[0][0], length)
            if spans[0][0] >= self.context or self.too_long == "drop":
                prompt_alone = spans[0][0] >= self.context
                made.lost.append(Lost(id, "prompt_too_long" if prompt_alone else "too_long"))
                return
            made.truncated.append(id)
            spans = [(a, min(b, self.context)) for a, b in spans if a < self.context]
            length = spans[-1][1]
        trained_T = np.zeros(length, dtype=np.bool_)
        for a, b in spans:
            trained_T[a:b] = True
        made.examples.append(
            Example(
                id=id,
                sample_id=record.id,
                family_id=record.family_id,
                token_id_T=np.array(turn.closed[:length], dtype=np.int32),
                trained_T=trained_T,
                category=record.category,
                language=record.language,
            )
        )

    def _refusal(self, id: str, prompt: int, length: int) -> SampleTooLong:
        return SampleTooLong(
            f"Sample {id} has {length} tokens; the context holds {self.context}.",
            cause=f"Its prompt has {prompt} tokens, its response {length - prompt}, and the recipe "
            "says `data.too_long: refuse`.",
            solution="Raise `data.context`, or let such samples be dropped or truncated.",
        )


def _find(ids: list[int], wanted: int, start: int) -> int:
    """Where `wanted` first comes at or after `start`; -1 if it does not."""
    try:
        return ids.index(wanted, start)
    except ValueError:
        return -1
