"""`stillhouse eval show`: which evaluations there are, one of them, or one item's whole story.

An item's story is every question that was asked for it, word for word, every answer with what it
took, and the verdict. `--json` gives the same as data.
"""

from __future__ import annotations

from typing import Any

import orjson
from rich.table import Table
from rich.text import Text

from cli.plain import one_line, plain
from cli.show import console, dollars, print_json
from storage.database import Database
from storage.evaluations import (
    calls_of,
    evaluations,
    find_evaluation,
    find_item,
    items_of,
    origin_of,
)

_WIDTH = 88
_HEADLINES = 3


def show_command(id: str | None, item: str | None, items: bool, db: str, json: bool) -> int:
    """Shows; returns the exit code."""
    database = Database.open(db)
    try:
        with database.read() as connection:
            if id is None:
                return _list(evaluations(connection), json)
            found = find_evaluation(connection, id)
            if item is not None:
                told = find_item(connection, found["id"], item)
                return _story(found, told, calls_of(connection, found["id"], item), json)
            origin = origin_of(connection, found["training_run_id"])
            listed = items_of(connection, found["id"]) if items or json else []
            return _one(found, origin, listed, json)
    finally:
        database.close()


def _list(rows: list[dict[str, Any]], json: bool) -> int:
    if json:
        print_json({"evaluations": rows})
        return 0
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("evaluation", "benchmark", "model", "status", "figures"):
        table.add_column(name)
    for row in rows:
        first = list((row["metrics"] or {}).items())[:_HEADLINES]
        figures = ", ".join(f"{name.replace('_', ' ')} {_number(value)}" for name, value in first)
        simulated = " (SIMULATED)" if row["simulated"] else ""
        table.add_row(
            row["id"][:12], row["benchmark"], Text(plain(row["model"])),
            row["status"] + simulated, figures,
        )  # fmt: skip
    console.print(table if rows else "There are no evaluations yet.")
    return 0


def _one(
    row: dict[str, Any], origin: dict[str, Any] | None, items: list[dict[str, Any]], json: bool
) -> int:
    if json:
        print_json({"evaluation": row, "origin": origin, "items": items})
        return 0
    _head(row)
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name in ("endpoint", "served", "revision", "code_revision", "reason"):
        if row[name]:
            facts.add_row(name.replace("_", " "), Text(plain(str(row[name]))))
    if origin is not None:
        facts.add_row("trained by", f"{origin['stage']} ({origin['id']})")
        if origin["export"]:
            facts.add_row("trained on", f"{origin['path']}: {origin['rows']:,} rows")
    found = row["contamination"]
    if found is not None:
        facts.add_row("contamination", f"{found['found']} of {found['items']} items")
    for name, value in (row["metrics"] or {}).items():
        facts.add_row(name.replace("_", " "), _number(value))
    console.print(facts)
    for note in row["notes"] or ():
        console.print(Text(plain(f"Note: {note}")))
    for item in items:
        verdict = orjson.dumps(item["verdict"]).decode() if item["verdict"] else item["reason"]
        line = f"{item['item']}  {item['status']}  {verdict or ''}"
        console.print(Text(one_line(line, _WIDTH)))
    return 0


def _story(
    row: dict[str, Any], item: dict[str, Any], calls: list[dict[str, Any]], json: bool
) -> int:
    if json:
        print_json({"evaluation": row["id"], "item": item, "calls": calls})
        return 0
    _head(row)
    reason = f" {item['reason']}" if item["reason"] else ""
    console.print(Text(f"item {item['item']}: {item['status']}{reason}", style="bold"))
    for call in calls:
        _call(call)
    if item["verdict"]:
        console.print(Text("\nverdict", style="bold"))
        said = orjson.dumps(item["verdict"], option=orjson.OPT_INDENT_2).decode()
        console.print(Text(plain(said)))
    return 0


def _call(call: dict[str, Any]) -> None:
    who = f"\n{call['role']}: {call['teacher']} ({call['model']})"
    if call["prompt_name"]:
        who += f", prompt {call['prompt_name']}"
    console.print(Text(plain(who), style="bold"))
    if call["error_type"]:
        console.print(Text(plain(f"  failed: {call['error_type']}: {call['error_detail']}")))
        return
    answer = call["answer"]
    for message in answer["request"]["messages"] if answer else ():
        console.print(Text(f"  {message['role']}>", style="cyan"))
        console.print(Text(plain(message["content"])))
    took = "from the corpus" if call["cached"] else f"{call['latency_s']:.2f} s"
    cost = dollars(call["cost_usd"])
    console.print(Text(f"  answer> {took}, {call['finish_reason']}, cost {cost}", style="cyan"))
    console.print(Text(plain(answer["content"] if answer else "(lost)")))


def _head(row: dict[str, Any]) -> None:
    head = f"{row['benchmark']} of {row['model']}  {row['status'].upper()}"
    console.print(Text(plain(f"{head}  {row['id']}"), style="bold"))
    if row["simulated"]:
        console.print(Text("SIMULATED: these figures say nothing about any model."))


def _number(value: Any) -> str:
    if value is None:
        return "unknown"
    return f"{value:,.2f}" if isinstance(value, float) else str(value)
