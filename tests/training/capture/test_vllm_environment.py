"""What vLLM finds in the environment while it starts on a CPU, and that it is put back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from training.capture.vllm_engine import _environment

BIND, COMPILE = "VLLM_CPU_OMP_THREADS_BIND", "TORCH_COMPILE_DISABLE"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (BIND, COMPILE):
        monkeypatch.delenv(name, raising=False)


def compilers(monkeypatch: pytest.MonkeyPatch, folder: Path, *names: str) -> None:
    """A PATH with these programs alone, and Python's headers."""
    for name in names:
        (folder / name).touch(mode=0o755)
    (folder / "Python.h").touch()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(folder))


def test_threads_are_not_bound_and_code_is_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CXX", raising=False)
    compilers(monkeypatch, tmp_path, "g++")
    with _environment(on_cpu=True):
        assert os.environ[BIND] == "nobind"
        assert COMPILE not in os.environ
    assert BIND not in os.environ


def test_nothing_is_compiled_without_the_compiler_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compilers(monkeypatch, tmp_path, "g++")
    monkeypatch.setenv("CXX", "clang++")
    with _environment(on_cpu=True):
        assert os.environ[COMPILE] == "1"


def test_nothing_is_compiled_without_pythons_headers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CXX", raising=False)
    compilers(monkeypatch, tmp_path, "g++")
    (tmp_path / "Python.h").unlink()
    with _environment(on_cpu=True):
        assert os.environ[COMPILE] == "1"


def test_what_the_user_has_set_stays_and_a_gpu_needs_none_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(BIND, "0-1")
    with _environment(on_cpu=True):
        assert os.environ[BIND] == "0-1"
    monkeypatch.delenv(BIND)
    with _environment(on_cpu=False):
        assert BIND not in os.environ and COMPILE not in os.environ
