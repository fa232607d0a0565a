"""The expansion agent: classifying a seed, and writing variants that keep category and language."""

from __future__ import annotations

import re

import pytest
from askers import LIBRARY, ScriptedAsker, said, simulated_teacher
from factory import MATHS, MATHS_JA, MATHS_ZH, WRITING, WRITING_JA, WRITING_ZH
from pydantic import ValidationError

from agents.categories import CATEGORIES
from agents.expansion import (
    ExpansionSettings,
    Task,
    VariantAnswer,
    claimed_category,
    classify,
    expand,
)
from common.language import is_language
from teachers.errors import SchemaFailure

SETTINGS = ExpansionSettings()
SUM = Task("What is 4 + 5?", "", "math", "en")


def variants(*instructions: str, category: str = "math") -> dict[str, object]:
    return {"variants": [{"instruction": i, "category": category} for i in instructions]}


def test_one_variant_is_written_beside_the_seed_unless_the_recipe_says_otherwise() -> None:
    assert SETTINGS.variants == 1
    assert SETTINGS.keep_seed is True
    assert SETTINGS.classify == "missing"


@pytest.mark.parametrize("wrong", [{"variants": -1}, {"variants": 51}, {"varients": 2}])
def test_settings_out_of_bounds_or_misspelt_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        ExpansionSettings.model_validate(wrong)


async def test_classification_asks_for_category_and_language_of_instruction_and_input() -> None:
    asker = ScriptedAsker({"category": "translation", "language": "ja"})
    answer = await classify(asker, LIBRARY, SETTINGS, "英語に訳してください。", "今日は寒い。")
    assert (answer.value.category, answer.value.language) == ("translation", "ja")
    (ask,) = asker.asked
    assert (ask.role, ask.schema_name) == ("expansion", "classification")
    assert "<instruction>\n英語に訳してください。\n</instruction>" in said(ask)
    assert "<input>\n今日は寒い。\n</input>" in said(ask)
    assert ", ".join(CATEGORIES) in said(ask)


async def test_without_an_input_the_prompt_has_no_empty_tag() -> None:
    asker = ScriptedAsker({"category": "math", "language": "en"})
    await classify(asker, LIBRARY, SETTINGS, "What is 4 + 5?", "")
    assert "<input>" not in said(asker.asked[0])


@pytest.mark.parametrize(
    "wrong",
    [
        {"category": "poetry", "language": "en"},
        {"category": "math", "language": "English"},
        {"category": "math", "language": "EN"},
        {"category": "math"},
    ],
)
async def test_a_classification_that_names_no_category_or_code_is_complained_about(
    wrong: dict[str, str],
) -> None:
    asker = ScriptedAsker(wrong, {"category": "math", "language": "en"})
    answer = await classify(asker, LIBRARY, SETTINGS, "What is 4 + 5?", "")
    assert answer.value.category == "math"
    assert len(asker.asked) == 2


async def test_expansion_tells_the_task_and_how_many_variants_are_wanted() -> None:
    asker = ScriptedAsker(variants("a", "b", "c"))
    settings = ExpansionSettings(variants=3)
    await expand(asker, LIBRARY, settings, Task("Rate it.", "A text.", "classification", "zh"))
    (ask,) = asker.asked
    assert (ask.role, ask.schema_name) == ("expansion", "expansion")
    prompt = said(ask)
    assert "<instruction>\nRate it.\n</instruction>" in prompt
    assert "<input>\nA text.\n</input>" in prompt
    assert "<category>classification</category>" in prompt
    assert "<language>zh</language>" in prompt
    assert "<count>3</count>" in prompt
    assert "the language stays Chinese" in prompt


async def test_a_surplus_of_variants_is_cut_off() -> None:
    asker = ScriptedAsker(variants("What is 1 + 1?", "What is 2 + 2?", "What is 3 + 3?"))
    answer = await expand(asker, LIBRARY, ExpansionSettings(variants=2), SUM)
    assert [v.instruction for v in answer.value.variants] == ["What is 1 + 1?", "What is 2 + 2?"]
    assert answer.reply.request_key == "key-1"


async def test_fewer_variants_than_wanted_are_taken_as_they_are() -> None:
    answer = await expand(
        ScriptedAsker(variants("What is 1 + 1?")), LIBRARY, ExpansionSettings(variants=5), SUM
    )
    assert len(answer.value.variants) == 1


@pytest.mark.parametrize("nothing", [variants(), variants(""), variants("  \n")])
async def test_no_variant_or_an_empty_one_is_complained_about(nothing: dict[str, object]) -> None:
    asker = ScriptedAsker(nothing, variants("What is 1 + 1?"))
    answer = await expand(asker, LIBRARY, SETTINGS, SUM)
    assert answer.value.variants[0].instruction == "What is 1 + 1?"
    assert len(asker.asked) == 2


async def test_an_expansion_that_never_fits_is_a_typed_failure() -> None:
    with pytest.raises(SchemaFailure, match="'expansion'"):
        await expand(ScriptedAsker("a", "b", "c"), LIBRARY, SETTINGS, SUM)


@pytest.mark.parametrize(
    ("claim", "category"), [("math", "math"), ("Coding", "code"), ("astrology", None), ("", None)]
)
def test_the_category_that_a_variant_claims_is_ours_or_none(
    claim: str, category: str | None
) -> None:
    assert claimed_category(VariantAnswer(instruction="x", category=claim)) == category


@pytest.mark.parametrize(
    "seed", [MATHS, WRITING, MATHS_JA, WRITING_JA, MATHS_ZH, WRITING_ZH], ids=lambda s: str(s)[:40]
)
async def test_a_real_teachers_variants_keep_the_seeds_category_and_language(
    seed: dict[str, str],
) -> None:
    task = Task(seed["instruction"], "", seed["category"], seed["language"])  # type: ignore[arg-type]
    async with simulated_teacher() as asker:
        answer = await expand(asker, LIBRARY, ExpansionSettings(variants=4), task)
    written = answer.value.variants
    assert len({v.instruction for v in written} | {task.instruction}) == 5
    assert all(claimed_category(v) == task.category for v in written)
    assert all(is_language(v.instruction, task.language) is not False for v in written)


async def test_a_variant_that_strays_says_so_in_its_claim() -> None:
    async with simulated_teacher(off_category=1.0) as asker:
        answer = await expand(asker, LIBRARY, ExpansionSettings(variants=3), SUM)
    assert all(claimed_category(v) not in (None, "math") for v in answer.value.variants)


@pytest.mark.parametrize("seed", [MATHS, MATHS_JA, MATHS_ZH], ids=["en", "ja", "zh"])
async def test_a_real_teacher_classifies_a_seed(seed: dict[str, str]) -> None:
    async with simulated_teacher() as asker:
        answer = await classify(asker, LIBRARY, SETTINGS, seed["instruction"], "")
    assert (answer.value.category, answer.value.language) == ("math", seed["language"])
    assert re.fullmatch("[0-9a-f]{32}", answer.reply.request_key)
