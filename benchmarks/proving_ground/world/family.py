"""What a family of tasks is, and how its problems are split into train and test.

A problem is drawn from facts (the numbers, names or words in it) and a phrasing: an opening `a` and
a question `b` of the family's lists. Its *content* is what is left of the facts when it does not
matter how they are told: the numbers of a word problem without its names and things, the fields of
a record without their order. Test problems have a content *and* a phrasing that no training problem
of either language has: contents by a hash of theirs, phrasings by `a + b`, so that every opening
and every question is met in training, but not this pair. What lies between (new contents in known
phrasings, known contents in new ones) is drawn for neither.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Language = Literal["en", "ja"]
Split = Literal["train", "test"]
LANGUAGES: tuple[Language, ...] = ("en", "ja")
LEVELS = (1, 2, 3)

_PARTS = 4
"""One part in four is held out, of contents and of phrasings."""


class Family(Protocol):
    """A kind of task. `facts` are a tuple of JSON values, and mean what the family says; all of
    them are told or asked for."""

    name: str
    category: str
    openings: int
    questions: int

    def draw(self, numbers: random.Random, level: int) -> tuple[Any, ...]:
        """Facts of a problem of this level (1 is the easiest)."""

    def content(self, facts: tuple[Any, ...]) -> tuple[Any, ...]:
        """What the problem is about, however it is told: see the module."""

    def ask(self, facts: tuple[Any, ...], language: Language, a: int, b: int) -> tuple[str, str]:
        """The instruction and its input (often empty)."""

    def reference(self, facts: tuple[Any, ...], language: Language) -> str:
        """The right answer, as a file of seeds would give it."""

    def answer(self, facts: tuple[Any, ...], language: Language, numbers: random.Random) -> str:
        """One right response, drawn by the family's law."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One task. `phrasing` and `content` are what the split was decided by."""

    family: str
    category: str
    language: Language
    level: int
    instruction: str
    input: str
    reference: str
    phrasing: tuple[int, int]
    facts: tuple[Any, ...]
    content: tuple[Any, ...]

    @property
    def prompt(self) -> str:
        """What a model is asked, as `prompts/rewriting/as_is` renders it."""
        return f"{self.instruction}\n\n{self.input}" if self.input else self.instruction


def split_of_content(content: tuple[Any, ...]) -> Split:
    """Which side a content belongs to, whatever the phrasing and the language."""
    hashed = hashlib.blake2b(repr(content).encode(), digest_size=4).digest()
    return "test" if int.from_bytes(hashed, "big") % _PARTS == 0 else "train"


def split_of_phrasing(a: int, b: int) -> Split:
    """Which side a pair of opening and question belongs to."""
    return "test" if (a + b) % _PARTS == 0 else "train"


def draw_problem(
    family: Family, language: Language, level: int, split: Split, numbers: random.Random
) -> Problem:
    """One problem of a side."""
    while True:
        facts = family.draw(numbers, level)
        content = (family.name, *family.content(facts))
        if split_of_content(content) == split:
            break
    while True:
        a, b = numbers.randrange(family.openings), numbers.randrange(family.questions)
        if split_of_phrasing(a, b) == split:
            break
    instruction, given = family.ask(facts, language, a, b)
    return Problem(
        family=family.name,
        category=family.category,
        language=language,
        level=level,
        instruction=instruction,
        input=given,
        reference=family.reference(facts, language),
        phrasing=(a, b),
        facts=facts,
        content=content,
    )
