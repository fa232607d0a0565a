"""The recorded teacher: real responses come back unchanged, and what is not recorded says so."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from askers import LIBRARY
from factory import CHECKOUT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from teachers.errors import NotRecorded
from teachers.recorded import RecordedBackend, RecordingUnreadable
from teachers.types import Completion, Message, Request

DATA = Path(os.environ.get("STILLHOUSE_DATA") or CHECKOUT.parent / "shared" / "data")
IFEVAL = DATA / "eval" / "ifeval" / "verdicts" / "en_gpt-4o-mini-2024-07-18_strict.jsonl.gz"

Opener = Callable[..., RecordedBackend]
Row = dict[str, Any]


def written(path: Path, *rows: Row | str) -> Path:
    """A recording; a string is written as the line that it is."""
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    text = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def backend(path: Path, prompt: str = "prompt", response: str = "response") -> RecordedBackend:
    return RecordedBackend("old", str(path), "gpt-9", prompt, response)


@pytest_asyncio.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opener]:
    """Opens a recording of some rows; all are closed in the end."""
    backends: list[RecordedBackend] = []

    def opens(*rows: Row | str, name: str = "old.jsonl", **names: str) -> RecordedBackend:
        backends.append(backend(written(tmp_path / name, *rows), **names))
        return backends[-1]

    yield opens
    for one in backends:
        await one.close()


async def asked(recording: RecordedBackend, *contents: str | Message) -> Completion:
    messages = tuple(Message("user", c) if isinstance(c, str) else c for c in contents)
    return await recording.complete(
        Request(endpoint="e", model="gpt-9", revision=None, messages=messages)
    )


# Answers.


@pytest.mark.parametrize("name", ["old.jsonl", "old.jsonl.gz"])
async def test_a_prompts_response_comes_back(opened: Opener, name: str) -> None:
    recording = opened(
        {"prompt": "One?", "response": "1"}, {"prompt": "二？", "response": "二です。"}, name=name
    )
    assert len(recording) == 2
    assert (await asked(recording, "二？")).content == "二です。"
    assert (await asked(recording, "One?")).content == "1"


@pytest.mark.parametrize(
    "response",
    [
        "trailing spaces   ",
        "\n\nblank lines around\r\n\n",
        "\ttabs\u00a0and\u3000wide\u200bspaces ",
        "<think>kept</think>as it is",
        '{"quoted": "\\"json\\""}',
        "\u2028 separators \u2029 and a null \x00 and \x7f",
        "👩‍🚀é e\u0301",
    ],
)
@pytest.mark.parametrize("name", ["old.jsonl", "old.jsonl.gz"])
async def test_a_response_is_unchanged_byte_for_byte(
    opened: Opener, response: str, name: str
) -> None:
    recording = opened({"prompt": "Q", "response": response}, name=name)
    completion = await asked(recording, "Q")
    assert completion.content.encode() == response.encode()
    assert completion.reasoning is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(rows=st.dictionaries(st.text().map(str.strip), st.text(), min_size=1, max_size=8))
def test_any_responses_come_back_unchanged(rows: dict[str, str], tmp_path: Path) -> None:
    path = written(tmp_path / "any.jsonl", *({"prompt": p, "response": r} for p, r in rows.items()))

    async def check() -> None:
        recording = backend(path)
        for prompt, response in rows.items():
            assert (await asked(recording, prompt)).content == response
        await recording.close()

    asyncio.run(check())


async def test_what_the_row_says_of_its_origin_is_kept(opened: Opener) -> None:
    recording = opened(
        {"prompt": "Q", "response": "A", "reasoning": "so", "finish_reason": "length",
         "model": "gpt-8"},
        {"prompt": "R", "response": "B"},
    )  # fmt: skip
    told, bare = await asked(recording, "Q"), await asked(recording, "R")
    assert (told.reasoning, told.finish_reason, told.model) == ("so", "length", "gpt-8")
    assert (bare.reasoning, bare.finish_reason, bare.model) == (None, "stop", "gpt-9")
    assert bare.usage.prompt_tokens is None
    assert bare.simulated is False


async def test_the_prompt_may_stand_in_messages_whose_last_user_turn_counts(
    opened: Opener,
) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "First?"},
        {"role": "assistant", "content": "Hm."},
        {"role": "user", "content": "Second?"},
    ]
    recording = opened({"messages": messages, "response": "Yes."})
    assert (await asked(recording, "Second?")).content == "Yes."
    with pytest.raises(NotRecorded):
        await asked(recording, "First?")


async def test_fields_may_have_other_names(opened: Opener) -> None:
    recording = opened(
        {"question": "Q", "output": "A", "prompt": "not this", "response": "nor this"},
        prompt="question",
        response="output",
    )
    assert (await asked(recording, "Q")).content == "A"
    with pytest.raises(NotRecorded):
        await asked(recording, "not this")


async def test_space_around_a_prompt_does_not_matter(opened: Opener) -> None:
    recording = opened({"prompt": "\n  Who?\n", "response": "Me."})
    assert (await asked(recording, "Who? ")).content == "Me."


async def test_of_a_prompt_recorded_twice_the_first_answer_counts(opened: Opener) -> None:
    recording = opened({"prompt": "Q", "response": "first"}, {"prompt": "Q ", "response": "second"})
    assert len(recording) == 1
    assert (await asked(recording, "Q")).content == "first"


async def test_the_instruction_inside_a_prompt_finds_its_recording(opened: Opener) -> None:
    recording = opened({"prompt": "Name a river.", "response": "Elbe."})
    variables = {"instruction": "Name a river.", "input": "", "category": "qa", "language": "en",
                 "language_name": "English", "feedback": None, "system": None}  # fmt: skip
    for prompt in ("rewriting/as_is", "rewriting/respond", "rewriting/respond_with_steps"):
        messages = LIBRARY.get(prompt).render(variables).messages
        assert (await asked(recording, *messages)).content == "Elbe."


@pytest.mark.parametrize("prompt", ["rewriting/as_is", "rewriting/respond"])
async def test_an_instruction_with_another_input_is_another_question(
    opened: Opener, prompt: str
) -> None:
    recording = opened(
        {"prompt": "Translate.", "response": "What?"},
        {"prompt": "Translate.\n\nchat", "response": "cat"},
    )
    variables = {"instruction": "Translate.", "input": "chat", "category": "translation",
                 "language": "en", "language_name": "English", "feedback": None,
                 "system": None}  # fmt: skip
    messages = LIBRARY.get(prompt).render(variables).messages
    assert (await asked(recording, *messages)).content == "cat"
    other = LIBRARY.get(prompt).render(variables | {"input": "chien"}).messages
    with pytest.raises(NotRecorded):
        await asked(recording, *other)


# What is not recorded, and what is no recording.


async def test_a_prompt_that_is_not_recorded_is_a_typed_failure_of_this_sample_only(
    opened: Opener,
) -> None:
    recording = opened({"prompt": "Q", "response": "A"})
    with pytest.raises(NotRecorded, match="'old'") as caught:
        await asked(recording, "Something else?")
    assert "Something else?" in caught.value.cause
    assert not caught.value.fatal
    assert not caught.value.retryable


async def test_an_empty_recording_answers_nothing(opened: Opener) -> None:
    recording = opened()
    assert len(recording) == 0
    with pytest.raises(NotRecorded):
        await asked(recording, "")


async def test_blank_lines_and_a_missing_last_line_break_are_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "old.jsonl"
    path.write_text('\n{"prompt": "Q", "response": "A"}\n  \n{"prompt": "R", "response": "B"}')
    recording = backend(path)
    assert [(await asked(recording, q)).content for q in "QR"] == ["A", "B"]
    await recording.close()


@pytest.mark.parametrize(
    "line",
    [
        "{broken",
        "[1, 2]",
        '"text"',
        "7",
        "null",
        "{}",
        '{"prompt": "Q"}',
        '{"response": "A"}',
        '{"prompt": 7, "response": "A"}',
        '{"prompt": "Q", "response": null}',
        '{"prompt": "Q", "response": ["A"]}',
        '{"prompt": "Q", "response": "A", "reasoning": ["so"]}',
        '{"prompt": "Q", "response": "A", "finish_reason": 1}',
        '{"messages": [], "response": "A"}',
        '{"messages": null, "response": "A"}',
        '{"messages": ["Q"], "response": "A"}',
        '{"messages": [{"role": "user"}], "response": "A"}',
        '{"messages": [{"role": "user", "content": [{"text": "Q"}]}], "response": "A"}',
        '{"messages": [{"role": "system", "content": "Q"}], "response": "A"}',
    ],
)
@pytest.mark.parametrize("name", ["old.jsonl", "old.jsonl.gz"])
def test_a_line_that_is_no_recorded_answer_is_named_by_its_number(
    line: str, name: str, tmp_path: Path
) -> None:
    path = written(tmp_path / name, {"prompt": "P", "response": "A"}, "", line)
    with pytest.raises(RecordingUnreadable) as caught:
        backend(path)
    assert caught.value.what.startswith(f"Line 3 of {path} ")
    assert caught.value.fatal


def test_bytes_that_are_no_text_are_named_by_their_line(tmp_path: Path) -> None:
    path = tmp_path / "old.jsonl"
    path.write_bytes(b'{"prompt": "Q", "response": "\xff\xfe"}\n')
    with pytest.raises(RecordingUnreadable, match="Line 1 "):
        backend(path)


@pytest.mark.parametrize("name", ["nowhere.jsonl", "nowhere.jsonl.gz", "folder", "folder.gz"])
def test_a_recording_that_is_not_there_is_named(name: str, tmp_path: Path) -> None:
    for folder in ("folder", "folder.gz"):
        (tmp_path / folder).mkdir()
    with pytest.raises(RecordingUnreadable, match=f"'old' cannot read .*{name}"):
        backend(tmp_path / name)


def test_a_packed_recording_that_is_damaged_is_named_in_every_way_it_can_be(
    tmp_path: Path,
) -> None:
    rows = [{"prompt": f"Q{n}", "response": os.urandom(40).hex()} for n in range(50)]
    packed = written(tmp_path / "sound.gz", *rows).read_bytes()
    flipped = bytes([*packed[:200], packed[200] ^ 0xFF, packed[201] ^ 0xFF, *packed[202:]])
    for damaged in (packed[: len(packed) // 2], flipped, b"not packed at all", packed[:5]):
        path = tmp_path / "damaged.gz"
        path.write_bytes(damaged)
        with pytest.raises(RecordingUnreadable, match=r"damaged\.gz"):
            backend(path)


async def test_a_recording_that_is_changed_while_in_use_is_not_read_wrongly(
    tmp_path: Path,
) -> None:
    rows = [{"prompt": f"Question {n}?", "response": f"Answer {n}."} for n in range(2000)]
    path = written(tmp_path / "old.jsonl", *rows)
    recording = backend(path)
    written(path, *reversed(rows))
    with pytest.raises(RecordingUnreadable, match="was changed"):
        await asked(recording, "Question 1500?")
    await recording.close()


# Identity.


async def test_the_identity_covers_prompts_responses_and_which_fields_are_read(
    opened: Opener,
) -> None:
    row = {"prompt": "Q", "response": "A", "other": "B"}
    identities = [
        opened(row).identity,
        opened({**row, "response": "Z"}).identity,
        opened({**row, "prompt": "Z"}).identity,
        opened({**row, "reasoning": "C"}).identity,
        opened(row, row).identity,
        opened(row, response="other").identity,
        opened(row, prompt="other").identity,
        opened().identity,
    ]
    assert len(set(identities)) == len(identities)


async def test_the_identity_is_that_of_the_content_wherever_and_however_packed_it_lies(
    opened: Opener, tmp_path: Path
) -> None:
    rows = [{"prompt": f"Q{n}", "response": f"A{n}"} for n in range(100)]
    one = opened(*rows)
    before = one.identity
    await asked(one, "Q50")
    assert one.identity == before
    (tmp_path / "elsewhere").mkdir()
    for name in ("renamed.jsonl", "elsewhere/old.jsonl", "old.jsonl.gz"):
        assert opened(*rows, name=name).identity == before


# Many at once.


@pytest.mark.parametrize("name", ["old.jsonl", "old.jsonl.gz"])
async def test_many_requests_at_once_each_get_their_own_answer(opened: Opener, name: str) -> None:
    rows = [{"prompt": f"Q{n}", "response": f"A{n} " * (n % 700)} for n in range(500)]
    recording = opened(*rows, name=name)
    answers = await asyncio.gather(*(asked(recording, row["prompt"]) for row in rows))
    assert [answer.content for answer in answers] == [row["response"] for row in rows]


async def test_requests_from_many_threads_each_get_their_own_answer(opened: Opener) -> None:
    rows = [{"prompt": f"Q{n}", "response": f"A{n} " * (n % 700)} for n in range(300)]
    recording = opened(*rows)

    def ask(row: Row) -> bool:
        return asyncio.run(asked(recording, row["prompt"])).content == row["response"]

    with ThreadPoolExecutor(8) as threads:
        futures = [threads.submit(ask, row) for row in rows * 4]
        assert all(future.result() for future in futures)


@pytest.mark.data
@pytest.mark.skipif(not IFEVAL.is_file(), reason=f"no {IFEVAL}; set STILLHOUSE_DATA")
async def test_real_responses_to_ifeval_come_back_unchanged() -> None:
    with gzip.open(IFEVAL, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    recording = backend(IFEVAL)
    assert len(recording) == len({row["prompt"].strip() for row in rows}) == 541
    for row in rows:
        assert (await asked(recording, row["prompt"])).content == row["response"]
    await recording.close()
