"""Rows of JSON Lines, of a JSON array, and of a JSON object of splits.

Bytes in, `RawRow`s and `BadRow`s out. Lines end at `\\n` only, as JSON Lines has it: U+2028 and its
kin inside a string are text. Numbers that are not finite read as null, because pandas writes NaN.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from graph.seeds.errors import SeedFileUnreadable, SeedSplitUnknown
from graph.seeds.json_stream import JsonBroken, Member, read_elements, read_members
from graph.seeds.records import BadRow, RawRow

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# A one-seed file has these at its top; a list under such a key is a seed's part, not a split.
_ROW_KEYS = {"instruction", "prompt", "question", "text", "conversations", "messages", "instances"}


def read_jsonl(source: str, stream: BinaryIO) -> Iterator[RawRow | BadRow]:
    """One row per line that is not blank; `row` is the line's number."""
    for number, line in enumerate(stream, start=1):
        text = line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
        if text.strip():
            yield _parse(source, number, text.strip(), "line")


def read_json_array(source: str, stream: BinaryIO, offset: int = 0) -> Iterator[RawRow | BadRow]:
    """One row per element of the array that begins at `offset`.

    Raises:
        SeedFileUnreadable: the array breaks before its first element ends.
    """
    last = 0
    try:
        for element in read_elements(stream, offset):
            yield _parse(source, element.row, element.text, "element")
            last = element.row
    except JsonBroken as broken:
        if last == 0:
            raise _unreadable(source, broken) from broken
        yield BadRow(
            source,
            broken.row,
            f"{broken.problem}; nothing from here on can be read",
            "Close the element, or write the file again; the elements before it were read.",
        )


def read_json_object(source: str, stream: BinaryIO, split: str | None) -> Iterator[RawRow | BadRow]:
    """The rows of one split of an object of arrays; an object that is itself a seed is one row.

    Raises:
        SeedSplitUnknown: there is no such split, or none at all.
        SeedFileUnreadable: the object is not closed.
    """
    try:
        members = read_members(stream)
    except JsonBroken as broken:
        raise _unreadable(source, broken) from broken
    if split is None and _ROW_KEYS & {_key(member) for member in members}:
        stream.seek(0)
        text = stream.read().removeprefix(_BYTE_ORDER_MARK)
        return iter([_parse(source, 1, text, "object")])
    splits = {_key(member): member.offset for member in members if member.opens == b"["}
    chosen = choose_split(source, splits, split)
    return read_json_array(source, stream, splits[chosen])


def choose_split(source: str, splits: Iterable[str], wanted: str | None) -> str:
    """The split to read: the wanted one, else `train`, else the first.

    Raises:
        SeedSplitUnknown: there is none of that name, or none at all.
    """
    names = list(splits)
    if wanted is None and names:
        return "train" if "train" in names else names[0]
    if wanted in names:
        return wanted
    raise SeedSplitUnknown(
        f"{source} has no split {wanted!r}." if wanted else f"{source} holds no list of rows.",
        cause=f"Its splits are: {', '.join(names)}." if names else "No key in it holds a list.",
        solution="Name one of them under `split`." if names else "Give it a list of rows.",
    )


def _parse(source: str, row: int, text: bytes, unit: str) -> RawRow | BadRow:
    try:
        decoded = text.decode()
    except UnicodeDecodeError as error:
        return BadRow(
            source,
            row,
            f"not valid UTF-8: byte 0x{text[error.start]:02x} at position {error.start + 1}",
            "Save the file as UTF-8; where it is in another encoding, convert it with iconv.",
        )
    try:
        return RawRow(row, json.loads(decoded, parse_constant=lambda _: None))
    except json.JSONDecodeError as error:
        problem = f"not valid JSON: {error.msg} at character {error.pos + 1}"
    except ValueError as error:
        problem = f"not valid JSON: {error}"
    except RecursionError:
        problem = "not readable JSON: it is nested too deeply"
    return BadRow(source, row, problem, f"Correct this {unit}, or take it out.")


def _key(member: Member) -> str:
    try:
        return str(json.loads(member.key))
    except ValueError:
        return member.key.decode(errors="replace")


def _unreadable(source: str, broken: JsonBroken) -> SeedFileUnreadable:
    return SeedFileUnreadable(
        f"{source} is not complete JSON.",
        cause=f"{broken.problem[:1].upper()}{broken.problem[1:]}.",
        solution="Write the file again, or use JSONL, where a broken line costs only itself.",
    )
