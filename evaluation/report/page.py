"""Writes the report: one HTML file that needs nothing else, beside its pictures.

In: sections. Out: `index.html`, with pictures, rows and styles inside; no script, nothing fetched,
and a policy that forbids both. Every text loses control and bidirectional
characters and is escaped by the template engine.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from evaluation.report.content import Section, readable

PAGE = "index.html"
_TEMPLATE = "page.html.jinja"


def write_page(
    sections: Sequence[Section], folder: Path, title: str, made: datetime, commit: str | None
) -> Path:
    """Writes the page whole or not at all; pictures are read from where they were drawn."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["png"] = _png
    environment.filters["json_file"] = _json_file
    text = environment.get_template(_TEMPLATE).render(
        sections=sections, title=title, made=made, commit=commit
    )
    path, new = folder / PAGE, folder / f"{PAGE}.tmp"
    try:
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    return path


def _finalized(value: Any) -> Any:
    """Whatever text comes out is readable; what a macro made has been through here."""
    return readable(value) if type(value) is str else value


def _png(file: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}"


def _json_file(value: Any) -> str:
    """A data URL; base64 leaves nothing in it that HTML could read."""
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=str)
    return f"data:application/json;base64,{base64.b64encode(text).decode()}"
