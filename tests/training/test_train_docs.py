"""The table of keys in docs/training.md is the recipe's models: every key, and every default."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from training.recipe import TrainRecipe

PAGE = Path(__file__).parents[2] / "docs" / "training.md"


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a field holds: itself, or in a list, a dictionary, an option."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in get_args(annotation) if (found := _model_in(each))), None)


def _fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every setting by its path; of sections only what is in them, unless they may be left out."""
    for name, field in model.model_fields.items():
        inner = _model_in(field.annotation)
        kind = str(field.annotation)
        if inner is None or "None" in kind or (name == "teachers" and prefix):
            yield prefix + name, field
        if inner is not None:
            under = ".NAME" if kind.startswith("dict") else "[]" if kind.startswith("list") else ""
            yield from _fields(inner, f"{prefix}{name}{under}.")


MODELS = dict(_fields(TrainRecipe))


def _keys(cell: str) -> list[str]:
    """`a.b`, `.c` are a.b and a.c."""
    keys: list[str] = []
    for key in re.findall(r"`([^`]+)`", cell):
        keys.append(keys[0].rpartition(".")[0] + key if key.startswith(".") else key)
    return keys


def _table() -> dict[str, Any]:
    """Every key of the page's table with its default; `required` where there is none."""
    said: dict[str, Any] = {}
    rows = re.findall(r"^\| (`.*?) \| (.*?)\s*\| .* \|$", _section(), flags=re.MULTILINE)
    for first, second in rows:
        keys, defaults = _keys(first), yaml.safe_load(f"[{second}]")
        said |= zip(keys, defaults or ["required"] * len(keys), strict=True)
    return said


def _section() -> str:
    page = PAGE.read_text(encoding="utf-8")
    return page.partition("| key | default | meaning |")[2].partition("\n\n")[0]


TABLE = _table()


def test_the_table_has_every_key_and_no_other() -> None:
    assert sorted(TABLE) == sorted(MODELS)


def _default(field: FieldInfo) -> Any:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)  # type: ignore[call-overload]
    if isinstance(value, tuple):
        value = list(value)
    return "none" if value in (None, "", [], {}) and value is not False else value


@pytest.mark.parametrize("key", MODELS)
def test_the_table_has_the_models_default(key: str) -> None:
    said, wanted = TABLE[key], _default(MODELS[key])
    if isinstance(wanted, float):
        said = float(said)  # YAML reads 1e-5 as text
    assert said == wanted and isinstance(said, bool) == isinstance(wanted, bool)


def test_the_pages_own_recipe_is_one() -> None:
    (text,) = re.findall(r"```yaml\n(name:.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    recipe = TrainRecipe.model_validate(yaml.safe_load(text))
    assert [stage.kind for stage in recipe.stages] == ["sft", "kd"]
