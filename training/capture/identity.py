"""Which teacher this is: where its files lie, and the name and revision that pin what it says.

In: a recipe's teacher. Out: a folder with its configuration and tokenizer, and a `TeacherIdentity`.
A hub's commit pins a hub's model; a local folder is pinned by its configuration, its tokenizer and
a sample of its weights. The tokenizer decides which ids are padding, and which of the student's ids
stand for which of the teacher's, so rows depend on it. No weights are loaded or fetched, and no
torch is needed: the trainer asks for the same identity to find the rows.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.hashing import digest
from training.errors import ModelRefused
from training.recipe import ModelSettings, TeacherModelSettings
from training.store.key import TeacherIdentity
from training.vocabulary import tokenizer_fingerprint

_WEIGHTS = ("*.safetensors", "*.bin")
_NEEDED = ("config.json", "tokenizer.json", "tokenizer_config.json")
_BLOCKS, _BLOCK_BYTES = 256, 4096


@dataclass(frozen=True, slots=True)
class TeacherFiles:
    """A teacher that was found: `folder` holds its configuration and its tokenizer."""

    folder: Path
    identity: TeacherIdentity


def find_teacher(settings: TeacherModelSettings) -> TeacherFiles:
    """Where a teacher's files lie and who it is.

    Raises:
        ModelRefused: there is no such folder with `config.json` and weights, and no such model on
            the hub or in its local cache.
        TokenizerRefused: the folder holds no readable tokenizer.
    """
    folder = Path(settings.model).expanduser()
    if folder.is_dir():
        name = folder.resolve().name
        revision = digest([_content(folder), tokenizer_fingerprint(folder)])
    else:
        folder = _fetched(settings)
        name, revision = settings.model, folder.name
    identity = TeacherIdentity(name, revision, settings.engine, settings.dtype)
    return TeacherFiles(folder, identity)


def teacher_identity(settings: TeacherModelSettings) -> TeacherIdentity:
    """Who a teacher is, for the keys of its rows.

    Raises:
        ModelRefused, TokenizerRefused: it cannot be found, or a part of it cannot.
    """
    return find_teacher(settings).identity


def find_tokenizer(settings: ModelSettings) -> Path:
    """The folder with a model's tokenizer; a student that begins at random needs no weights.

    Raises:
        ModelRefused: there is no such model on the hub or in its local cache.
    """
    folder = Path(settings.model).expanduser()
    return folder if folder.is_dir() else _fetched(settings)


def _content(folder: Path) -> str:
    """A digest of the configuration and of the weights' size and evenly spaced blocks.

    Reading all of a 72B model's 145 GB takes minutes at every start; a model that was trained
    further differs in practically every block.
    """
    weights = sorted({path for pattern in _WEIGHTS for path in folder.glob(pattern)})
    config = folder / "config.json"
    if not weights or not config.is_file():
        raise ModelRefused(
            f"'{folder}' is no checkpoint.",
            cause="It holds no config.json." if weights else "It holds no weights.",
            solution="Give the folder that `save_pretrained` wrote, or a hub's model name.",
        )
    parts: list[Any] = [hashlib.blake2b(config.read_bytes(), digest_size=16).hexdigest()]
    return digest(parts + [[path.name, *_sampled(path)] for path in weights])


def _sampled(path: Path) -> list[Any]:
    size = path.stat().st_size
    state = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        for index in range(_BLOCKS):
            file.seek(max(0, size - _BLOCK_BYTES) * index // (_BLOCKS - 1))
            state.update(file.read(_BLOCK_BYTES))
    return [size, state.hexdigest()]


def _fetched(settings: ModelSettings) -> Path:
    """The hub's snapshot folder, whose name is the commit, with the small files in it."""
    from huggingface_hub import hf_hub_download

    try:
        paths = [
            Path(hf_hub_download(settings.model, name, revision=settings.revision))
            for name in _NEEDED
        ]
    except (OSError, ValueError) as error:
        raise ModelRefused(
            f"There is no model '{settings.model}'.",
            cause=(str(error).strip() or type(error).__name__).splitlines()[0],
            solution="Give a folder with config.json and weights, or the name (and revision) of a "
            "model that the hub or its local cache has.",
        ) from error
    return paths[0].parent
