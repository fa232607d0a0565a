"""From a language code to what a simulated teacher says in it; unknown languages get English."""

from __future__ import annotations

from teachers.simulated.phrases import Phrases
from teachers.simulated.phrases_en import ENGLISH
from teachers.simulated.phrases_ja import JAPANESE
from teachers.simulated.phrases_zh import CHINESE

_VOICES = {phrases.language: phrases for phrases in (ENGLISH, JAPANESE, CHINESE)}


def phrases_for(language: str) -> Phrases:
    """The phrases of `language`, or the English ones."""
    return _VOICES.get(language, ENGLISH)
