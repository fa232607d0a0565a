"""`stillhouse export-traces`: sends sampled traces to an OpenTelemetry receiver, or to a file.

In: a database, which seeds, and where to. Out: how many traces went there, of how many seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from cli.entry import at_work
from cli.export import recipe_name
from cli.plain import counted, plain
from cli.show import console, errors, print_json
from storage.database import Database
from storage.telemetry.choosing import SeedChoice
from storage.telemetry.errors import PartlyRefused, TelemetryMissing, TelemetryRefused
from storage.trace import resolve, story

if TYPE_CHECKING:
    from storage.telemetry.exporting import Exported, Target

UNSAID_LIMIT = 100
"""How many seeds are taken where nothing says how many."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The command's options; `content` says whether texts may leave."""

    id: str | None = None
    endpoint: str | None = None
    out: str | None = None
    share: float | None = None
    limit: int | None = None
    recipe: str | None = None
    status: str | None = None
    project: str | None = None
    content: bool = True


def export_traces_command(db: str, asked: Asked, json: bool) -> int:
    """Exports; returns the exit code.

    Raises:
        TelemetryMissing: the extra is not installed.
        TelemetryRefused: options that contradict each other, or mean no seed.
        PartlyRefused: the receiver left some spans out; all was sent and said.
    """
    _contradictions(asked)
    try:
        from storage.telemetry.exporting import export_traces
        from storage.telemetry.receiver import Receiver, endpoint_of
        from storage.telemetry.trace_file import TraceFile
    except ModuleNotFoundError as error:
        raise TelemetryMissing(
            "Traces cannot be exported here.",
            cause=f"Python module '{error.name}' is missing.",
            solution="Install the extra `telemetry`.",
            command="pip install -c constraints.txt -e '.[telemetry]'",
        ) from error
    limit = UNSAID_LIMIT if asked.share is None and asked.limit is None else asked.limit
    choice: SeedChoice | str = SeedChoice(
        1.0 if asked.share is None else asked.share, limit, recipe_name(asked.recipe), asked.status
    )
    url = endpoint_of(asked.endpoint) if asked.out is None else ""
    at_work()
    database = Database.open(db)
    try:
        if asked.id is not None:
            choice = _seed_of(database, asked.id)
        target: Target = Receiver(url) if asked.out is None else TraceFile(asked.out, database)
        with _progress() as progress:
            done = export_traces(
                database,
                choice,
                target,
                project=asked.project,
                content=asked.content,
                progress=progress,
            )
    finally:
        database.close()
    _show(done, asked)
    if json:
        print_json({**asdict(done), "share": _share(done), "content": asked.content})
    if done.rejected:
        raise PartlyRefused(
            f"{done.target} left {done.rejected:,} of {counted(done.spans, 'span')} out.",
            cause=done.said or "It did not say why.",
            solution="Look at the receiver's log. What it took is there; sending again keeps the "
            "identifiers.",
        )
    return 0


def _contradictions(asked: Asked) -> None:
    if asked.out is not None and asked.endpoint is not None:
        raise TelemetryRefused(
            "Traces go to a receiver or to a file.",
            cause="Both --endpoint and --out were given.",
            solution="Leave one of them out.",
        )
    others = ("share", "limit", "recipe", "status")
    given = [f"--{name}" for name in others if getattr(asked, name) is not None]
    if asked.id is not None and given:
        raise TelemetryRefused(
            "One trace and a choice of traces were asked for.",
            cause=f"An identifier and {', '.join(given)} were given.",
            solution="Leave one of them out.",
        )


def _seed_of(database: Database, prefix: str) -> str:
    with database.read() as connection:
        return story(connection, *resolve(connection, prefix)).seed.id


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, where that is a terminal."""
    columns = (
        TextColumn("traces"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    shown = Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal)
    with shown:
        task = shown.add_task("traces", total=None)
        yield lambda done, all: shown.update(task, completed=done, total=all)


def _share(done: Exported) -> float:
    return done.traces / done.seeds if done.seeds else 0.0


def _show(done: Exported, asked: Asked) -> None:
    if asked.id is None:
        share = f"{100 * _share(done):.3g} %"
        part = f"of {counted(done.seeds, 'seed')} ({share})"
        if done.pending:
            part += f"; {done.pending:,} more are at work and stay out"
    else:
        part = "as asked for"
    texts = "" if asked.content else ", without texts"
    lines = [
        f"traces   {done.traces:,} {part}",
        f"spans    {done.spans:,}{texts}",
        f"{'to' if asked.out is None else 'file':<9}{done.target}",
    ]
    if done.said and not done.rejected:
        lines.append(f"it said  {done.said}")
    for line in lines:
        console.print(Text(plain(line)))
