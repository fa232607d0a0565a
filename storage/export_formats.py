"""How one sample becomes one line of an export: the known formats, and what becomes of reasoning.

In: a sample's row. Out: a plain object. Every format carries the same `meta`, which leads back to
the row: its identifiers, category, language, and under which terms its teachers wrote it.

- `messages`: {"messages": [{"role", "content"}, …], "meta"}, the OpenAI chat form.
- `alpaca`: {"instruction", "input", "output", "meta"}, with "system" where there is one.
- `sharegpt`: {"conversations": [{"from", "value"}, …], "meta"}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

Format = Literal["messages", "alpaca", "sharegpt"]
Reasoning = Literal["inline", "think", "drop"]
FORMATS: tuple[str, ...] = get_args(Format)
REASONING: tuple[str, ...] = get_args(Reasoning)

Row = Mapping[Any, Any]


def answer_text(row: Row, reasoning: str) -> str:
    """The response with its chain of thought as the policy wants it: `inline` before it, set off by
    a blank line; `think` before it between tags; `drop` without it."""
    response, thought = str(row["response"]), (row["reasoning"] or "").strip()
    if not thought or reasoning == "drop":
        return response
    if reasoning == "think":
        return f"<think>\n{thought}\n</think>\n\n{response}"
    return f"{thought}\n\n{response}"


def question_text(row: Row) -> str:
    """The instruction, and its input after a blank line where it has one."""
    return f"{row['instruction']}\n\n{row['input']}" if row["input"] else str(row["instruction"])


def _meta(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "family_id": row["family_id"],
        "recipe": row["recipe"],
        "status": row["status"],
        "category": row["category"],
        "language": row["language"],
        "simulated": row["simulated"],
        "allows_training": row["allows_training"],
        "terms": row["terms"] or [],
    }


def _messages(row: Row, answer: str) -> dict[str, Any]:
    turns = [("system", row["system"]), ("user", question_text(row)), ("assistant", answer)]
    return {"messages": [{"role": role, "content": said} for role, said in turns if said]}


def _alpaca(row: Row, answer: str) -> dict[str, Any]:
    line = {"instruction": row["instruction"], "input": row["input"], "output": answer}
    return line | ({"system": row["system"]} if row["system"] else {})


def _sharegpt(row: Row, answer: str) -> dict[str, Any]:
    turns = [("system", row["system"]), ("human", question_text(row)), ("gpt", answer)]
    return {"conversations": [{"from": who, "value": said} for who, said in turns if said]}


_WRITERS: dict[str, Callable[[Row, str], dict[str, Any]]] = {
    "messages": _messages,
    "alpaca": _alpaca,
    "sharegpt": _sharegpt,
}


def export_line(row: Row, format: str, reasoning: str) -> dict[str, Any]:
    """One sample in one of `FORMATS`, its reasoning treated by one of `REASONING`."""
    return {**_WRITERS[format](row, answer_text(row, reasoning)), "meta": _meta(row)}
