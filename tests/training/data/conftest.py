"""A tokenizer with everything that chat templates of today write, and a few short templates."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from transformers import PreTrainedTokenizerFast
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

_MAKER = Path(__file__).parents[3] / "recipes" / "vllm-cpu" / "make_checkpoint.py"
_CONTROL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|start_header_id|>",
    "<|end_header_id|>", "<|eot_id|>",
)  # fmt: skip

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# As Qwen2.5-Instruct does it, less what it writes of tools: a system prompt of its own where the
# conversation brings none. Where TRL is installed, the template itself is taken from there.
QWEN25_REDUCED = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\\n"
    "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\\n' }}"
    "{% endif %}" + CHATML
)


def qwen25() -> str | None:
    """Qwen2.5-Instruct's own template, from TRL's collection; None where TRL is not installed."""
    trl = find_spec("trl")
    if trl is None or trl.origin is None:
        return None
    file = Path(trl.origin).parent / "chat_templates" / "qwen2_5.jinja"
    return file.read_text(encoding="utf-8") if file.is_file() else None


# As Qwen3 does it: thinking is stripped from every answer but the one to the last question, which
# gets an empty thought where it has none.
QWEN3 = (
    "{% set ns = namespace(last=-1) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}"
    "{% endfor %}"
    "{% for m in messages %}"
    "{% set said = m.content.split('</think>')[-1].lstrip('\\n') %}"
    "{{ '<|im_start|>' + m.role + '\\n' }}"
    "{% if m.role != 'assistant' %}{{ m.content }}"
    "{% elif loop.index0 < ns.last %}{{ said }}"
    "{% elif '</think>' in m.content %}{{ '<think>\\n' + "
    "m.content.split('</think>')[0].split('<think>')[-1].strip('\\n') "
    "+ '\\n</think>\\n\\n' + said }}"
    "{% else %}{{ '<think>\\n\\n</think>\\n\\n' + said }}{% endif %}"
    "{{ '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# As Llama 3 does it: the template writes BOS, and trims what is said.
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content | trim "
    "+ '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)

TEMPLATES = {
    "chatml": (CHATML, "<|im_end|>"),
    "qwen2.5": (qwen25() or QWEN25_REDUCED, "<|im_end|>"),
    "qwen3": (QWEN3, "<|im_end|>"),
    "llama3": (LLAMA3, "<|eot_id|>"),
}

TokenizerMaker = Callable[..., PreTrainedTokenizerFast]


@pytest.fixture(scope="session")
def backend() -> Tokenizer:
    """A byte-level BPE in which a blank line is one token, so that text can fuse over a seam."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    # Qwen2.5's own way to cut text: any run of line ends is one piece, whatever follows.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        special_tokens=list(_CONTROL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    text = [*runpy.run_path(str(_MAKER))["TEXT"], *["\n\n", "\n\n\n"] * 20]
    tokenizer.train_from_iterator(text, trainer)
    tokenizer.add_tokens([AddedToken(tag, normalized=False) for tag in ("<think>", "</think>")])
    return tokenizer


@pytest.fixture(scope="session")
def tokenizer_with(backend: Tokenizer) -> TokenizerMaker:
    """A tokenizer of its own with that chat template and that EOS."""

    def made(template: str | None, eos: str | None = "<|im_end|>") -> PreTrainedTokenizerFast:
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(backend.to_str()),
            eos_token=eos,
            bos_token="<|begin_of_text|>",
            pad_token="<|endoftext|>",
            additional_special_tokens=list(_CONTROL),
            model_max_length=64,
        )
        tokenizer.chat_template = template
        return tokenizer

    return made


@pytest.fixture(scope="session")
def qwen25_twice(
    tokenizer_with: TokenizerMaker,
) -> tuple[PreTrainedTokenizerFast, PreTrainedTokenizerFast]:
    """A tokenizer with Qwen2.5's own template, and one with what it is reduced to here."""
    own = qwen25()
    if own is None:
        pytest.skip("TRL, which carries Qwen2.5's chat template, is not installed")
    return tokenizer_with(own), tokenizer_with(QWEN25_REDUCED)


@pytest.fixture(scope="session")
def tokenizers(tokenizer_with: TokenizerMaker) -> dict[str, PreTrainedTokenizerFast]:
    """One tokenizer for each of the templates."""
    return {name: tokenizer_with(*given) for name, given in TEMPLATES.items()}
