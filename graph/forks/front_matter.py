"""The version and the name that a saved prompt gets in its front matter.

In: an edited text. Out: the same text with that one line changed. A line that is written in some
other way than `version: 1` stays as its author wrote it.
"""

from __future__ import annotations

import re
from pathlib import Path

from agents.prompts import PromptError, parse_prompt

_FRONT = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
_LINE = r"^{key}:[^\n]*$"


def as_next_version(name: str, text: str, was: str) -> str:
    """The text with a version above the one it replaces, unless its author raised it already."""
    mine, theirs = version_of(name, text), version_of(name, was)
    if mine is None or theirs is None or mine > theirs:
        return text
    changed = _with(text, "version", str(theirs + 1))
    return changed if version_of(name, changed) == theirs + 1 else text


def as_new_prompt(name: str, text: str) -> str:
    """The text under a name of its own, `AGENT/NAME`."""
    changed = _with(text, "name", name.rpartition("/")[2])
    return changed if version_of(name, changed) is not None else text


def is_same_prompt(one: str, other: str) -> bool:
    """Whether two texts differ in nothing but the version and the name."""
    return _bare(one) == _bare(other)


def version_of(name: str, text: str) -> int | None:
    """The version that a text gives itself; None where it is no prompt."""
    try:
        return parse_prompt(name, Path(f"{name}.md"), text).matter.version
    except PromptError:
        return None


def _bare(text: str) -> str:
    return _with(_with(text, "version", ""), "name", "")


def _with(text: str, key: str, value: str) -> str:
    front = _FRONT.match(text)
    if front is None:
        return text
    line = re.compile(_LINE.format(key=key), re.MULTILINE)
    return line.sub(lambda _: f"{key}: {value}", front[0], count=1) + text[front.end() :]
