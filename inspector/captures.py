"""The captured rows of one sample, or why they cannot be shown.

In: the index's entries and whatever reads rows, which the command line brings: the inspector itself
knows nothing of shards. Out: one `CaptureView` for each capture, also where it cannot be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from common.errors import StillhouseError
from common.teacher_tokens import TeacherText
from inspector.token_view import MOST, TokensView, captured_view
from storage.teacher_rows import RowsEntry


class RowsReader(Protocol):
    """Reads captured rows."""

    def read(self, entry: RowsEntry, most: int) -> TeacherText:
        """What a teacher says of the first `most` tokens.

        Raises:
            StillhouseError: the rows, or the tokens they belong to, cannot be had.
        """


@dataclass(frozen=True, slots=True)
class CaptureView:
    """One capture. Without `view` there is an `error`, or nobody was asked to read rows.
    `outdated`: these are not the sample's words as they are now."""

    entry: RowsEntry
    text: TeacherText | None = None
    view: TokensView | None = None
    error: StillhouseError | None = None
    outdated: bool = False


def captures_of(
    entries: Sequence[RowsEntry], reader: RowsReader | None, response: str | None
) -> list[CaptureView]:
    """The captures of a sample that says `response` now."""
    return [_capture(entry, reader, response) for entry in entries]


def _capture(entry: RowsEntry, reader: RowsReader | None, response: str | None) -> CaptureView:
    if reader is None:
        return CaptureView(entry)
    try:
        text = reader.read(entry, MOST)
    except StillhouseError as error:
        return CaptureView(entry, error=error)
    return CaptureView(entry, text, captured_view(text), outdated=_is_outdated(text, response))


def _is_outdated(text: TeacherText, response: str | None) -> bool:
    whole = sum(len(stretch.rows) for stretch in text.stretches) == text.tokens
    if text.unspelt is not None or not whole:
        return False
    said = "".join(stretch.words for stretch in text.stretches)
    return (response or "").strip() not in said
