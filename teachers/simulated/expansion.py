"""New instructions like a given one: the same category and language, other numbers or topics.

In: an `Ask` of kind expansion. Out: variants with their categories, all different from each
other and from the seed. A computation keeps its wording and gets new numbers; other tasks get
templates of their category that take up a key word of the seed. At set rates a variant strays on
purpose into another category (and says so) or another language.
"""

from __future__ import annotations

import re

from teachers.simulated.asks import CATEGORIES, Ask
from teachers.simulated.classification import guess_category
from teachers.simulated.draws import Draws
from teachers.simulated.language import LANGUAGES, key_words
from teachers.simulated.phrases import Phrases
from teachers.simulated.problems import Problem, find_problem
from teachers.simulated.rewriting import unframed
from teachers.simulated.settings import SimulatedSettings
from teachers.simulated.voices import phrases_for

_ATTEMPTS = 24
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_IDENTIFIERS = ("orders", "visits", "members", "items", "records", "lessons", "tickets", "rooms")
_COLUMNS = ("region", "kind", "city", "grade", "owner", "season", "brand", "level")


def expand(ask: Ask, settings: SimulatedSettings) -> tuple[dict[str, object], tuple[str, ...]]:
    """The answer's object, and the names of the deviations that were put in."""
    category = ask.category or guess_category(ask.instruction, ask.input)
    instruction = unframed(ask.instruction, phrases_for(ask.language))
    seen = {ask.instruction, instruction}
    variants: list[dict[str, str]] = []
    injected: list[str] = []
    for index in range(ask.count):
        draws = Draws(settings.seed, "expansion", ask.key, index)
        stray = draws.fraction()
        kind, language = category, ask.language
        if stray < settings.off_category:
            kind = draws.choice([c for c in CATEGORIES if c not in (category, "other")])
            injected.append("off_category")
        elif stray < settings.off_category + settings.off_language:
            language = draws.choice([code for code in LANGUAGES if code != ask.language])
            injected.append("off_language")
        own = language == ask.language
        model = instruction if own and kind == category == "math" and not ask.input else None
        words = key_words(instruction, language) if own else []
        text = _variant(model, words, kind, phrases_for(language), draws, seen)
        seen.add(text)
        variants.append({"instruction": text, "category": kind})
    return {"variants": variants}, tuple(injected)


def _variant(
    model: str | None,
    words: list[str],
    category: str,
    phrases: Phrases,
    draws: Draws,
    seen: set[str],
) -> str:
    """A text not in `seen`: `model` with other numbers, or a template of the category."""
    for _ in range(_ATTEMPTS):
        text = renumbered(model, draws) if model else None
        text = text or _from_template(words, category, phrases, draws)
        if text not in seen:
            return text
    # A story with one small number has few forms; templates have far more than a request asks for.
    return _from_template(words, category, phrases, draws)


def renumbered(instruction: str, draws: Draws) -> str | None:
    """The instruction with other numbers, or None where it holds none in digits.

    A computation whose value is a whole number keeps one, as far as a few attempts find it; the
    numbers of a word problem grow by a common factor, which keeps most stories possible.
    """
    if not _NUMBER.search(instruction):
        return None
    problem = find_problem(instruction)
    if problem is None:
        return _scaled(instruction, draws)
    text = None
    for _ in range(_ATTEMPTS):
        text = _NUMBER.sub(lambda m: _like(m.group(), draws), instruction)
        found = find_problem(text)
        if found is not None and text != instruction and _as_simple(found, problem):
            return text
    return text if text != instruction and text and find_problem(text) else None


def _as_simple(found: Problem, model: Problem) -> bool:
    whole = model.value.denominator != 1 or found.value.denominator == 1
    return whole and (model.value < 0 or found.value >= 0)


def _like(number: str, draws: Draws) -> str:
    """Another number with as many digits, before and after the point."""
    whole, _, decimals = number.partition(".")
    low = 10 ** (len(whole) - 1)
    new = str(draws.between(max(low, 2), 10 * low - 1))
    if decimals:
        new += "." + str(draws.between(1, 10 ** len(decimals) - 1)).zfill(len(decimals))
    return new


def _scaled(instruction: str, draws: Draws) -> str | None:
    factor = draws.between(12, 30)
    shift = draws.between(0, 3)

    def other(match: re.Match[str]) -> str:
        text = match.group()
        before, after = instruction[: match.start()][-1:], instruction[match.end() :][:2].lstrip()
        year = len(text) == 4 and text[:2] in ("18", "19", "20")
        # Parts of fractions, ordinals, years and names such as B12 are not quantities.
        named = before.isascii() and before.isalpha()
        if before == "/" or after[:1] == "/" or year or named or after in ("st", "nd", "rd", "th"):
            return text
        if after[:1] in ("%", "％") or "." in text:
            return _like(text, draws)
        value = int(text)
        return text if value < 2 else str(max(2, value * factor // 10 + shift))

    text = _NUMBER.sub(other, instruction)
    return text if text != instruction else None


def _from_template(words: list[str], category: str, phrases: Phrases, draws: Draws) -> str:
    template = draws.choice(phrases.tasks[category])
    topic, other = draws.sample(phrases.topics, 2)
    keyword = draws.choice(words) if words else draws.choice(phrases.spare_words)
    passage = phrases.joiner.join(
        fact.format(topic=name)
        for fact, name in zip(draws.sample(phrases.facts, 3), (topic, other, topic), strict=True)
    )
    return template.format(
        topic=topic,
        other=other,
        keyword=keyword,
        audience=draws.choice(phrases.audiences),
        passage=passage,
        fact=draws.choice(phrases.facts).format(topic=topic),
        topic_id=draws.choice(_IDENTIFIERS),
        keyword_id=draws.choice(_COLUMNS),
        n=draws.between(12, 98),
        m=draws.between(11, 97),
        k=draws.between(3, 9),
        p=draws.between(1, 19) * 5,
    )
