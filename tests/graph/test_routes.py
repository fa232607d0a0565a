"""Every conditional edge, asked directly: a state goes in, the next node's name comes out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from langgraph.types import Send

from graph import routes
from graph.state import GO, Draft, SampleState, SeedInput, SeedState, Step

Route = Callable[[SampleState], str]

SEED = SeedInput("seed", "family", "Add 2 and 3.", "", None, None, "math", "en")
ONWARDS: list[tuple[Route, str]] = [
    (routes.after_gate, "rewrite"),
    (routes.after_rewrite, "respond"),
    (routes.after_respond, "select"),
    (routes.after_select, "verify"),
    (routes.after_verify, "accept"),
]
SAMPLE_ROUTES = [route for route, _ in ONWARDS]


def draft(variant: int = 0) -> Draft:
    return Draft(
        id=f"draft{variant}",
        seed_id="seed",
        parent_id=None,
        family_id="family",
        origin="seed",
        variant=variant,
        round=0,
        category="math",
        language="en",
        system=None,
        instruction="Add 2 and 3.",
        original_instruction=None,
        input="",
        reference=None,
    )


@pytest.mark.parametrize(("route", "next_node"), ONWARDS)
def test_a_draft_with_nothing_against_it_goes_on(route: Route, next_node: str) -> None:
    assert route({"draft": draft(), "step": GO}) == next_node


@pytest.mark.parametrize("ending", ["accept", "reject", "hold", "fail"])
@pytest.mark.parametrize("route", SAMPLE_ROUTES)
def test_a_decision_ends_the_walk_wherever_it_is_made(route: Route, ending: str) -> None:
    step = Step(ending, "why")  # type: ignore[arg-type]
    assert route({"draft": draft(), "step": step}) == ending


def test_a_failed_verification_goes_back_to_rewriting_while_rounds_are_left() -> None:
    step = Step("revise", "verification_failed", "17 is wrong")
    assert routes.after_verify({"draft": draft(), "step": step}) == "revise"


@pytest.mark.parametrize("route", SAMPLE_ROUTES[:-1])
def test_only_verification_sends_a_draft_back(route: Route) -> None:
    step = Step("revise", "verification_failed")
    assert route({"draft": draft(), "step": step}) != "revise"


def test_a_classified_seed_goes_on_to_expansion() -> None:
    assert routes.after_classify({"seed": SEED, "step": GO}) == "expand"


def test_a_seed_that_could_not_be_classified_is_closed() -> None:
    step = Step("fail", "schema_failure")
    assert routes.after_classify({"seed": SEED, "step": step}) == "close"


def test_every_draft_gets_a_walk_of_its_own() -> None:
    drafts = (draft(0), draft(1), draft(2))
    sends = routes.after_expand({"seed": SEED, "drafts": drafts, "step": GO})
    assert sends == [Send("sample", {"draft": d}) for d in drafts]


def test_the_seeds_own_draft_still_walks_where_expansion_failed() -> None:
    step = Step("fail", "expansion_schema_failure")
    sends = routes.after_expand({"seed": SEED, "drafts": (draft(),), "step": step})
    assert sends == [Send("sample", {"draft": draft()})]


@pytest.mark.parametrize("state", [{"seed": SEED, "drafts": ()}, {"seed": SEED}])
def test_a_seed_without_drafts_is_closed(state: SeedState) -> None:
    assert routes.after_expand(state) == "close"
