"""Which language a text is in, by its script, and which of its words carry the meaning.

In: any text. Out: `en`, `ja` or `zh` (everything else counts as `en`), and key words for answers
that speak about the instruction. Crude on purpose: a rehearsal needs it fast and always the same.
"""

from __future__ import annotations

import re

LANGUAGES = ("en", "ja", "zh")

_KANA = re.compile(r"[\u3041-\u30fa\u30fc-\u30ff]")
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]")
_SIMPLIFIED = re.compile("[们这说译请给为个时话对吗么过还样没让从几写问应该总结计]")

_SPACED_HAN = re.compile(r"(?<=[\u4e00-\u9fff，。！？]) +(?=[\u4e00-\u9fff，。！？])")

_EN_WORD = re.compile(r"[A-Za-z][A-Za-z'-]{2,}")
_JA_WORD = re.compile(r"[\u30a1-\u30fa\u30fc]{2,}|[\u4e00-\u9fff々]{2,6}|[A-Za-z]{3,}")
_ZH_WORD = re.compile(
    r"[A-Za-z]{3,}|"
    r"[^\W\d_a-zA-Z的了是我你他她它们在和与把被对为从到给请有个这那用不就也都要会能写一下吗呢吧啊么]{2,6}"
)
# Words that carry the request and not its subject.
_STOP = frozenset(
    re.findall(
        r"\w+",
        """
        about above after again against all also and any are because been before being below
        between both but can could did does doing down during each every few following for from
        further give given had has have having here how into its itself just let like make many
        may me might more most much must need not now off once only other our out over own please
        same she should show some such tell than that the their them then there these they this
        those through too under until use using very was well were what when where which while who
        why will with would write you your one two describe explain answer question task help
        provide create find compose work suggest list name summarise summarize translate
        calculate compute classify extract plan following carefully account brainstorm function
        python javascript sql query text sentence short long clear complete thank advance come
        idea ideas list lists give
        説明 要約 翻訳 計算 文章 以下 依頼 作成 提案 分類 抽出 次 理由 関数 丁寧 協力 一文
        说明 总结 翻译 计算 文字 下面 以下 回答 介绍 解释 麻烦 任务 帮忙 创作 提取 分类 概括
        """,
    )
)


def detect_language(text: str) -> str:
    """`ja` where there is kana, `zh` where there is only Han, otherwise `en`.

    A few foreign characters inside another script's sentence (a word to be translated) do not
    decide: the majority does, one Han or kana character counting as three Latin letters.
    """
    if text.isascii():
        return "en"
    kana = len(_KANA.findall(text))
    han = len(_HAN.findall(text))
    if (kana + han) * 3 < len(_LATIN.findall(text)) or kana + han == 0:
        return "en"
    if kana == 0:
        return "zh"
    # A Chinese sentence that quotes Japanese gives itself away by simplified characters.
    return "zh" if kana < han and len(_SIMPLIFIED.findall(text)) >= 2 else "ja"


def key_words(text: str, language: str, limit: int = 8) -> list[str]:
    """Up to `limit` different words of `text` that carry its meaning, in their order."""
    pattern = {"ja": _JA_WORD, "zh": _ZH_WORD}.get(language, _EN_WORD)
    found: dict[str, None] = {}
    for match in pattern.finditer(without_spaced_han(text[:4000])):
        word = match.group()
        if word.isascii():
            word = word.lower().strip("'-")
            if len(word) < 3:
                continue
        if word in _STOP:
            continue
        found[word] = None
        if len(found) == limit:
            break
    return list(found)


def without_spaced_han(text: str) -> str:
    """Chinese written with a space between characters, as dialogue corpora do, closed up."""
    return text if text.isascii() else _SPACED_HAN.sub("", text)


def word_count(text: str) -> int:
    """Words of `text`; in a script without spaces, 1.7 characters count as one word."""
    wide = len(_KANA.findall(text)) + len(_HAN.findall(text)) if not text.isascii() else 0
    return len(_EN_WORD.findall(text)) + round(wide / 1.7)
