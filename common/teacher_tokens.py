"""What a teacher says of each token of a text, in words: the trainer reads, the inspector shows it.

In: nothing. Out: plain dataclasses, which stand here so that neither has to import the other.
Probabilities are shares of one; those of a token are given at each of the text's temperatures.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Choice:
    """One token that the teacher thought of; `words` are what the text would say with it."""

    id: int
    words: str
    chances: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One token that is there, and the teacher's choices in its place, the likeliest first.

    `place` is its own among them; None where it is none of them. `rest` is what all other tokens
    have together.
    """

    id: int
    words: str
    choices: tuple[Choice, ...]
    place: int | None
    rest: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Whole characters, with the tokens that make them up: one as a rule, several where a character
    is cut. After a `gap` other tokens were left out, which the student does not learn to say."""

    words: str
    rows: tuple[TokenRow, ...]
    gap: bool = False


@dataclass(frozen=True, slots=True)
class TeacherText:
    """One teacher's rows for one sequence, from its first token that is trained on.

    - `kind`: `top_k`, or `sampled`: then chances are shares of `k` draws and nothing has a rest.
    - `temperatures`: those at which chances are given, 1 first.
    - `tokens`: how many there are; `stretches` may end before.
    - `unspelt`: why tokens are numbers in place of words; None where they are words.
    """

    teacher: str
    revision: str | None
    engine: str
    dtype: str
    kind: str
    k: int
    temperatures: tuple[float, ...]
    stretches: tuple[Stretch, ...]
    tokens: int
    unspelt: str | None = None
