"""Which language a text is written in: scripts decide first, a model only for Latin letters.

Text goes in, an ISO 639-1 code comes out, or None where there is too little evidence: short
answers, code, formulas, kanji that could be Japanese or Chinese, true mixtures. English, Japanese
and Chinese are first-class. Code, addresses, LaTeX and JSON keys are taken out before anything is
counted, and only the beginning of a long text is read. Deterministic; the model is loaded by the
first Latin text that is not plainly English.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

_READ_CHARS = 4000
_SCRIPT_CHARS = 1200
_MODEL_CHARS = 300
_MIN_LATIN_LETTERS = 40
_MIN_CONFIDENCE = 0.8
_MIN_CONTRARY_WEIGHT = 20
# Where the expected script is absent: fewer letters could be a symbol, a unit or a product's name.
_MIN_FOREIGN_LATIN = 8
_MIN_FOREIGN_CJK = 2

_FENCE = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)", re.DOTALL)
_INLINE_CODE = re.compile(r"`[^`\n]+`")
_ADDRESS = re.compile(
    r"(?:https?://|www\.)[\x21-\x7e]+|[\w.+-]{1,64}@[\w-]{1,64}\.[\w.-]+", re.ASCII
)
_LATEX = re.compile(
    r"\$\$.*?\$\$|\\\[.*?\\\]|\\\(.*?\\\)|\$[^$\n]{0,200}\$|\\[A-Za-z]+(?:\{[^{}\n]{0,80}\})?",
    re.DOTALL,
)
_MARKUP = re.compile(r"</?[A-Za-z!][^<>\n]{0,120}>")
_JSON_KEY = re.compile(r'"[^"\n]{1,40}"\s*:')
_CODE_LINE = re.compile(
    r"^[ \t]*(?:"
    r"(?:def|class|import|return|for|while|if|elif|public|private|static|const|let|var|function"
    r"|SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE|ALTER|print|echo|package|using)\b"
    r"[^\n]*[;:{}()\]=*]"
    r"|from [\w.]+ import[^\n]*|import [\w., ]+|return\b[^\n]*|#include[^\n]*"
    r"|(?:FROM|WHERE|JOIN|LEFT JOIN|INNER JOIN|GROUP BY|ORDER BY|LIMIT)\b[^\n]*"
    r"|[\w.\[\]\"']+ ?[-+*/]?= ?[^\n]*[\w)\]}\"';]"
    r"|[\w.]+\([^\n]*\);?"
    r"|(?://|/\*)[^\n]*"
    r"|[^\n]*[;{}]"
    r")[ \t]*$",
    re.MULTILINE,
)
_CODE_SIGN = re.compile(r"[=({;]|\bimport\b|\bSELECT\b")

_KANA = re.compile("[\u3041-\u3096\u30a1-\u30fa\u30fc\u31f0-\u31ff\uff66-\uff9f]")
_HAN = re.compile("[\u3005\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]")
_HAN_RUN = re.compile(f"(?:{_HAN.pattern})+")
_HANGUL = re.compile("[\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3]")
_LATIN = re.compile("[A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff]")
_OTHER = re.compile("[\u0370-\u10ff\u1200-\u137f\u1780-\u17ff\u1f00-\u1fff]")
_BEYOND_LATIN = re.compile("[\u0370-\u1dff\u1f00-\u1fff\u3005\u3041-\U0003134f]")

# One character of these scripts says about as much as this many Latin letters.
_HAN_WEIGHT = 3
_KANA_WEIGHT = 2

# Shapes that Chinese uses and Japanese does not (simplified or traditional), and the reverse.
_CHINESE_ONLY = re.compile(
    "[们这你您哪吗呢吧啊嘛么她它很还说时对发过给让从怎谁啥个为该应现实问题间见话语开关书车东马长门电"
    "动业产经济习头样种热爱欢乐请谢钱买卖网气无边进运远连认识讲论设计订记译读谈调财质购费资赛较输转"
    "轻软错钟铁银闻队阳阴际陆难顶项顺须预领风飞饭饮华馆验鱼鸟龙這們說麼嗎還沒對發讓從會爲]"
)
# Characters both have, but that Chinese prose cannot do without.
_CHINESE_RATHER = re.compile("[的了是我他不在有都没好]")
_QUOTED = re.compile('「[^」]*」|『[^』]*』|“[^”]*”|"[^"]*"|‘[^’]*’|《[^》]*》')
_JAPANESE_ONLY = re.compile(
    "[々働込峠畑辻枠匂円駅県売読変気図楽経歳応択沢価仮労営栄桜拝払検験剣縄艶弐渋対発実様関開帰覚]"
)

_SCRIPT_STARTS: tuple[tuple[int, str | None], ...] = (
    (0x0370, "el"),
    (0x0400, "ru"),
    (0x0530, "hy"),
    (0x0590, "he"),
    (0x0600, "ar"),
    (0x0700, None),
    (0x0900, "hi"),
    (0x0980, "bn"),
    (0x0A00, "pa"),
    (0x0A80, "gu"),
    (0x0B00, "or"),
    (0x0B80, "ta"),
    (0x0C00, "te"),
    (0x0C80, "kn"),
    (0x0D00, "ml"),
    (0x0D80, "si"),
    (0x0E00, "th"),
    (0x0E80, "lo"),
    (0x0F00, None),
    (0x1000, "my"),
    (0x10A0, "ka"),
    (0x1100, None),
    (0x1200, "am"),
    (0x1380, None),
    (0x1780, "km"),
    (0x1800, None),
    (0x1F00, "el"),
)
_STARTS = [start for start, _ in _SCRIPT_STARTS]
_UKRAINIAN = re.compile("[іїєґ]", re.IGNORECASE)
_URDU = re.compile("[ٹڈڑےں]")
_PERSIAN = re.compile("[پچژگکی]")

# Within a family a script or a model cannot be trusted to tell one from another.
_FAMILIES = (
    frozenset({"ru", "uk", "bg", "be", "sr", "mk", "kk", "mn", "ky", "tg"}),
    frozenset({"ar", "fa", "ur", "ps", "ug", "ku"}),
    frozenset({"hi", "mr", "ne", "sa"}),
    frozenset({"bn", "as"}),
    frozenset({"he", "yi"}),
    frozenset({"am", "ti"}),
    frozenset({"da", "no", "nb", "nn", "sv"}),
    frozenset({"id", "ms", "jv"}),
    frozenset({"hr", "sr", "bs", "sl"}),
    frozenset({"cs", "sk"}),
    frozenset({"es", "gl", "pt", "ca"}),
    frozenset({"nl", "af"}),
)
_MODEL_LANGUAGES = re.findall(
    r"\w+",
    "af ca cs da de en es et eu fi fr gl hr hu id is it la lt lv ms nl no pl pt ro sk sl sq sv sw "
    "tl tr vi",
)

# Function words of English that are rare or absent in other languages of the Latin script.
_ENGLISH = frozenset(
    re.findall(
        r"\w+",
        "the and that this with you your they their which from would how what have are should "
        "there these when who were been has had about could it of be by is she his each my if than",
    )
)
_WORD = re.compile(r"[a-z]+")


def detect_language(text: str) -> str | None:
    """The ISO 639-1 code of `text`'s main language, or None where the evidence is too thin."""
    return _detect(text)[0]


def is_language(text: str, expected: str) -> bool | None:
    """Whether `text` is written in `expected` (an ISO 639-1 code; `zh-CN` counts as `zh`).

    None where that can't be told: too short, mixed, or a language too near to the expected one.
    """
    wanted = expected.replace("_", "-").partition("-")[0].lower()
    found, weight = _detect(text)
    if found is None:
        return None
    if found == wanted:
        return True
    if weight < _MIN_CONTRARY_WEIGHT or any(found in f and wanted in f for f in _FAMILIES):
        return None
    return False


def lacks_script(text: str, expected: str) -> bool:
    """Whether `text` has words, and not one letter of the script that `expected` is written in.

    Short as it may be, an instruction of that kind is in another language; an answer may well be a
    foreign name. Only asked for languages written in Latin letters, Japanese, Chinese and Korean.
    """
    wanted = expected.replace("_", "-").partition("-")[0].lower()
    sample = prose_of(text)[:_SCRIPT_CHARS]
    latin, han = len(_LATIN.findall(sample)), len(_HAN.findall(sample))
    kana, hangul = len(_KANA.findall(sample)), len(_HANGUL.findall(sample))
    others = {
        "ja": (han + kana, hangul),
        "zh": (han, kana + hangul),
        "ko": (hangul, han + kana),
    }
    if wanted in others:
        own, foreign = others[wanted]
        return own == 0 and (foreign >= _MIN_FOREIGN_CJK or latin >= _MIN_FOREIGN_LATIN)
    if wanted == "en" or wanted in _MODEL_LANGUAGES:
        return latin == 0 and han + kana + hangul >= _MIN_FOREIGN_CJK
    return False


def prose_of(text: str) -> str:
    """`text` without what carries no language: code, addresses, LaTeX, markup, JSON keys."""
    text = text[:_READ_CHARS]
    if "`" in text or "~~~" in text:
        text = _INLINE_CODE.sub(" ", _FENCE.sub("\n", text))
    if _CODE_SIGN.search(text):
        text = _CODE_LINE.sub("", text)
    if "\\" in text:
        text = _LATEX.sub(" ", text)
    if "://" in text or "www." in text or "@" in text:
        text = _ADDRESS.sub(" ", text)
    if "<" in text:
        text = _MARKUP.sub(" ", text)
    if '"' in text and ":" in text:
        text = _JSON_KEY.sub(" ", text)
    return text


def _detect(text: str) -> tuple[str | None, int]:
    """The language and the weight of its evidence, in Latin letters."""
    prose = prose_of(text)
    sample = prose[:_SCRIPT_CHARS]
    if sample.isascii() or not _BEYOND_LATIN.search(sample):
        return _detect_latin(sample)
    kana, han = _KANA.findall(sample), len(_HAN.findall(sample))
    hangul = len(_HANGUL.findall(sample)) * _HAN_WEIGHT
    other = _OTHER.findall(sample)
    latin = len(_LATIN.findall(sample))
    cjk = len(kana) * _KANA_WEIGHT + han * _HAN_WEIGHT
    total = cjk + hangul + len(other) + latin
    if cjk >= 0.4 * total and cjk > max(hangul, len(other)):
        return _japanese_or_chinese(sample, kana, han, latin), cjk
    if hangul >= 0.5 * total:
        return ("ko", hangul) if hangul else (None, 0)
    if len(other) >= 0.5 * total and len(other) >= 4:
        return _by_script(other), len(other)
    if latin >= 0.75 * total:
        return _detect_latin(sample)
    return None, 0


def _japanese_or_chinese(sample: str, kana: list[str], han: int, latin: int) -> str | None:
    # A list of Chinese names in an English text is not Chinese: its runs are a character or two.
    if not kana and latin > han and han < 3 * len(_HAN_RUN.findall(sample)):
        return None
    chinese = len(_CHINESE_ONLY.findall(sample))
    japanese = len(_JAPANESE_ONLY.findall(sample))
    spoken = len(kana)
    if spoken and set(kana) == {"の"}:
        # Playful Chinese writes の for 的; a list of kanji compounds joined by の is Japanese.
        if not chinese and spoken < 3:
            return None
        spoken = 0 if chinese else spoken
    elif spoken and chinese > japanese:
        spoken = len(_KANA.findall(_QUOTED.sub("", sample)))
    share = spoken / (spoken + han) if spoken else 0.0
    if share >= 0.2 and spoken >= 2:
        return "ja"
    if share >= 0.1:
        return None
    rather = _CHINESE_RATHER.findall(sample)
    if len(set(rather)) >= 2 and len(rather) >= 0.15 * han:
        chinese += 1
    if chinese != japanese:
        return "zh" if chinese > japanese else "ja"
    return "zh" if han >= 30 and not spoken else None


def _by_script(letters: list[str]) -> str | None:
    text = "".join(letters)
    places = Counter(bisect_right(_STARTS, ord(letter)) - 1 for letter in letters[:200])
    code = _SCRIPT_STARTS[places.most_common(1)[0][0]][1]
    if code == "ru" and _UKRAINIAN.search(text):
        return "uk"
    if code == "ar" and _URDU.search(text):
        return "ur"
    if code == "ar" and len(_PERSIAN.findall(text)) * 12 > len(text):
        return "fa"
    return code


def _detect_latin(sample: str) -> tuple[str | None, int]:
    head = sample[:_MODEL_CHARS]
    letters = len(_LATIN.findall(head))
    if letters < _MIN_LATIN_LETTERS:
        return None, 0
    words = _WORD.findall(head.lower())
    english = sum(word in _ENGLISH for word in words)
    if english >= 3 and english >= 0.12 * len(words):
        return "en", letters
    # Lists of names (dishes, places) are not prose of the language the names come from.
    lines = [line for line in head.split("\n") if len(line.split()) >= 4]
    sentences = " ".join(lines)
    letters = len(_LATIN.findall(sentences))
    if letters < _MIN_LATIN_LETTERS:
        return None, 0
    code, confidence = _identifier().classify(sentences)
    return (code, letters) if confidence >= _MIN_CONFIDENCE else (None, 0)


@cache
def _identifier() -> LanguageIdentifier:
    # Half a second and some 30 MiB, which most runs never need.
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(_MODEL_LANGUAGES)
    return identifier
