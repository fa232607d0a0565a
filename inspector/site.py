"""What every page works with, and how a page answers.

In: one `Site` per server. Out: HTML answers with the values that the frame around each page needs.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse

from common.paths import prompts_folder
from inspector.counting import Counter
from inspector.errors import BadQuestion
from inspector.guard import Guard
from inspector.rendering import render
from inspector.settings import Settings
from inspector.tally import Tally
from storage.database import Database

REVIEWER = "stillhouse_reviewer"


@dataclass
class Site:
    """The corpus that is shown, and what guards it. `prompts` is the folder of prompt files."""

    database: Database
    settings: Settings
    guard: Guard
    prompts: Path = field(default_factory=prompts_folder)
    counters: dict[str, Counter[Any]] = field(default_factory=dict)
    closing: list[Callable[[], None]] = field(default_factory=list)
    tally: Tally = field(init=False)

    def __post_init__(self) -> None:
        self.tally = Tally(self.database)

    def page(
        self, request: Request, template: str, status: int = 200, **values: Any
    ) -> HTMLResponse:
        """A whole page; `here` marks its place in the navigation. Who has not signed in is not
        told what the corpus is called."""
        values.setdefault("here", "")
        signed_in = request.state.signed_in
        text = render(
            template,
            corpus=str(self.database.name) if signed_in else "",
            word=self.guard.form_word(request.state.visitor),
            signed=self.settings.token is not None and signed_in,
            path=request.url.path,
            **values,
        )
        return HTMLResponse(text, status_code=status)

    def check_form(self, request: Request, word: str) -> None:
        """Refuses a form that was not made by one of our pages for this visitor.

        Raises:
            BadQuestion: it was not.
        """
        if not self.guard.is_own_form(request, word):
            raise BadQuestion(
                "This form cannot be taken.",
                cause="It was made for another visit: the inspector was started anew since, or "
                "the browser keeps no cookies.",
                solution="Load the page again and repeat what you did.",
            )

    def counted(self, what: str, key: Hashable) -> Any:
        """The latest result of one of the slow counts; see `inspector.counting`."""
        return self.counters[what].get(key)

    def close(self) -> None:
        """Lets go of the corpus, once what works on it has ended (`closing`)."""
        for end in self.closing:
            end()
        for counter in self.counters.values():
            counter.close()
        self.database.close()


def onwards(url: str) -> RedirectResponse:
    """Sends the browser to a page of ours after something was done."""
    return RedirectResponse(url, status_code=303)


def own_path(path: str) -> str:
    """`path` where it is one of this site, else the start."""
    safe = path.startswith("/") and not path.startswith(("//", "/\\")) and "\n" not in path
    return path if safe and "\r" not in path and "\\" not in path else "/"
