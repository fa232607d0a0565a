"""What a sample's rows belong to, and the key that follows from it.

In: the teacher, the tokenizer and template, the form of the capture, and one example's token ids.
Out: a key of 32 hexadecimal digits. Rows are found by key and never by order: whatever would change
the rows changes the key.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from common.hashing import digest
from training.data.example import Example
from training.store.codec import Codec, Kind


@dataclass(frozen=True)
class TeacherIdentity:
    """Whose probabilities these are; the name that a recipe gives a teacher has no part in it.

    - `model`: the hub's name, or a local folder's own name (never its path).
    - `revision`: the hub's commit, or a hash of a local folder's content: what pins weights and
      tokenizer.
    - `engine`: `torch` or `vllm`.
    - `dtype`: of the weights as computed with: `float32`, `bfloat16`.
    """

    model: str
    revision: str
    engine: str
    dtype: str


@dataclass(frozen=True)
class CaptureForm:
    """What is kept of each row; make it by `top_k` or `sampled`."""

    kind: Kind
    k: int
    temperatures: tuple[float, ...] = ()
    seed: int | None = None

    @classmethod
    def top_k(cls, k: int, temperatures: tuple[float, ...] | list[float] = ()) -> CaptureForm:
        """The k most probable ids, with log Z at the temperatures (1 needs none)."""
        return cls("top_k", k, tuple(sorted({float(t) for t in temperatures} - {1.0})))

    @classmethod
    def sampled(cls, draws: int, seed: int) -> CaptureForm:
        """So many draws from the teacher at T = 1, by this seed."""
        return cls("sampled", draws, (), seed)


@dataclass(frozen=True)
class RowsSource:
    """Everything that rows depend on besides the token ids; one shard holds rows of one source."""

    teacher: TeacherIdentity
    tokenizer_fingerprint: str
    template_fingerprint: str
    form: CaptureForm

    @cached_property
    def hash(self) -> str:
        """Identity of the source: 32 hexadecimal digits."""
        return digest(asdict(self))

    def key(self, example: Example) -> str:
        """The key of this source's rows for an example."""
        return digest([self.hash, token_ids_hash(example)])

    def codec(self, vocab_size: int) -> Codec:
        """How rows of this source are stored; `vocab_size` is the width of the teacher's head."""
        return Codec(self.form.k, vocab_size, self.form.temperatures, self.form.kind)

    def as_dict(self) -> dict[str, Any]:
        """As JSON says it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, said: dict[str, Any]) -> RowsSource:
        """The inverse of `as_dict`, also after a way through JSON."""
        form = {**said["form"], "temperatures": tuple(said["form"]["temperatures"])}
        return cls(
            teacher=TeacherIdentity(**said["teacher"]),
            tokenizer_fingerprint=said["tokenizer_fingerprint"],
            template_fingerprint=said["template_fingerprint"],
            form=CaptureForm(**form),
        )

    def differences(self, other: RowsSource) -> list[str]:
        """What `other` has otherwise, in words; empty where they are the same."""
        return [
            f"{name} {found} instead of {wanted}"
            for (name, wanted), (_, found) in zip(self._parts(), other._parts(), strict=True)
            if wanted != found
        ]

    def _parts(self) -> list[tuple[str, Any]]:
        return [
            *((f"teacher {name}", value) for name, value in asdict(self.teacher).items()),
            ("tokenizer", self.tokenizer_fingerprint),
            ("chat template", self.template_fingerprint),
            *((f"capture {name}", value) for name, value in asdict(self.form).items()),
        ]


def token_ids_hash(example: Example) -> str:
    """128 bits of the token ids and of which are trained, as 32 hexadecimal digits."""
    raw = hashlib.blake2b(len(example).to_bytes(8, "little"), digest_size=16)
    raw.update(np.ascontiguousarray(example.token_id_T, dtype="<i4").data)
    raw.update(np.packbits(example.trained_T).data)
    return raw.hexdigest()
