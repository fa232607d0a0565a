"""The pictures in README.md and docs/ are there, are told in words, and none is left over."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PICTURES = CHECKOUT / "docs" / "pictures"
PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
_PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+\.png)\)")


def pictures_of(page: Path) -> dict[Path, str]:
    """The files that a page shows, and what it says of each to those who cannot see it."""
    found = _PICTURE.findall(page.read_text(encoding="utf-8"))
    return {(page.parent / path).resolve(): words for words, path in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_picture_on_a_page_is_a_png_and_told_in_words(page: Path) -> None:
    for file, words in pictures_of(page).items():
        assert file.is_file(), f"{page.name} shows {file.name}"
        assert file.read_bytes().startswith(b"\x89PNG"), file.name
        assert len(words.split()) >= 4, f"{page.name} says too little of {file.name}"


def test_every_picture_is_on_a_page_and_small() -> None:
    shown = {file for page in PAGES for file in pictures_of(page)}
    kept = {file.resolve() for file in PICTURES.iterdir()}
    assert kept, "python -m benchmarks.screenshots makes them"
    assert kept == {file for file in shown if file.parent == PICTURES}
    assert all(file.stat().st_size <= 200_000 for file in kept)
    assert sum(file.stat().st_size for file in kept) <= 2_500_000
