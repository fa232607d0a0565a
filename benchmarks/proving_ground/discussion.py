"""What a person concluded, `discussion.md` beside a report: put into it only where it is about its
figures.

In: a report's document, and the file, whose first line names the figures that it was written about:

    <!-- figures: 32 hexadecimal digits -->

Out: the discussion, or one line that says why it is left out. A rerun that comes to other figures,
or another scale, has no discussion until somebody writes one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.hashing import digest

DISCUSSION = "discussion.md"
_FIRST_LINE = re.compile(r"<!-- figures: ([0-9a-f]{32}) -->\s*")


def figures_digest(said: Mapping[str, Any]) -> str:
    """Identity of a report's arms and all their figures, per seed; dates, commits and times have no
    part in it. `said` is what `report.json` holds."""
    return digest(said["arms"])


def first_line(said: Mapping[str, Any]) -> str:
    """The first line of a discussion of these figures."""
    return f"<!-- figures: {figures_digest(said)} -->"


def discussion(said: Mapping[str, Any], path: Path) -> list[str]:
    """The discussion as it stands, without its first line, where it is about these figures."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    found = _FIRST_LINE.match(text)
    if found is None or found[1] != figures_digest(said):
        said_why = f"`{path.name}`, beside this report, is about other figures, so it is left out."
        return ["", said_why]
    return ["", text[found.end() :].strip()]
