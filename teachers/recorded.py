"""The `recorded` teacher: answers from a JSONL file of prompts and real responses.

For regression tests, and for bringing existing responses in. In memory there is only an index from
the prompt's hash to where its line begins; a `.gz` file is unpacked once into a temporary file. A
request is looked up by its last user message, then by the `<instruction>` it carries (and, where
there is one, the `<input>` after it). Of a prompt that is recorded twice, the first answer counts.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import shutil
import tempfile
import threading
import zlib
from pathlib import Path
from typing import IO, Any

import orjson

from common.hashing import digest, digest_text
from teachers.errors import NotRecorded, TeacherError
from teachers.types import Completion, Message, Request, Usage

_INSTRUCTION = re.compile(
    r"<instruction>\n(.*?)\n</instruction>(?:\s*<input>\n(.*?)\n</input>)?", re.DOTALL
)


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
        self._offsets: dict[str, int] = {}
        # Where the file stands is one for all readers, so only one at a time may move it.
        self._reading = threading.Lock()
        self._file = self._open()
        try:
            self._content = self._index()
        except BaseException:
            self._file.close()
            raise

    def _open(self) -> IO[bytes]:
        try:
            if self._path.suffix != ".gz":
                return self._path.open("rb")
            unpacked = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `close`)
            try:
                with gzip.open(self._path, "rb") as packed:
                    shutil.copyfileobj(packed, unpacked)
            except BaseException:
                unpacked.close()
                raise
            return unpacked
        except (OSError, EOFError, zlib.error) as error:
            raise RecordingUnreadable(
                f"Teacher '{self._name}' cannot read its recording {self._path}.",
                cause=str(error),
                solution="Correct `path` in the recipe; it is meant from the recipe's folder.",
            ) from error

    def _index(self) -> str:
        """Finds every line's prompt; returns a hash over the whole content."""
        content = hashlib.blake2b(digest_size=16)
        offset = self._file.seek(0)
        for number, line in enumerate(self._file, start=1):
            content.update(line)
            if line.strip():
                try:
                    prompt = self._prompt_of(orjson.loads(line))
                except (orjson.JSONDecodeError, KeyError, TypeError, IndexError) as error:
                    raise self._unreadable(number, error) from error
                self._offsets.setdefault(digest_text(prompt.strip()), offset)
            offset += len(line)
        return content.hexdigest()

    def _unreadable(self, number: int, error: Exception) -> RecordingUnreadable:
        return RecordingUnreadable(
            f"Line {number} of {self._path} is no recorded answer.",
            cause=f"{type(error).__name__}: {error}",
            solution=f"Each line needs '{self._prompt_field}' (or 'messages') and "
            f"'{self._response_field}'; other names: prompt_field, response_field.",
        )

    def _prompt_of(self, row: dict[str, Any]) -> str:
        if not isinstance(row[self._response_field], str):
            raise TypeError(f"'{self._response_field}' is not text")
        for name in ("reasoning", "finish_reason", "model"):
            if not isinstance(row.get(name), str | None):
                raise TypeError(f"'{name}' is not text")
        field = self._prompt_field
        if field in row:
            prompt = row[field]
        else:
            field = "messages"
            prompt = [m for m in row["messages"] if m["role"] == "user"][-1]["content"]
        if not isinstance(prompt, str):
            raise TypeError(f"the prompt in '{field}' is not text")
        return prompt

    def __len__(self) -> int:
        return len(self._offsets)

    @property
    def identity(self) -> str:
        """Changes when the recording's content does, or what is read of it; not with its place."""
        return "recorded:" + digest([self._content, self._prompt_field, self._response_field])

    async def complete(self, request: Request) -> Completion:
        """The recorded response, unchanged."""
        for prompt in _candidates(request.messages):
            row = self._row(digest_text(prompt.strip()))
            if row is not None:
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

    def _row(self, prompt: str) -> dict[str, Any] | None:
        """The row under a prompt's hash, as it was when the recording was opened."""
        offset = self._offsets.get(prompt)
        if offset is None:
            return None
        with self._reading:
            self._file.seek(offset)
            line = self._file.readline()
        try:
            row: dict[str, Any] = orjson.loads(line)
            unchanged = digest_text(self._prompt_of(row).strip()) == prompt
        except (orjson.JSONDecodeError, KeyError, TypeError, IndexError):
            unchanged = False
        if not unchanged:
            raise RecordingUnreadable(
                f"The recording {self._path} of teacher '{self._name}' was changed while in use.",
                cause="Where a prompt's line began, there is another text now.",
                solution="Leave the file alone during a run; run again to read it anew.",
            )
        return row

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
        # An input makes it another question: the instruction's own answer would be the wrong one.
        found.append("\n\n".join(part for part in match.groups() if part))
    return found
