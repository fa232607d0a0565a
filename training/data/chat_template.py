"""What a tokenizer's chat template does: its texts, its fingerprint, and how it ends a turn.

In: the student's tokenizer. Out: rendered texts and their token ids exactly as serving makes them
(`apply_chat_template(tokenize=True)` tokenises the rendered text and adds no special tokens), and
the token that ends an assistant's turn, found by rendering one. A template that cannot give
training text that equals serving text is refused here, before anything is rendered with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import jinja2
from transformers import PreTrainedTokenizerBase

from common.hashing import digest
from training.data.record import Message
from training.errors import TemplateRefused

_PROBE = "Stillhouse"


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """The token that ends an assistant's turn. `is_eos`: serving stops there by itself; if it is
    not the tokenizer's own, the generation config has to name it."""

    id: int
    token: str
    is_eos: bool


class Texts:
    """Text and token ids of conversations, as serving makes them."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer

    def prompt(self, messages: list[Message]) -> str:
        """What a server feeds the model before it answers."""
        return self._render(messages, add_generation_prompt=True)

    def closed(self, messages: list[Message]) -> str:
        """The conversation as it stands when its last turn has been said."""
        return self._render(messages, add_generation_prompt=False)

    def _render(self, messages: list[Message], *, add_generation_prompt: bool) -> str:
        text = self._tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=add_generation_prompt
        )
        assert isinstance(text, str)
        return text

    def token_ids(self, texts: list[str]) -> list[list[int]]:
        """The ids of rendered texts; control tokens in them are control tokens."""
        if not texts:
            return []
        ids: list[list[int]] = self._tokenizer(
            texts, add_special_tokens=False, return_attention_mask=False, verbose=False
        )["input_ids"]
        return ids

    def spell(self, ids: list[int]) -> str:
        """The text that ids stand for, control tokens included."""
        text = self._tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        return text


def template_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """128-bit hash of the template and of the special tokens that it may write.

    Raises:
        TemplateRefused: the tokenizer has no template.
    """
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    return digest({"template": _template(tokenizer), "special_tokens": special})


def control_pattern(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    """Finds text that the tokenizer would turn into a control token."""
    tokens = sorted(_control_tokens(tokenizer).values(), key=len, reverse=True)
    return re.compile("|".join(re.escape(token) for token in tokens) or r"(?!)")


def find_turn_end(tokenizer: PreTrainedTokenizerBase, texts: Texts) -> TurnEnd:
    """The token that ends a turn: EOS where the template writes it after the response, else the
    first control token there.

    Raises:
        TemplateRefused: no template, one that fails, one whose prompt is not how its own rendering
            of the answered conversation begins, or one that writes no control token after a turn.
    """
    _template(tokenizer)
    asked: list[Message] = [{"role": "user", "content": "Name?"}]
    answered: list[Message] = [*asked, {"role": "assistant", "content": _PROBE}]
    try:
        prompt, closed = texts.prompt(asked), texts.closed(answered)
    except jinja2.TemplateError as error:
        raise _refused("it fails on a question and its answer", f"It says: {error}.") from error
    rest = closed[len(prompt) :]
    if not closed.startswith(prompt) or _PROBE not in rest:
        raise _refused(
            "its prompts cannot be matched",
            "The prompt that it gives to serving is not how it renders the same conversation once "
            f"it is answered: {prompt!r} against {closed!r}.",
        )
    control = _control_tokens(tokenizer)
    (tail,) = texts.token_ids([rest[rest.index(_PROBE) + len(_PROBE) :]])
    ends = [id for id in tail if id in control]
    if not ends:
        raise _refused(
            "it does not end a turn",
            "After a response it writes no end-of-sequence or other control token, so the student "
            "would never learn to stop.",
        )
    eos = tokenizer.eos_token_id
    end = eos if eos in ends else ends[0]
    assert isinstance(end, int)
    return TurnEnd(id=end, token=control[end], is_eos=end == eos)


def _template(tokenizer: PreTrainedTokenizerBase) -> str:
    try:
        return tokenizer.get_chat_template()
    except ValueError as error:
        raise TemplateRefused(
            "The student's tokenizer has no chat template.",
            cause="Neither `chat_template.jinja` nor `tokenizer_config.json` brings one that "
            "is the default.",
            solution="Take an Instruct model as the student, or add a template to its tokenizer.",
        ) from error


def _control_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    added = tokenizer.added_tokens_decoder.items()
    control = {id: token.content for id, token in added if token.special}
    named = zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True)
    return control | {id: str(token) for id, token in named}


def _refused(why: str, cause: str) -> TemplateRefused:
    return TemplateRefused(
        f"The student's chat template cannot be trained on: {why}.",
        cause=cause,
        solution="Use a template whose generation prompt begins what it renders and that ends each "
        "turn with a control token, such as ChatML.",
    )
