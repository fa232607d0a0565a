"""Turns values into pages: one template engine, in which every text is made visible and escaped.

In: a template's name and values. Out: HTML. A template cannot forget to escape, nor let a hidden
character through: both happen where a value is put in (`autoescape`, `finalize`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from common.hashing import digest_text
from inspector.plain_values import in_words
from inspector.visible import Exact, encodable, visible

_HERE = Path(__file__).parent
STATIC = _HERE / "static"
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")


def render(template: str, /, **values: Any) -> str:
    """The template, filled in."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        breakable=breakable,
        in_words=in_words,
        exact=lambda text: Exact(encodable(text)),
        number=number,
        counted=counted,
        dollars=dollars,
        seconds=seconds,
        moment=moment,
        percent=percent,
        lang=language,
        query=query,
        short=lambda identifier: identifier[:12],
    )
    environment.globals["static_version"] = static_version()
    return environment


def _finalized(value: Any) -> Any:
    """Plain text is made visible; what a macro made has been through here already."""
    return visible(value) if type(value) is str else value


@cache
def static_version() -> str:
    """Changes when a style or script does, so that browsers may keep them (`inspector.guard`)."""
    texts = (path.read_text(encoding="utf-8") for path in sorted(STATIC.glob("*.*")))
    return digest_text("".join(texts))[:8]


def breakable(name: str) -> Markup:
    """A name of several words (`verification_failed`), which a line may break between them only."""
    return Markup("_<wbr>").join(visible(name).split("_"))


def number(value: float | None) -> str:
    """A whole number with its thousands apart; – for none."""
    return "–" if value is None else f"{value:,.0f}"


def counted(value: float, noun: str) -> str:
    """`1 seed`, `2,000 seeds`."""
    return f"{number(value)} {noun}{'' if value == 1 else 's'}"


def dollars(amount: float | None) -> str:
    """US dollars; what is unknown is said."""
    if amount is None:
        return "unknown"
    return f"${amount:,.4f}" if amount < 1 else f"${amount:,.2f}"


def seconds(value: float | None) -> str:
    """A length of time in words that fit its size; – for none."""
    if value is None:
        return "–"
    if value < 60:
        return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes:02} min"


def moment(value: datetime | None) -> str:
    """A time to the second, in UTC; – for none."""
    return "–" if value is None else f"{value:%Y-%m-%d %H:%M:%S} UTC"


def percent(part: float | None, whole: float | None = 1) -> str:
    """`part` of `whole` in per cent; – where there is no whole."""
    return f"{100 * part / whole:.1f} %" if whole and part is not None else "–"


def language(code: str | None) -> str:
    """A language code for the attribute `lang`; empty (unknown) for what is none."""
    return code if code and _LANGUAGE.fullmatch(code) else ""


def query(values: Mapping[str, Any]) -> str:
    """`?a=b&c=d` of the values that are set; empty for none."""
    pairs = [(key, value) for key, value in values.items() if value not in (None, "", [])]
    return f"?{urlencode(pairs, doseq=True, errors='replace')}" if pairs else ""
