"""Prompts: every text that was used, what it came to, how it differs from another, what is stale.

In: the prompt files, the corpus, and the recipes as their latest runs kept them. Out: the pages
`/prompts` and `/prompts/AGENT/NAME`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from sqlalchemy import select

from common.errors import StillhouseError
from graph.changes import read_resolved
from graph.stale import StaleState, find_stale
from inspector.counting import Counter
from inspector.differences import line_diff
from inspector.figures import PromptYield
from inspector.prompt_files import PromptFile, is_there, prompt_file, prompt_names
from inspector.site import Site
from storage.errors import NotFound
from storage.prompt_uses import Standing, prompt_t, seed_lineages, standing
from storage.summary import RecipeFigures, find_latest_runs

YIELDS, STALE = "prompts", "stale"


@dataclass(frozen=True, slots=True)
class Stale:
    """One recipe's stale part, or why it cannot be told."""

    recipe: str
    state: StaleState | None
    error: StillhouseError | None


@dataclass(frozen=True, slots=True)
class TextRow:
    """One text of a prompt in its table: what it came to, and how many seeds and samples still
    stand on it."""

    found: PromptYield
    seeds: int
    samples: int
    is_file: bool


@dataclass(frozen=True, slots=True)
class PromptCount:
    """What every prompt's texts have come to, by the prompt's name, and what stands on them."""

    yields: dict[str, list[PromptYield]]
    seeds: Standing
    samples: Standing


def add_prompts_page(router: APIRouter, site: Site) -> None:
    """Adds `/prompts` and `/prompts/AGENT/NAME`."""
    site.counters[YIELDS] = Counter(lambda key: _yields(site, key))
    site.counters[STALE] = Counter(lambda key: _stale(site, key))

    @router.get("/prompts", response_class=HTMLResponse)
    def prompts_page(request: Request) -> HTMLResponse:
        yields, stale = site.counted(YIELDS, "all"), site.counted(STALE, "all")
        if yields is None:
            return site.page(request, "counting.html.jinja", here="prompts")
        names = dict.fromkeys([*prompt_names(site.prompts), *yields.value.yields])
        files = {name: prompt_file(site.prompts, name) for name in names}
        return site.page(
            request,
            "prompts.html.jinja",
            here="prompts",
            files=files,
            unreadable={name for name, file in files.items() if file is None}
            & set(prompt_names(site.prompts)),
            yields=yields.value.yields,
            stale=stale.value if stale else None,
            counted=yields,
        )

    @router.get("/prompts/{agent}/{name}", response_class=HTMLResponse)
    def prompt_page(
        request: Request, agent: str, name: str, text: str = "", against: str = ""
    ) -> HTMLResponse:
        prompt = f"{agent}/{name}"
        file = prompt_file(site.prompts, prompt)
        yields = site.counted(YIELDS, "all")
        if yields is None:
            return site.page(request, "counting.html.jinja", here="prompts")
        count: PromptCount = yields.value
        found = count.yields.get(prompt, [])
        unreadable = file is None and is_there(site.prompts, prompt)
        if file is None and not found and not unreadable:
            raise NotFound(
                f"There is no prompt '{prompt}'.",
                cause="No file has that name, and nothing was made with it.",
                solution="Choose one from the list of prompts.",
            )
        old, new = _compared(file, found, text, against)
        old_text, new_text = (_text(site, file, hash) for hash in (old, new))
        return site.page(
            request,
            "prompt.html.jinja",
            here="prompts",
            name=prompt,
            file=file,
            unreadable=unreadable,
            rows=[_row(one, count, file) for one in found],
            old=old,
            new=new,
            known=old_text is not None and new_text is not None,
            lines=line_diff(old_text or "", new_text or ""),
            shown_text=new_text,
        )


def _row(found: PromptYield, count: PromptCount, file: PromptFile | None) -> TextRow:
    return TextRow(
        found,
        seeds=count.seeds[found.name, found.hash],
        samples=count.samples[found.name, found.hash],
        is_file=file is not None and found.hash == file.hash,
    )


def _compared(
    file: PromptFile | None, found: list[PromptYield], text: str, against: str
) -> tuple[str, str]:
    """Which text is compared with which: the one asked about (else the last used) with the other
    one asked about (else the file, else the last used)."""
    latest = found[0].hash if found else ""
    now = file.hash if file else latest
    return text or latest or now, against or now


def _text(site: Site, file: PromptFile | None, hash: str) -> str | None:
    if file is not None and file.hash == hash:
        return file.text
    with site.database.read() as connection:
        found = connection.execute(select(prompt_t.c.text).where(prompt_t.c.hash == hash)).scalar()
    return None if found is None else str(found)


def _yields(site: Site, _key: Hashable) -> PromptCount:
    by_name: dict[str, list[PromptYield]] = defaultdict(list)
    for found in site.tally.prompts():
        by_name[found.name].append(found)
    with site.database.read() as connection:
        seeds = seed_lineages(connection)
    return PromptCount(dict(by_name), standing(seeds), standing(site.tally.lineages()))


def _stale(site: Site, _key: Hashable) -> list[Stale]:
    latest: defaultdict[str, RecipeFigures] = defaultdict(RecipeFigures)
    with site.database.read() as connection:
        find_latest_runs(connection, None, latest)
    runs = {name: figures.run for name, figures in sorted(latest.items())}
    states = []
    for name, run in runs.items():
        recipe = read_resolved(run.recipe_text) if run else None
        if recipe is None:
            continue
        try:
            states.append(Stale(name, find_stale(site.database, recipe), None))
        except StillhouseError as error:
            states.append(Stale(name, None, error))
    return states
