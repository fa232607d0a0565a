"""Every conditional edge of both graphs: pure functions from a state to the next node's name."""

from __future__ import annotations

from typing import Literal

from langgraph.types import Send

from graph.state import SampleState, SeedState

Ending = Literal["accept", "reject", "hold", "fail"]
ENDINGS: tuple[Ending, ...] = ("accept", "reject", "hold", "fail")


def _ending(state: SampleState) -> Ending | None:
    kind = state["step"].kind
    return None if kind == "go" or kind == "revise" else kind


def after_gate(state: SampleState) -> str:
    """On to rewriting, unless the gate rejected the draft (or a person's decision ended it)."""
    return _ending(state) or "rewrite"


def after_rewrite(state: SampleState) -> str:
    """On to the response, unless rewriting failed."""
    return _ending(state) or "respond"


def after_respond(state: SampleState) -> str:
    """On to selection, unless the response is unusable."""
    return _ending(state) or "select"


def after_select(state: SampleState) -> str:
    """On to verification, unless the scores are too low, or the draft is held for want of any."""
    return _ending(state) or "verify"


def after_verify(state: SampleState) -> str:
    """To an ending, or back to rewriting with the verdict's evidence."""
    if state["step"].kind == "revise":
        return "revise"
    return _ending(state) or "accept"


def after_classify(state: SeedState) -> str:
    """On to expansion, unless the seed could not be classified."""
    return "expand" if state["step"].kind == "go" else "close"


def after_expand(state: SeedState) -> list[Send] | str:
    """One walk of its own for every draft; straight to the end where there is none."""
    drafts = state.get("drafts", ())
    if not drafts:
        return "close"
    return [Send("sample", {"draft": draft}) for draft in drafts]
