"""Which samples a teacher can say nothing of, because its vocabulary lacks a token they need.

In: the store's folder, a source, what the capture left out. Out: a small file beside the shards,
so that the next capture does not try again, and the trainer knows such a sample from one that was
never captured. Only a teacher with another tokenizer has any, and `capture.vocabulary_coverage`
bounds how many.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from training.errors import RowsRefused
from training.store.disk import file_errors
from training.store.key import RowsSource


def read_unsayable(folder: str | Path, source: RowsSource) -> dict[str, str]:
    """The samples' ids by the keys of the rows that there are not.

    Raises:
        RowsRefused: the file is damaged, or cannot be read.
    """
    file = _file(folder, source)
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        return {str(key): str(sample) for key, sample in said.items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _unreadable(file, f"The system says: {error.strerror}.") from error
    except (ValueError, AttributeError) as error:
        raise _unreadable(file, f"It is not what was written: {error}.") from error


def add_unsayable(folder: str | Path, source: RowsSource, found: Mapping[str, str]) -> None:
    """Adds to the list; it is replaced as a whole, or stays as it was.

    Raises:
        CaptureError: it cannot be written.
        RowsRefused: what is there is damaged.
    """
    if not found:
        return
    file = _file(folder, source)
    all_of_it = {**read_unsayable(folder, source), **found}
    part = file.with_suffix(".part")
    with file_errors(file.parent):
        try:
            with part.open("w", encoding="utf-8") as handle:
                json.dump(all_of_it, handle, indent=0)
                handle.flush()
                os.fsync(handle.fileno())
            part.replace(file)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink()
            raise


def _unreadable(file: Path, cause: str) -> RowsRefused:
    return RowsRefused(
        f"The list '{file}' cannot be read.",
        cause=cause,
        solution="Delete it and capture again; it is made anew.",
        command="stillhouse capture RECIPE",
    )


def _file(folder: str | Path, source: RowsSource) -> Path:
    return Path(folder) / f"unsayable-{source.hash}.json"
