"""Check of the language: is a text in the language its seed is in?

A text and an expected ISO 639-1 code go in. Says nothing of translations, of code, of texts too
short to tell, and of tasks whose wording or material calls for another language.
"""

from __future__ import annotations

import re

from agents.checks.result import CheckResult
from common.language import detect_language, is_language

_NAMES = (
    r"(?:english|japanese|chinese|mandarin|cantonese|korean|french|german|spanish|italian|portuguese|"
    r"russian|arabic|hindi|thai|vietnamese|dutch|polish|turkish|greek|hebrew|latin|swedish|danish|"
    r"norwegian|finnish|czech|hungarian|romanian|ukrainian|bulgarian|indonesian|malay|tagalog|"
    r"filipino|swahili|bengali|tamil|telugu|kannada|gujarati|marathi|punjabi|malayalam|urdu|persian|"
    r"farsi|nepali|sinhala|burmese|khmer|lao|mongolian|pinyin|romaji|kanji|hiragana|katakana)"
)
_OTHER_LANGUAGE = re.compile(
    r"\b(?:translat\w+|bilingual|multilingual|(?:another|a different|the following) language"
    rf"|(?:in|into|to|using|speak|write|say|use|only|learn|learning|entirely) (?:the )?"
    rf"(?:\w+ (?:and|or) )?{_NAMES}"
    rf"|{_NAMES} (?:language|sentences?|words?|phrases?|poem|version|letters?|characters?|lyrics|"
    r"vocabulary|idioms?|proverbs?))\b"
    r"|翻訳|和訳|英訳|中国語訳|訳し|訳す|訳せ|翻译|翻譯|译成|译为|译文"
    r"|(?:英|日本|中国|韓国|フランス|ドイツ|スペイン|イタリア|ロシア|アラビア|ポルトガル|ラテン|外国"
    r"|他の言)語|(?:英|日|中|韩|法|德|俄|西班牙|意大利|阿拉伯|葡萄牙|拉丁|外)[语語文]|粤语|拼音",
    re.IGNORECASE,
)

_QUERY = re.compile(
    r"\s*(?:```\w*\s*)?(?:SELECT|WITH|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|EXPLAIN)\s",
    re.IGNORECASE,
)


def check_instruction_language(instruction: str, expected: str | None) -> CheckResult | None:
    """Whether an instruction (a variant of a seed's) is in the seed's language."""
    if not expected:
        return None
    return _result("instruction_language", instruction, expected)


def check_response_language(
    response: str,
    expected: str | None,
    category: str | None = None,
    instruction: str = "",
    material: str = "",
) -> CheckResult | None:
    """Whether a response is in the expected language; a foreign one decides.

    `instruction` and `material` (the task's input) can call for another language: a translation, a
    named language, or material in the very language the response is in.
    """
    if not expected or category == "translation":
        return None
    if category == "sql" and _QUERY.match(response):
        return None
    result = _result("language", response, expected)
    if result is None or result.label == "pass":
        return result
    if _OTHER_LANGUAGE.search(instruction) or _OTHER_LANGUAGE.search(material[:400]):
        return None
    found = result.evidence["found"]
    if material and detect_language(material) == found:
        return None
    return None if _quotes(instruction, str(found)) else result


def _result(name: str, text: str, expected: str) -> CheckResult | None:
    verdict = is_language(text, expected)
    if verdict is None:
        return None
    if verdict:
        return CheckResult(name, "pass", False, {"expected": expected})
    return CheckResult(name, "fail", True, {"expected": expected, "found": detect_language(text)})


_QUOTED = re.compile(r"「([^」]+)」|『([^』]+)』|“([^”]+)”|\"([^\"\n]+)\"|[:：]\s*([^\n]+)")


def _quotes(instruction: str, found: str) -> bool:
    """Whether the instruction quotes a passage in the language the response is in."""
    for match in _QUOTED.finditer(instruction):
        passage = next(group for group in match.groups() if group)
        if detect_language(passage) == found:
            return True
    return False
