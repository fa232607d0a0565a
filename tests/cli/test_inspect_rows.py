"""`stillhouse inspect --rows`: what it needs is said before anything is served."""

from __future__ import annotations

import sys

import pytest

from cli.inspect import inspect_command
from common.recipes import RecipeError
from inspector.errors import InspectorMissing

RECIPE = "recipes/distilqwen2.5/1.5b.yaml"


@pytest.mark.parametrize("module", ["numpy", "tokenizers", "huggingface_hub"])
def test_a_missing_module_is_named_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    for name in [name for name in sys.modules if name.startswith("training.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InspectorMissing) as refused:
        inspect_command("none.db", "127.0.0.1", 0, None, [], [RECIPE])
    assert module in refused.value.cause and "rows" in refused.value.solution


def test_a_recipe_that_is_none_is_refused() -> None:
    with pytest.raises(RecipeError):
        inspect_command("none.db", "127.0.0.1", 0, None, [], ["no/such.yaml"])
