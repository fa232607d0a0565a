"""The list of what a teacher cannot say survives bad disks: typed errors, and never half of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from teacher_rows import SOURCE

from training.errors import CaptureError, RowsRefused
from training.store.unsayable import add_unsayable, read_unsayable

_WORKER = """
import resource, sys
from teacher_rows import SOURCE
from training.errors import CaptureError
from training.store.unsayable import add_unsayable

resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    add_unsayable(sys.argv[1], SOURCE, {f"{n:032x}": f"sample-{n}" for n in range(2000)})
except CaptureError as error:
    print(error.cause, error.command)
"""


def listing(folder: Path) -> Path:
    return folder / f"unsayable-{SOURCE.hash}.json"


def test_what_is_added_is_read_beside_what_was_there(tmp_path: Path) -> None:
    assert read_unsayable(tmp_path, SOURCE) == {}
    add_unsayable(tmp_path, SOURCE, {"a": "one"})
    add_unsayable(tmp_path, SOURCE, {"b": "two"})
    add_unsayable(tmp_path, SOURCE, {})
    assert read_unsayable(tmp_path, SOURCE) == {"a": "one", "b": "two"}
    assert list(tmp_path.iterdir()) == [listing(tmp_path)]


def test_a_full_disk_is_a_typed_error_and_leaves_the_list_as_it_was(tmp_path: Path) -> None:
    add_unsayable(tmp_path, SOURCE, {"a": "one"})
    root = Path(__file__).parents[3]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")])}
    done = subprocess.run(
        [sys.executable, "-c", _WORKER, str(tmp_path)],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.stdout.strip() == "The system says: File too large. df -h", done.stderr
    assert list(tmp_path.iterdir()) == [listing(tmp_path)]
    assert read_unsayable(tmp_path, SOURCE) == {"a": "one"}


def test_a_folder_that_cannot_be_written_to_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="cannot be written"):
        add_unsayable(tmp_path / "none", SOURCE, {"a": "one"})
    listing(tmp_path).with_suffix(".part").mkdir()
    with pytest.raises(CaptureError, match="cannot be written") as caught:
        add_unsayable(tmp_path, SOURCE, {"a": "one"})
    assert "Is a directory" in caught.value.cause


def test_a_list_that_cannot_be_read_is_refused_by_its_name(tmp_path: Path) -> None:
    listing(tmp_path).mkdir()
    with pytest.raises(RowsRefused, match="cannot be read") as caught:
        read_unsayable(tmp_path, SOURCE)
    assert "Is a directory" in caught.value.cause
    assert listing(tmp_path).name in caught.value.what
