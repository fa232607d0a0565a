"""Finds a model's configuration: in its folder, in the hub's local cache, or among the known ones.

In: `model` and `revision` of a recipe. Out: a `Source`: its shape, and what is known of its
tokenizer. Nothing is downloaded and no weight is read.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from training.errors import ModelRefused, TokenizerRefused
from training.plan.known import KNOWN, TOKENIZER, TOKENS
from training.plan.models import Shape
from training.recipe import ModelSettings


@dataclass(frozen=True, slots=True)
class Source:
    """A model as far as a plan needs it.

    What its ids mean is said by `fingerprint` (of a tokenizer on this machine) and by `family` (of
    a known model), each None where nothing says so; `tokens` is the highest id plus one. `licence`
    is None where it is not known.
    """

    name: str
    shape: Shape
    found: str
    family: str | None
    fingerprint: str | None
    tokens: int | None
    licence: str | None


def find_model(settings: ModelSettings) -> Source:
    """The model's configuration.

    Raises:
        ModelRefused: it is nowhere on this machine and not among the known ones, its
            configuration is broken, or it is of a kind that cannot be counted.
    """
    known = KNOWN.get(settings.model)
    family, licence = (TOKENIZER, known.licence) if known else (None, None)
    folder = _folder(settings)
    if folder is not None:
        shape = Shape.of(_read(folder / "config.json"), settings.model)
        fingerprint, tokens = _tokenizer(folder)
        if tokens is None and known is not None:
            tokens = TOKENS
        return Source(settings.model, shape, "config.json", family, fingerprint, tokens, licence)
    if known is not None:
        return Source(known.name, known.shape, "built-in table", family, None, TOKENS, licence)
    raise ModelRefused(
        f"The configuration of '{settings.model}' is not at hand.",
        cause="It is no folder with config.json, not in the hub's local cache, and none of the "
        f"models that are known here: {', '.join(KNOWN)}.",
        solution="Download its config.json and tokenizer (a few MB), or give the model's folder.",
        command=f"hf download {settings.model} config.json tokenizer.json tokenizer_config.json",
    )


def _folder(settings: ModelSettings) -> Path | None:
    folder = Path(settings.model)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelRefused(
                f"There is no config.json in '{settings.model}'.",
                cause="The folder is there, the model's configuration is not.",
                solution="Give the folder that the model was saved to.",
            )
        return folder
    cached = _hub_cache() / f"models--{settings.model.replace('/', '--')}"
    revision = settings.revision or "main"
    reference = cached / "refs" / revision
    if reference.is_file():
        revision = reference.read_text(encoding="utf-8").strip()
    snapshot = cached / "snapshots" / revision
    return snapshot if (snapshot / "config.json").is_file() else None


def _hub_cache() -> Path:
    """Where huggingface_hub keeps downloads (its documentation, "Environment variables")."""
    if cache := os.environ.get("HF_HUB_CACHE"):
        return Path(cache).expanduser()
    base = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("HF_HOME") or str(Path(base) / "huggingface")
    return Path(home).expanduser() / "hub"


def _read(file: Path) -> dict[str, object]:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelRefused(
            f"'{file}' cannot be read.",
            cause=str(error),
            solution="Save or download the model's configuration again.",
        ) from error
    if not isinstance(config, dict):
        raise ModelRefused(
            f"'{file}' is no model's configuration.",
            cause="It holds no mapping of keys.",
            solution="Take the config.json that the model was saved with.",
        )
    return config


def _tokenizer(folder: Path) -> tuple[str | None, int | None]:
    # Deferred: it needs numpy, and a plan of known models does not.
    from training.vocabulary import read_vocabulary

    try:
        vocabulary = read_vocabulary(folder)
    except TokenizerRefused:
        return None, None
    return vocabulary.fingerprint, vocabulary.size
