"""The shape of what a simulated teacher can say in one language: templates with named slots.

The text itself stands in `phrases_en.py`, `phrases_ja.py` and `phrases_zh.py`; `voices.py` finds it
by language.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MathsWords:
    """How a computation is told. Slots: `{expression}`, `{value}`, `{numbers}`, `{step}`, `{n}`."""

    intro: str
    numbers: str
    step: str
    check: str
    result: str
    final: str


@dataclass(frozen=True, slots=True)
class Phrases:
    """Templates of one language.

    Slots of `tasks`: `{topic} {other} {audience} {keyword} {fact} {passage} {topic_id}
    {keyword_id} {n} {m} {k} {p}`; of `bodies`, `openings`, `closings`, `list_items` and
    `thoughts`: `{k1} {k2} {k3} {gist}`, and `{label}` for a classification. `rewordings` change
    the beginning or the end of an instruction, `wrappers` stand around it; neither holds a digit,
    so that a rewritten instruction has exactly the numbers of the original.
    """

    language: str
    topics: tuple[str, ...]
    audiences: tuple[str, ...]
    facts: tuple[str, ...]
    spare_words: tuple[str, ...]
    tasks: Mapping[str, tuple[str, ...]]
    rewordings: tuple[tuple[re.Pattern[str], str], ...]
    wrappers: tuple[tuple[str, str], ...]
    refusals: tuple[str, ...]
    maths: MathsWords
    thoughts: tuple[str, ...]
    openings: tuple[str, ...]
    closings: tuple[str, ...]
    bodies: Mapping[str, tuple[str, ...]]
    list_items: tuple[str, ...]
    labels: tuple[str, ...]
    joiner: str
    feedback_note: str
