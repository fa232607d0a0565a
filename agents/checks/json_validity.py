"""Check of JSON: where the instruction wants its answer as JSON, the answer must be JSON.

An instruction and a response go in. Whether JSON is wanted is decided narrowly (en, ja, zh): an
instruction that talks about JSON, or wants code that handles it, is left alone. A fence around the
JSON and a sentence beside it are forgiven; keys named in the instruction must be there.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from agents.checks.result import CheckResult

_FORM = r"(?:valid |well-formed |raw |strict |pure |plain |single |minified |structured |proper )*"
_NOT_ITSELF = (
    r"(?!\s*(?:file|schema|pars|path|librar|api|endpoint|module|web|-ld|patch|lines|below|above))"
)
_WANTED = re.compile(
    r"\b(?:return|respond|reply|answer|output|format|give|provide|present|produce|write|express|"
    r"represent|wrap|generate|create|convert|extract|print|structure|encode|transform|turn|put|list|"
    r"show)(?:s|ted|ped|d|ed)?\b[^.?!\n]{0,120}?"
    r"\b(?<!is )(?<!are )(?<!given )(?<!provided )(?<!stored )"
    rf"(?:in|as|into|to|using|with|inside)\s+(?:an? |one )?{_FORM}json\b{_NOT_ITSELF}"
    r"|\b(?:return|respond with|reply with|answer with|output|give|provide|produce|generate|create|"
    rf"write|print|send)\b(?: me| us| only| just)*\s+(?:an? |one )?{_FORM}json\b{_NOT_ITSELF}"
    r"|\buse (?:the )?json format\b"
    r"|\b(?:output|answer|response|reply) (?:format\s*:|must be|should be)\s*(?:an? )?"
    rf"{_FORM}json\b",
    re.IGNORECASE,
)
_WANTED_CJK = re.compile(
    r"json\s*(?:形式|フォーマット|オブジェクト|配列|データ|文字列|のみ|だけ)*"
    r"\s*(?:で|として|に|を|のみ|だけ)[^。\n]{0,24}?"
    r"(?:出力|返|回答|答え|応答|記述|書い|書き|示し|提示|まとめ|表し|表現|変換|提供|ください|生成|作成"
    r"|抽出|整理)"
    r"|(?:以|用|按|按照|使用|采用|通过|返回|输出|给出|生成|转换为|转换成|转为|转成|整理成|整理为|提取为"
    r"|组织成|写成)[^。\n]{0,12}?json",
    re.IGNORECASE,
)
# Anywhere in the instruction: it wants code that handles JSON.
_CODE = re.compile(
    r"\b(?:python|javascript|typescript|java|c\+\+|c#|golang|rust|ruby|php|swift|kotlin|code|"
    r"function|script|program|sql|api|endpoint|pars(?:e|es|ing)|serializ\w+|deserializ\w+|regex|"
    r"curl|jq)\b|関数|コード|プログラム|スクリプト|パース|函数|代码|脚本|程序|解析",
    re.IGNORECASE,
)
# In the same sentence: it talks about JSON.
_ABOUT = re.compile(
    r"\b(?:schema|explain|what is|what's|differences?|advantages?|compare|versus|vs|tutorial|"
    r"how (?:do|to|can|does)|why|library|method)\b"
    r"|とは|説明して|違い|読み込|方法|什么是|是什么|解释|区别|如何|怎么|怎样|介绍|优点|优缺点",
    re.IGNORECASE,
)
_SENTENCE_EDGE = re.compile(r"[\n。！？]|[.!?](?:\s|$)")
_FENCE = re.compile(
    r"```[ \t]*(?:json[5c]?|javascript|js)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE
)
_KEYS = re.compile(
    r"(?:(?<![`\"“「'])\b(?:keys|fields|properties|attributes|key (?:named|called))\b"
    r"|キー|フィールド|プロパティ|键|字段|属性)"
    r"(?:[\s:：]|are|named|called|of|only|exactly|the|following|should be|must be"
    r"|は|が|に|として|为|是|包括|包含|有|分别|名)*+"
    r"(?P<names>(?:[`\"“「'][\w $-]{1,40}[`\"”」'](?:\s*\([^()\n]{0,60}\))?"
    r"(?:[\s,、，;:；：]|and|or|及び|および|と|和|以及|与|及)*+)+)",
    re.IGNORECASE,
)
_NAME = re.compile(r"[`\"“「']([\w $-]{1,40})[`\"”」']")
_OPTIONAL = re.compile(
    r"\boptional|\bif (?:any|present|available|known)|任意|省略可|可选", re.IGNORECASE
)
_MAX_CHARS = 200_000


def check_json(instruction: str, response: str) -> CheckResult | None:
    """Whether a response that was to be JSON parses, and holds the keys the instruction names."""
    if not wants_json(instruction):
        return None
    text = response.rpartition("</think>")[2].strip()[:_MAX_CHARS]
    value, problem = read_json(text)
    if problem:
        return CheckResult("json", "fail", True, {"problem": problem})
    missing = [name for name in _named_keys(instruction) if not _holds(value, name)]
    if missing:
        return CheckResult("json", "fail", True, {"missing_keys": ", ".join(missing)})
    return CheckResult("json", "pass", False, {"type": type(value).__name__})


def wants_json(instruction: str) -> bool:
    """Whether the instruction wants its answer as JSON, rather than talking about JSON."""
    if "json" not in instruction.lower():
        return False
    if _CODE.search(instruction):
        return False
    for pattern in (_WANTED, _WANTED_CJK):
        for match in pattern.finditer(instruction):
            before = _SENTENCE_EDGE.split(instruction[: match.end()])[-1]
            after = _SENTENCE_EDGE.split(instruction[match.end() :], maxsplit=1)[0]
            if not _ABOUT.search(before + after):
                return True
    return False


def read_json(text: str) -> tuple[Any, str | None]:
    """The one JSON value of `text` and None, or None and what is wrong. A fence around it and a
    sentence beside it are forgiven."""
    try:
        return orjson.loads(text), None
    except orjson.JSONDecodeError as error:
        problem = str(error)
    fenced = _FENCE.findall(text)
    if len(fenced) == 1:
        text = fenced[0].strip()
    starts = [place for place in (text.find("{"), text.find("[")) if place >= 0]
    if not starts:
        return None, "no JSON object or array in the response"
    start = min(starts)
    try:
        value, end = json.JSONDecoder(parse_constant=_refuse).raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        return None, str(error) if text[:1] in "{[" or fenced else problem
    if re.search(r"[{\[]", text[end:]) and not fenced:
        return None, "more than one JSON value in the response"
    return value, None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _named_keys(instruction: str) -> list[str]:
    if _OPTIONAL.search(instruction):
        return []
    names: list[str] = []
    for match in _KEYS.finditer(instruction):
        names += [name for name in _NAME.findall(match["names"]) if name not in names]
    return names


def _holds(value: Any, name: str) -> bool:
    """Whether `name` is a key of the value, or of anything in it."""
    pending = [value]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            if name in node:
                return True
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node)
    return False
