"""Check against a reference that is not a number: the response says what the reference says.

A response and a seed's reference go in. Equal text (or equal JSON) settles the matter; a difference
proves nothing, since most right answers can be put in other words, and gives None. What a response
says is what follows its last announcement (`Answer: …`, `答えは…です`, `答案是…`), or all of it.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import orjson

from agents.checks.json_validity import read_json
from agents.checks.result import CheckResult

_ANNOUNCED = re.compile(
    r"(?:\banswer\s*(?:is\b\s*:?|[:：=])|答え\s*(?:は|[:：])|正解\s*(?:は|[:：])"
    r"|答案\s*(?:是|为|為|[:：])|最終回答\s*(?:は|[:：]))",
    re.IGNORECASE,
)
_ENDS = " \t\r\n.。,、!！*_`'\"“”「」『』:："
_POLITE = re.compile(r"(?:です|でした|になります)$")
_MAX_CHARS = 20_000


def check_reference(response: str, reference: str | None) -> CheckResult | None:
    """A pass that settles it where the two say the same; None elsewhere."""
    if reference is None or not (wanted := _plain(reference)):
        return None
    if len(reference) > _MAX_CHARS or len(response) > _MAX_CHARS:
        return None
    if reference.lstrip()[:1] in ("{", "["):
        return _same_json(response, reference)
    if _plain(response) == wanted:
        return CheckResult("reference", "pass", True, {"read_from": "whole"})
    announced = list(_ANNOUNCED.finditer(response))
    if announced and _plain(response[announced[-1].end() :]) == wanted:
        return CheckResult("reference", "pass", True, {"read_from": "announced"})
    return None


def _plain(text: str) -> str:
    """Without what does not count: width, case, spacing, signs at the ends, a polite copula."""
    text = unicodedata.normalize("NFKC", text).casefold()
    return _POLITE.sub("", " ".join(text.split()).strip(_ENDS)).strip(_ENDS)


def _same_json(response: str, reference: str) -> CheckResult | None:
    try:
        wanted = orjson.loads(reference)
    except orjson.JSONDecodeError:
        return None
    given, problem = read_json(response)
    if problem or not _equal(given, wanted):
        return None
    return CheckResult("reference", "pass", True, {"read_from": "json"})


def _equal(given: Any, wanted: Any) -> bool:
    """Equal as JSON: order of keys apart, and true is not 1."""
    if isinstance(wanted, dict):
        return (
            isinstance(given, dict)
            and given.keys() == wanted.keys()
            and all(_equal(given[key], value) for key, value in wanted.items())
        )
    if isinstance(wanted, list):
        return (
            isinstance(given, list)
            and len(given) == len(wanted)
            and all(map(_equal, given, wanted))
        )
    if isinstance(wanted, bool) or isinstance(given, bool):
        return given is wanted
    return bool(given == wanted)
