"""Where the time goes: by kind of step, and whether the arms of the claim take under an hour."""

from __future__ import annotations

from pathlib import Path

from benchmarks.proving_ground.plots import draw_times
from benchmarks.proving_ground.sections.words import Lines, table
from benchmarks.proving_ground.spent import Times
from training.report.figures import span

_HOUR = 3600


def duration(headline: Times, everything: Times, folder: Path) -> Lines:
    """The section.

    Args:
        headline: what the arms of the claim need.
        everything: all that is done.
        folder: where the picture goes.
    """
    draw_times(folder / "times.png", headline, everything)
    own = {(each.kind, each.cores): each for each in headline.kinds}
    rows = []
    for each in everything.kinds:
        mine = own.get((each.kind, each.cores))
        few = [str(mine.steps), span(mine.seconds)] if mine else ["–", "–"]
        rows.append([each.kind, str(each.cores), *few, str(each.steps), span(each.seconds)])
    lines = ["", "## Where the time goes", "",
             "Seconds are each step's own, added up; steps ran beside each other.", "",
             *table(["step", "cores each", "headline: steps", "together", "all: steps",
                     "together"], rows), ""]  # fmt: skip
    lines += table(
        ["", "steps", "core time", f"wall clock on {headline.cores} cores, estimated"],
        [_row("the headline's arms alone", headline), _row("everything done", everything)],
    )
    return [*lines, "", _sentence(headline), "", "![times](times.png)"]


def _row(name: str, times: Times) -> list[str]:
    guess = span(times.wall_clock) if times.whole else "–"
    return [name, str(times.steps), span(times.core_seconds), guess]


def _sentence(headline: Times) -> str:
    if not headline.whole:
        return "Not all of the headline's arms are done, so there is no estimate for them."
    side = "under" if headline.wall_clock < _HOUR else "over"
    return (
        f"The headline's arms alone: about {span(headline.wall_clock)} on {headline.cores} cores, "
        f"{side} 60 minutes. That is an estimate: seconds times cores of all their steps, divided "
        "by the cores, as if no core had ever waited."
    )
