"""Breaks text into lines for a terminal, by the width of what is seen, not by characters.

Lines break at spaces, and between Japanese or Chinese characters, where closing punctuation stays
with what it closes. Indentation and empty lines are kept, since some of the text is code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.cells import cell_len

from cli.plain import plain

_WIDE = (
    "\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\uffe0-\uffe6"
    "\U0001f300-\U0001faff\U00020000-\U0003fffd"
)
_OPENING = "（「『【《〈［｛"
_CLOSING = "、。，．・：；！？）」』】》〉］｝ー々〜…‥ゝゞ％"
_PIECE = re.compile(
    rf"[{_OPENING}]*[{_WIDE}][{_CLOSING}]*|[^\s{_WIDE}]+[{_CLOSING}]*|\s+|.", re.DOTALL
)


def wrapped(text: str, width: int) -> list[str]:
    """`text`, made safe, in lines of at most `width` cells."""
    lines: list[str] = []
    for line in plain(text).expandtabs(4).split("\n"):
        lines.extend(_wrapped_line(line.rstrip(), width))
    return lines


def _wrapped_line(line: str, width: int) -> Iterator[str]:
    if cell_len(line) <= width:
        yield line
        return
    indent = line[: len(line) - len(line.lstrip())]
    if cell_len(indent) > width // 2:
        indent = ""
    so_far, cells = indent, cell_len(indent)
    for piece in _PIECE.findall(line[len(indent) :]):
        size = cell_len(piece)
        if cells + size > width and so_far.strip():
            yield so_far.rstrip()
            so_far, cells = indent, cell_len(indent)
        if cells + size > width:
            for part in _cut(piece, width - cells):
                yield so_far + part
                so_far, cells = indent, cell_len(indent)
            continue
        if so_far.strip() or not piece.isspace():
            so_far, cells = so_far + piece, cells + size
    if so_far.strip():
        yield so_far.rstrip()


def _cut(piece: str, width: int) -> Iterator[str]:
    """A word longer than a line, in parts."""
    part, cells = "", 0
    for character in piece:
        size = cell_len(character)
        if cells + size > width:
            yield part
            part, cells = "", 0
        part, cells = part + character, cells + size
    if part.strip():
        yield part


def shortened(text: str, width: int, most_lines: int) -> tuple[list[str], int]:
    """The first `most_lines` of `text` that are not empty, as `wrapped`, and how many lines more
    there are."""
    lines = [line for line in wrapped(text, width) if line]
    if len(lines) <= most_lines + 1:
        return lines, 0
    return lines[:most_lines], len(lines) - most_lines
