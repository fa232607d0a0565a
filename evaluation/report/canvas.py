"""What all pictures of evaluations share: sheets of one width, a colour per model, a legend, names
cut to length.

In: models' names in order. Out: matplotlib figures in the house style (`common.pictures`). Sheets
are narrow: two stand side by side on a desk's screen, one fills a telephone's. They are drawn at
twice their size, so that they are sharp on either.
"""

from __future__ import annotations

import contextlib
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from common import pictures
from common.errors import StillhouseError
from evaluation.errors import EvaluationError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 460
COLOURS = (
    pictures.BLUE,
    pictures.VERMILION,
    pictures.GREEN,
    pictures.PURPLE,
    pictures.ORANGE,
    pictures.SKY,
)
_LONGEST_NAME = 34
_LONGEST_LINE = 58
_TITLE, _LEGEND_ROW, _FOOT, _LEFT = 34, 18, 44, 16
LINE = 15
"""Pixels that each further line below the axes takes."""


def colour_of(place: int) -> str:
    """The colour of the model at `place`: the same one in every picture."""
    return COLOURS[place % len(COLOURS)]


def short_name(name: str, width: int = _LONGEST_NAME) -> str:
    """A model's name as pictures show it: in glyphs that are there, at most `width` cells long (a
    Japanese or Chinese character takes two)."""
    text = " ".join(pictures.shown(name).split())
    cells, kept = 0, ""
    for character in text:
        cells += 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if cells > width - 1 and len(kept) < len(text) - 1:
            return f"{kept.rstrip()}…"
        kept += character
    return kept


def folded(text: str) -> list[str]:
    """What stands below the axes, in lines that fit the sheet, whatever the script."""
    lines = Text(pictures.shown(text)).wrap(Console(), _LONGEST_LINE)
    return [line.plain.rstrip() for line in lines]


@contextlib.contextmanager
def sheet(path: Path, height: int) -> Iterator[Figure]:
    """A figure of that many pixels in the house style, written to `path` at the end.

    Raises:
        EvaluationError: matplotlib is not installed.
    """
    try:
        with pictures.house_style():
            figure = pictures.new_figure(WIDTH, height)
            yield figure
            pictures.save(figure, path, scale=2)
    except ModuleNotFoundError as error:
        raise _not_installed(error) from error


def panel(
    figure: Figure,
    title: str,
    *,
    left: int,
    names: int = 0,
    right: int = 24,
    top: int = 0,
    lines: int = 1,
) -> Axes:
    """Axes over the whole sheet, below its title and `names` rows of legend.

    Args:
        figure: the sheet.
        title: what the picture is of, above everything.
        left: pixels for the scale on the left.
        names: rows of the legend.
        right: pixels that stay free on the right.
        top: further pixels that stay free above.
        lines: of text below the axes, the scale aside.
    """
    width, height = figure.get_size_inches() * pictures.DPI
    head, foot = _TITLE + names * _LEGEND_ROW + top, _FOOT + (lines - 1) * LINE
    figure.text(
        _LEFT / width, 1 - 12 / height, pictures.shown(title), va="top", fontsize=10.5,
        fontweight="bold",
    )  # fmt: skip
    box = (left / width, foot / height, (width - left - right) / width,
           (height - head - foot) / height)  # fmt: skip
    return figure.add_axes(box)


def room(names: int) -> int:
    """Pixels that a sheet needs besides its axes, with so many rows of legend."""
    return _TITLE + names * _LEGEND_ROW + _FOOT


def legend_rows(names: Sequence[str]) -> int:
    """Rows that a legend of these names takes; one name alone needs none."""
    return _legend_places(names)[-1][1] + 1 if len(names) > 1 else 0


def legend(figure: Figure, names: Sequence[str], colours: Sequence[str]) -> None:
    """A coloured square and its name for every model, below the title."""
    if len(names) < 2:
        return
    width, height = figure.get_size_inches() * pictures.DPI
    for name, colour, (x, row) in zip(names, colours, _legend_places(names), strict=True):
        y = 1 - (_TITLE + 4 + row * _LEGEND_ROW) / height
        figure.text(x / width, y, "■", color=colour, fontsize=9, va="center")
        figure.text((x + 14) / width, y, short_name(name), fontsize=9, va="center")


def _legend_places(names: Sequence[str]) -> list[tuple[float, int]]:
    """Left edge in pixels and row of every name."""
    places, x, row = [], float(_LEFT), 0
    for name in names:
        cells = sum(
            2 if unicodedata.east_asian_width(character) in "WF" else 1
            for character in short_name(name)
        )
        width = 14 + 7.6 * cells + 18
        if x + width > WIDTH - _LEFT and x > _LEFT:
            x, row = float(_LEFT), row + 1
        places.append((x, row))
        x += width
    return places


def _not_installed(error: ModuleNotFoundError) -> StillhouseError:
    return EvaluationError(
        "The pictures cannot be drawn.",
        cause=f"Python module '{error.name}' is missing.",
        solution="Install the extra `eval`.",
        command="pip install -c constraints.txt -e '.[eval]'",
    )
