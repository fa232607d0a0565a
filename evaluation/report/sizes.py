"""How many parameters a model has: counted from its folder, or said by the user.

In: a folder with safetensors, or a text such as `0.5B`. Out: a number of parameters. Headers alone
are read: eight bytes with the header's length, then JSON with every tensor's shape
(https://huggingface.co/docs/safetensors, "Format").
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import orjson

from evaluation.errors import EvaluationError

_SUFFIXES = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
_NUMBER = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmbt]?)\s*", re.IGNORECASE)
# No header of a real checkpoint is longer; a broken length must not fill the memory.
_LONGEST_HEADER = 100_000_000


class SizeUnreadable(EvaluationError):
    """A size that is none, or a checkpoint whose tensors cannot be counted."""

    code = "size_unreadable"


def number_of(text: str) -> float | None:
    """`0.5B`, `100k` or `1000` as a number; None where it is none."""
    found = _NUMBER.fullmatch(text)
    return float(found[1]) * _SUFFIXES[found[2].lower()] if found else None


def sizes_of(options: Sequence[str]) -> dict[str, float]:
    """Parameters by model, from options `MODEL=0.5B` or `MODEL=FOLDER`.

    Raises:
        SizeUnreadable: one is written otherwise, or a folder's tensors cannot be counted.
    """
    sizes: dict[str, float] = {}
    for option in options:
        model, _, text = option.partition("=")
        size = number_of(text) or counted(Path(text).expanduser())
        if not model or not size:
            raise SizeUnreadable(
                f"'{option}' says no model's size.",
                cause="Behind the sign = stands neither a number of parameters (with K, M or B) "
                "nor a folder whose safetensors can be counted.",
                solution="Write the model as reports call it, and its parameters.",
                command="stillhouse eval report --size student=0.5B",
            )
        sizes[model] = size
    return sizes


def counted(folder: Path) -> int | None:
    """Parameters of the checkpoint in `folder`, tied ones once, as they are stored; None where
    there are no safetensors, or the weights are packed (quantised) so that shapes do not tell.

    Raises:
        SizeUnreadable: a file is broken.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files or _quantised(folder) or (folder / "adapter_config.json").exists():
        return None
    shapes: dict[str, list[int]] = {}
    for file in files:
        shapes |= _shapes(file)
    return sum(math.prod(shape) for shape in shapes.values())


def written(parameters: float) -> str:
    """A size in three digits: `494M`, `1.5B`."""
    for suffix, unit in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if parameters >= 0.9995 * unit:
            return f"{parameters / unit:.3g}{suffix}"
    return f"{parameters:.3g}"


def _shapes(file: Path) -> dict[str, list[int]]:
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            if not 2 <= length <= _LONGEST_HEADER:
                raise ValueError(f"its header would be {length:,} bytes long")
            header = orjson.loads(opened.read(length))
        return {name: said["shape"] for name, said in header.items() if name != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SizeUnreadable(
            f"The parameters in {file} cannot be counted.",
            cause=f"It is no whole safetensors file: {error}.",
            solution="Give the model's size by --size MODEL=0.5B, or make the checkpoint anew.",
        ) from error


def _quantised(folder: Path) -> bool:
    try:
        config = orjson.loads((folder / "config.json").read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return False
    return isinstance(config, dict) and bool(config.get("quantization_config"))
