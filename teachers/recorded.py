"""The `recorded` teacher: answers from a JSONL file of prompts and real responses.

For regression tests, and for bringing existing responses in. In memory there is only an index from
the prompt's hash to where its line begins; a `.gz` file is unpacked once into a temporary file. A
request is looked up by its last user message, then by the `<instruction>` it carries.
"""

from __future__ import annotations

import gzip
import re
import shutil
import tempfile
from pathlib import Path
from typing import IO, Any

import orjson

from common.hashing import digest, digest_text
from teachers.errors import NotRecorded, TeacherError
from teachers.types import Completion, Message, Request, Usage

_INSTRUCTION = re.compile(r"<instruction>\n(.*?)\n</instruction>", re.DOTALL)


class RecordingUnreadable(TeacherError):
    """The recording cannot be used."""

    code = "recording_unreadable"
    fatal = True


class RecordedBackend:
    """Looks completions up. Rows hold `prompt_field` (or `messages`) and `response_field`."""

    def __init__(self, name: str, path: str, model: str, prompt_field: str, response_field: str):
        self._name = name
        self._path = Path(path)
        self._model = model
        self._prompt_field = prompt_field
        self._response_field = response_field
        self._file = self._open()
        self._offsets: dict[str, int] = {}
        self._index()

    def _open(self) -> IO[bytes]:
        try:
            if self._path.suffix != ".gz":
                return self._path.open("rb")
            unpacked = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `close`)
            with gzip.open(self._path, "rb") as packed:
                shutil.copyfileobj(packed, unpacked)
            return unpacked
        except (OSError, EOFError) as error:
            raise RecordingUnreadable(
                f"Teacher '{self._name}' cannot read its recording {self._path}.",
                cause=str(error),
                solution="Correct `path` in the recipe; it is meant from the recipe's folder.",
            ) from error

    def _index(self) -> None:
        self._file.seek(0)
        number = 0
        while True:
            offset = self._file.tell()
            line = self._file.readline()
            if not line:
                return
            number += 1
            if not line.strip():
                continue
            try:
                prompt = self._prompt_of(orjson.loads(line))
            except (orjson.JSONDecodeError, KeyError, TypeError, IndexError) as error:
                raise RecordingUnreadable(
                    f"Line {number} of {self._path} is no recorded answer.",
                    cause=f"{type(error).__name__}: {error}",
                    solution=f"Each line needs '{self._prompt_field}' (or 'messages') and "
                    f"'{self._response_field}'; other names: prompt_field, response_field.",
                ) from error
            self._offsets.setdefault(digest_text(prompt.strip()), offset)

    def _prompt_of(self, row: dict[str, Any]) -> str:
        if not isinstance(row[self._response_field], str):
            raise TypeError(f"'{self._response_field}' is not text")
        if self._prompt_field in row:
            prompt = row[self._prompt_field]
        else:
            prompt = [m for m in row["messages"] if m["role"] == "user"][-1]["content"]
        if not isinstance(prompt, str):
            raise TypeError(f"'{self._prompt_field}' is not text")
        return prompt

    def __len__(self) -> int:
        return len(self._offsets)

    @property
    def identity(self) -> str:
        """Changes when the recording's content does."""
        return "recorded:" + digest([self._path.name, sorted(self._offsets), self._size()])

    def _size(self) -> int:
        return self._file.seek(0, 2)

    async def complete(self, request: Request) -> Completion:
        """The recorded response, unchanged."""
        for prompt in _candidates(request.messages):
            offset = self._offsets.get(digest_text(prompt.strip()))
            if offset is not None:
                self._file.seek(offset)
                row = orjson.loads(self._file.readline())
                return Completion(
                    content=row[self._response_field],
                    reasoning=row.get("reasoning"),
                    finish_reason=row.get("finish_reason") or "stop",
                    model=row.get("model") or self._model,
                    usage=Usage(),
                )
        question = request.messages[-1].content
        raise NotRecorded(
            f"Teacher '{self._name}' has no recorded answer to this prompt.",
            cause=f"None of the {len(self)} prompts in {self._path.name} equals: "
            f"{question[:160]!r}",
            solution="Use the prompt that sends the instruction as it is "
            "(agents.response.prompt: rewriting/as_is), or add the answer to the recording.",
        )

    async def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _candidates(messages: tuple[Message, ...]) -> list[str]:
    questions = [m.content for m in messages if m.role == "user"]
    if not questions:
        return []
    found = [questions[-1]]
    match = _INSTRUCTION.search(questions[-1])
    if match is not None:
        found.append(match[1])
    return found
