"""Check for refusals in words: "I'm sorry, but I can't…", "As an AI…", 申し訳ありませんが, 很抱歉.

A response goes in; a failed `CheckResult` comes out where it opens by declining the task and says
little else. A long answer that begins with a regret, or a letter of apology that was asked for, is
no refusal.
"""

from __future__ import annotations

import re

from agents.checks.result import CheckResult

_OPENING_CHARS = 260
_SHORT_CHARS = {"en": 700, "cjk": 260}
_SHOWN_CHARS = 160

_TASK = (
    r"(?:assist\b|help (?:you|with|in|here)|help[.,]|fulfil|comply|provide|answer|generate|create|"
    r"write|access|browse|respond|translate|engage in|discuss|do (?:that|this)|summari[sz]e|"
    r"process|produce|endorse|promote|"
    r"(?:complete|perform|accommodate|satisfy|continue|support) (?:this|that|your))"
)
_CANNOT = (
    r"(?:can(?:not|['’]t|\ not)|won['’]t|will\ not|(?:am|['’]m)\ (?:unable|not\ able)\ to"
    r"|(?:am|['’]m)\ not\ (?:allowed|permitted)\ to)"
)
_AI = r"as\ an?\ (?:ai|artificial\ intelligence|(?:large\ )?language\ model)\b"
_ENGLISH = re.compile(
    rf"""[\s"'*>\#-]*(?:
      (?:i['’]?m\ (?:\w+\ )?sorry|i\ am\ (?:\w+\ )?sorry|sorry|my\ apologies|i\ apologi[sz]e
        |unfortunately|i\ regret)\b [^.!?\n]{{0,60}}?
      |{_AI} [^.!?\n]{{0,80}}?
    )?
    \bi(?:
      \ ?{_CANNOT}\ (?:(?:directly|currently|actually|really|personally|ethically)\ )?
        {_TASK.replace(" ", chr(92) + " ")}
      |\ (?:do\ not|don['’]t)\ have\ (?:\w+\ ){{0,2}}(?:access|the\ (?:ability|capability))\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_JAPANESE = re.compile(
    r"\s*(?:(?:大変|誠に|まことに)?(?:申し訳(?:あり|ござい)ません|申し訳ない|すみません|すいません"
    r"|恐れ入り|恐縮です|残念ながら|ごめんなさい)"
    r"|(?:私は)?(?:AI|ＡＩ|人工知能|言語モデル)[^。\n]{0,20}"
    r"(?:として|なので|であるため|ですので|のため))[^。\n]{0,80}?"
    r"(?:できません|できかねます|出来ません|かねます|応じられません|答えられません|持っていません"
    r"|不可能です|控えさせていただ)"
)
_CHINESE = re.compile(
    r"\s*(?:(?:非常|很|十分|真的很|实在)?(?:抱歉|对不起|對不起|遗憾|不好意思)"
    r"|(?:作为|身为|我是)(?:一个|一名|一款)?(?:AI|人工智能|语言模型|大型语言模型|智能助手)[^。\n]{0,20})"
    r"[^。！\n]{0,30}?(?:无法|無法|不能够?|没(?:有)?办法|不可以|不会|没有能力|不便)[^。\n]{0,12}?"
    r"(?:提供|回答|帮助|協助|协助|满足|完成|处理|生成|执行|回应|访问|讨论|支持|创作|撰写|编写|给出|翻译"
    r"|查看)"
)
_ASKED_FOR = re.compile(
    r"\b(?:apolog\w+|refus\w+|declin\w+|reject\w*|turn(?:ing)? down|sorry|regret\w*|excuse)\b|"
    r"謝罪|お詫び|断り|断る|辞退|拒否|道歉|拒绝|拒絕|婉拒|致歉|抱歉",
    re.IGNORECASE,
)


def check_refusal(response: str, instruction: str = "") -> CheckResult | None:
    """Whether the response declines the task; None where the task is to write a refusal."""
    opening = response.lstrip()[:_OPENING_CHARS]
    found, limit = _ENGLISH.match(opening), _SHORT_CHARS["en"]
    if not found and not opening.isascii():
        found = _JAPANESE.match(opening) or _CHINESE.match(opening)
        limit = _SHORT_CHARS["cjk"]
    if not found or len(response.strip()) > limit:
        return CheckResult("refusal", "pass", False, {})
    if _ASKED_FOR.search(instruction):
        return None
    return CheckResult("refusal", "fail", True, {"opening": opening[:_SHOWN_CHARS]})
