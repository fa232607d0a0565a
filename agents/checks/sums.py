"""Instructions that are nothing but a sum: reads `What is 17 * 23 + 5?` and works it out.

An instruction in English, Japanese or Chinese goes in; the exact value comes out, or None for
everything that is not plainly one arithmetic expression: word problems, dates, algebra, requests
for rounding. Narrow on purpose, since what it finds overrules any judge.
"""

from __future__ import annotations

import re

from agents.checks.expressions import Exact, NotArithmetic, evaluate
from agents.checks.numbers import tidy

_MAX_CHARS = 160
_COMPUTE = re.compile(
    r"(?:please |can you |could you )*(?:calculate|compute|evaluate|work out|solve|simplify)"
    r"(?: the (?:value|result|answer)(?: of| to)?)?(?: the following(?: expression| sum)?)?\s*:?\s*"
    r"|(?:请|請)?(?:你)?(?:帮我)?(?:计算|計算|算)(?:一下|出)?(?:下列|以下|下面)?(?:的)?"
    r"(?:算式|式子|表达式)?(?:的值|的结果)?\s*:?\s*"
    r"|(?:次の|以下の)(?:計算|式)を?(?:計算)?(?:して(?:ください)?|せよ)?。?\s*:?\s*",
    re.IGNORECASE,
)
_ASK = re.compile(
    r"(?:what(?:'s|’s| is| does| do)|how much is)"
    r"(?: the (?:value|result|answer) (?:of|to))?\s*:?\s*|请问\s*|請問\s*",
    re.IGNORECASE,
)
_TAIL = re.compile(
    r"(?:を|の(?:答え|結果|値)[をは]?)?(?:計算|求め)(?:して|て|し)?(?:ください|下さい|なさい|せよ|よ)?$"
    r"|(?:と|は|の答えは|の値は|の結果は)?(?:いくつ|いくら|何|なに)(?:に)?"
    r"(?:です|でしょう|なります|なる)?か?$"
    r"|(?:の答えは|は)$"
    r"|(?:等于|是|得|的结果是|的值是|的答案是)?(?:多少|几)$|(?:的结果|的值)$"
    r"|(?: equals?| equal to)$"
)
_END = re.compile(r"[\s=?.。!、,]+$")
_DATE_LIKE = re.compile(r"\d+(?:[-/]\d+)+", re.ASCII)
_PLAIN = r"\d+(?:\.\d+)?"
# Word order first (AをBで割る is A 割る B), then words to signs.
_WORDS = (
    (re.compile(rf"({_PLAIN})[のに的]({_PLAIN}%)"), r"\2*\1"),
    (
        re.compile(rf"(?<=\d)[をに]({_PLAIN})[をで](足す|加える|たす|掛ける|かける|割る|わる)"),
        r"\2\1",
    ),
    (re.compile(rf"(?<=\d)から({_PLAIN})を(引く|ひく)"), r"\2\1"),
    (re.compile(r"\s*(?:\bplus\b|加上?|足す|たす|加える|プラス)\s*"), "+"),
    (re.compile(r"\s*(?:\bminus\b|减去?|減|引く|ひく|マイナス)\s*"), "-"),
    (re.compile(r"\s*(?:\b(?:times|multiplied by)\b|乘以?|掛ける|かける)\s*"), "*"),
    (re.compile(r"\s*(?:\bdivided by\b|除以|割る|わる)\s*"), "/"),
)
_ONLY_SUM = re.compile(r"[\d\s.,+\-*/×÷xX^()%$]+(?:of[\d\s.,$]+)?", re.ASCII)


def asked_sum(instruction: str) -> Exact | None:
    """The exact value of an instruction that asks for one expression's value, else None."""
    if len(instruction) > _MAX_CHARS:
        return None
    text = _END.sub("", tidy(instruction).strip())
    compute = _COMPUTE.match(text)
    lead = compute or _ASK.match(text)
    text = _END.sub("", _TAIL.sub("", text[lead.end() if lead else 0 :])).strip()
    # 9/11 and 24/7 are names, unless one is told to compute.
    if not text[:1] or (_DATE_LIKE.fullmatch(text) and not compute):
        return None
    for pattern, sign in _WORDS:
        text = pattern.sub(sign, text)
    text = text.removesuffix("と").strip()
    if not _ONLY_SUM.fullmatch(text):
        return None
    try:
        value = evaluate(text)
    except NotArithmetic:
        return None
    return value.exact if value.operators else None
