"""Says an instruction differently: another beginning or ending, or a polite frame around it.

In: an `Ask` of kind rewrite. Out: an instruction in the same language with exactly the same
numbers, quotations and lines. Frames of an earlier rewriting are taken off first, so that rounds do
not pile them up.
"""

from __future__ import annotations

from teachers.simulated.asks import Ask
from teachers.simulated.draws import Draws
from teachers.simulated.phrases import Phrases
from teachers.simulated.settings import SimulatedSettings
from teachers.simulated.voices import phrases_for


def rewrite(ask: Ask, settings: SimulatedSettings) -> dict[str, object]:
    """The answer's object."""
    phrases = phrases_for(ask.language)
    draws = Draws(settings.seed, "rewrite", ask.key)
    core = unframed(ask.instruction, phrases)
    reworded = _reworded(core, phrases)
    for before, after in draws.sample(phrases.wrappers, len(phrases.wrappers)):
        text = f"{before}{reworded}{after}".strip()
        if text != ask.instruction:
            return {"instruction": text}
    return {"instruction": reworded}


def unframed(text: str, phrases: Phrases) -> str:
    """`text` without the frame that a rewriting put around it."""
    for before, after in phrases.wrappers:
        stripped = text.removeprefix(before).removesuffix(after).strip()
        if stripped and stripped != text:
            return stripped
    return text


def _reworded(text: str, phrases: Phrases) -> str:
    for pattern, replacement in phrases.rewordings:
        changed = pattern.sub(replacement, text, count=1)
        if changed != text:
            return changed
    return text
