"""A stand-in for a translation: text in the target language that says it is simulated.

In: an `Ask` whose instruction names a language. Out: a sentence in that language with the source
quoted, and a note in the instruction's own language.
"""

from __future__ import annotations

import re

from teachers.simulated.asks import Ask

_QUOTED = re.compile(r"[“\"「『](.{2,400}?)[”\"」』]|(?<=\s)'(.{2,400}?)'(?!\w)", re.DOTALL)
_TARGETS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), sentence)
    for pattern, sentence in (
        (
            r"\b(?:in)?to french|フランス語[にへ]|[成为]法[语文]",
            "Ceci est une traduction simulée en français du texte suivant : « {source} »",
        ),
        (
            r"\b(?:in)?to german|ドイツ語[にへ]|[成为]德[语文]",
            "Dies ist eine simulierte deutsche Übersetzung des folgenden Textes: „{source}“",
        ),
        (
            r"\b(?:in)?to spanish|スペイン語[にへ]|[成为]西班牙[语文]",
            "Esta es una traducción simulada al español del siguiente texto: «{source}»",
        ),
        (
            r"\b(?:in)?to japanese|日本語[にへ]|[成为]日[语文]",
            "これは次の文章を日本語に訳した、シミュレーションによる翻訳です。「{source}」",
        ),
        (
            r"\b(?:in)?to chinese|中国語[にへ]|[成为](?:中[文]|汉语)",
            "这是以下文字的模拟中文译文：“{source}”",
        ),
        (
            r"\b(?:in)?to english|英語[にへ]|[成为]英[语文]",
            'This is a simulated English translation of the following text: "{source}"',
        ),
    )
)


def translate(ask: Ask, note: str) -> str:
    """The simulated translation, followed by `note`."""
    quoted = _QUOTED.search(ask.instruction)
    source = ask.input or (quoted.group(1) or quoted.group(2) if quoted else ask.instruction)
    named = (sentence for pattern, sentence in _TARGETS if pattern.search(ask.instruction))
    sentence = next(named, _TARGETS[0 if ask.language == "en" else -1][1])
    return f"{sentence.format(source=source[:600])}\n\n{note}"
