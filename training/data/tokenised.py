"""A rendered corpus on disk: made once, mapped into memory by every rank.

In: a folder that `prepare` made. Out: examples by number, their lengths, the two parts of the
split, and the columns that teachers' rules ask for. Tokens are read from disk when an example is,
so a rank's memory holds a few bytes per example whatever their lengths. Scores of difficulty are
not in the folder: they shape which teacher speaks, and no token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from common.hashing import digest
from training.data.example import Example
from training.data.flat import TextColumn, map_numbers, sha256_of
from training.errors import CorpusRefused

FORMAT = 2
META = "meta.json"
CODED = ("category", "language", "recipe")


class TokenisedCorpus:
    """The examples of one export as one student sees them. Use `open`, or `prepare`.

    Attributes:
        folder: where it lies; its name is the hash of everything that shaped it.
        meta: what shaped it, what was lost or truncated and why, and counts for each part.
        lengths: int64 [examples], tokens.
        train, validation: int64 arrays of example numbers, ascending.
    """

    def __init__(
        self, folder: Path, meta: Mapping[str, Any], difficulty_R: NDArray[np.int8] | None = None
    ) -> None:
        self.folder = folder
        self.meta = meta
        self._difficulty_R = difficulty_R
        self._starts: NDArray[np.int64] = np.concatenate(
            [np.zeros(1, np.int64), map_numbers(folder, "ends", "<i8")]
        )
        self.lengths: NDArray[np.int64] = np.diff(self._starts)
        # Each example's bits begin at a byte of their own.
        self._bits_end: NDArray[np.int64] = np.cumsum((self.lengths + 7) // 8)
        self._token_id: NDArray[np.int32] = map_numbers(folder, "token_id", "<i4")
        self._trained: NDArray[np.uint8] = map_numbers(folder, "trained", np.uint8)
        self._held_out: NDArray[np.int8] = map_numbers(folder, "held_out", np.int8)
        self._row: NDArray[np.int64] = map_numbers(folder, "row", "<i8")
        self._codes = {name: map_numbers(folder, name, "<i4") for name in CODED}
        self.ids = TextColumn(folder, "id")
        self.sample_ids = TextColumn(folder, "sample_id")
        self.family_ids = TextColumn(folder, "family_id")

    @classmethod
    def open(
        cls, folder: str | Path, difficulty_R: NDArray[np.int8] | None = None
    ) -> TokenisedCorpus:
        """Opens what `prepare` made; lengths of files are looked at, and not every byte.

        Args:
            folder: where it lies.
            difficulty_R: the export's scores, one per row and below 0 where there is none; without
                them no example's difficulty is known.

        Raises:
            CorpusRefused: there is none, it is damaged, or another version made it.
        """
        folder = Path(folder)
        try:
            meta = orjson.loads((folder / META).read_bytes())
            wrong = _wrong_size(folder, meta["files"]) if meta["format"] == FORMAT else META
        except OSError as error:
            raise _damaged(folder, f"The system says: {error.strerror}.") from error
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise _damaged(folder, f"`{META}` is not what was written.") from error
        if wrong is not None:
            raise _damaged(folder, f"`{wrong}` is not what was written.")
        return cls(folder, meta, difficulty_R)

    def verify(self) -> None:
        """Reads every byte and compares it with what was written.

        Raises:
            CorpusRefused: something differs; the file is named.
        """
        said = {key: value for key, value in self.meta.items() if key != "digest"}
        if self.meta.get("digest") != digest(said):
            raise _damaged(self.folder, f"`{META}` is not what was written.")
        for name, file in self.meta["files"].items():
            if sha256_of(self.folder / name) != file["sha256"]:
                raise _damaged(self.folder, f"`{name}` is not what was written: its hash differs.")

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def train(self) -> NDArray[np.int64]:
        """The examples to train on."""
        return np.flatnonzero(self._held_out == 0)

    @cached_property
    def validation(self) -> NDArray[np.int64]:
        """The examples held out."""
        return np.flatnonzero(self._held_out == 1)

    @cached_property
    def trained_counts(self) -> NDArray[np.int64]:
        """How many tokens of each example are trained on: int64 [examples]."""
        bits = np.bitwise_count(self._trained)
        starts = np.concatenate([np.zeros(1, np.int64), self._bits_end[:-1]])
        counts: NDArray[np.int64] = np.add.reduceat(bits, starts, dtype=np.int64)
        return counts

    @property
    def lost(self) -> dict[str, int]:
        """How many samples (or turns) gave no example, by reason."""
        return {reason: entry["count"] for reason, entry in self.meta["lost"].items()}

    @property
    def truncated(self) -> int:
        """How many examples lost the tail of their response."""
        return int(self.meta["truncated"]["count"])

    @property
    def export_id(self) -> str:
        """The export that this was made of."""
        return str(self.meta["shaped_by"]["export"])

    def example(self, number: int) -> Example:
        """One example, its arrays in memory of their own."""
        number = int(number)
        start, end = int(self._starts[number]), int(self._starts[number + 1])
        bits_start = int(self._bits_end[number - 1]) if number else 0
        bits = np.array(self._trained[bits_start : int(self._bits_end[number])])
        return Example(
            id=self.ids[number],
            sample_id=self.sample_ids[number],
            family_id=self.family_ids[number],
            token_id_T=np.array(self._token_id[start:end]),
            trained_T=np.unpackbits(bits, count=end - start).astype(np.bool_),
            category=self._coded("category", number),
            language=self._coded("language", number),
        )

    def examples(self) -> Iterator[Example]:
        """All of them, in the export's order."""
        return (self.example(number) for number in range(len(self)))

    def columns(self, number: int) -> dict[str, str | int | None]:
        """The columns that a teacher's rule may ask for; `difficulty` is 0 to 9."""
        coded = {name: self._coded(name, number) for name in CODED}
        scores_R = self._difficulty_R
        difficulty = -1 if scores_R is None else int(scores_R[self._row[number]])
        return {**coded, "difficulty": None if difficulty < 0 else difficulty}

    def _coded(self, name: str, number: int) -> str | None:
        code = int(self._codes[name][number])
        return None if code < 0 else str(self.meta["codes"][name][code])


def _wrong_size(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The first file that is not as long as it was written."""
    sizes = ((name, (folder / name).stat().st_size) for name in files)
    return next((name for name, size in sizes if size != files[name]["bytes"]), None)


def _damaged(folder: Path, cause: str) -> CorpusRefused:
    return CorpusRefused(
        f"The tokenised corpus '{folder}' cannot be used.",
        cause=cause,
        solution="Delete that folder and run the same command again; it is made anew.",
    )
