"""Japanese instructions of M-IFEval (arXiv 2502.04688), one small checker each.

In: an instruction's id and arguments. Out: a function that says whether a response follows it. No
released package carries these checkers; they are written from the benchmark's description of each
instruction and held to its published verdicts by a test. Kanji here are U+4E00 to U+9FAF, as there.
"""

from __future__ import annotations

import importlib
import itertools
import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

from evaluation.errors import DataMissing
from evaluation.ifeval.japanese_words import count_sentences, words_of

Follows = Callable[[str], bool]
Maker = Callable[..., Follows]

_KANJI = r"[\u4e00-\u9faf]"
_ANSWERS = ("はい、そうです。", "いいえ、違います。", "どちらとも言えません。")
_QUOTED = re.compile(r"「.*?」|『.*?』")
_FENCE = re.compile(r"\A```(?:json|Json|JSON)?|```\Z")
_MAKERS: dict[str, Maker] = {}


def japanese_checker(instruction_id: str, arguments: Mapping[str, Any], prompt: str) -> Follows:
    """A checker for one instruction.

    Raises:
        DataMissing: there is no such instruction, or its arguments are others.
    """
    name = instruction_id.removeprefix("ja:")
    maker = _MAKERS.get(name)
    given = {key: value for key, value in arguments.items() if value is not None}
    if maker is None:
        raise DataMissing(
            f"M-IFEval has no Japanese instruction '{instruction_id}'.",
            cause="No checker is written for it.",
            solution=f"Known: {', '.join(sorted(_MAKERS))}.",
        )
    try:
        return maker(**given)
    except TypeError as error:
        raise DataMissing(
            f"The instruction '{instruction_id}' of a prompt has other arguments than expected.",
            cause=str(error),
            solution="Give M-IFEval's own data file.",
        ) from error


def japanese_tools() -> dict[str, str]:
    """What checks here, for the evaluation's settings."""
    return {name: version(name) for name in ("janome", "ja-sentence-segmenter", "langdetect")}


def _checks(name: str) -> Callable[[Maker], Maker]:
    def register(maker: Maker) -> Maker:
        _MAKERS[name] = maker
        return maker

    return register


def _compared(relation: str, threshold: int) -> Callable[[int], bool]:
    """`以上` (at least) or `未満` (fewer than)."""
    if relation not in ("以上", "未満"):
        raise TypeError(f"the relation '{relation}' is neither 以上 nor 未満")
    at_least = relation == "以上"
    return lambda count: (count >= threshold) == at_least


@_checks("combination:repeat_prompt")
def _repeat_prompt(prompt_to_repeat: str) -> Follows:
    return lambda response: response.strip().startswith(prompt_to_repeat.strip())


@_checks("combination:two_responses")
def _two_responses() -> Follows:
    def follows(response: str) -> bool:
        parts = [part.strip() for part in response.split("******")]
        if not all(parts[1:-1]):
            return False
        answers = [part for part in parts if part]
        return len(answers) == 2 and answers[0] != answers[1]

    return follows


@_checks("detectable_content:number_placeholders")
def _placeholders(num_placeholders: int) -> Follows:
    return lambda response: len(re.findall(r"\[.*?\]", response)) >= num_placeholders


@_checks("detectable_content:postscript")
def _postscript(postscript_marker: str) -> Follows:
    marker = postscript_marker.strip()
    written = {"P.S.": r"p\.\s?s\.", "P.P.S": r"p\.\s?p\.\s?s"}.get(marker, re.escape(marker))
    return lambda response: re.search(written, response, re.IGNORECASE) is not None


@_checks("detectable_format:constrained_response")
def _constrained() -> Follows:
    return lambda response: any(answer in response for answer in _ANSWERS)


@_checks("detectable_format:json_format")
def _json() -> Follows:
    def follows(response: str) -> bool:
        try:
            json.loads(_FENCE.sub("", response.strip()).strip())
        except (ValueError, RecursionError):
            return False
        return True

    return follows


@_checks("detectable_format:multiple_sections")
def _sections(section_spliter: str, num_sections: int) -> Follows:
    heading = re.compile(rf"第[\d０-９]+{re.escape(section_spliter.strip())}")
    return lambda response: len(heading.findall(response)) >= num_sections


@_checks("detectable_format:nominal_ending")
def _nominal_ending(count: int) -> Follows:
    def follows(response: str) -> bool:
        words = words_of(_QUOTED.sub("", response))
        ended = itertools.pairwise(words)
        return sum(word.is_noun and after.surface in "。！？" for word, after in ended) >= count

    return follows


@_checks("detectable_format:number_bullet_lists")
def _bullets(num_bullets: int) -> Follows:
    bullet = re.compile(r"^\s*・[^・].*$", re.MULTILINE)
    return lambda response: len(bullet.findall(response)) == num_bullets


@_checks("detectable_format:number_highlighted_sections")
def _highlights(num_highlights: int) -> Follows:
    def follows(response: str) -> bool:
        found = re.findall(r"《([^\n《》]*)》", response)
        return sum(bool(part.strip()) for part in found) >= num_highlights

    return follows


@_checks("detectable_format:number_numbered_lists")
def _numbered(num_items: int) -> Follows:
    entry = re.compile(r"^\s*\d+\.\s.*$", re.MULTILINE)
    return lambda response: len(entry.findall(response)) == num_items


@_checks("detectable_format:title")
def _title() -> Follows:
    title = re.compile(r"『[^\n]+』")
    return lambda response: any(t.strip("『』").strip() for t in title.findall(response))


@_checks("keywords:existence")
def _existence(keywords: list[str]) -> Follows:
    return lambda response: {w.surface for w in words_of(response)}.issuperset(keywords)


@_checks("keywords:forbidden_words")
def _forbidden(forbidden_words: list[str]) -> Follows:
    return lambda response: {w.surface for w in words_of(response)}.isdisjoint(forbidden_words)


@_checks("keywords:frequency")
def _frequency(relation: str, keyword: str, frequency: int) -> Follows:
    enough, wanted = _compared(relation, frequency), keyword.strip()
    return lambda response: enough(sum(w.surface == wanted for w in words_of(response)))


@_checks("keywords:letter_frequency")
def _letters(let_relation: str, letter: str, let_frequency: int) -> Follows:
    enough, hiragana = _compared(let_relation, let_frequency), letter.strip()
    katakana = chr(ord(hiragana) + 0x60)
    return lambda response: enough(response.count(hiragana) + response.count(katakana))


@_checks("language:response_language")
def _language(language: str) -> Follows:
    def follows(response: str) -> bool:
        detector: Any = importlib.import_module("langdetect")
        detector.DetectorFactory.seed = 0
        try:
            return bool(detector.detect(response) == language)
        except detector.LangDetectException:
            # Nothing in it belongs to any language; IFEval counts that as followed.
            return True

    return follows


@_checks("length_constraints:nth_paragraph_first_word")
def _nth_paragraph(first_word: str, num_paragraphs: int, nth_paragraph: int) -> Follows:
    def follows(response: str) -> bool:
        paragraphs = response.split("\n\n")
        written = sum(bool(part.strip()) for part in paragraphs)
        if written != num_paragraphs or nth_paragraph > written:
            return False
        paragraph = paragraphs[nth_paragraph - 1].strip()
        return paragraph.lstrip("「").lstrip("『").startswith(first_word.lower())

    return follows


@_checks("length_constraints:number_letters")
def _characters(relation: str, num_letters: int) -> Follows:
    enough = _compared(relation, num_letters)
    return lambda response: enough(len(response))


@_checks("length_constraints:number_paragraphs")
def _paragraphs(num_paragraphs: int) -> Follows:
    def follows(response: str) -> bool:
        parts = [part.strip() for part in response.split("***")]
        return all(parts[1:-1]) and sum(bool(part) for part in parts) == num_paragraphs

    return follows


@_checks("length_constraints:number_sentences")
def _sentences(relation: str, num_sentences: int) -> Follows:
    enough = _compared(relation, num_sentences)
    return lambda response: enough(count_sentences(response))


@_checks("letters:furigana")
def _furigana() -> Follows:
    kanji, read = re.compile(f"{_KANJI}+"), re.compile(f"{_KANJI}+（[ぁ-ん]+）")
    return lambda response: len(kanji.findall(response)) == len(read.findall(response))


@_checks("letters:kanji")
def _kanji(relation: str, kanji_limit: int) -> Follows:
    enough = _compared(relation, kanji_limit)
    return lambda response: enough(len(re.findall(_KANJI, response)))


@_checks("letters:kansuuji")
def _kansuuji() -> Follows:
    return lambda response: re.search(r"\d", response) is None


def _letters_are(allowed: str) -> Follows:
    """Every letter is an allowed one; signs, digits and spaces are no letters."""
    letter = re.compile(f"[{allowed}]")
    return lambda response: all(
        letter.match(c) or not unicodedata.category(c).startswith("L") for c in response
    )


@_checks("letters:hiragana_only")
def _hiragana_only() -> Follows:
    return _letters_are("ぁ-んー")


@_checks("letters:katakana_only")
def _katakana_only() -> Follows:
    return _letters_are("ァ-ンー・ｦ-ﾟ")


@_checks("letters:no_hiragana")
def _no_hiragana() -> Follows:
    return lambda response: re.search("[ぁ-ゖ]", response) is None


@_checks("letters:no_katakana")
def _no_katakana() -> Follows:
    return lambda response: re.search("[ァ-ヺｦ-ﾟ]", response) is None


@_checks("punctuation:no_comma")
def _no_comma() -> Follows:
    return lambda response: "、" not in response


@_checks("punctuation:no_period")
def _no_period() -> Follows:
    return lambda response: "。" not in response


@_checks("startend:end_checker")
def _end(end_phrase: str) -> Follows:
    phrase = end_phrase.strip().strip("」』")
    return lambda response: response.strip().strip("」』").endswith(phrase)


@_checks("startend:quotation")
def _quotation() -> Follows:
    return lambda response: re.fullmatch(r"\s*「.*」\s*", response, re.DOTALL) is not None


@_checks("startend:sentence_unified_end")
def _unified_end(ending: str) -> Follows:
    def follows(response: str) -> bool:
        sentences = re.split("[。！？]", _QUOTED.sub("", response))
        return all(not s or s.endswith(ending) for s in sentences)

    return follows
