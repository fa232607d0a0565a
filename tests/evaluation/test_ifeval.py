"""IFEval's verdicts: what follows and what does not, strict and loose, the same every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from evaluating import DATA, IFEVAL, needs_data, recipe, run, write_lines

from evaluation.benchmark import ItemResult, Judged
from evaluation.errors import DataMissing
from evaluation.ifeval.benchmark import Ifeval, IfevalSettings
from evaluation.ifeval.english import english_checker
from evaluation.ifeval.japanese import japanese_checker
from evaluation.ifeval.punkt_data import sentence_counter
from evaluation.ifeval.scoring import Followed, check_response, ifeval_metrics, loose_variants
from storage.database import Database

pytest.importorskip("lm_eval")
pytest.importorskip("janome")

# Instruction, arguments, what follows it, what does not.
JAPANESE: list[tuple[str, dict[str, Any], str, str]] = [
    ("combination:repeat_prompt", {"prompt_to_repeat": "空は？"}, "空は？\n青い。", "青い。"),
    ("combination:two_responses", {}, "犬。\n******\n猫。", "犬。******犬。"),
    ("combination:two_responses", {}, "犬。******猫。******", "犬。******\n******猫。"),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[名前]と[場所]", "[名前]"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "では。p. s. 雨。", "P.P."),
    ("detectable_content:postscript", {"postscript_marker": "追伸"}, "追伸：雨。", "雨。"),
    ("detectable_format:constrained_response", {}, "はい、そうです。", "そうかも。"),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', "a: 1"),
    ("detectable_format:multiple_sections", {"section_spliter": "章", "num_sections": 2},
     "第1章 朝\n第２章 夜", "第一章 朝"),
    ("detectable_format:nominal_ending", {"count": 1}, "空に浮かぶ月。", "月は丸い。「月。」"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "・一\n ・二",
     "・一\n・二\n・三"),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 1}, "《海》だ", "《 》だ"),
    ("detectable_format:number_numbered_lists", {"num_items": 2}, "1. 一\n2. 二", "1.一\n2.二"),
    ("detectable_format:title", {}, "『海』について", "「海」について"),
    ("keywords:existence", {"keywords": ["海"]}, "海が青い。", "海外へ行く。"),
    ("keywords:forbidden_words", {"forbidden_words": ["海"]}, "海外へ行く。", "海が青い。"),
    ("keywords:frequency", {"relation": "以上", "keyword": "海", "frequency": 2},
     "海と海。", "海と海外。"),
    ("keywords:frequency", {"relation": "未満", "keyword": "海", "frequency": 2},
     "海と山。", "海と海。"),
    ("keywords:letter_frequency", {"let_relation": "以上", "letter": "し", "let_frequency": 2},
     "しシ", "しい"),
    ("language:response_language", {"language": "fr"},
     "Le ciel est bleu et la mer est calme ce soir.", "空は青く、海は静かです。"),
    ("length_constraints:nth_paragraph_first_word",
     {"first_word": "首", "num_paragraphs": 2, "nth_paragraph": 2}, "東京。\n\n「首都だ。」",
     "首都。\n\n東京。"),
    ("length_constraints:number_letters", {"relation": "未満", "num_letters": 4}, "青い。",
     "青い。。"),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "朝。\n***\n夜。",
     "朝。***夜。***昼。"),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "***朝。***夜。",
     "朝。******夜。"),
    ("length_constraints:number_sentences", {"relation": "以上", "num_sentences": 2},
     "朝だ。夜だ。", "「朝だ。夜だ。」と言う"),
    ("letters:furigana", {}, "漢字（かんじ）だ", "漢字だ"),
    ("letters:kanji", {"relation": "以上", "kanji_limit": 2}, "青い海", "青いうみ"),
    ("letters:kansuuji", {}, "三つ", "3つ"),
    ("letters:hiragana_only", {}, "うみ、そら！", "うみと空"),
    ("letters:katakana_only", {}, "ウミ・ソラ ｳﾐ", "ウミとソラ"),
    ("letters:no_hiragana", {}, "海ト空", "海と空"),
    ("letters:no_katakana", {}, "うみ", "うミ"),
    ("punctuation:no_comma", {}, "海。", "海、空。"),
    ("punctuation:no_period", {}, "海、空", "海。"),
    ("startend:end_checker", {"end_phrase": "以上です。"}, "海。以上です。」", "以上です。海。"),
    ("startend:quotation", {}, " 「海と\n空」 ", "「"),
    ("startend:sentence_unified_end", {"ending": "です"},
     "海です。「空だ。」空です！", "海です。空だ。"),
]  # fmt: skip
ENGLISH: list[tuple[str, dict[str, Any], str, str]] = [
    ("keywords:letter_frequency",
     {"letter": "!", "let_relation": "at least", "let_frequency": 3}, "Oh! Ah! Eh!", "Aaa Bbb!!"),
    ("en:length_constraints:number_sentences", {"relation": "at least", "num_sentences": 2},
     "Mr. Smith came. He sat.", "Mr. Smith came at 5 p.m. today."),
    ("change_case:capital_word_frequency",
     {"capital_relation": "at least", "capital_frequency": 2}, "NASA and ESA. Yes.", "NASA."),
    ("punctuation:no_comma", {}, "One two.", "One, two."),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given", "good", "bad"), JAPANESE)
def test_a_japanese_instruction_is_followed_or_not(
    name: str, given: dict[str, Any], good: str, bad: str
) -> None:
    follows = japanese_checker(f"ja:{name}", given, "")
    assert follows(good)
    assert not follows(bad)


@pytest.mark.parametrize(("name", "given", "good", "bad"), ENGLISH)
def test_an_english_instruction_is_followed_or_not(
    name: str, given: dict[str, Any], good: str, bad: str
) -> None:
    follows = english_checker(name, given, "")
    assert follows(good)
    assert not follows(bad)


def test_every_japanese_instruction_of_the_benchmark_has_a_case_here() -> None:
    with pytest.raises(DataMissing) as refused:
        japanese_checker("ja:letters:romaji", {}, "")
    known = set(refused.value.solution.removeprefix("Known: ").rstrip(".").split(", "))
    assert known == {name for name, _, _, _ in JAPANESE}


def test_a_sign_to_be_counted_is_counted_every_time() -> None:
    given = {"letter": "#", "let_relation": "at least", "let_frequency": 1}
    verdicts = {english_checker("keywords:letter_frequency", given, "")("# A") for _ in range(50)}
    assert verdicts == {True}


def test_the_language_of_one_word_is_the_same_every_time() -> None:
    follows = english_checker("change_case:english_lowercase", {}, "")
    assert len({follows("inscriptions") for _ in range(50)}) == 1


@pytest.mark.parametrize("language", ["en", "ja"])
def test_brackets_without_end_are_no_json(language: str) -> None:
    ids = [f"{language}:detectable_format:json_format"]
    assert check_response(language, "p", ids, [{}], "[" * 20_000) == Followed((False,), (False,))


def test_a_response_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert english_checker("language:response_language", {"language": "fr"}, "")("** 12 **")
    assert not caplog.records


def test_sentences_end_where_they_did_when_the_figures_were_published() -> None:
    assert sentence_counter()("“It feels alive!” As she spoke, he smiled.") == 1
    assert sentence_counter()('"It feels alive!" As she spoke, he smiled.') == 2


def test_loose_takes_a_response_without_first_line_last_line_and_asterisks() -> None:
    variants = list(loose_variants("Sure:\n*a*\nbye"))
    assert variants[0] == "Sure:\n*a*\nbye"
    assert {"*a*", "a", "*a*\nbye", "Sure:\na", "a\nbye", "Sure:\n*a*"} < set(variants)
    assert len(variants) == len(set(variants)) == 8


def test_loose_follows_where_strict_does_not() -> None:
    given = [{"end_phrase": "Goodbye."}]
    found = check_response("en", "p", ["startend:end_checker"], given, "Text.\nGoodbye.\n(End)")
    assert found == Followed((False,), (True,))


def test_an_empty_response_follows_nothing() -> None:
    found = check_response("ja", "p", ["ja:punctuation:no_comma"], [{}], " \n")
    assert found == Followed((False,), (False,))


def test_scores_count_prompts_and_instructions() -> None:
    scores = ifeval_metrics([Followed((True, False), (True, True)), Followed((True,), (True,))])
    assert scores == {
        "prompt_strict": 50.0,
        "instruction_strict": pytest.approx(200 / 3),
        "prompt_loose": 100.0,
        "instruction_loose": 100.0,
    }


def test_a_prompt_without_an_answer_follows_nothing_and_is_said(tmp_path: Path) -> None:
    settings = IfevalSettings(data=write_lines(tmp_path / "prompts.jsonl", IFEVAL))
    benchmark = Ifeval(settings)
    first, second = benchmark.items
    verdict = {"strict": [True], "loose": [True], "finish_reason": "length"}
    scores = benchmark.score(
        [ItemResult(first, Judged("Pear.", verdict)), ItemResult(second, None, "timed_out")]
    )
    assert scores.metrics["prompt_strict"] == 50.0
    assert scores.metrics["instruction_strict"] == pytest.approx(100 / 3)
    assert scores.metrics["failed"] == 1 and scores.details["cut"] == 1
    assert len(scores.notes) == 2


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "x", "instruction_id_list": ["a:b"], "kwargs": []}, "no IFEval prompt"),
        ({"prompt": "x", "instruction_id_list": ["ja:b:c"], "kwargs": [{}]}, "another language"),
        ({"prompt": "x", "instruction_id_list": ["a:b"], "kwargs": [{}]}, "no instruction 'a:b'"),
        ({"prompt": "x", "instruction_id_list": ["keywords:existence"], "kwargs": [{}]},
         "other arguments"),
        ({"prompt": "x", "instruction_id_list": ["length_constraints:number_words"],
          "kwargs": [{"relation": "around", "num_words": 3}]}, "other arguments"),
    ],
)  # fmt: skip
def test_rows_that_are_no_prompts_are_refused(
    row: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(DataMissing, match=words):
        Ifeval(IfevalSettings(data=write_lines(tmp_path / "x.jsonl", [row])))


@needs_data
def test_verdicts_agree_with_the_reference_scorers() -> None:
    from benchmarks.ifeval_agreement import main

    models = main()["models"]
    assert len(models) == 3
    for found in models:
        bar = 99.5 if found["language"] == "en" else 98.0
        assert min(found["agreement_percent"].values()) >= bar, found["model"]
        assert found["largest_score_difference"] <= 0.4
        assert all(d["cause"] != "unexplained" for d in found["disagreements"])


@needs_data
async def test_recorded_answers_of_a_real_model_get_their_published_scores(tmp_path: Path) -> None:
    model = "gpt-4o-mini-2024-07-18"
    recording = DATA / "ifeval" / "verdicts" / f"en_{model}_strict.jsonl.gz"
    teacher = {"kind": "recorded", "path": str(recording), "model": model}
    settings = recipe(teachers={"student": teacher}, judge=None)
    benchmark = Ifeval(IfevalSettings(data=str(DATA / "ifeval" / "en_input_data.jsonl")))
    database = Database.open(str(tmp_path / "corpus.db"), create=True)
    result = await run(benchmark, settings, database, tmp_path)
    database.close()
    assert result.status == "finished" and result.scores is not None and not result.simulated
    # The reference scorer's own four scores, from its verdicts.
    reference = {"prompt_strict": 80.407, "instruction_strict": 85.971,
                 "prompt_loose": 83.919, "instruction_loose": 88.729}  # fmt: skip
    for name, score in reference.items():
        assert result.scores.metrics[name] == pytest.approx(score, abs=0.4)
