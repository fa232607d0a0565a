"""The gate: what counts as the same words, how many places a category has, what a run rejects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from factory import (
    MATHS,
    SEEDS,
    WRITING,
    WRITING_JA,
    WRITING_ZH,
    assert_sound,
    corpus_of,
    one,
    rows,
    run,
    samples,
    simulated,
    sums,
    write_recipe,
    write_seeds,
)
from hypothesis import given
from hypothesis import strategies as st

from graph.gates import Gates, fingerprint, in_another_language


def calls_of(db: Path, sample: str) -> list[dict[str, Any]]:
    return rows(db, "SELECT agent FROM agent_call WHERE sample_id = ?", sample)


def verdict_of(db: Path, sample: str, name: str) -> Any:
    query = "SELECT evidence FROM verdict WHERE sample_id = ? AND name = ? AND label = 'fail'"
    return json.loads(one(db, query, sample, name))


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("Add 2 and 3.", "add  2\nand 3. "),
        ("Ａｄｄ ２ and ３.", "Add 2 and 3."),
        ("ﾒｰﾙを書いてください。", "メールを書いてください。"),
        ("STRASSE", "straße"),
        ("请写　两句话。", "请写 两句话。"),
    ],
)
def test_width_case_and_spacing_do_not_make_other_words(text: str, other: str) -> None:
    assert fingerprint(text, "") == fingerprint(other, "")


@pytest.mark.parametrize(
    ("task", "other"),
    [
        (("Add 2 and 3.", ""), ("Add 2 and 4.", "")),
        (("Add 2 and 3.", ""), ("Add 2 and 3!", "")),
        (("Sum up:", "a"), ("Sum up:", "b")),
        (("説明してください。", ""), ("説明して下さい。", "")),
    ],
)
def test_other_words_have_another_fingerprint(
    task: tuple[str, str], other: tuple[str, str]
) -> None:
    assert fingerprint(*task) != fingerprint(*other)


@given(st.text(), st.text())
def test_a_fingerprint_is_sixteen_hexadecimal_digits(instruction: str, input: str) -> None:
    found = fingerprint(instruction, input)
    assert len(found) == 16
    assert f"{int(found, 16):016x}" == found


def test_the_first_with_some_words_is_let_in_and_every_later_one_is_a_duplicate() -> None:
    gates = Gates()
    words = fingerprint("Add 2 and 3.", "")
    assert [gates.is_duplicate(words) for _ in range(3)] == [False, True, True]
    assert not gates.is_duplicate(fingerprint("Add 2 and 4.", ""))


def test_words_that_were_let_in_by_an_earlier_run_are_known() -> None:
    words = fingerprint("Add 2 and 3.", "")
    assert Gates(known=[words]).is_duplicate(words)


def test_a_category_takes_as_many_as_its_quota() -> None:
    gates = Gates(quotas={"math": 2})
    assert [gates.take_place("math") for _ in range(4)] == [True, True, False, False]
    assert gates.live("math") == 2
    assert gates.quota("math") == 2


def test_places_taken_by_earlier_runs_count() -> None:
    gates = Gates(live={"math": 1}, quotas={"math": 2})
    assert [gates.take_place("math") for _ in range(2)] == [True, False]


def test_a_place_given_back_can_be_taken_again() -> None:
    gates = Gates(quotas={"math": 1})
    assert gates.take_place("math")
    gates.give_back("math")
    assert gates.take_place("math")
    assert not gates.take_place("math")


def test_a_place_that_nobody_had_cannot_be_given_back() -> None:
    gates = Gates(quotas={"math": 1})
    gates.give_back("math")
    assert gates.live("math") == 0
    assert [gates.take_place("math") for _ in range(2)] == [True, False]


def test_categories_without_a_quota_are_not_bounded() -> None:
    gates = Gates(quotas={"math": 0})
    assert gates.quota("code") is None
    assert all(gates.take_place("code") for _ in range(100))
    assert not gates.take_place("math")


@pytest.mark.parametrize(
    ("instruction", "language"),
    [
        ("94 × 60 + 5 はいくつですか？", "en"),
        ("计算 3 + 4。", "fr"),
        ("What is 10% of 2300?", "ja"),
        ("Calculate (27 + 20) × 3.", "zh"),
        ("28 × 75 + 5 はいくつですか？", "ko"),
        ("28 × 75 + 5 はいくつですか？", "zh-CN"),
        ("Write a short story about the sea, the sun and the people who live there.", "ja"),
    ],
)
def test_short_as_an_instruction_is_its_script_gives_another_language_away(
    instruction: str, language: str
) -> None:
    assert in_another_language(instruction, language)


@pytest.mark.parametrize(
    ("instruction", "language"),
    [
        ("3 + 4 × 5 = ?", "en"),
        ("3 + 4 × 5 = ?", "ja"),
        ("x² + y² = 25, x?", "zh"),
        ("Python 3?", "zh"),
        ("Translate 「猫」.", "en"),
        ("Was ist 3 + 4?", "en"),
        ("SELECT * FROM users の意味は？", "ja"),
        ("三角形面積公式", "ja"),
        ("```python\ndef add(first, second):\n    return first + second\n```", "zh"),
        ("Сколько будет 2 + 2?", "ru"),
        ("What is 2 + 2?", "ru"),
    ],
)
def test_what_leaves_a_doubt_is_not_called_another_language(
    instruction: str, language: str
) -> None:
    assert not in_another_language(instruction, language)


async def test_a_variant_in_another_language_is_rejected_before_any_further_call(
    tmp_path: Path,
) -> None:
    seeds = [WRITING, WRITING_JA, WRITING_ZH]
    recipe = write_recipe(tmp_path, seeds, teachers={"local": simulated(off_language=1.0)})
    await run(recipe)
    db = corpus_of(recipe)
    variants = samples(db, "origin = 'expansion'")
    assert len(variants) == 3
    for variant in variants:
        assert (variant["status"], variant["reason"]) == ("rejected", "off_language")
        assert calls_of(db, variant["id"]) == []
        assert verdict_of(db, variant["id"], "off_language") == {"expected": variant["language"]}
    assert {s["status"] for s in samples(db, "origin = 'seed'")} == {"accepted"}
    assert_sound(db)


async def test_a_variant_of_another_category_is_rejected_before_any_further_call(
    tmp_path: Path,
) -> None:
    recipe = write_recipe(tmp_path, teachers={"local": simulated(off_category=1.0)})
    await run(recipe)
    db = corpus_of(recipe)
    variants = samples(db, "origin = 'expansion'")
    assert len(variants) == 6
    for variant in variants:
        assert (variant["status"], variant["reason"]) == ("rejected", "off_category")
        assert calls_of(db, variant["id"]) == []
        evidence = verdict_of(db, variant["id"], "off_category")
        assert evidence["expected"] == variant["category"] != evidence["claimed"]
    assert_sound(db)


async def test_gates_can_be_left_out(tmp_path: Path) -> None:
    recipe = write_recipe(
        tmp_path,
        [*SEEDS, MATHS],
        teachers={"local": simulated(off_language=0.5, off_category=0.5)},
        gates={"language": False, "category": False, "duplicates": False},
    )
    await run(recipe)
    reasons = {s["reason"] for s in samples(corpus_of(recipe))}
    assert not reasons & {"off_language", "off_category", "duplicate"}


async def test_an_exact_duplicate_is_rejected_and_names_the_sample_it_repeats(
    tmp_path: Path,
) -> None:
    shouted = {**MATHS, "instruction": MATHS["instruction"].upper() + " "}
    recipe = write_recipe(
        tmp_path, [MATHS, WRITING, MATHS, shouted], agents={"expansion": {"variants": 0}}
    )
    await run(recipe)
    db = corpus_of(recipe)
    duplicates = samples(db, "sample.reason = 'duplicate'")
    assert [s["status"] for s in samples(db)].count("accepted") == 2
    assert len(duplicates) == 2
    (owner,) = samples(db, "sample.status = 'accepted' AND sample.category = 'math'")
    for duplicate in duplicates:
        assert duplicate["status"] == "rejected"
        assert verdict_of(db, duplicate["id"], "duplicate") == {
            "fingerprint": owner["fingerprint"],
            "of": owner["id"],
        }
        assert calls_of(db, duplicate["id"]) == []
    assert_sound(db)


async def test_a_seed_that_repeats_an_earlier_runs_words_is_a_duplicate(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, [MATHS], agents={"expansion": {"variants": 0}})
    await run(recipe)
    write_seeds(tmp_path / "seeds.jsonl", [MATHS, MATHS])
    await run(recipe)
    first, second = samples(corpus_of(recipe))
    assert (first["status"], second["reason"]) == ("accepted", "duplicate")
    assert verdict_of(corpus_of(recipe), second["id"], "duplicate")["of"] == first["id"]


async def test_a_category_over_its_quota_is_rejected_before_any_call(tmp_path: Path) -> None:
    recipe = write_recipe(
        tmp_path,
        [*sums(5), WRITING],
        agents={"expansion": {"variants": 0}},
        gates={"quotas": {"math": 2}},
    )
    await run(recipe)
    db = corpus_of(recipe)
    assert one(db, "SELECT count(*) FROM sample WHERE status='accepted' AND category='math'") == 2
    over = samples(db, "sample.reason = 'over_quota'")
    assert len(over) == 3
    for sample in over:
        assert calls_of(db, sample["id"]) == []
        evidence = verdict_of(db, sample["id"], "over_quota")
        assert evidence == {"category": "math", "live": 2, "quota": 2}
    assert {s["status"] for s in samples(db, "sample.category = 'writing'")} == {"accepted"}
    assert_sound(db)


async def test_a_quota_counts_what_earlier_runs_accepted(tmp_path: Path) -> None:
    recipe = write_recipe(
        tmp_path,
        sums(2),
        agents={"expansion": {"variants": 0}},
        gates={"quotas": {"math": 3}},
    )
    await run(recipe)
    write_seeds(tmp_path / "seeds.jsonl", sums(6))
    await run(recipe)
    ends = [(s["status"], s["reason"]) for s in samples(corpus_of(recipe))]
    assert ends.count(("accepted", "verified")) == 3
    assert ends.count(("rejected", "over_quota")) == 3


async def test_a_rejected_sample_gives_its_place_back(tmp_path: Path) -> None:
    recipe = write_recipe(
        tmp_path,
        sums(4),
        agents={"expansion": {"variants": 0}, "verification": {"max_rounds": 1}},
        gates={"quotas": {"math": 1}},
        run={"seeds_in_flight": 1},
        teachers={"local": simulated(wrong_math=1.0)},
    )
    await run(recipe)
    reasons = [s["reason"] for s in samples(corpus_of(recipe))]
    assert reasons == ["verification_failed"] * 8
