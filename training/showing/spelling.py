"""The words behind token ids, also where one character is cut into several tokens.

In: a model's folder with `tokenizer.json`, and ids. Out: words. A byte-level tokenizer cuts many
Japanese and Chinese characters: such tokens are read together, and what else could have stood there
is read after the ones before it. The `tokenizers` package alone is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from huggingface_hub import try_to_load_from_cache
from tokenizers import Tokenizer

from training.errors import ModelRefused, TokenizerRefused
from training.recipe import ModelSettings
from training.vocabulary import read_vocabulary

_CUT = "\ufffd"
# A character has four bytes at most; longer than this no more tokens would make a whole one.
_MOST_TOGETHER = 8


class Spelling(Protocol):
    """How ids are read."""

    def together(self, ids: Sequence[int]) -> Iterator[tuple[str, int]]:
        """The ids as words, with how many of them each stretch of whole characters takes."""

    def words(self, before: Sequence[int], id: int) -> str:
        """What the stretch that `before` began says with this id next."""


class Numbers:
    """Ids as they are, where no tokenizer can be had."""

    def together(self, ids: Sequence[int]) -> Iterator[tuple[str, int]]:
        """Every id by itself."""
        return ((f"#{id} ", 1) for id in ids)

    def words(self, before: Sequence[int], id: int) -> str:
        """Its number."""
        return f"#{id}"


class Words:
    """Ids as a tokenizer decodes them. Use `open`."""

    def __init__(self, tokenizer: Tokenizer, names: dict[int, str]) -> None:
        self._tokenizer = tokenizer
        self._names = names
        # Decoders treat the first token of a text otherwise than those that follow.
        self._anchor = next((id for id in range(len(names)) if self._stands(id)), None)
        self._known: dict[tuple[int, ...], str] = {}

    @classmethod
    def open(cls, settings: ModelSettings, fingerprint: str) -> Words:
        """The tokenizer beside a model, from a folder or the hub's local cache; nothing is fetched.

        Raises:
            ModelRefused: it is not on this machine.
            TokenizerRefused: it is none, or not the one that has this fingerprint.
        """
        folder = _folder(settings)
        vocabulary = read_vocabulary(folder)
        if vocabulary.fingerprint != fingerprint:
            raise TokenizerRefused(
                f"The tokenizer of '{settings.model}' is not the one of these rows.",
                cause="Its vocabulary has another fingerprint.",
                solution="Give the recipe that they were captured with.",
            )
        names = {id: token for token, id in vocabulary.id_by_token.items()}
        return cls(Tokenizer.from_file(str(folder / "tokenizer.json")), names)

    def together(self, ids: Sequence[int]) -> Iterator[tuple[str, int]]:
        """Words, and how many ids each stretch takes: several where they share a character."""
        pending: list[int] = []
        for id in ids:
            pending.append(id)
            words = self._decode(tuple(pending))
            if not words.endswith(_CUT) or len(pending) == _MOST_TOGETHER:
                yield words, len(pending)
                pending.clear()
        if pending:
            yield self._decode(tuple(pending)), len(pending)

    def words(self, before: Sequence[int], id: int) -> str:
        """The stretch with this id next; a number where that is still no whole character."""
        words = self._decode((*before, id))
        return f"#{id}, part of a character" if _CUT in words else words

    def _decode(self, ids: tuple[int, ...]) -> str:
        if ids not in self._known:
            self._known[ids] = self._decoded(ids)
        return self._known[ids]

    def _decoded(self, ids: tuple[int, ...]) -> str:
        if len(ids) == 1 and self._tokenizer.id_to_token(ids[0]) is None:
            # Named in the tokenizer's configuration alone, or padding beyond the vocabulary.
            return self._names.get(ids[0], f"#{ids[0]}")
        if self._anchor is None:
            return self._plain(ids)
        return self._plain((self._anchor, *ids))[len(self._plain((self._anchor,))) :]

    def _plain(self, ids: tuple[int, ...]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    def _stands(self, id: int) -> bool:
        """Whether the token is plain letters that nothing before or after it changes."""
        token = self._tokenizer.id_to_token(id)
        return token is not None and token.isascii() and token.isalpha()


def _folder(settings: ModelSettings) -> Path:
    folder = Path(settings.model).expanduser()
    if folder.is_dir():
        return folder
    found = try_to_load_from_cache(
        settings.model, "tokenizer.json", revision=settings.revision
    ) if settings.model.count("/") <= 1 else None  # fmt: skip
    if not isinstance(found, str):
        raise ModelRefused(
            f"The tokenizer of '{settings.model}' is not on this machine.",
            cause="There is no such folder, and the hub's local cache does not have it.",
            solution="Run the capture here once, or fetch the model's tokenizer.json.",
        )
    return Path(found).parent
