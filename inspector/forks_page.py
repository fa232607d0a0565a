"""Replay and fork: asks again from an agent on, shows old and new, keeps it as a draft or drops it.

In: forms. Out: `/samples/ID/fork` (the form), `/forks` (all of them), `/forks/FORK` (one beside its
original). Forks lie in a folder of their own; only saving an edited prompt writes to a prompt's
file, and to the corpus the text that it replaces.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote, unquote

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response

from common.errors import StillhouseError
from graph.forks.comparing import compare_fork
from graph.forks.errors import ForkBusy
from graph.forks.fork import Draft, Fork
from graph.forks.front_matter import is_same_prompt
from graph.forks.making import prepare_fork
from graph.forks.saving import save_prompt
from graph.forks.shelf import (
    corpus_id,
    drop_fork,
    find_fork,
    find_place,
    forks_folder,
    list_forks,
)
from inspector.bodies import LONGEST_TEXT
from inspector.errors import BadQuestion
from inspector.fork_desk import ForkDesk
from inspector.fork_form import ForkForm, read_form
from inspector.fork_view import fork_view, newer_view
from inspector.forms import FormFields
from inspector.guard import is_encrypted
from inspector.prompt_files import prompt_file
from inspector.rendering import query
from inspector.site import REVIEWER, Site, onwards
from inspector.visible import encodable

_YEAR_S = 365 * 24 * 3600
_LONGEST_NAME = 200
_HERE = "samples"


def drafts_of(site: Site, seed_id: str) -> list[Draft]:
    """The forks of a seed, for its pages."""
    return list_forks(forks_folder(site.database), seed_id, corpus_id(site.database))


def add_forks_page(router: APIRouter, site: Site) -> None:
    """Adds the form, `/forks` and what belongs to them."""
    desk = ForkDesk()
    site.closing.append(desk.close)
    folder = forks_folder(site.database)

    @router.get("/{kind}/{id}/fork", response_class=HTMLResponse)
    def form_page(
        request: Request,
        kind: str,
        id: str,
        agent: Annotated[str, Query(alias="from")],
        prompt: str = "",
        teacher: str = "",
    ) -> Response:
        form = _form(kind, id, agent, prompt)
        if request.url.path != form.address:
            return onwards(f"{form.address}?{request.url.query}")
        return _form_page(request, form, teacher or form.ground.teacher, form.text, None)

    @router.post("/{kind}/{id}/fork")
    def make(request: Request, kind: str, id: str, fields: FormFields) -> Response:
        prompt, teacher, who = (fields.text(name) for name in ("prompt", "teacher", "who"))
        text = fields.text("text").replace("\r\n", "\n")
        form = _form(kind, id, fields.text("from"), prompt)
        try:
            site.check_form(request, fields.text("word"))
            if len(text) > LONGEST_TEXT:
                raise BadQuestion(
                    "The prompt is too long.",
                    cause=f"It has {len(text):,} characters; {LONGEST_TEXT:,} are taken.",
                    solution="Shorten it.",
                )
            # A field shows half characters, which no encoding has, as replacement characters.
            same = text == encodable(form.text)
            fork = Fork(
                id=id,
                agent=form.ground.step,
                teacher=teacher or None,
                prompt=None if same else text,
                prompt_name=prompt or None,
                who=who[:_LONGEST_NAME],
            )
            draft = prepare_fork(site.database, folder, site.prompts, fork)
        except StillhouseError as error:
            # What was typed must not be lost over a missing brace.
            return _form_page(request, form, teacher, text, error)
        desk.begin(draft)
        answer = onwards(f"/forks/{draft.facts.id}")
        answer.set_cookie(
            REVIEWER,
            quote(encodable(who.strip()[:_LONGEST_NAME])),
            max_age=_YEAR_S,
            httponly=True,
            samesite="lax",
            secure=is_encrypted(request),
        )
        return answer

    @router.get("/forks", response_class=HTMLResponse)
    def forks_page(request: Request) -> HTMLResponse:
        return site.page(
            request,
            "forks.html.jinja",
            here=_HERE,
            forks=list_forks(folder, None, corpus_id(site.database)),
        )

    @router.get("/forks/{id}", response_class=HTMLResponse)
    def fork_page(request: Request, id: str, saved: str = "") -> Response:
        # Before the fork itself: one that ends meanwhile is then read as it ended.
        progress = desk.under_way(id)
        draft = _find(id)
        facts = draft.facts
        if id != facts.id:
            return onwards(f"/forks/{facts.id}{query({'saved': saved})}")
        told = compare_fork(site.database, draft)
        file = prompt_file(site.prompts, facts.prompt_name)
        other = prompt_file(site.prompts, saved) if saved else None
        # Saving has raised its version, or given it another name.
        is_file, is_other = (
            one is not None and facts.prompt is not None and is_same_prompt(one.text, facts.prompt)
            for one in (file, other)
        )
        return site.page(
            request,
            "fork.html.jinja",
            here=_HERE,
            draft=draft,
            facts=facts,
            walking=progress is not None or draft.state == "running",
            ours=progress is not None,
            phase=progress.phase if progress is not None else "",
            told=told,
            view=fork_view(told, facts),
            file=file,
            is_file=is_file,
            newer=newer_view(file.text, facts) if file is not None and not is_file else None,
            saved=saved if is_other else "",
        )

    @router.post("/forks/{id}/again")
    def again(request: Request, id: str, fields: FormFields) -> Response:
        site.check_form(request, fields.text("word"))
        draft = _find(id)
        desk.begin(draft)
        return onwards(f"/forks/{draft.facts.id}")

    @router.post("/forks/{id}/stop")
    def stop(request: Request, id: str, fields: FormFields) -> Response:
        site.check_form(request, fields.text("word"))
        id = _find(id).facts.id
        desk.stop(id)
        return onwards(f"/forks/{id}")

    @router.post("/forks/{id}/drop")
    def drop(request: Request, id: str, fields: FormFields) -> Response:
        site.check_form(request, fields.text("word"))
        id = find_place(folder, id, corpus_id(site.database)).name
        if desk.under_way(id) is not None:
            raise ForkBusy(
                f"The fork {id[:12]} is being made right now.",
                cause="Its walk has not ended.",
                solution="Stop it, and discard it then.",
            )
        facts = drop_fork(folder, id, corpus_id(site.database)).facts
        if facts is None:
            return onwards("/forks")
        place = f"/samples/{facts.sample_id}" if facts.sample_id else f"/seeds/{facts.seed_id}"
        return onwards(place)

    @router.post("/forks/{id}/save")
    def save(request: Request, id: str, fields: FormFields) -> Response:
        site.check_form(request, fields.text("word"))
        draft = _find(id)
        name, over = fields.text("name").strip() or None, fields.text("over") or None
        written = save_prompt(site.database, site.prompts, draft, name, over)
        return onwards(f"/forks/{draft.facts.id}{query({'saved': written.name})}")

    def _find(id: str) -> Draft:
        return find_fork(folder, id, corpus_id(site.database))

    def _form(kind: str, id: str, agent: str, prompt: str) -> ForkForm:
        if kind not in ("samples", "seeds"):
            raise BadQuestion(
                f"There are no forks of {kind}.",
                cause="Only samples and seeds are forked.",
                solution="Open one of them.",
            )
        return read_form(site.database, site.prompts, id, agent, prompt or None)

    def _form_page(
        request: Request, form: ForkForm, teacher: str, text: str, error: StillhouseError | None
    ) -> HTMLResponse:
        return site.page(
            request,
            "fork_form.html.jinja",
            400 if error is not None else 200,
            here=_HERE,
            form=form,
            ground=form.ground,
            chosen=teacher,
            text=text,
            error=error,
            who=unquote(request.cookies.get(REVIEWER, "")),
        )
