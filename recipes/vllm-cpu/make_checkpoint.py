"""Make a tiny random Qwen2 checkpoint: a real model that a vLLM server loads in seconds on a CPU.

In goes a folder and a seed; out comes a complete Hugging Face checkpoint in it: about 0.4 million
random weights, a byte-level BPE tokenizer trained on the sentences below, a ChatML template, and a
generation config that stops at the end of a turn. Nothing is downloaded, and one seed gives the
same bytes every time. What the model says is gibberish; how it is served is not.

    python recipes/vllm-cpu/make_checkpoint.py --out tiny-qwen2 --seed 0
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

TEXT = (
    "A farmer has twelve apples and gives three of them to each of her two neighbours.",
    "Write a short poem about the sea, the wind and the light in the evening.",
    "The answer is 42. First add the numbers, then divide the sum by their count: 126 / 3 = 42.",
    "def mean(values): return sum(values) / len(values)  # an empty list has no mean",
    "SELECT name, price FROM products WHERE price > 10 ORDER BY name LIMIT 5;",
    "Translate the sentence, summarise the passage, classify the review, and plan the journey.",
    '{"instruction": "Explain why the sky is blue.", "category": "qa", "language": "en"}',
    '{"variants": [{"instruction": "", "category": "math"}], "correct": true, "evidence": ""}',
    "農夫はりんごを十二個持っていて、二人の隣人に三個ずつあげました。",
    "夕方の海と風と光についての短い詩を書いてください。",
    "答えは四十二です。まず数を足して、それから個数で割ります。",
    "次の文章を要約し、英語に翻訳してください。最終的な答え：42",
    "日本の首都は東京です。空が青い理由を説明してください。",
    "农夫有十二个苹果，给两位邻居每人三个。还剩下几个苹果？",
    "请写一首关于大海、风和傍晚的光的短诗。",
    "答案是四十二。首先把这些数字相加，然后除以它们的个数。",
    "请总结下面的文章，并把它翻译成英文。最终答案：42",
    "中国的首都是北京。请解释天空为什么是蓝色的。",
)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer: every text has ids, and the ids decode to the text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        special_tokens=[END_OF_TEXT, TURN_START, TURN_END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        additional_special_tokens=[TURN_START],
        model_max_length=8192,
    )
    fast.chat_template = CHATML
    return fast


def make_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen2ForCausalLM:
    """Random weights for the smallest Qwen2 whose head size vLLM's CPU attention takes."""
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.convert_tokens_to_ids(TURN_END),
        pad_token_id=tokenizer.convert_tokens_to_ids(END_OF_TEXT),
    )
    model = Qwen2ForCausalLM(config)
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        eos_token_id=tokenizer.convert_tokens_to_ids([TURN_END, END_OF_TEXT]),
        pad_token_id=config.pad_token_id,
    )
    return model.to(torch.float32)


def main() -> None:
    """Write the checkpoint and say in one line of JSON what it is."""
    parser = argparse.ArgumentParser(description="Make a tiny random Qwen2 checkpoint.")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write it into")
    parser.add_argument("--seed", type=int, default=0, help="decides every weight")
    arguments = parser.parse_args()

    tokenizer = make_tokenizer()
    model = make_model(tokenizer, arguments.seed)
    arguments.out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(arguments.out)
    tokenizer.save_pretrained(arguments.out)
    made = {
        "checkpoint": str(arguments.out),
        "parameters": model.num_parameters(),
        "vocabulary": len(tokenizer),
        "context": model.config.max_position_embeddings,
        "seed": arguments.seed,
    }
    sys.stdout.write(json.dumps(made) + "\n")


if __name__ == "__main__":
    main()
