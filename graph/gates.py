"""The gate's memory: which instructions are in the corpus already, and how full each category is.

Decisions that depend on other samples are made here once, in one place, while the event loop runs
nothing else; they are committed with their evidence and replayed on resume. Only 64-bit
fingerprints are kept in memory; which sample a duplicate repeats is looked up when one is found.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping

from common.compact_set import CompactSet
from common.hashing import digest_text
from common.language import is_language, lacks_script

_SPACES = re.compile(r"\s+")


def fingerprint(instruction: str, input: str) -> str:
    """16 hexadecimal digits, equal for equal words; width, case and spacing do not count."""
    text = unicodedata.normalize("NFKC", f"{instruction}\n{input}").casefold()
    return digest_text(_SPACES.sub(" ", text).strip())[:16]


def in_another_language(instruction: str, language: str) -> bool:
    """Whether an instruction is surely not in its seed's language."""
    return is_language(instruction, language) is False or lacks_script(instruction, language)


class Gates:
    """Exact duplicates and category quotas over the whole corpus of one recipe.

    Args:
        known: fingerprints of the samples that were let in before.
        live: samples per category that hold a place under their quota.
        quotas: the most live samples per category; categories not named are not bounded.
    """

    def __init__(
        self,
        *,
        known: Iterable[str] = (),
        live: Mapping[str, int] | None = None,
        quotas: Mapping[str, int] | None = None,
    ) -> None:
        self._known = CompactSet(int(print_, 16) for print_ in known)
        self._live = dict(live or {})
        self._quotas = dict(quotas or {})

    def is_duplicate(self, print_: str) -> bool:
        """Whether these words were let in before; if not, they are from now on."""
        return not self._known.add(int(print_, 16))

    def quota(self, category: str) -> int | None:
        """The bound for a category."""
        return self._quotas.get(category)

    def take_place(self, category: str) -> bool:
        """Takes one place under the category's quota; False when it is full."""
        quota = self._quotas.get(category)
        live = self._live.get(category, 0)
        if quota is not None and live >= quota:
            return False
        self._live[category] = live + 1
        return True

    def give_back(self, category: str) -> None:
        """Frees the place of a sample that was rejected or failed."""
        self._live[category] = max(0, self._live.get(category, 0) - 1)

    def live(self, category: str) -> int:
        """How many places are taken."""
        return self._live.get(category, 0)
