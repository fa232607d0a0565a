"""What `--set` reaches: sections, and the items of lists by number or name."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.recipes import RecipeError, read_document


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    file = tmp_path / "recipe.yaml"
    file.write_text("stages:\n- {name: sft, lr: 1}\n- {name: kd, lr: 2}\nsizes: [1, 2]\n")
    return file


def test_an_item_of_a_list_is_reached_by_its_name(recipe: Path) -> None:
    _, document = read_document(recipe, ["stages.kd.lr=5"], begin="stages:")
    assert document["stages"] == [{"name": "sft", "lr": 1}, {"name": "kd", "lr": 5}]


def test_an_item_of_a_list_is_reached_by_its_number(recipe: Path) -> None:
    _, document = read_document(recipe, ["stages.0.lr=5", "sizes.1=7"], begin="stages:")
    assert document["stages"][0]["lr"] == 5
    assert document["sizes"] == [1, 7]


@pytest.mark.parametrize("override", ["stages.none.lr=5", "stages.2.lr=5", "sizes.-1=3"])
def test_an_item_that_is_not_there_is_refused_with_the_known_ones(
    recipe: Path, override: str
) -> None:
    with pytest.raises(RecipeError) as refused:
        read_document(recipe, [override], begin="stages:")
    assert "2 items" in refused.value.cause
