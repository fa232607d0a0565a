"""Parameters: counted from safetensors headers, or as the user says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.report.sizes import SizeUnreadable, counted, number_of, sizes_of, written


def checkpoint(folder: Path, *shards: dict[str, list[int]], config: Any = None) -> Path:
    """Safetensors files without the tensors' bytes, which nobody reads."""
    folder.mkdir(exist_ok=True)
    for number, shapes in enumerate(shards):
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        for name, shape in shapes.items():
            header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [0, 0]}
        raw = json.dumps(header).encode()
        (folder / f"model-{number}.safetensors").write_bytes(len(raw).to_bytes(8, "little") + raw)
    (folder / "config.json").write_text(json.dumps(config or {}))
    return folder


def test_a_checkpoint_is_counted_over_its_shards(tmp_path: Path) -> None:
    model = checkpoint(tmp_path / "m", {"embed": [100, 8], "norm": [8]}, {"layer": [8, 4, 2]})
    assert counted(model) == 800 + 8 + 64


def test_a_real_checkpoint_is_counted_as_torch_counts_it(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    tensors = {"a": torch.zeros(3, 5), "b": torch.zeros(7)}
    save_file(tensors, tmp_path / "model.safetensors")
    assert counted(tmp_path) == sum(tensor.numel() for tensor in tensors.values())


def test_packed_weights_adapters_and_empty_folders_are_not_counted(tmp_path: Path) -> None:
    packed = checkpoint(tmp_path / "p", {"w": [2]}, config={"quantization_config": {"bits": 4}})
    assert counted(packed) is None
    adapter = checkpoint(tmp_path / "a", {"w": [2]})
    (adapter / "adapter_config.json").write_text("{}")
    assert counted(adapter) is None
    assert counted(tmp_path / "nowhere") is None


@pytest.mark.parametrize("content", [b"", b"\xff" * 20, (9).to_bytes(8, "little") + b'{"a": {}}'])
def test_a_broken_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(SizeUnreadable) as refused:
        counted(tmp_path)
    assert "model.safetensors" in refused.value.what and "--size" in refused.value.solution


def test_options_give_numbers_or_folders(tmp_path: Path) -> None:
    model = checkpoint(tmp_path / "m", {"w": [10, 10]})
    found = sizes_of(["student=0.5B", "教師=72b", f"own={model}", "plain=1000"])
    assert found == {"student": 0.5e9, "教師": 72e9, "own": 100.0, "plain": 1000.0}


@pytest.mark.parametrize("option", ["student", "=0.5B", "student=big", "student=0", "student=-1B"])
def test_an_option_that_says_no_size_is_refused(option: str) -> None:
    with pytest.raises(SizeUnreadable, match="says no model's size"):
        sizes_of([option])


def test_numbers_are_read_and_written() -> None:
    assert [number_of(text) for text in ("7B", "1.5b", "100k", "x", "k")] == [
        7e9, 1.5e9, 1e5, None, None,
    ]  # fmt: skip
    assert [written(size) for size in (494e6, 1.54e9, 72e9, 999.6e6, 12.0)] == [
        "494M", "1.54B", "72B", "1B", "12",
    ]  # fmt: skip
