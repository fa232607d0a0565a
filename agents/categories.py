"""The task categories, and which of them want a chain of thought.

The paper (arXiv 2504.15027) inserts chains of thought where a task needs several
steps of reasoning; these are the categories that do.
"""

from __future__ import annotations

from typing import Literal, get_args

Category = Literal[
    "math",
    "logic",
    "code",
    "sql",
    "planning",
    "writing",
    "summarization",
    "translation",
    "classification",
    "extraction",
    "qa",
    "brainstorming",
    "chat",
    "other",
]
CATEGORIES: tuple[Category, ...] = get_args(Category)
CHAIN_OF_THOUGHT: tuple[Category, ...] = ("math", "logic", "code", "sql", "planning")

_ALIASES: dict[str, Category] = {
    "maths": "math",
    "mathematics": "math",
    "arithmetic": "math",
    "reasoning": "logic",
    "coding": "code",
    "programming": "code",
    "summary": "summarization",
    "summarisation": "summarization",
    "open_qa": "qa",
    "closed_qa": "qa",
    "question_answering": "qa",
    "creative_writing": "writing",
    "roleplay": "chat",
    "information_extraction": "extraction",
}


def known_category(word: str | None) -> Category | None:
    """The category a word stands for, or None; spelling variants and case are forgiven."""
    if not word:
        return None
    folded = word.strip().lower().replace(" ", "_").replace("-", "_")
    for category in CATEGORIES:
        if folded == category:
            return category
    return _ALIASES.get(folded)


LANGUAGE_NAMES = {
    "en": "English",
    "ja": "Japanese",
    "zh": "Chinese",
    "ko": "Korean",
    "fr": "French",
    "de": "German",
    "es": "Spanish",
    "it": "Italian",
    "pt": "Portuguese",
    "ru": "Russian",
    "ar": "Arabic",
    "hi": "Hindi",
    "th": "Thai",
    "vi": "Vietnamese",
}


def language_name(code: str | None) -> str:
    """The English name of an ISO 639-1 code, for prompts; the code itself where we know no name."""
    return LANGUAGE_NAMES.get(code or "en", code or "English")
