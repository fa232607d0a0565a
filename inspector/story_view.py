"""A sample's story arranged for a page: rounds, and in each the questions with all their attempts.

In: a `Story` and the prompt files. Out: plain values that the template shows in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from inspector.differences import DiffLine, line_diff, word_diff
from inspector.prompt_files import PromptFile, prompt_file
from inspector.token_view import TokensView, answer_view
from storage.answer_tokens import AnswerToken
from storage.stories import CallStory, SampleStory, Story


@dataclass(frozen=True, slots=True)
class QuestionView:
    """One question under one prompt with every attempt at it; `call` is the last. `prompt_state`
    says how the prompt's text stands to the file: `current`, `edited` or `gone`; `prompt_changes`
    are the lines edited since, none where only line ends or the very end differ, and None where
    there is nothing to compare. `parsed` is the answer as the JSON that was asked for; None where
    it is none."""

    call: CallStory
    attempts: tuple[CallStory, ...]
    prompt_state: str
    prompt_changes: tuple[DiffLine, ...] | None
    parsed: Mapping[str, Any] | None
    tokens: TokensView | None


@dataclass(frozen=True, slots=True)
class RoundView:
    """One round of one candidate. `reworded` shows how the instruction was changed."""

    sample: SampleStory
    questions: tuple[QuestionView, ...]
    reworded: tuple[DiffLine, ...]


class Prompts:
    """How prompts stand to the files of a folder; each file is read once. `texts` are those that
    calls were made with, by hash, where they are to be compared."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, PromptFile | None] = {}
        self._changes: dict[tuple[str, str], tuple[DiffLine, ...]] = {}
        self.texts: Mapping[str, str] = {}

    def state(self, name: str, hash: str) -> str:
        """`current`, `edited` or `gone`."""
        file = self._file(name)
        return "gone" if file is None else "current" if file.hash == hash else "edited"

    def changes(self, name: str, hash: str) -> tuple[DiffLine, ...] | None:
        """What was edited in the file since it had this hash; None where one text is missing."""
        file, text = self._file(name), self.texts.get(hash)
        if file is None or text is None:
            return None
        if (name, hash) not in self._changes:
            self._changes[name, hash] = tuple(line_diff(text, file.text))
        return self._changes[name, hash]

    def _file(self, name: str) -> PromptFile | None:
        if name not in self._files:
            self._files[name] = prompt_file(self._folder, name)
        return self._files[name]


def rounds_of(
    story: Story, prompts: Prompts, tokens: Mapping[str, tuple[AnswerToken, ...]]
) -> list[RoundView]:
    """The rounds that led to the sample, or for a seed all of them."""
    return [
        RoundView(
            sample=sample,
            questions=questions_of(sample.calls, prompts, tokens),
            reworded=tuple(word_diff(sample.original_instruction, sample.instruction))
            if sample.original_instruction is not None
            else (),
        )
        for sample in story.lineage() or story.samples
    ]


def questions_of(
    calls: Sequence[CallStory],
    prompts: Prompts,
    tokens: Mapping[str, tuple[AnswerToken, ...]],
) -> tuple[QuestionView, ...]:
    """Calls put together by question, in the order in which they were made."""
    questions: list[QuestionView] = []
    attempts: list[CallStory] = []
    for place, call in enumerate(calls):
        attempts.append(call)
        following = calls[place + 1] if place + 1 < len(calls) else None
        if following is None or following.request_key != call.request_key or not call.error_type:
            answered = call.answer is not None
            questions.append(
                QuestionView(
                    call=call,
                    attempts=tuple(attempts),
                    prompt_state=prompts.state(call.prompt_name, call.prompt_hash),
                    prompt_changes=prompts.changes(call.prompt_name, call.prompt_hash),
                    parsed=_parsed(call),
                    tokens=answer_view(tokens.get(call.request_key, ())) if answered else None,
                )
            )
            attempts = []
    return tuple(questions)


def _parsed(call: CallStory) -> dict[str, Any] | None:
    if call.answer is None or not call.schema:
        return None
    try:
        value = orjson.loads(call.answer.content)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None
