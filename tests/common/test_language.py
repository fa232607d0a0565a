"""Language detection: scripts first, a model for Latin letters, and None wherever it can't tell."""

from __future__ import annotations

import subprocess
import sys

import pytest

from common.language import detect_language, is_language, prose_of

ENGLISH = "The quick brown fox jumps over the lazy dog, and then it sleeps for the rest of the day."
FRENCH = "Bonjour, je voudrais réserver une table pour deux personnes demain soir, s'il vous plaît."


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (ENGLISH, "en"),
        (FRENCH, "fr"),
        ("Ich möchte gerne ein Bier und eine Brezel, bitte, und zwar sofort.", "de"),
        ("これは何ですか？", "ja"),
        ("请说明这个问题的答案。", "zh"),
        ("請說明這個問題的答案。", "zh"),
        ("我是中国人", "zh"),
        ("한국어로 대답해 주세요", "ko"),
        ("Это предложение написано по-русски.", "ru"),
        ("Це речення написане українською мовою, їжак.", "uk"),
        ("هذه جملة مكتوبة باللغة العربية.", "ar"),
        ("این جمله به زبان فارسی نوشته شده است و چند کلمه دارد.", "fa"),
        ("ประโยคนี้เขียนเป็นภาษาไทย", "th"),
        ("यह वाक्य हिन्दी में लिखा गया है।", "hi"),
        ("Η πρόταση είναι γραμμένη στα ελληνικά.", "el"),
        ("המשפט הזה כתוב בעברית.", "he"),
    ],
)
def test_a_sentence_is_recognised(text: str, code: str) -> None:
    assert detect_language(text) == code


@pytest.mark.parametrize(
    "text",
    ["", "   ", "42", "東京", "日本国憲法", "OK!", "Paris", "48/2 = 24", "✅ ✅", "3.14159"],
)
def test_too_little_evidence_gives_none(text: str) -> None:
    assert detect_language(text) is None
    assert is_language(text, "en") is None


def test_japanese_with_english_terms_is_japanese() -> None:
    text = "PythonのFastAPIを使ってREST APIを実装し、Dockerでデプロイする方法を説明してください。"
    assert detect_language(text) == "ja"


def test_chinese_that_quotes_japanese_is_chinese() -> None:
    assert detect_language("日语里的「ありがとう」是谢谢的意思") == "zh"


def test_japanese_that_quotes_chinese_is_japanese() -> None:
    assert detect_language("中国語の「谢谢」は「ありがとう」という意味です。") == "ja"


def test_playful_chinese_with_a_japanese_particle_is_not_japanese() -> None:
    assert detect_language("我の心里只有你们") == "zh"


def test_a_list_of_kanji_compounds_joined_by_no_is_japanese() -> None:
    assert detect_language("1. 運動の準備\n2. 運動の開始\n3. 運動の終了") == "ja"


def test_english_that_explains_a_few_characters_stays_english() -> None:
    text = "The word 漢字 (kanji) means Chinese characters; it is written with 漢 and 字."
    assert detect_language(text) == "en"


def test_chinese_names_in_an_english_list_are_not_chinese_prose() -> None:
    text = 'Similar names are "张" (Zhang), "江" (Jiang), "蒋" (Jiang), "姜" (Jiang), "范" (Fan).'
    assert is_language(text, "en") is not False


def test_half_and_half_is_neither() -> None:
    text = "Please say this politely to my teacher today: 先生、今日はありがとう"
    assert detect_language(text) is None


def test_a_list_of_italian_dishes_is_not_called_italian() -> None:
    dishes = "- Risotto\n- Spaghetti alla Carbonara\n- Arancini\n- Polenta\n- Ossobuco\n- Truffles"
    assert is_language(dishes, "en") is not False


@pytest.mark.parametrize(
    "code",
    [
        "def reverse(items):\n    return items[::-1]\n\nprint(reverse([1, 2, 3]))",
        "SELECT name, age FROM users WHERE age > 30 ORDER BY name;",
        "```python\nfor word in sentence.split(' '):\n    print(word.upper())\n```",
        '{"name": 1, "age": 2, "address": 3, "telephone": 4, "occupation": 5}',
        "\\[ \\frac{\\partial f}{\\partial x} = \\lim_{h \\to 0} \\frac{f(x+h) - f(x)}{h} \\]",
        "https://example.com/a/very/long/address/that/has/many/letters/in/it/indeed",
    ],
)
def test_code_formulas_and_addresses_have_no_language(code: str) -> None:
    assert detect_language(code) is None


def test_the_prose_around_code_decides() -> None:
    code = "```python\nfor each_word in the_sentence_of_the_day:\n    print(each_word)\n```"
    assert detect_language(f"次のようにします。\n{code}\nこれで完成です。") == "ja"
    assert "each_word" not in prose_of(code)


def test_a_contrary_language_is_false_only_with_enough_of_it() -> None:
    assert is_language(FRENCH, "en") is False
    assert is_language(ENGLISH, "ja") is False
    assert is_language("申し訳ありませんが、その質問には答えられません。", "en") is False
    assert is_language("はい", "en") is None


def test_region_and_script_subtags_are_ignored() -> None:
    assert is_language("请说明这个问题的答案。", "zh-Hans") is True
    assert is_language(ENGLISH, "en_GB") is True


def test_near_relatives_are_not_told_apart() -> None:
    bulgarian = "Мисля че скоро ще трябва да наемат чистач за трофеите си"
    assert is_language(bulgarian, "bg") is None
    assert is_language(bulgarian, "en") is False


def test_the_model_is_not_loaded_for_plain_english_japanese_or_chinese() -> None:
    program = (
        "import sys\n"
        "from common.language import detect_language\n"
        f"assert detect_language({ENGLISH!r}) == 'en'\n"
        "assert detect_language('これは何ですか？') == 'ja'\n"
        "assert 'py3langid' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_very_long_text_is_read_only_at_its_beginning() -> None:
    assert detect_language((ENGLISH + " ") * 20 + "これは何ですか？" * 100_000) == "en"
