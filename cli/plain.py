"""Text of seeds and teachers made safe for a terminal: nothing in it can move the cursor, recolour
the screen, or turn the reading direction round.
"""

from __future__ import annotations

import re

from rich.cells import cell_len, set_cell_size

# CSI sequences; OSC, DCS, SOS, PM and APC strings up to their end; two-character escapes.
_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)
_LINE_END = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
# Bidirectional embeddings, overrides and isolates; half characters that no terminal can show.
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: str) -> str:
    """`text` without escape sequences, control characters and bidirectional overrides; line ends
    and tabs stay."""
    return _CONTROL.sub("", _LINE_END.sub("\n", _ESCAPE.sub("", text)))


def one_line(text: str, width: int) -> str:
    """The beginning of `text` on one line of at most `width` cells; a Japanese or Chinese character
    takes two."""
    # Room for what is taken out; a longer text is never needed whole.
    line = " ".join(plain(text[: 4 * width]).split())
    if cell_len(line) <= width:
        return line
    return f"{set_cell_size(line, width - 1).rstrip()}…"


def counted(number: int, noun: str) -> str:
    """`1 seed`, `2,000 seeds`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
