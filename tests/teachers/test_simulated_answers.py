"""What the simulated teacher answers to each agent: sensibly and in its language."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from teachers.simulated.answers import Answer, answer
from teachers.simulated.asks import CATEGORIES, read_ask
from teachers.simulated.language import detect_language, word_count
from teachers.simulated.settings import SimulatedSettings

SOUND = SimulatedSettings()
SHAPES = {
    "classification": ["category", "language"],
    "expansion": ["variants"],
    "rewrite": ["instruction"],
    "selection": ["rationale", "informativeness", "helpfulness", "generalisation"],
    "verification": ["evidence", "correct", "consistent"],
}
INSTRUCTIONS = {
    "en": "Explain how bridges carry heavy trains across wide rivers.",
    "ja": "鉄道の橋が広い川を越えて重い列車を支える仕組みを説明してください。",
    "zh": "请解释铁路桥梁如何承载沉重的列车跨过宽阔的河流。",
}
MATHS = {
    "en": "What is 17 * 23 + 5?",
    "ja": "17 × 23 + 5 はいくつですか？",
    "zh": "计算 17 × 23 + 5",
}
FINAL = {"en": "Final answer: 396", "ja": "最終的な答え：396", "zh": "最终答案：396"}


def body(name: str | None = None, *, preface: str = "Do this.", **tags: str) -> dict[str, Any]:
    material = "\n".join(f"<{tag}>\n{text}\n</{tag}>" for tag, text in tags.items())
    messages = [{"role": "user", "content": f"{preface}\n\n{material}\n"}]
    request: dict[str, Any] = {"model": "simulated-teacher", "messages": messages}
    if name is not None:
        properties: dict[str, Any] = {key: {} for key in SHAPES[name]}
        schema = {"type": "object", "properties": properties, "required": SHAPES[name]}
        request["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": name, "schema": schema, "strict": True},
        }
    return request


def ask(request: dict[str, Any], settings: SimulatedSettings = SOUND) -> Answer:
    return answer(read_ask(request), settings)


def text(request: dict[str, Any], settings: SimulatedSettings = SOUND) -> str:
    content = ask(request, settings).content
    assert content is not None
    return content


def structured(request: dict[str, Any], settings: SimulatedSettings = SOUND) -> Any:
    return json.loads(text(request, settings))


@pytest.mark.parametrize(
    ("instruction", "category", "language"),
    [
        ("What is 17 * 23 + 5?", "math", "en"),
        ("Natalia sold 48 clips, then half as many. How many did she sell?", "math", "en"),
        ("Write an SQL query that counts the users per city.", "sql", "en"),
        ("Write a Python function that reverses a string.", "code", "en"),
        ("Translate 'おはよう' into English, please, for my friend.", "translation", "en"),
        ("If all cats are animals, is this syllogism valid?", "logic", "en"),
        ("Summarize the following document.", "summarization", "en"),
        ("Classify the sentiment of this review.", "classification", "en"),
        ("Extract all names from the text.", "extraction", "en"),
        ("Plan a 3-day trip to Kyoto.", "planning", "en"),
        ("Brainstorm ways to save water.", "brainstorming", "en"),
        ("Write a short story about rain.", "writing", "en"),
        ("Hello, how are you?", "chat", "en"),
        ("Why is the sky blue?", "qa", "en"),
        ("25と17の和を求めてください。", "math", "ja"),
        ("次の文章を要約してください。猫は動物です。", "summarization", "ja"),
        ("「我爱你」を日本語に翻訳してください。", "translation", "ja"),
        ("京都を三日で回る旅行の計画を立ててください。", "planning", "ja"),
        ("日本の首都はどこですか。", "qa", "ja"),
        ("计算 45 除以 9", "math", "zh"),
        ("把「こんにちは」翻译成中文，并说明这个词的用法。", "translation", "zh"),
        ("请写一个Python函数，反转字符串。", "code", "zh"),
        ("你 去 那 儿 竟 然 不 喊 我 ， 生 气 了 呀", "chat", "zh"),
        ("长城有多长的历史？为什么修建？", "qa", "zh"),
    ],
)
def test_an_instruction_is_classified_by_its_words_and_script(
    instruction: str, category: str, language: str
) -> None:
    assert structured(body("classification", instruction=instruction)) == {
        "category": category,
        "language": language,
    }


@pytest.mark.parametrize("language", ["en", "ja", "zh"])
@pytest.mark.parametrize("category", CATEGORIES)
def test_variants_keep_category_and_language_and_differ(category: str, language: str) -> None:
    seed = INSTRUCTIONS[language] if category != "math" else MATHS[language]
    request = body("expansion", instruction=seed, category=category, language=language, count="6")
    variants = structured(request)["variants"]
    instructions = [variant["instruction"] for variant in variants]
    assert len({seed, *instructions}) == 7
    assert {variant["category"] for variant in variants} == {category}
    assert {detect_language(i) for i in instructions if category != "math"} <= {language}


def test_a_computation_is_varied_in_its_numbers_only() -> None:
    request = body("expansion", instruction="What is 45 / 9?", category="math", count="5")
    for variant in structured(request)["variants"]:
        found = re.fullmatch(r"What is (\d\d) / (\d)\?", variant["instruction"])
        assert found is not None
        assert int(found[1]) % int(found[2]) == 0, "a whole result stays a whole result"


def test_a_word_problem_keeps_its_story_and_its_years() -> None:
    story = "In 2019 Ken bought 12 pens for 30 yen each. What did he pay in total?"
    (variant,) = structured(body("expansion", instruction=story, category="math"))["variants"]
    changed = variant["instruction"]
    assert changed != story
    assert re.sub(r"\d+", "#", changed) == re.sub(r"\d+", "#", story)
    assert "2019" in changed


def test_variants_stray_at_the_set_rates_and_say_their_category() -> None:
    settings = SimulatedSettings(off_category=0.3, off_language=0.3)
    request = body(
        "expansion", instruction=INSTRUCTIONS["en"], category="qa", language="en", count="50"
    )
    given = ask(request, settings)
    variants = json.loads(given.content or "")["variants"]
    off_category = [v for v in variants if v["category"] != "qa"]
    off_language = [v for v in variants if detect_language(v["instruction"]) != "en"]
    assert 5 <= len(off_category) <= 25
    assert 5 <= len(off_language) <= 25
    assert given.injected.count("off_category") == len(off_category)
    assert given.injected.count("off_language") == len(off_language)


@pytest.mark.parametrize("language", ["en", "ja", "zh"])
def test_a_rewrite_differs_and_keeps_language_and_numbers(language: str) -> None:
    for number in range(40):
        seed = MATHS[language].replace("23", str(100 + number))
        rewritten = structured(body("rewrite", instruction=seed, language=language))["instruction"]
        assert rewritten != seed
        assert re.findall(r"\d+", rewritten) == re.findall(r"\d+", seed)
        kept = text(body(instruction=rewritten, category="math", language=language))
        assert kept.endswith(str(17 * (100 + number) + 5))


@pytest.mark.parametrize("language", ["en", "ja", "zh"])
def test_rewriting_again_and_again_does_not_grow_the_instruction(language: str) -> None:
    instruction = INSTRUCTIONS[language]
    for _ in range(8):
        instruction = structured(body("rewrite", instruction=instruction))["instruction"]
    assert len(instruction) < len(INSTRUCTIONS[language]) + 70


@pytest.mark.parametrize("language", ["en", "ja", "zh"])
def test_maths_is_computed_and_ends_in_the_final_line(language: str) -> None:
    request = body(
        preface="Put your steps inside <think>…</think> first.",
        instruction=MATHS[language],
        category="math",
        language=language,
    )
    given = text(request)
    assert given.startswith("<think>\n")
    assert "17 × 23 = 391" in given.split("</think>")[0]
    assert given.splitlines()[-1] == FINAL[language]


def test_thoughts_come_only_where_they_are_asked_for() -> None:
    plain = body(instruction="Plan a picnic for a rainy Sunday.", category="planning")
    thoughtful = body(preface="Use <think>.", instruction="Plan a picnic.", category="planning")
    assert "<think>" not in text(plain)
    assert text(thoughtful).startswith("<think>\n")


def test_an_instruction_that_mentions_the_tag_asks_for_no_thoughts() -> None:
    asked = body(instruction="What does <think> mean in HTML?", category="planning")
    assert not text(asked).startswith("<think>")


def test_a_computation_in_the_input_is_solved() -> None:
    asked = body(instruction="Compute the expression.", input="12 * 12", category="math")
    assert text(asked).endswith("Final answer: 144")


def test_wrong_maths_is_off_by_a_little_and_drawn_anew_with_feedback() -> None:
    settings = SimulatedSettings(wrong_math=0.5)
    wrong = {False: set[int](), True: set[int]()}
    for n in range(200):
        for feedback in (False, True):
            tags = {"feedback": "The result is wrong."} if feedback else {}
            request = body(instruction=f"What is {n} + 7?", category="math", **tags)
            given = ask(request, settings)
            result = int((given.content or "").rsplit(" ", 1)[1])
            assert (result != n + 7) == ("wrong_math" in given.injected)
            assert abs(result - n - 7) <= 10
            if result != n + 7:
                wrong[feedback].add(n)
    assert 70 <= len(wrong[False]) <= 130
    assert 70 <= len(wrong[True]) <= 130
    assert len(wrong[False] & wrong[True]) < 80, "feedback draws anew"


def test_whether_maths_goes_wrong_does_not_depend_on_the_rest_of_the_prompt() -> None:
    settings = SimulatedSettings(wrong_math=0.5)
    for n in range(30):
        tags = {"instruction": f"What is {n} + 7?", "category": "math"}
        first = text(body(preface="A.", **tags), settings)
        second = text(body(preface="B <think>.", **tags), settings)
        assert first.rsplit(" ", 1)[1] == second.rsplit(" ", 1)[1]


@pytest.mark.parametrize("language", ["en", "ja", "zh"])
@pytest.mark.parametrize("category", [c for c in CATEGORIES if c not in ("math", "translation")])
def test_a_response_is_a_text_of_some_length_in_its_language(category: str, language: str) -> None:
    given = text(body(instruction=INSTRUCTIONS[language], category=category, language=language))
    assert 30 <= word_count(given) <= 220
    assert detect_language(given.split("```")[-1]) == language


@pytest.mark.parametrize(
    ("instruction", "language", "words"),
    [
        ('Translate into Japanese: "Good morning"', "ja", "シミュレーション"),
        ("「おはよう」を英語に翻訳してください。", "en", "simulated English translation"),
        ("把“早上好”翻译成法语。", "en", "traduction simulée"),
        ("Translate 'Good night' into Chinese.", "zh", "模拟"),
    ],
)
def test_a_translation_is_in_the_target_language_and_says_it_is_simulated(
    instruction: str, language: str, words: str
) -> None:
    given = text(body(instruction=instruction, category="translation")).split("\n\n")[0]
    assert words in given
    assert detect_language(given) == language


def test_the_form_of_a_response_follows_the_instruction() -> None:
    made = text(body(instruction="Return a JSON object about cats.", category="other"))
    assert json.loads(made)["items"]
    query = text(body(instruction="Query sales(id, region) per region.", category="sql"))
    assert "SELECT region, COUNT(*)" in query
    assert "FROM sales" in query
    code = text(body(instruction="Write Python that tests if n is prime.", category="code"))
    namespace: dict[str, Any] = {}
    exec(code.split("```python")[1].split("```")[0], namespace)
    assert [n for n in range(12) if namespace["is_prime"](n)] == [2, 3, 5, 7, 11]
    listed = text(body(instruction="Suggest 4 ideas for a party.", category="brainstorming"))
    assert re.findall(r"^(\d)\.", listed, re.MULTILINE) == ["1", "2", "3", "4"]
    summary = text(
        body(instruction="Summarise.", input="Cats sleep. Dogs bark. Birds sing.",
             category="summarization")
    )  # fmt: skip
    assert summary.startswith("Cats sleep. Dogs bark.")


def test_selection_scores_an_empty_answer_lowest_and_names_the_features() -> None:
    instruction = INSTRUCTIONS["en"]
    good = structured(
        body("selection", instruction=instruction, response=text(body(instruction=instruction)))
    )
    poor = structured(body("selection", instruction=instruction, response="No."))
    none = structured(body("selection", instruction=instruction, response=""))
    scores = SHAPES["selection"][1:]
    assert [none[s] for s in scores] == [0, 0, 0]
    assert sum(good[s] for s in scores) > sum(poor[s] for s in scores) > 0
    assert all(type(good[s]) is int and 0 <= good[s] <= 9 for s in scores)
    assert "words" in good["rationale"]


@pytest.mark.parametrize("language", ["en", "ja", "zh"])
def test_verification_recomputes_maths(language: str) -> None:
    right = text(body(instruction=MATHS[language], category="math", language=language))
    wrong = right.replace("396", "397")
    tags = {"instruction": MATHS[language], "category": "math", "language": language}
    passed = structured(body("verification", response=right, **tags))
    failed = structured(body("verification", response=wrong, **tags))
    assert (passed["correct"], passed["consistent"]) == (True, True)
    assert failed["correct"] is False
    assert "396" in failed["evidence"]
    assert "397" in failed["evidence"]


def test_verification_compares_a_word_problem_with_its_reference() -> None:
    tags = {"instruction": "Ann has some pens and gets more. How many?", "category": "math"}
    reference = "She has 3 + 4 = 7 pens.\n#### 7"
    right = body("verification", response="Final answer: 7", reference=reference, **tags)
    wrong = body("verification", response="Final answer: 9", reference=reference, **tags)
    assert structured(right)["correct"] is True
    assert structured(wrong)["correct"] is False


def test_steps_that_contradict_the_result_are_inconsistent() -> None:
    tags = {"instruction": "What is 4 + 4?", "category": "math"}
    request = body("verification", response="4 + 4 = 9\nFinal answer: 8", **tags)
    assert structured(request) | {"evidence": ""} == {
        "evidence": "",
        "correct": True,
        "consistent": False,
    }


@pytest.mark.parametrize(
    "response",
    [
        "",
        "I'm sorry, but I can't help with that request.",
        "申し訳ありませんが、そのご依頼にはお答えできません。",
        "鉄道の橋は川を越えて列車を支えます。とても丈夫です。安全です。",
        "qwe rty uio asd fgh jkl zxc vbn mmm",
    ],
)
def test_verification_fails_what_is_empty_refused_foreign_or_beside_the_point(
    response: str,
) -> None:
    request = body("verification", instruction=INSTRUCTIONS["en"], category="qa", response=response)
    assert structured(request)["correct"] is False


def test_the_kind_of_ask_is_seen_from_an_example_in_the_prompt() -> None:
    shown = 'Answer with one JSON object:\n{"evidence": "...", "correct": true, "consistent": true}'
    tags = {"instruction": "What is 4 + 4?", "category": "math", "response": "Final answer: 8"}
    for form in ({"response_format": {"type": "json_object"}}, {}):
        request = body(None, preface=shown, **tags) | form
        assert structured(request)["correct"] is True


def test_the_kind_of_ask_is_seen_from_a_schema_in_the_system_message() -> None:
    properties = {"category": {"enum": ["math"]}, "language": {}, "why": {"minLength": 9}}
    schema = {"properties": properties, "required": list(properties)}
    request = body(instruction="What is 4 + 4?")
    system = {"role": "system", "content": f"Answer by this schema: {json.dumps(schema)}"}
    request["messages"].insert(0, system)
    assert structured(request) == {"category": "math", "language": "en", "why": "simulated"}


def test_an_unknown_schema_gets_an_instance_and_its_own_order_is_kept() -> None:
    request = body("verification", instruction="What is 4 + 4?", response="8", category="math")
    format_ = request["response_format"]["json_schema"]
    format_["schema"]["properties"] = {"correct": {}, "evidence": {}}
    assert list(structured(request)) == ["correct", "evidence"]
    format_ |= {
        "name": "weather",
        "schema": {
            "type": "object",
            "properties": {"degrees": {"type": "integer", "minimum": 7}},
            "required": ["degrees"],
        },
    }
    assert structured(request) == {"degrees": 7}


def test_a_plain_question_without_tags_is_answered() -> None:
    request = {"messages": [{"role": "user", "content": 'What is 6 * 7? {"instruction": "x"}'}]}
    assert "42" in text({"messages": [{"role": "user", "content": "What is 6 * 7?"}]})
    assert read_ask(request).kind == "text"
