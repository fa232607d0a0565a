"""The live view of a run: rate, calls in flight, ends by reason, tokens, cost, time left."""

from __future__ import annotations

import time

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cli.show import dollars
from graph.run import Progress


class ProgressView:
    """Renders a `Progress` whenever rich asks."""

    def __init__(self, name: str, progress: Progress) -> None:
        self._name = name
        self._progress = progress

    def __rich__(self) -> RenderableType:
        progress, figures = self._progress, self._progress.figures
        done = sum(figures.seeds.values())
        elapsed = max(time.monotonic() - figures.started, 1e-6)
        title = Text.assemble((self._name, "bold"), f"  {progress.phase}")
        if progress.total == 0:
            return title
        bar = Table.grid(padding=(0, 2))
        left = (progress.total - done) * elapsed / done if done else None
        bar.add_row(
            ProgressBar(total=progress.total, completed=done, width=40),
            f"{done}/{progress.total} seeds",
            f"{done / elapsed:.1f} seeds/s",
            f"{_span(left)} left" if left is not None else "",
        )
        rows = Table.grid(padding=(0, 2))
        samples = figures.samples
        rows.add_row("samples", ", ".join(f"{n} {s}" for s, n in samples.items()) or "none yet")
        reasons = [
            f"{n} {reason.split(':', 1)[1]}"
            for reason, n in figures.reasons.most_common(6)
            if not reason.startswith("accepted:")
        ]
        rows.add_row("not accepted", ", ".join(reasons) or "none")
        rows.add_row("teachers", Text(self._teachers()))
        rows.add_row(
            "calls",
            f"{figures.calls_made} made ({figures.calls_made / elapsed:.1f}/s), "
            f"{figures.calls_cached} from the corpus, "
            f"{sum(figures.attempts_failed.values())} attempts failed",
        )
        rows.add_row(
            "tokens",
            f"{figures.prompt_tokens:,} asked, {figures.completion_tokens:,} answered, "
            f"cost {dollars(figures.cost_usd)}",
        )
        return Group(title, bar, rows)

    def _teachers(self) -> str:
        fleet = self._progress.fleet
        parts = []
        for name, gateway in (fleet.gateways if fleet else {}).items():
            limiter = gateway.limiter
            part = f"{name}: {limiter.in_flight} in flight of {limiter.limit}"
            if limiter.waiting:
                part += f", {limiter.waiting} waiting"
            if limiter.paused_for_s > 0:
                part += f", paused {limiter.paused_for_s:.0f} s"
            parts.append(part)
        return "; ".join(parts) or "none open"


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
