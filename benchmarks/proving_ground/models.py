"""The proving ground's tokenizer and untrained models: one tokenizer, one family of sizes.

In: text of the world, a size's name. Out: a Hugging Face folder (`random_init` in a recipe begins
from its configuration). All sizes are Qwen2 with tied embeddings and heads of 32, the smallest that
vLLM's attention takes on a CPU. Digits are tokens of their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

CONTEXT = 256
# As wide as these narrow layers want it, and rotations that tell a hundred positions apart. At 96
# units, after 400 steps of 32, NLL was 1.12 with 0.02 (made for a thousand units), 0.99 with 0.08.
_INIT, _ROPE_THETA = 0.08, 200.0
_END, _START, _STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
_CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Size:
    """A Qwen2 body; `heads` of 32, half as many of them (one at least) for keys and values."""

    hidden: int
    layers: int

    def config(self, tokenizer: PreTrainedTokenizerFast) -> Qwen2Config:
        """As transformers takes it."""
        heads = self.hidden // 32
        return Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=self.hidden,
            intermediate_size=3 * self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=heads,
            num_key_value_heads=max(1, heads // 2),
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            initializer_range=_INIT,
            rope_parameters={"rope_type": "default", "rope_theta": _ROPE_THETA},
            bos_token_id=None,
            eos_token_id=tokenizer.convert_tokens_to_ids(_STOP),
            pad_token_id=tokenizer.convert_tokens_to_ids(_END),
        )


def make_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on `texts`, each as a turn; every digit is a token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[_END, _START, _STOP],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    turns = (
        f"{role}\n{text}" for role, text in zip(cycle(("user", "assistant")), texts, strict=False)
    )
    tokenizer.train_from_iterator(turns, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=_STOP,
        pad_token=_END,
        additional_special_tokens=[_START],
        model_max_length=CONTEXT,
    )
    fast.chat_template = _CHATML
    return fast


def write_untrained(folder: Path, tokenizer: PreTrainedTokenizerFast, size: Size) -> int:
    """Configuration and tokenizer of a model that a stage will begin at random; its parameters."""
    config = size.config(tokenizer)
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    GenerationConfig(
        do_sample=True,
        temperature=1.0,
        eos_token_id=[config.eos_token_id, config.pad_token_id],
        pad_token_id=config.pad_token_id,
    ).save_pretrained(folder)
    return Qwen2ForCausalLM(config).num_parameters()
