"""How our pictures look: colours, type, axes, and text that any font can show.

In: a figure's size. Out: matplotlib figures on a light ground, in colours that the colour-blind can
tell apart (Okabe and Ito, https://jfly.uni-koeln.de/color/), without pyplot's global state.
"""

from __future__ import annotations

import contextlib
import functools
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, GREY, RULE, GROUND = "#1f2328", "#6b7280", "#e3e6ea", "#ffffff"
BLUE, VERMILION, GREEN = "#0072b2", "#d55e00", "#009e73"
PURPLE, SKY, ORANGE = "#a64d86", "#56b4e9", "#e69f00"
DPI = 100
_ROOM_LEFT, _ROOM_ABOVE, _ROOM_BELOW = 66, 34, 48
# Families with Chinese, Japanese and Korean glyphs, for names; DejaVu comes with matplotlib.
_FAMILIES = (
    "DejaVu Sans",
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Source Han Sans",
    "IPAexGothic",
    "Hiragino Sans",
    "PingFang SC",
    "Yu Gothic",
    "Microsoft YaHei",
    "WenQuanYi Zen Hei",
)


@contextlib.contextmanager
def house_style() -> Iterator[None]:
    """Settings for all that is drawn within."""
    import matplotlib

    families = list(_installed_families())
    settings: dict[Any, Any] = {
        "font.family": families,
        "font.size": 9,
        "axes.edgecolor": RULE,
        "axes.labelcolor": GREY,
        "axes.labelsize": 8.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "grid.color": RULE,
        "grid.linewidth": 0.8,
        "xtick.color": GREY,
        "ytick.color": GREY,
        "xtick.labelsize": 8.5,
        "ytick.labelsize": 8.5,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "text.color": INK,
        "figure.facecolor": GROUND,
        "axes.facecolor": GROUND,
        "text.parse_math": False,
    }
    with matplotlib.rc_context(settings):
        yield


def new_figure(width: int, height: int) -> Figure:
    """An empty figure of that many pixels; savefig draws it without a display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / DPI, height / DPI), dpi=DPI)


def add_panel(
    figure: Figure, left: int, top: int, width: int, height: int, *, room_right: int = 108
) -> Axes:
    """Axes in a box of pixels counted from the figure's upper left corner, with room around them
    for the title, both scales, and the names of curves on the right."""
    whole_width, whole_height = figure.get_size_inches() * DPI
    x, y = left + _ROOM_LEFT, whole_height - top - height + _ROOM_BELOW
    inner_width = width - _ROOM_LEFT - room_right
    inner_height = height - _ROOM_BELOW - _ROOM_ABOVE
    box = (
        x / whole_width,
        y / whole_height,
        inner_width / whole_width,
        inner_height / whole_height,
    )
    return figure.add_axes(box)


def save(figure: Figure, path: Path, *, scale: int = 1) -> None:
    """Writes the PNG whole or not at all; `scale` makes it that many times finer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.tmp")
    try:
        figure.savefig(new, format="png", dpi=DPI * scale)
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def heading(figure: Figure, name: str, sentence: str) -> None:
    """What the sheet is of, and one line about it."""
    width, height = figure.get_size_inches() * DPI
    x, line = 16 / width, 1 - 14 / height
    figure.text(x, line, shown(name), fontsize=13, fontweight="bold", va="top")
    figure.text(x, line - 20 / height, shown(sentence), fontsize=9, color=GREY, va="top")


def title(axes: Axes, text: str, unit: str) -> None:
    """The panel's name above it, the unit on its axis."""
    axes.set_title(shown(text), loc="left", fontsize=10, fontweight="bold", color=INK, pad=8)
    axes.set_ylabel(unit)


def label_ends(axes: Axes, labels: Sequence[tuple[float, str, str]]) -> None:
    """Names curves at their right ends: (height in data, text, colour), pushed apart where they
    would lie on each other. To be called when the axes' limits stand."""
    transform = axes.transData
    heights = [float(transform.transform((0, value))[1]) for value, _, _ in labels]
    room = 13.0 * axes.figure.dpi / 72
    order = sorted(range(len(labels)), key=lambda index: heights[index])
    placed: list[float] = []
    for index in order:
        placed.append(max(heights[index], placed[-1] + room) if placed else heights[index])
    excess = placed[-1] - heights[order[-1]] if placed else 0.0
    for index, height in zip(order, placed, strict=True):
        value, text, colour = labels[index]
        shift = (height - excess / 2 - heights[index]) * 72 / axes.figure.dpi
        axes.annotate(
            text,
            xy=(1.0, value),
            xycoords=("axes fraction", "data"),
            xytext=(6, shift),
            textcoords="offset points",
            va="center",
            ha="left",
            color=colour,
            fontsize=8.5,
            fontweight="bold",
            annotation_clip=False,
        )


def shown(text: str) -> str:
    """`text` with every character that no installed font has spelt out: kana and Hangul by their
    sound, other characters by their code point; control characters are left out."""
    known = _known_characters()
    return "".join(
        character if ord(character) in known else _spelt(character)
        for character in text
        if character.isprintable()
    )


def without_glyphs(text: str) -> str:
    """The characters of `text` that no installed font has, each once: what `shown` spells out."""
    known = _known_characters()
    return "".join(
        dict.fromkeys(each for each in text if each.isprintable() and ord(each) not in known)
    )


def _spelt(character: str) -> str:
    name = unicodedata.name(character, "")
    for kind in ("HIRAGANA LETTER ", "KATAKANA LETTER ", "HANGUL SYLLABLE "):
        if name.startswith(kind):
            return name.removeprefix(kind).removeprefix("SMALL ").lower()
    return f"[U+{ord(character):04X}]"


@functools.cache
def _installed_families() -> tuple[str, ...]:
    from matplotlib import font_manager

    known = {font.name for font in font_manager.fontManager.ttflist}
    if known.isdisjoint(_FAMILIES[1:]):
        _look_again()
        known = {font.name for font in font_manager.fontManager.ttflist}
    return tuple(family for family in _FAMILIES if family in known)


def _look_again() -> None:
    """Adds fonts that were installed after matplotlib wrote its list of them."""
    from matplotlib import font_manager

    manager = font_manager.fontManager
    for path in set(font_manager.findSystemFonts()).difference(f.fname for f in manager.ttflist):
        # A file that is no font, or of a kind that matplotlib cannot read, is nobody's fault here.
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            manager.addfont(path)


@functools.cache
def _known_characters() -> frozenset[int]:
    from matplotlib import font_manager

    known: set[int] = set()
    for family in _installed_families():
        known |= set(font_manager.get_font(font_manager.findfont(family)).get_charmap())
    return frozenset(known)
