"""`stillhouse teacher`: checks what a teacher can do, or serves a simulated one.

`check` asks the teacher of a recipe a few small questions (exit code 1 where it does not answer).
`simulate` serves until Ctrl-C, so that a recipe can be rehearsed against a real endpoint.
"""

from __future__ import annotations

import asyncio
import difflib
import signal
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from rich.table import Table
from rich.text import Text

from cli.entry import at_work
from cli.plain import plain
from cli.show import console, print_json, show_error
from common.errors import StillhouseError
from graph.recipe import Recipe, load_recipe
from teachers.check import CheckReport, Finding, check_teacher
from teachers.simulated.server import SimulatedServer
from teachers.simulated.settings import InvalidSimulatedSettings, SimulatedSettings

_LOGS = Path("runs") / "teacher-check"
_MARKS = {"yes": "✓", "no": "✗", "unknown": "?"}


class UnknownTeacher(StillhouseError):
    """The recipe describes no teacher of that name."""

    code = "unknown_teacher"
    exit_code = 2


def check_command(name: str, recipe_path: str, overrides: list[str], json: bool) -> int:
    """Checks one teacher; returns the exit code, 0 where it answers."""
    recipe = load_recipe(recipe_path, overrides)
    settings = recipe.teachers.get(name)
    if settings is None:
        raise _unknown(name, recipe, recipe_path)
    at_work()
    report = asyncio.run(check_teacher(name, settings, _LOGS))
    if json:
        print_json(_as_dict(report))
    else:
        _show(report)
    if report.error is not None:
        show_error(report.error)
    return 0 if report.answers else 1


def _unknown(name: str, recipe: Recipe, recipe_path: str) -> UnknownTeacher:
    known = sorted(recipe.teachers)
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return UnknownTeacher(
        f"The recipe '{recipe_path}' describes no teacher '{name}'.",
        cause=f"Its teachers are: {', '.join(known) or 'none'}.",
        solution=f"Did you mean '{nearest[0]}'?" if nearest else "Give one of these names.",
        command=f"stillhouse teacher check {(nearest or known or ['NAME'])[0]} "
        f"--recipe {recipe_path}",
    )


def _as_dict(report: CheckReport) -> dict[str, Any]:
    error = report.error
    return {
        "teacher": report.teacher,
        "kind": report.kind,
        "reachable": report.answers,
        "endpoint": report.endpoint,
        "model": report.model,
        "served_model": report.served,
        "revision": report.revision,
        "simulated": report.simulated,
        "latency_s": report.latency_s,
        "context_length": report.context_length,
        "findings": {
            finding.name: {"state": finding.state, "seen": finding.seen, "asked": finding.asked}
            for finding in report.findings
        },
        "error": None
        if error is None
        else {
            "code": error.code,
            "what": error.what,
            "cause": error.cause,
            "solution": error.solution,
        },
    }


def _show(report: CheckReport) -> None:
    title = Text(f"{report.teacher}  ", style="bold")
    words = "answers" if report.answers else "does not answer"
    if report.latency_s is not None:
        words += f", the first question after {report.latency_s:.2f} s"
    console.print(title.append(f"{report.kind}, {plain(report.model)}: {words}"))
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    served = report.served or ""
    if report.revision:
        served += f", revision {report.revision}"
    context = report.context_length
    for label, value in (
        ("endpoint", report.endpoint),
        ("served", served),
        ("context", f"{context:,} tokens" if context else "unknown" if report.endpoint else None),
        ("SIMULATED", "for rehearsal only" if report.simulated else None),
    ):
        if value:
            facts.add_row(label, Text(plain(value)))
    if facts.row_count:
        console.print(facts)
    table = Table(box=None, padding=(0, 2, 0, 2), header_style="bold")
    for column in ("", "capability", "what was seen", "asked by"):
        table.add_column(column, no_wrap=column != "what was seen")
    for finding in report.findings:
        table.add_row(*_row(finding))
    console.print(table)


def _row(finding: Finding) -> tuple[Text, ...]:
    mark = Text(_MARKS[finding.state])
    return mark, Text(finding.name), Text(plain(finding.seen)), Text(plain(finding.asked))


def simulate_command(port: int, settings: list[str]) -> int:
    """Serves a simulated teacher until Ctrl-C; returns the exit code."""
    at_work()
    try:
        asyncio.run(_serve(port, _simulated_settings(settings)))
    except KeyboardInterrupt:
        # Ctrl-C before the handler was there.
        return 130
    return 0


def _simulated_settings(pairs: list[str]) -> SimulatedSettings:
    values: dict[str, Any] = {}
    known = list(SimulatedSettings.model_fields)
    for pair in pairs:
        key, separator, value = pair.partition("=")
        key = key.strip()
        if not separator or key not in known:
            nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
            raise InvalidSimulatedSettings(
                f"'--set {pair}' sets nothing of a simulated teacher.",
                cause="It is not of the form key=value."
                if not separator
                else f"There is no setting '{key}'.",
                solution=(f"Did you mean '{nearest[0]}'? " if nearest else "")
                + f"The settings are: {', '.join(known)}.",
            )
        values[key] = _yaml_value(pair, value)
    try:
        return SimulatedSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the settings together"
        raise InvalidSimulatedSettings(
            f"A simulated teacher cannot have this: {where}.",
            cause=str(first["msg"]),
            solution="Rates lie between 0 and 1, times are seconds.",
        ) from error


def _yaml_value(pair: str, value: str) -> Any:
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise InvalidSimulatedSettings(
            f"The value of '--set {pair}' cannot be read.",
            cause=str(error),
            solution="Give a number or a word, for example --set server_error=0.1",
        ) from error


async def _serve(port: int, settings: SimulatedSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    server = SimulatedServer(settings)
    base_url = await server.start(port=port)
    try:
        teacher: dict[str, Any] = {"kind": "simulated", "base_url": base_url}
        if settings.model != SimulatedSettings().model:
            teacher["simulation"] = {"model": settings.model}
        snippet = yaml.safe_dump({"teachers": {"rehearsal": teacher}}, sort_keys=False)
        console.print(Text(f"A simulated teacher ({settings.model}) listens at {base_url}"))
        console.print(Text(f"In a recipe:\n\n{snippet}\nCtrl-C ends it."))
        await stop.wait()
    finally:
        await server.stop()
