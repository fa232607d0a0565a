"""What a user writes about a source of seeds, under `seeds:` in a recipe.

A bare string is the path alone; the long form adds the shape, defaults for rows that do not say,
a limit, a split and the names of the file's columns.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from agents.categories import CATEGORIES, LANGUAGE_NAMES, known_category

Shape = Literal["alpaca", "self_instruct", "sharegpt", "messages", "lccd", "plain"]
FieldName = Literal[
    "instruction", "input", "reference", "system", "category", "language", "licence"
]
Fields = dict[FieldName, str]

_LANGUAGE_CODES = {name.lower(): code for code, name in LANGUAGE_NAMES.items()}
# Country codes that are often written where the language is meant.
_LANGUAGE_CODES |= {
    "jp": "ja",
    "cn": "zh",
    "日本語": "ja",
    "中文": "zh",
    "汉语": "zh",
    "漢語": "zh",
}


def known_language(word: str | None) -> str | None:
    """The ISO 639 code that `zh-CN`, `Japanese` or `EN` stands for; None where it is none."""
    if not word:
        return None
    folded = word.strip().lower()
    if folded in _LANGUAGE_CODES:
        return _LANGUAGE_CODES[folded]
    primary = folded.replace("_", "-").split("-")[0]
    if primary.isascii() and primary.isalpha() and len(primary) in (2, 3):
        return primary
    return None


class SeedOptions(BaseModel):
    """How to read one source. `category`, `language` and `licence` serve rows that do not say.

    `limit` counts seeds, not rows. `split` chooses one of a JSON file's or a dataset's splits;
    without it, `train` is read where there is one, else the first. `fields` maps our names to the
    file's columns, for columns we would not recognise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    shape: Literal["auto"] | Shape = "auto"
    category: str | None = None
    language: str | None = None
    licence: str | None = None
    limit: int | None = Field(default=None, ge=1)
    split: str | None = None
    fields: Fields = Field(default_factory=dict)

    @field_validator("category")
    @classmethod
    def _one_of_ours(cls, value: str | None) -> str | None:
        if value is None:
            return None
        category = known_category(value)
        if category is None:
            raise ValueError(f"unknown category {value!r}; known are {', '.join(CATEGORIES)}")
        return category

    @field_validator("language")
    @classmethod
    def _a_language_code(cls, value: str | None) -> str | None:
        if value is None:
            return None
        language = known_language(value)
        if language is None:
            raise ValueError(f"unknown language {value!r}; write a code such as en, ja or zh")
        return language


class SeedSource(SeedOptions):
    """One source of seeds in a recipe: a file, or `hf:owner/name[/config][:split]`."""

    path: str = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _accept_a_bare_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value
