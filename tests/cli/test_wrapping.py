"""Text in a terminal: nothing in it acts on the terminal, and lines break where they should."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from cli.plain import one_line, plain
from cli.wrapping import shortened, wrapped

AWKWARD = "ab (){}.,\n\t\r\x1b[]m;7\x07\x9b\u202e\u2066、。「」日本語中文ー😀é\u3000"
TEXTS = st.text(st.sampled_from(AWKWARD) | st.characters())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b2Jgone", "gone"),
        ("a\x1b", "a"),
        ("a\rb\r\nc\x0bd\u2028e", "a\nb\nc\nd\ne"),
        ("a\x00\x08b\x7f", "ab"),
        ("\u202egnp.exe\u202c \u2066x\u2069", "gnp.exe x"),
        ("half \ud800 character", "half  character"),
        ("[bold]\ttab\n日本語 😀‍🔥", "[bold]\ttab\n日本語 😀‍🔥"),
    ],
)
def test_only_what_acts_on_the_terminal_is_taken_out(text: str, shown: str) -> None:
    assert plain(text) == shown


@settings(deadline=None)
@given(TEXTS)
def test_no_control_character_is_left(text: str) -> None:
    left = {c for c in plain(text) if unicodedata.category(c) == "Cc"}
    assert left <= {"\n", "\t"}
    assert not set(plain(text)) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@settings(deadline=None)
@given(TEXTS, st.integers(4, 40))
def test_no_line_is_wider_than_the_page_and_no_character_is_lost(text: str, width: int) -> None:
    lines = wrapped(text, width)
    assert all(cell_len(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(plain(text).split())


@settings(deadline=None)
@given(TEXTS, st.integers(4, 40))
def test_one_line_is_one_line_and_fits(text: str, width: int) -> None:
    line = one_line(text, width)
    assert "\n" not in line
    assert cell_len(line) <= width


def test_words_stay_whole() -> None:
    assert wrapped("one two three four", 9) == ["one two", "three", "four"]


def test_a_word_longer_than_a_line_is_cut() -> None:
    assert wrapped("a" * 10, 4) == ["aaaa", "aaaa", "aa"]


def test_japanese_fills_its_lines_and_none_begins_with_closing_punctuation() -> None:
    lines = wrapped("1. 日本語の文章は、単語の間に空白がありません。「はい」。", 20)
    assert lines[0].startswith("1. 日本語")
    assert not any(line[0] in "、。」" for line in lines)
    assert not any(line.endswith("「") for line in lines)


def test_chinese_breaks_between_characters() -> None:
    assert wrapped("春眠不觉晓处处闻啼鸟", 8) == ["春眠不觉", "晓处处闻", "啼鸟"]


def test_indentation_and_empty_lines_of_code_are_kept() -> None:
    code = "def f():\n\n    return 'a rather long line'\n"
    assert wrapped(code, 20) == ["def f():", "", "    return 'a rather", "    long line'", ""]


def test_a_shortened_text_says_how_much_is_missing() -> None:
    text = "\n\n".join(f"line {n}" for n in range(10))
    assert shortened(text, 40, 4) == (["line 0", "line 1", "line 2", "line 3"], 6)


def test_one_line_too_many_is_shown_rather_than_announced() -> None:
    assert shortened("a\nb\nc", 40, 2) == (["a", "b", "c"], 0)
