"""The law by which a right response is put into words: how much is said, and how.

The chances are these, in every family whose answer is a value:

| form | chance | example |
| --- | --- | --- |
| steps, then the answer | 0.5 | `Let us see. 4 × 6 = 24. 23 + 24 = 47. Answer: 47` |
| the answer, announced | 0.3 | `The answer is 47.` |
| the answer alone | 0.2 | `47` |

Steps open with nothing (0.4) or one of two phrases (0.3 each) and are joined in one of two ways
(0.6, 0.4); an answer is announced in one of three (0.5, 0.3, 0.2). JSON and SQL have laws of their
own: the order of keys and conditions, and how they are spaced.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from benchmarks.proving_ground.world.family import Language

_INTROS: dict[Language, tuple[str, str, str]] = {
    "en": ("", "Step by step: ", "Let us see. "),
    "ja": ("", "順に考えます。", "計算してみます。"),
}
_JOINTS: dict[Language, tuple[str, str]] = {"en": (". ", "; then "), "ja": ("。", "、次に")}
_STOPS: dict[Language, str] = {"en": ". ", "ja": "。"}
_ANNOUNCED: dict[Language, tuple[str, str, str]] = {
    "en": ("Answer: {}", "The answer is {}.", "Final answer: {}"),
    "ja": ("答え: {}", "答えは{}です。", "最終的な答え: {}"),
}


def worded(answer: str, steps: Sequence[str], language: Language, numbers: random.Random) -> str:
    """A right response around `answer`."""
    (form,) = numbers.choices(("steps", "announced", "alone"), (0.5, 0.3, 0.2))
    if form == "alone":
        return answer
    (announced,) = numbers.choices(_ANNOUNCED[language], (0.5, 0.3, 0.2))
    said = announced.format(answer)
    if form == "announced" or not steps:
        return said
    (intro,) = numbers.choices(_INTROS[language], (0.4, 0.3, 0.3))
    (joint,) = numbers.choices(_JOINTS[language], (0.6, 0.4))
    return intro + joint.join(steps) + _STOPS[language] + said
