"""How the command line speaks: one console for people, one line of JSON for programs."""

from __future__ import annotations

import sys
from typing import Any

import orjson
from rich.console import Console
from rich.text import Text

from cli.plain import plain
from common.errors import StillhouseError

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


def show_error(error: StillhouseError) -> None:
    """What happened, why, what to do, and the next command."""
    text = Text("Error: ", style="bold red")
    text.append(plain(error.what), style="bold")
    text.append(f"\n  Cause     {plain(error.cause)}")
    text.append(f"\n  Solution  {plain(error.solution)}")
    if error.command:
        text.append("\n  Next      ")
        text.append(plain(error.command), style="cyan")
    errors.print(text)


def print_json(value: Any) -> None:
    """One JSON object on one line of standard output."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode() + "\n")
    sys.stdout.flush()


def dollars(amount: float | None) -> str:
    """An amount for people; unknown is said, never guessed."""
    return "unknown" if amount is None else f"${amount:,.4f}" if amount < 1 else f"${amount:,.2f}"
