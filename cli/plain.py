"""Text of seeds and teachers made safe for a terminal: nothing in it can move the cursor, recolour
the screen, or turn the reading direction round.
"""

from __future__ import annotations

import re

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


def one_line(text: str, characters: int) -> str:
    """The beginning of `text` on one line."""
    line = " ".join(plain(text[: 4 * characters]).split())
    return line if len(line) <= characters else f"{line[: characters - 1].rstrip()}…"
