"""Guesses an instruction's task category from its words, in English, Japanese and Chinese.

In: an instruction. Out: one of the fourteen categories. The patterns stand in the order in which
they decide: a request for SQL that mentions a plan is SQL.
"""

from __future__ import annotations

import re

from teachers.simulated.language import without_spaced_han
from teachers.simulated.numerals import NUMBER_WORD
from teachers.simulated.problems import find_problem

_DECIDING = 800
_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (category, re.compile(pattern, re.IGNORECASE))
    for category, pattern in (
        ("sql", r"\bsql\b|\bselect\s.{1,80}\sfrom\s|SQL|データベースから|クエリ|查询语句"),
        (
            "code",
            r"\b(?:python|javascript|typescript|java|c\+\+|c#|rust|golang|bash|regex|html|css)\b|"
            r"\b(?:function|program|script|code|algorithm|api) (?:that|to|which|in|for)\b|"
            r"\b(?:debug|refactor|compile)\b|コード|プログラム|関数|スクリプト|"
            r"代码|程序|函数|脚本|编程|算法",
        ),
        (
            "translation",
            r"\btranslat|翻訳|翻译|(?:英語|日本語|中国語|フランス語|ドイツ語)に(?:訳|直)|訳して|译[成为]",
        ),
        (
            "summarization",
            r"\bsummar|\btl;?dr\b|\b(?:main|key) points? of\b|要約|要点|"
            r"まとめて|总结|概括|摘要|归纳",
        ),
        (
            "classification",
            r"\bclassif|\bcategori[sz]|\bsentiment\b|\bwhich (?:category|class|label|subject)\b|"
            r"\b(?:spam|positive) or\b|分類|どちらの話題|感情分析|分类|归类|情感(?:分析|倾向)",
        ),
        (
            "extraction",
            r"\bextract|\bpull out\b|\bidentify (?:the|all)\b|抽出|抜き出|取り出|提取|抽取|找出",
        ),
        (
            "logic",
            r"\blogic|\briddle|\bpuzzle|\bdeduc|\bsyllogis|\bif all\b|\bexplain your reasoning|"
            r"\bshow how you know|\btrue or false|論理|推理|なぞなぞ|パズル|言えますか|"
            r"逻辑|谜语|谜题|能否推出",
        ),
        (
            "brainstorming",
            r"\bbrainstorm|\bideas?\b|\bsuggest|\bcome up with|\blist .{0,40}\b(?:ways|things)\b|"
            r"アイデア|アイディア|案を|提案|点子|主意|创意|建议|列举",
        ),
        (
            "planning",
            r"\bplan\b|\bschedule\b|\bitinerary\b|\broadmap\b|\bmeal plan|計画|スケジュール|日程|"
            r"旅程|计划|规划|行程|安排",
        ),
        (
            "writing",
            r"\b(?:write|compose|draft|paraphrase|rewrite)\b|\b(?:essay|poem|haiku|blog)\b|"
            r"書いて|書き(?:直|換)|作文|物語|俳句|手紙|文章を|"
            r"写一|写出|请写|撰写|作文|故事|写.{0,8}信|诗",
        ),
    )
)
_MATHS = re.compile(
    r"\b(?:calculat|equation|percent|derivative|integral|arithmetic)|\bsolve\b.*\d|"
    r"計算|方程式|计算|方程",
    re.IGNORECASE,
)
_ASKS_QUANTITY = re.compile(
    r"\bhow (?:many|much|old|far|long|tall|fast)\b|\bwhat (?:is|was|percentage|fraction)\b|"
    r"\bin total\b|いくつ|いくら|何[個人円本枚歳分時日台冊匹]|多少|几[个人元本只天岁]",
    re.IGNORECASE,
)
_QUANTITY = re.compile(
    rf"\d+|{NUMBER_WORD}|\b(?:twice|half|double|triple|dozen|third|quarter|times)\b|[半倍]",
    re.IGNORECASE,
)
_GREETING = re.compile(
    r"^\W*(?:hi|hello|hey|thanks|thank you|good (?:morning|evening))\b|\bhow (?:are|about) you\b|"
    r"\bwho are you\b|\byour name\b|\bwhat(?:'s| is) up\b|"
    r"^(?:こんにちは|こんばんは|おはよう|ありがとう)|^(?:你好|您好|谢谢|哈哈)|[呢吧啊哈啦呀哦]$|だよ|かな[？?]|"
    r"你是谁|そっちは",
    re.IGNORECASE,
)
_TALK = re.compile(
    r"^\W*(?:I|I'm|you|we|my|it's|so|oh|well|yes|no)\b|[^\x00-\u02ff]", re.IGNORECASE
)
_QUESTION = re.compile(
    r"[?？]|\b(?:what|who|when|where|why|how|which|describe)\b|"
    r"とは|なぜ|どう|何|誰|いつ|どこ|什么|为什么|怎么|如何|谁|哪",
    re.IGNORECASE,
)
_EXPLAINS = re.compile(
    r"^(?:please )?(?:explain|define|tell me)\b|説明して|教えて|解释|介绍|说明", re.IGNORECASE
)
_IMPERATIVE = re.compile(
    r"^(?:please )?(?:make|create|give|list|compare|describe|design|rate|edit|change|find|choose|"
    r"generate|show|match|fill|complete|pick|use|take)\b|ください|^[请把将给]",
    re.IGNORECASE,
)


def guess_category(instruction: str, input: str = "") -> str:
    """The category `instruction` most looks like; `input` only helps to see a computation."""
    text = without_spaced_han(instruction[:_DECIDING].strip())
    if find_problem(text) or (input and find_problem(f"{text} {input}")):
        return "math"
    if _ASKS_QUANTITY.search(text) and len(_QUANTITY.findall(text)) >= 2:
        return "math"
    for category, pattern in _PATTERNS:
        if pattern.search(text):
            return category
    if _MATHS.search(text):
        return "math"
    if _GREETING.search(text):
        return "chat"
    if _EXPLAINS.search(text):
        return "qa"
    if _IMPERATIVE.search(text):
        return "other"
    if _QUESTION.search(text):
        return "qa"
    # A short statement in Japanese or Chinese is talk; in English it takes a speaker to be that.
    return "chat" if len(text) < 200 and _TALK.search(text) else "other"
