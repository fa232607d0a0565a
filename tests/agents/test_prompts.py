"""Prompt files: what is refused, what identifies them, and that every shipped one can be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agents.prompts import Prompt, PromptError, PromptLibrary, PromptVariableMissing, parse_prompt
from common.hashing import digest_text
from common.paths import CHECKOUT

SHIPPED = PromptLibrary(CHECKOUT / "prompts")
MATTER = "---\nname: greet\nversion: 3\npurpose: Greets.\ninputs: [who]\n---\n"
VALUES: dict[str, Any] = {
    "instruction": "2 と 3 を足してください。",
    "input": "",
    "response": "5",
    "reasoning": None,
    "reference": None,
    "feedback": None,
    "system": None,
    "category": "math",
    "categories": ("math", "other"),
    "language": "ja",
    "language_name": "Japanese",
    "count": 2,
}
FILLED = VALUES | {
    "input": "1, 2, 3",
    "reasoning": "2 + 3",
    "reference": "5",
    "feedback": "It was wrong.",
    "system": "Be brief.",
}


def parsed(text: str, name: str = "tests/greet") -> Prompt:
    return parse_prompt(name, Path("prompts/tests/greet.md"), text)


def test_a_prompt_is_filled_in_and_carries_its_identity() -> None:
    text = MATTER + "Hello {{ who }}.\n"
    rendered = parsed(text).render({"who": "世界"})
    assert [(m.role, m.content) for m in rendered.messages] == [("user", "Hello 世界.")]
    assert (rendered.name, rendered.version) == ("tests/greet", "3")
    assert rendered.hash == digest_text(text)


def test_a_system_prompt_comes_first_and_is_filled_in_too() -> None:
    matter = MATTER.replace("inputs:", "system: Speak to {{ who }}.\ninputs:")
    rendered = parsed(matter + "Hello.").render({"who": "Ann"})
    assert [(m.role, m.content) for m in rendered.messages] == [
        ("system", "Speak to Ann."),
        ("user", "Hello."),
    ]


def test_the_label_is_name_and_version() -> None:
    assert parsed(MATTER + "Hello.").label == "tests/greet@3"


def test_any_edit_gives_another_hash_and_none_gives_the_same() -> None:
    text = MATTER + "Hello {{ who }}."
    assert parsed(text).hash == parsed(text).hash
    assert parsed(text).hash != parsed(text + "\n").hash
    assert parsed(text).hash != parsed(text.replace("Greets.", "Greets well.")).hash


def test_a_variable_that_is_not_given_is_an_error_that_names_file_and_variable() -> None:
    prompt = parsed(MATTER + "Hello {{ who }}.")
    with pytest.raises(PromptVariableMissing) as caught:
        prompt.render({"whom": "Ann"})
    assert "'who' is undefined" in caught.value.cause
    assert "prompts/tests/greet.md" in caught.value.cause
    assert caught.value.command == "stillhouse prompts show tests/greet"


def test_a_missing_variable_in_a_condition_is_an_error_too() -> None:
    prompt = parsed(MATTER + "{% if who %}Hello.{% endif %}")
    with pytest.raises(PromptVariableMissing):
        prompt.render({})


@pytest.mark.parametrize(
    "body", ["Hello {{ whom }}.", "{% if whom %}Hi{% endif %}", "{% for w in whom %}{% endfor %}"]
)
def test_a_variable_that_is_not_declared_is_refused_when_the_file_is_read(body: str) -> None:
    with pytest.raises(PromptVariableMissing) as caught:
        parsed(MATTER + body)
    assert "whom" in caught.value.what
    assert "who" in caught.value.cause


def test_an_undeclared_variable_in_the_system_prompt_is_refused() -> None:
    matter = MATTER.replace("inputs:", "system: Speak to {{ whom }}.\ninputs:")
    with pytest.raises(PromptVariableMissing, match="whom"):
        parsed(matter + "Hello.")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Hello.\n", "no front matter"),
        ("---\nname: greet\n", "no front matter"),
        (MATTER.replace("version: 3", "version: three") + "Hello.", "cannot be read"),
        (MATTER.replace("purpose: Greets.\n", "") + "Hello.", "cannot be read"),
        (MATTER.replace("inputs:", "input:") + "Hello.", "cannot be read"),
        (MATTER.replace("[who]", "[who") + "Hello.", "cannot be read"),
    ],
)
def test_bad_front_matter_names_the_file(text: str, said: str) -> None:
    with pytest.raises(PromptError) as caught:
        parsed(text)
    assert said in caught.value.what
    assert "prompts/tests/greet.md" in caught.value.what


def test_a_syntax_error_names_the_file_and_the_line() -> None:
    with pytest.raises(PromptError) as caught:
        parsed(MATTER + "Hello.\n{% if who %}\n")
    assert "prompts/tests/greet.md" in caught.value.what
    assert "Line 2" in caught.value.cause


def test_windows_line_ends_are_read(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    text = (MATTER + "Hello {{ who }}.").replace("\n", "\r\n")
    (tmp_path / "tests" / "greet.md").write_bytes(text.encode())
    rendered = PromptLibrary(tmp_path).get("tests/greet").render({"who": "Ann"})
    assert rendered.messages[0].content == "Hello Ann."


def test_an_unknown_prompt_names_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "greet.md").write_text(MATTER + "Hello.", encoding="utf-8")
    with pytest.raises(PromptError) as caught:
        PromptLibrary(tmp_path).get("tests/great")
    assert "tests/great" in caught.value.what
    assert "tests/greet" in caught.value.solution


def test_a_library_reads_a_file_once(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    path = tmp_path / "tests" / "greet.md"
    path.write_text(MATTER + "Hello.", encoding="utf-8")
    library = PromptLibrary(tmp_path)
    first = library.get("tests/greet")
    path.write_text(MATTER + "Goodbye.", encoding="utf-8")
    assert library.get("tests/greet") is first


@pytest.mark.parametrize("values", [VALUES, FILLED], ids=["bare", "filled"])
@pytest.mark.parametrize("name", SHIPPED.names())
def test_every_shipped_prompt_renders_with_exactly_its_declared_inputs(
    name: str, values: dict[str, Any]
) -> None:
    prompt = SHIPPED.get(name)
    assert set(prompt.matter.inputs) <= set(values)
    rendered = prompt.render({key: values[key] for key in prompt.matter.inputs})
    question = rendered.messages[-1].content
    assert "2 と 3 を足してください。" in question
    assert "{{" not in question and "{%" not in question
    for key in ("input", "feedback", "reference"):
        # as_is sends material bare, and no prompt sends an empty tag.
        assert (f"<{key}>\n{values[key]}\n</{key}>" in question) == (
            bool(values[key]) and key in prompt.matter.inputs and name != "rewriting/as_is"
        )


@pytest.mark.parametrize("name", SHIPPED.names())
def test_every_shipped_prompt_is_named_as_its_file_and_says_what_it_is_for(name: str) -> None:
    matter = SHIPPED.get(name).matter
    assert matter.name == name.partition("/")[2]
    assert matter.purpose.endswith(".")


@pytest.mark.parametrize("name", [n for n in SHIPPED.names() if n != "rewriting/as_is"])
def test_every_shipped_prompt_sends_its_material_in_tags_on_lines_of_their_own(name: str) -> None:
    prompt = SHIPPED.get(name)
    question = prompt.render({key: FILLED[key] for key in prompt.matter.inputs}).messages[-1]
    lines = question.content.split("\n")
    place = lines.index("<instruction>")
    assert lines[place + 1 : place + 3] == [FILLED["instruction"], "</instruction>"]


@pytest.mark.parametrize(
    "body",
    [
        "{{ who.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ who.format.__globals__ }}",
        "{{ '{0.__class__}'.format(who) }}",
        "{% set x = who * 1000000000 %}",
        "{{ 'a' * 10 ** 10 }}",
        "{{ 10 ** 100000 }}",
        "{{ [who] * 9 }}",
    ],
)
def test_a_prompt_reaches_nothing_but_its_inputs(body: str) -> None:
    with pytest.raises(PromptError, match="could not be filled in"):
        parsed(MATTER + body).render({"who": "world"})


@pytest.mark.parametrize("name", ["range", "lipsum", "cycler", "namespace", "self", "config"])
def test_nothing_global_is_within_a_prompts_reach(name: str) -> None:
    with pytest.raises(PromptError):
        parsed(MATTER + f"{{{{ {name}.__init__ }}}} {{{{ {name}() }}}}").render({"who": "world"})


def test_a_prompt_may_count_and_filter() -> None:
    body = "{{ 2 * 3 + who | length }} {{ who | upper }} {% for c in who %}{{ c }},{% endfor %}"
    rendered = parsed(MATTER + body).render({"who": "世界"})
    assert rendered.messages[-1].content == "8 世界 世,界,"


def test_a_template_that_is_nested_too_deeply_is_refused() -> None:
    loops = "{% for a in who %}" * 30 + "{% endfor %}" * 30
    with pytest.raises(PromptError, match="cannot be read"):
        parsed(MATTER + loops)
