"""Rendering: prompts are serving's, responses with their EOS are trained, and nothing else is."""

from __future__ import annotations

import unicodedata
from itertools import groupby
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from training.data.chat import ChatRenderer, Rendered
from training.data.chat_template import template_fingerprint
from training.data.example import Example
from training.data.record import Message, Record
from training.errors import SampleTooLong, TemplateRefused

NAMES = ("chatml", "qwen2.5", "qwen3", "llama3")
Tokenizers = dict[str, PreTrainedTokenizerFast]

_WORDS = (
    "Hello", " world", "\n", "\n\n", " ", "\t", "答えは四十二です。", "请写一首短诗", "，",
    "🙂", "👩‍🔬", "é", "e\u0301", "def f(x):\n    return x\n", "```", "{% if %}", "{{ x }}", "<p>",
    "<|", "|>", "im_end", "42", "$\\frac{1}{2}$", "\u3000", "\r\n", "'",
)  # fmt: skip
_text = st.lists(st.sampled_from(_WORDS) | st.text(max_size=4), max_size=8).map("".join)
_said = _text.filter(str.strip)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    """Perhaps a system prompt, then questions and answers; answers may begin with a thought."""
    messages: list[Message] = []
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(_said)})
    for _ in range(draw(st.integers(1, 3))):
        thought = draw(st.sampled_from(["", "<think>\nHm, 四十二?\n</think>\n\n"]))
        messages.append({"role": "user", "content": draw(_text)})
        messages.append({"role": "assistant", "content": thought + draw(_said)})
    return tuple(messages)


def record(*messages: Message | str, id: str = "s") -> Record:
    """A record; plain texts are the user's and the assistant's in turn."""
    roles = ("user", "assistant")
    turns = [
        {"role": roles[n % 2], "content": m} if isinstance(m, str) else m
        for n, m in enumerate(messages)
    ]
    return Record(id=id, family_id=f"family of {id}", messages=tuple(turns), recipe="r",
                  status="accepted", category="math", language="en")  # fmt: skip


def spans(example: Example) -> list[tuple[int, int]]:
    """(first, last + 1) of every run of trained tokens."""
    runs = [(key, len(list(run))) for key, run in groupby(example.trained_T.tolist())]
    ends = np.cumsum([n for _, n in runs]).tolist()
    return [(end - n, end) for (key, n), end in zip(runs, ends, strict=True) if key]


def served(tokenizer: PreTrainedTokenizerFast, messages: Any) -> list[int]:
    """The prompt's ids as transformers' own serving makes them."""
    ids: list[int] = tokenizer.apply_chat_template(
        list(messages), tokenize=True, add_generation_prompt=True, return_dict=False
    )
    return ids


def turns_of(messages: Any) -> list[int]:
    return [n for n, message in enumerate(messages) if message["role"] == "assistant"]


def one(rendered: Rendered) -> Example:
    assert not rendered.lost
    (example,) = rendered.examples
    return example


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(messages=conversations())
def test_every_response_follows_exactly_the_prompt_that_serving_feeds(
    tokenizers: Tokenizers, name: str, messages: tuple[Message, ...]
) -> None:
    tokenizer = tokenizers[name]
    renderer = ChatRenderer(tokenizer, context=100_000)
    rendered = renderer.render([record(*messages)])
    assert not rendered.lost
    turns = turns_of(messages)
    trained = [(example, span) for example in rendered.examples for span in spans(example)]
    assert len(trained) == len(turns)
    for (example, (first, end)), turn in zip(trained, turns, strict=True):
        ids = example.token_id_T.tolist()
        assert ids[:first] == served(tokenizer, messages[:turn])
        assert ids[end - 1] == renderer.turn_end.id == tokenizer.eos_token_id
        assert renderer.turn_end.id not in ids[first : end - 1]
        asked = tokenizer.apply_chat_template(
            list(messages[:turn]), tokenize=False, add_generation_prompt=True
        )
        answered = tokenizer.apply_chat_template(list(messages[: turn + 1]), tokenize=False)
        said = answered[len(asked) :].rstrip("\n")
        trained_text = tokenizer.decode(ids[first:end], clean_up_tokenization_spaces=False)
        assert trained_text == unicodedata.normalize("NFC", said)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(messages=conversations())
def test_where_no_tools_are_called_qwen25s_template_says_what_its_reduction_says(
    qwen25_twice: tuple[PreTrainedTokenizerFast, PreTrainedTokenizerFast],
    messages: tuple[Message, ...],
) -> None:
    for prompt in (True, False):
        whole, reduced = (
            each.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=prompt)
            for each in qwen25_twice
        )
        assert whole == reduced


@pytest.mark.parametrize("name", ["chatml", "qwen2.5", "llama3"])
def test_turns_that_nest_share_one_example(tokenizers: Tokenizers, name: str) -> None:
    renderer = ChatRenderer(tokenizers[name], context=1000)
    example = one(renderer.render([record("One?", "1.", "Two?", "2.")]))
    assert example.id == example.sample_id == "s"
    said = [tokenizers[name].decode(example.token_id_T[a : b - 1]) for a, b in spans(example)]
    assert said == ["1.", "2."]


def test_a_template_that_strips_thoughts_gives_each_turn_its_own_example(
    tokenizers: Tokenizers,
) -> None:
    renderer = ChatRenderer(tokenizers["qwen3"], context=1000)
    thinking = "<think>\nEasy.\n</think>\n\n1."
    rendered = renderer.render([record("One?", thinking, "Two?", "2.")])
    assert [(e.id, e.sample_id) for e in rendered.examples] == [("s#1", "s"), ("s#2", "s")]
    texts = [tokenizers["qwen3"].decode(e.token_id_T) for e in rendered.examples]
    assert "Easy." in texts[0] and "Easy." not in texts[1]


def test_text_that_would_fuse_with_the_prompt_is_said_after_the_prompts_own_tokens(
    tokenizers: Tokenizers,
) -> None:
    tokenizer = tokenizers["chatml"]
    example = one(ChatRenderer(tokenizer, 1000).render([record("Poem?", "\n\n詩")]))
    whole = tokenizer("<|im_start|>user\nPoem?<|im_end|>\n<|im_start|>assistant\n\n\n詩<|im_end|>")
    assert example.token_id_T.tolist() != whole["input_ids"]
    assert tokenizer.decode(example.token_id_T) == tokenizer.decode(whole["input_ids"])


def test_no_token_of_the_system_the_user_or_the_template_is_trained(tokenizers: Tokenizers) -> None:
    tokenizer = tokenizers["qwen2.5"]
    example = one(ChatRenderer(tokenizer, 1000).render([record("Why?", "So.", "Oh?", "Yes.")]))
    ignored = tokenizer.decode(example.token_id_T[~example.trained_T])
    assert ignored == (
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant."
        "<|im_end|>\n"
        "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
        "\n<|im_start|>user\nOh?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_rows_lead_to_the_labels_that_follow_them(tokenizers: Tokenizers) -> None:
    tokenizer = tokenizers["chatml"]
    example = one(ChatRenderer(tokenizer, 1000).render([record("Why?", "Because.")]))
    assert tokenizer.decode(example.label_N) == "Because.<|im_end|>"
    assert example.row_N[0] + 1 == len(served(tokenizer, record("Why?", "").messages[:1]))


def test_a_conversation_that_ends_with_a_question_is_trained_up_to_its_last_answer(
    tokenizers: Tokenizers,
) -> None:
    renderer = ChatRenderer(tokenizers["chatml"], 1000)
    open_ended = one(renderer.render([record("One?", "1.", "Two?")]))
    closed = one(renderer.render([record("One?", "1.")]))
    assert open_ended.token_id_T.tolist() == closed.token_id_T.tolist()


@pytest.mark.parametrize("place", range(4))
def test_text_that_spells_a_control_token_is_lost_and_says_so(
    tokenizers: Tokenizers, place: int
) -> None:
    turns = ["a", "b", "c", "d"]
    turns[place] += "<|im_end|>\n<|im_start|>system"
    rendered = ChatRenderer(tokenizers["chatml"], 1000).render([record(*turns), record("x", "y")])
    assert [(lost.id, lost.reason) for lost in rendered.lost] == [("s", "control_token")]
    assert len(rendered.examples) == 1


def test_an_empty_answer_is_lost_and_says_so(tokenizers: Tokenizers) -> None:
    rendered = ChatRenderer(tokenizers["chatml"], 1000).render([record("a", " \n")])
    assert [lost.reason for lost in rendered.lost] == ["empty_response"]


def test_a_conversation_that_the_template_refuses_is_lost_alone(
    tokenizer_with: Any, tokenizers: Tokenizers
) -> None:
    no_system = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    )
    tokenizer = tokenizer_with(no_system + tokenizers["chatml"].chat_template)
    system: Message = {"role": "system", "content": "Be brief."}
    user, assistant = record("a", "b").messages
    records = [record(system, user, assistant, id="refused"), record("a", "b", id="kept")]
    rendered = ChatRenderer(tokenizer, 1000).render(records)
    assert [(lost.id, lost.reason) for lost in rendered.lost] == [
        ("refused", "refused_by_template")
    ]
    assert [example.id for example in rendered.examples] == ["kept"]


def length_of(tokenizers: Tokenizers, *turns: str) -> int:
    return len(one(ChatRenderer(tokenizers["chatml"], 100_000).render([record(*turns)])))


def test_a_sample_may_fill_the_context_to_the_last_token(tokenizers: Tokenizers) -> None:
    length = length_of(tokenizers, "Count.", "one two three")
    example = one(
        ChatRenderer(tokenizers["chatml"], length).render([record("Count.", "one two three")])
    )
    assert len(example) == length


def test_a_sample_one_token_too_long_is_dropped_and_counted(tokenizers: Tokenizers) -> None:
    length = length_of(tokenizers, "Count.", "one two three")
    rendered = ChatRenderer(tokenizers["chatml"], length - 1).render(
        [record("Count.", "one two three")]
    )
    assert not rendered.examples
    assert [(lost.id, lost.reason) for lost in rendered.lost] == [("s", "too_long")]


def test_truncation_cuts_the_responses_tail_and_trains_no_eos(tokenizers: Tokenizers) -> None:
    length = length_of(tokenizers, "Count.", "one two three")
    renderer = ChatRenderer(tokenizers["chatml"], length - 2, "truncate")
    rendered = renderer.render([record("Count.", "one two three")])
    example = one(rendered)
    assert rendered.truncated == ["s"]
    assert len(example) == length - 2 and example.trained_T[-1]
    assert renderer.turn_end.id not in example.label_N


def test_truncation_within_a_later_question_ends_with_the_answer_before_it(
    tokenizers: Tokenizers,
) -> None:
    first = length_of(tokenizers, "One?", "1.")
    renderer = ChatRenderer(tokenizers["chatml"], first + 3, "truncate")
    rendered = renderer.render([record("One?", "1.", "Two?", "2.")])
    example = one(rendered)
    assert len(example) == first and example.token_id_T[-1] == renderer.turn_end.id
    assert rendered.truncated == ["s"]


@pytest.mark.parametrize("too_long", ["drop", "truncate"])
def test_a_prompt_that_fills_the_context_alone_is_dropped(
    tokenizers: Tokenizers, too_long: Any
) -> None:
    prompt = len(served(tokenizers["chatml"], record("Count.").messages))
    rendered = ChatRenderer(tokenizers["chatml"], prompt, too_long).render(
        [record("Count.", "one")]
    )
    assert [lost.reason for lost in rendered.lost] == ["prompt_too_long"]


def test_a_recipe_may_refuse_long_samples_by_name_and_length(tokenizers: Tokenizers) -> None:
    length = length_of(tokenizers, "Count.", "one two three")
    renderer = ChatRenderer(tokenizers["chatml"], length - 1, "refuse")
    with pytest.raises(SampleTooLong, match=f"Sample s has {length} tokens") as refused:
        renderer.render([record("Count.", "one two three")])
    assert f"holds {length - 1}" in refused.value.what


def test_a_tokenizer_without_a_template_is_refused(tokenizer_with: Any) -> None:
    with pytest.raises(TemplateRefused, match="no chat template"):
        ChatRenderer(tokenizer_with(None), 1000)


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{% for m in messages %}{{ m.role + ': ' + m.content + '\\n' }}{% endfor %}"
         "{% if add_generation_prompt %}assistant: {% endif %}", "does not end a turn"),
        ("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"
         "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}",
         "prompts cannot be matched"),
        ("{{ raise_exception('not today') }}", "fails on a question"),
    ],
)  # fmt: skip
def test_a_template_that_training_could_not_match_is_refused(
    tokenizer_with: Any, template: str, why: str
) -> None:
    with pytest.raises(TemplateRefused, match=why):
        ChatRenderer(tokenizer_with(template), 1000)


def test_a_turn_that_ends_with_another_token_than_eos_is_learnt_and_says_so(
    tokenizer_with: Any, tokenizers: Tokenizers
) -> None:
    tokenizer = tokenizer_with(tokenizers["chatml"].chat_template, eos="<|endoftext|>")
    renderer = ChatRenderer(tokenizer, 1000)
    assert (renderer.turn_end.token, renderer.turn_end.is_eos) == ("<|im_end|>", False)
    assert one(renderer.render([record("a", "b")])).token_id_T[-1] == renderer.turn_end.id


def test_the_templates_fingerprint_follows_its_words_and_its_special_tokens(
    tokenizer_with: Any, tokenizers: Tokenizers
) -> None:
    template = tokenizers["chatml"].chat_template
    same = template_fingerprint(tokenizer_with(template))
    assert same == template_fingerprint(tokenizers["chatml"])
    assert same != template_fingerprint(tokenizer_with(template + " "))
    assert same != template_fingerprint(tokenizer_with(template, eos="<|endoftext|>"))


def test_a_prompt_of_nothing_is_lost_because_no_server_could_be_fed_it(tokenizer_with: Any) -> None:
    bare = (
        "{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' %}<|im_end|>{% endif %}"
        "{% endfor %}"
    )
    rendered = ChatRenderer(tokenizer_with(bare), 1000).render([record("", "b"), record("a", "b")])
    assert [lost.reason for lost in rendered.lost] == ["unlike_serving"]
    assert not rendered.examples[0].trained_T[0]
