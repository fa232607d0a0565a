"""Recognises the shape of a file's rows and turns one row into a seed.

A shape is how a dataset lays out an instruction and its answer: Alpaca's columns, Self-Instruct's
instances, ShareGPT's and OpenAI's turns, LCCD's lists of turns, or plain columns. `RawRow`s go in
and `SeedRecord`s come out; a row that holds no seed raises `RowUnusable`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agents.categories import known_category
from graph.seeds.columns import Columns, RowUnusable, as_text, kind_of
from graph.seeds.options import Fields, SeedOptions, Shape, known_language
from graph.seeds.records import RawRow, SeedRecord
from graph.seeds.spacing import join_spaced
from graph.seeds.turns import opening_of

_INSTRUCTION = ("instruction", "prompt", "question", "text")
_INPUT = ("input", "context")
_REFERENCE = ("reference", "response", "answer", "output", "completion")
_SYSTEM = ("system", "system_prompt")
_LICENCE = ("licence", "license")

KNOWN_SHAPES = (
    "alpaca (instruction, input, output); self_instruct (instruction, instances); "
    "sharegpt (conversations); messages (messages); lccd (a list of turns, or dialog); "
    "plain (instruction, prompt, question or text, with reference, response, answer or output)"
)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a shape finds in a row, before the columns that every shape shares."""

    instruction: str | None
    input: str | None = None
    reference: str | None = None
    system: str | None = None
    unused: tuple[str, int] = ("", 0)


def recognise(value: object, fields: Fields) -> Shape | None:
    """The shape a row has, told from its columns alone; None where it has none we know."""
    if isinstance(value, str):
        return "plain"
    if isinstance(value, list):
        return "lccd" if value and all(isinstance(turn, str) for turn in value) else None
    if not isinstance(value, dict):
        return None
    if "instruction" in fields:
        return "plain" if fields["instruction"] in value else None
    if isinstance(value.get("conversations"), list):
        return "sharegpt"
    if isinstance(value.get("messages"), list):
        return "messages"
    if isinstance(value.get("dialog"), list):
        return "lccd"
    if "instruction" in value and isinstance(value.get("instances"), list):
        return "self_instruct"
    if "instruction" in value and "output" in value:
        return "alpaca"
    return "plain" if any(name in value for name in _INSTRUCTION) else None


def to_seed(source: str, raw: RawRow, shape: Shape, options: SeedOptions) -> SeedRecord:
    """The seed that a row of this shape holds.

    Raises:
        RowUnusable: it holds none.
    """
    value = raw.value
    if isinstance(value, str) and shape == "plain":
        value = {"instruction": value}
    if isinstance(value, list) and shape == "lccd":
        value = {"dialog": value}
    if not isinstance(value, dict):
        raise RowUnusable(
            f"the row is {kind_of(value)}, while the file's shape is {shape}",
            f"Give the row the columns of that shape. Known shapes: {KNOWN_SHAPES}.",
        )
    columns = Columns(value, options.fields)
    parts = _PARSERS[shape](columns)
    if parts.instruction is None or not parts.instruction.strip():
        raise RowUnusable(*_no_instruction(columns, shape, options.fields))
    category_word = columns.word("category", ("category",))
    language_word = columns.word("language", ("language", "lang"))
    category, language = known_category(category_word), known_language(language_word)
    system = parts.system or columns.text("system", _SYSTEM)
    licence = columns.word("licence", _LICENCE)
    meta = columns.rest()
    if category_word and category is None:
        meta["category"] = category_word
    if language_word and language is None:
        meta["language"] = language_word
    if parts.unused[1]:
        meta[parts.unused[0]] = parts.unused[1]
    return SeedRecord(
        source=source,
        row=raw.row,
        shape=shape,
        system=_unless_blank(system),
        instruction=parts.instruction,
        input=_unless_blank(parts.input) or "",
        reference=_unless_blank(parts.reference),
        category=category or options.category,
        language=language or options.language,
        licence=licence or options.licence,
        meta=meta or None,
    )


def _unless_blank(text: str | None) -> str | None:
    return text if text and text.strip() else None


def _no_instruction(columns: Columns, shape: Shape, fields: Fields) -> tuple[str, str]:
    if shape in ("sharegpt", "messages", "lccd"):
        return "the first user's turn is empty", "Write the turn, or take the row out."
    wanted = _INSTRUCTION if shape == "plain" else _INSTRUCTION[:1]
    if "instruction" in fields:
        wanted = (fields["instruction"],)
    present = [name for name in wanted if name in columns]
    if present:
        return f"the column {present[0]} is empty", "Write the instruction, or take the row out."
    found = ", ".join(columns.names()) or "none"
    return (
        f"no instruction: the row's columns are {found}",
        f"Write the instruction in a column named {' or '.join(wanted)}.",
    )


def _alpaca(columns: Columns) -> _Parts:
    return _Parts(
        instruction=columns.text("instruction", ("instruction",)),
        input=_no_marker(columns.text("input", ("input",))),
        reference=columns.text("reference", ("output",)),
    )


def _self_instruct(columns: Columns) -> _Parts:
    instances = columns.column("instances") or [{}]
    if not isinstance(instances, list) or not isinstance(instances[0], dict):
        raise RowUnusable(
            f"instances is {kind_of(instances)}, not a list of objects",
            "Write instances as [{input, output}, …].",
        )
    return _Parts(
        instruction=columns.text("instruction", ("instruction",)),
        input=_no_marker(as_text(instances[0].get("input"), "input")),
        reference=as_text(instances[0].get("output"), "reference"),
        unused=("unused_instances", len(instances) - 1),
    )


def _no_marker(text: str | None) -> str | None:
    """Self-Instruct and what grew from it write `<noinput>` where there is no input."""
    return None if text and text.strip().lower() == "<noinput>" else text


def _conversation(column: str) -> Callable[[Columns], _Parts]:
    def parse(columns: Columns) -> _Parts:
        opening = opening_of(_list_in(columns, column))
        return _Parts(
            instruction=opening.question,
            reference=opening.answer,
            system=opening.system,
            unused=("unused_turns", opening.unused),
        )

    return parse


def _lccd(columns: Columns) -> _Parts:
    turns = [as_text(turn, "turn") or "" for turn in _list_in(columns, "dialog")]
    return _Parts(
        instruction=join_spaced(turns[0]),
        reference=join_spaced(turns[1]) if len(turns) > 1 else None,
        unused=("unused_turns", max(0, len(turns) - 2)),
    )


def _list_in(columns: Columns, column: str) -> list[object]:
    turns = columns.column(column)
    if not isinstance(turns, list) or not turns:
        raise RowUnusable(
            f"{column} is {kind_of(turns)}, not a list of turns" if turns else f"no {column}",
            f"Write {column} as a list of turns, or take the row out.",
        )
    return turns


def _plain(columns: Columns) -> _Parts:
    first = next((name for name in _INSTRUCTION if name in columns), _INSTRUCTION[0])
    return _Parts(
        instruction=columns.text("instruction", (first,)),
        input=columns.text("input", _INPUT),
        reference=columns.text("reference", _REFERENCE),
    )


_PARSERS: dict[Shape, Callable[[Columns], _Parts]] = {
    "alpaca": _alpaca,
    "self_instruct": _self_instruct,
    "sharegpt": _conversation("conversations"),
    "messages": _conversation("messages"),
    "lccd": _lccd,
    "plain": _plain,
}
