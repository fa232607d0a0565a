"""The prompt files as they are now, as texts with their identity.

In: the folder of prompts. Out: names, texts and hashes. A run reads the same files through the
agents' own library; here they are only shown, so a file that a run would refuse can be looked at.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from common.hashing import digest_text

_NAME = re.compile(r"[\w-]+(?:/[\w-]+)+", re.ASCII)
_VERSION = re.compile(r"^version:\s*(\d+)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class PromptFile:
    """One file. `hash` is what calls carry as `prompt_hash`; `version` is the author's, None where
    the file does not say."""

    name: str
    text: str
    hash: str
    version: str | None


def prompt_names(folder: Path) -> list[str]:
    """`agent/name` of every prompt file, sorted."""
    return sorted(
        path.relative_to(folder).with_suffix("").as_posix() for path in folder.glob("*/*.md")
    )


def is_there(folder: Path, name: str) -> bool:
    """Whether there is something under the prompt's name, be it readable or not."""
    return bool(_NAME.fullmatch(name)) and os.path.lexists(folder / f"{name}.md")


def prompt_file(folder: Path, name: str) -> PromptFile | None:
    """The file of the prompt `agent/name`; None where there is none that can be read."""
    if not _NAME.fullmatch(name):
        return None
    try:
        text = (folder / f"{name}.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    version = _VERSION.search(text)
    return PromptFile(name, text, digest_text(text), version[1] if version else None)
